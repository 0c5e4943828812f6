"""Number formats and math fidelity of every tensor and operation, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import ttnn

from pytest_ttbringup.errors import BringupError

FORMATS: Mapping[str, ttnn.DataType] = {
    "float32": ttnn.float32,
    "bfloat16": ttnn.bfloat16,
    "bfloat8_b": ttnn.bfloat8_b,
    "bfloat4_b": ttnn.bfloat4_b,
}
"""Number formats by TT-NN's names."""


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


LOFI_BF16 = MathConfig(ttnn.MathFidelity.LoFi, fp32_accumulation=False)
HIFI2 = MathConfig(ttnn.MathFidelity.HiFi2, fp32_accumulation=True)
HIFI4 = MathConfig(ttnn.MathFidelity.HiFi4, fp32_accumulation=True)


@dataclass(frozen=True)
class PrecisionConfig:
    """Formats of tensors and math of operations; the defaults are bfp8_b weights and KV cache with bf16 activations.

    They compute in HiFi4, so that a rung that is red says something of the model: HiFi2 leaves out bits of an operand,
    which shrinks each product, and the logits of SmolLM2-135M by 1.5 to 2.2 %, where 2 % are red. A decode step's
    matmuls wait for DRAM in either. Partial sums, which chips exchange in tensor parallel, are FP32: in bfloat16, what
    layer 29 leaves of the large activation at position 0 was off by 3 %.

    Raises:
        BringupError: a tensor shall have a format that TT-NN's operations on it do not take.
    """

    activations: ttnn.DataType = ttnn.bfloat16
    mlp_product: ttnn.DataType = ttnn.bfloat16
    partial_sums: ttnn.DataType = ttnn.float32
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
    qkv_math: MathConfig = HIFI4
    sdpa_decode_math: MathConfig = HIFI4
    sdpa_prefill_math: MathConfig = HIFI4
    attention_output_math: MathConfig = HIFI4
    gate_up_math: MathConfig = HIFI4
    down_math: MathConfig = HIFI4
    lm_head_math: MathConfig = HIFI4

    def __post_init__(self) -> None:
        """Refuse formats that TT-NN does not take."""
        for name in TENSORS:
            if getattr(self, name) not in {FORMATS[it] for it in legal_formats(name)}:
                given = format_name(getattr(self, name))
                raise BringupError(f"{name} = {given}: TT-NN takes {', '.join(legal_formats(name))} there.")


SETTINGS = tuple(it.name for it in fields(PrecisionConfig))
"""What can be set, in the order of `PrecisionConfig`."""

MATH = tuple(name for name in SETTINGS if name.endswith("_math"))
TENSORS = tuple(name for name in SETTINGS if name not in MATH)

OF_THE_MODEL = frozenset(
    ["logits", "embedding_table", "rotary_tables", "rotary_math", "lm_head_weight", "lm_head_math"]
)
"""What all layers share, or none has: no layer can have its own."""

_MATRIX = ("float32", "bfloat16", "bfloat8_b", "bfloat4_b")
_LEGAL: Mapping[str, tuple[str, ...]] = {
    "mlp_product": _MATRIX,
    "partial_sums": ("float32", "bfloat16"),
    "logits": ("float32", "bfloat16", "bfloat8_b"),
    "kv_cache": ("bfloat16", "bfloat8_b"),
    "norm_weight": ("float32", "bfloat16"),
    "qkv_weight": _MATRIX,
    "attention_output_weight": _MATRIX,
    "gate_up_weight": _MATRIX,
    "down_weight": _MATRIX,
    "lm_head_weight": _MATRIX,
}


def legal_formats(tensor: str) -> tuple[str, ...]:
    """The formats that the operations on this tensor take (tried with TT-NN 0.81); of those not listed, bfloat16."""
    return _LEGAL.get(tensor, ("bfloat16",))


def format_name(dtype: ttnn.DataType) -> str:
    """TT-NN's name of a format."""
    return next((name for name, it in FORMATS.items() if it == dtype), str(dtype))


DEFAULT_PRECISION = PrecisionConfig()
