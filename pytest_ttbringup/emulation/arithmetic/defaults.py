"""How TT-NN configures the compute kernels of operations other than `ttnn.matmul` where the caller does not.

The source of each is the call of `init_device_compute_kernel_config` in the file named, below TT-NN's
ttnn/cpp/ttnn/operations, as of May 2026: the wheel ships kernels, but not those files. For norms it has functions that
say so, which the tests ask. Matmuls: `numerics.kernel_config.matmul_default`.
"""

from __future__ import annotations

from pytest_ttbringup.emulation.numerics.kernel_config import KernelConfig

ATTENTION = KernelConfig(phases=2, fp32=False, approximate=True)
"""transformer/sdpa/sdpa.cpp and transformer/sdpa_decode/sdpa_decode.cpp."""

ATTENTION_MATMUL = KernelConfig(phases=1, fp32=False, approximate=True)
"""experimental/matmul/attn_matmul/device/attn_matmul_device_operation.cpp and group_attn_matmul.cpp: what
core/compute_kernel/compute_kernel_config.hpp has for those who ask for nothing."""

LAYER_NORM = KernelConfig(phases=4, fp32=True)
"""normalization/layernorm/layernorm.cpp, `layernorm_default_compute_config`."""

MINIMAL_MATMUL = KernelConfig(phases=2, fp32=True, l1_accumulation=True)
"""experimental/minimal_matmul/device/minimal_matmul_device_operation.cpp and minimal_matmul_split_device_operation.cpp,
also for `dit_minimal_matmul_addcmul_fused`."""

RMS_NORM = KernelConfig(phases=4, fp32=False, approximate=True)
"""normalization/rmsnorm/rmsnorm.cpp, `rmsnorm_default_compute_config`."""

ROTARY = KernelConfig(phases=4, fp32=False, approximate=True)
"""experimental/transformer/rotary_embedding_llama/device/rotary_embedding_llama_device_operation.cpp, and likewise
rotary_embedding.cpp, rotary_embedding_hf.cpp and rotary_embedding_llama_fused_qk.cpp."""


def reduction(*, wormhole: bool) -> KernelConfig:
    """Sums and means: reduction/generic/device/reduce_op.cpp. On Wormhole, HiFi4 with FP32 destinations is at times
    wrong (a bug of the hardware, TT-Metal's issue 38306), so that TT-NN takes HiFi3.
    """
    return KernelConfig(phases=3 if wormhole else 4, fp32=True)


def softmax(*, fp32: bool, wormhole: bool) -> KernelConfig:
    """Softmax, of FP32 or not: normalization/softmax/device/softmax_device_operation.cpp, with the same care."""
    return KernelConfig(phases=3 if fp32 and wormhole else 4, fp32=fp32, approximate=True)
