"""How a compute kernel is configured: what the caller asks for, else what TT-NN chooses by itself for the operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import ttnn


class KernelConfig(NamedTuple):
    """What of a `ttnn.DeviceComputeKernelConfig` bears on values."""

    phases: int
    """Of math fidelity: 1 (LoFi) to 4 (HiFi4)."""
    fp32: bool
    """Whether destination registers are FP32 (`fp32_dest_acc_en`), else BF16."""
    l1_accumulation: bool = False
    """Whether the packer adds blocks of a matmul's inner size in L1 (`packer_l1_acc`)."""
    approximate: bool = False
    """Whether the vector unit may use its coarse functions (`math_approx_mode`)."""


def given_or(asked: Any, default: KernelConfig) -> KernelConfig:
    """What a caller's `compute_kernel_config` says, or the operation's default where there is none."""
    return default if asked is None else given(asked)


def given(asked: Any) -> KernelConfig:
    """What a caller's `compute_kernel_config` says."""
    return KernelConfig(
        phases_of(asked.math_fidelity), asked.fp32_dest_acc_en, asked.packer_l1_acc, asked.math_approx_mode
    )


def phases_of(fidelity: ttnn.MathFidelity) -> int:
    """The number of phases of a math fidelity; LoFi's one for `MathFidelity.Invalid`, as kernels read it."""
    return {"LoFi": 1, "HiFi2": 2, "HiFi3": 3, "HiFi4": 4}.get(fidelity.name, 1)


def on_wormhole(tensor: ttnn.Tensor) -> bool:
    """Whether a device tensor, or a trace's handle of one, lies on a Wormhole chip."""
    import ttnn

    return bool(tensor.device().arch() == ttnn.Arch.WORMHOLE_B0)


def matmul_default(
    a: ttnn.DataType, b: ttnn.DataType, output: ttnn.DataType, *, wormhole: bool, chosen_by_caller: bool
) -> KernelConfig:
    """What `ttnn.matmul` and `ttnn.linear` use without a compute kernel config.

    HiFi2, or LoFi for two operands of block formats or where the caller chose a program config or core grid; for two
    of FP32, HiFi3 on Wormhole (a hardware bug makes HiFi4 wrong with FP32 destinations) and HiFi4 on Blackhole. FP32
    destinations with an FP32 output, and L1 accumulation with any other. Source: `create_matmul_attributes` in TT-NN's
    matmul_device_operation.cpp; the simulator's bits agree.

    Args:
        a: format of the activations.
        b: format of the weights.
        output: format of the result.
        wormhole: whether the architecture is Wormhole.
        chosen_by_caller: whether there is a program config or core grid of the caller's.
    """
    import ttnn

    low = (ttnn.bfloat8_b, ttnn.bfloat4_b)
    phases = 1 if chosen_by_caller or (a in low and b in low) else 2
    if a == b == ttnn.float32:
        phases = 3 if wormhole else 4
    fp32 = output == ttnn.float32
    return KernelConfig(phases, fp32, l1_accumulation=not fp32)
