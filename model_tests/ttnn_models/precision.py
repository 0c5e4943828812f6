"""Number formats and math fidelity of every tensor and operation, as data."""

from __future__ import annotations

from dataclasses import dataclass

import ttnn


@dataclass(frozen=True)
class MathConfig:
    """How an operation computes.

    `fidelity` is the number of phases of the matrix unit's multiplier, `fp32_accumulation` keeps partial sums in FP32
    instead of BF16, `l1_accumulation` adds blocks of the inner dimension in L1, `approximate` allows a coarser exp and
    the like.
    """

    fidelity: ttnn.MathFidelity
    fp32_accumulation: bool
    l1_accumulation: bool = True
    approximate: bool = False

    def kernel_config(self, mesh_device: ttnn.MeshDevice) -> ttnn.DeviceComputeKernelConfig:
        """The same, as TT-NN's `compute_kernel_config` for this device."""
        return ttnn.init_device_compute_kernel_config(
            mesh_device.arch(),
            math_fidelity=self.fidelity,
            math_approx_mode=self.approximate,
            fp32_dest_acc_en=self.fp32_accumulation,
            packer_l1_acc=self.l1_accumulation,
        )


HIFI2 = MathConfig(ttnn.MathFidelity.HiFi2, fp32_accumulation=True)
HIFI4 = MathConfig(ttnn.MathFidelity.HiFi4, fp32_accumulation=True)
HIFI2_BF16 = MathConfig(ttnn.MathFidelity.HiFi2, fp32_accumulation=False, l1_accumulation=False)


@dataclass(frozen=True)
class PrecisionConfig:
    """Formats of tensors and math of operations; the defaults are bfp8_b weights and KV cache with bf16 activations."""

    activations: ttnn.DataType = ttnn.bfloat16
    mlp_product: ttnn.DataType = ttnn.bfloat16
    logits: ttnn.DataType = ttnn.bfloat16
    kv_cache: ttnn.DataType = ttnn.bfloat8_b

    embedding_table: ttnn.DataType = ttnn.bfloat16
    norm_weight: ttnn.DataType = ttnn.bfloat16
    rotary_tables: ttnn.DataType = ttnn.bfloat16
    qkv_weight: ttnn.DataType = ttnn.bfloat8_b
    attention_output_weight: ttnn.DataType = ttnn.bfloat8_b
    gate_up_weight: ttnn.DataType = ttnn.bfloat8_b
    down_weight: ttnn.DataType = ttnn.bfloat8_b
    lm_head_weight: ttnn.DataType = ttnn.bfloat8_b

    norm_math: MathConfig = HIFI4
    rotary_math: MathConfig = HIFI4
    qkv_math: MathConfig = HIFI2
    sdpa_decode_math: MathConfig = HIFI2_BF16
    sdpa_prefill_math: MathConfig = HIFI4
    attention_output_math: MathConfig = HIFI2
    gate_up_math: MathConfig = HIFI2
    down_math: MathConfig = HIFI2
    lm_head_math: MathConfig = HIFI2


DEFAULT_PRECISION = PrecisionConfig()
