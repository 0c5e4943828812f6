"""What operations compute with where the caller gives no compute kernel config: the same as with the config that TT-NN
would make, and not the same as with another.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import ttnn

from pytest_ttbringup.emulation.arithmetic import defaults
from pytest_ttbringup.emulation.arithmetic.attention_setting import AttentionSetting
from pytest_ttbringup.emulation.numerics.kernel_config import KernelConfig, given_or, phases_of

from .conftest import Compute

Operation = Callable[..., ttnn.Tensor]


@pytest.fixture
def random(mesh_device: ttnn.MeshDevice) -> Callable[..., ttnn.Tensor]:
    generator = torch.Generator().manual_seed(6)

    def random(*shape: int, dtype: str = "bfloat16") -> ttnn.Tensor:
        values = torch.randn(shape, generator=generator)
        return ttnn.from_torch(values, dtype=getattr(ttnn, dtype), layout=ttnn.TILE_LAYOUT, device=mesh_device)

    return random


@pytest.fixture
def same(mesh_device: ttnn.MeshDevice) -> Callable[[Operation, str, bool], bool]:
    """Whether an operation computes the same without a config as with this one."""

    def same(operation: Operation, fidelity: str, fp32: bool) -> bool:
        config = ttnn.init_device_compute_kernel_config(
            mesh_device.arch(),
            math_fidelity=getattr(ttnn.MathFidelity, fidelity),
            math_approx_mode=False,
            fp32_dest_acc_en=fp32,
            packer_l1_acc=False,
        )
        ours, given = operation(), operation(compute_kernel_config=config)
        return torch.equal(ttnn.to_torch(ours), ttnn.to_torch(given))

    return same


@pytest.mark.parametrize("name", ["rms_norm", "layer_norm"])
def test_norms_are_what_the_wheel_says(compute: Compute, random, mesh_device: ttnn.MeshDevice, name: str) -> None:
    asked = getattr(ttnn, f"{name.replace('_', '')}_default_compute_config")(mesh_device.arch())
    assert given_or(asked, KernelConfig(1, fp32=True)) == getattr(defaults, name.upper())
    compute("device")
    x, operation = random(32, 256), getattr(ttnn, name)
    assert torch.equal(*(ttnn.to_torch(operation(x, **how)) for how in ({}, {"compute_kernel_config": asked})))


@pytest.mark.parametrize(
    ("operation", "fidelity", "fp32"),
    [
        ("rms_norm", "HiFi4", False),
        ("layer_norm", "HiFi4", True),
        ("softmax", "HiFi4", False),
        ("softmax of FP32", "HiFi3", True),
        ("sum", "HiFi3", True),
        ("rotary_embedding", "HiFi4", False),
        ("rotary_embedding_hf", "HiFi4", False),
        ("sdpa", "HiFi2", False),
        ("sdpa_decode", "HiFi2", False),
        ("minimal_matmul", "HiFi2", True),
    ],
)
def test_defaults(compute: Compute, random, same, operation: str, fidelity: str, fp32: bool) -> None:
    compute("device")
    x = random(1, 1, 32, 256, dtype="float32" if operation == "softmax of FP32" else "bfloat16")
    cos, sin = random(1, 1, 32, 256), random(1, 1, 32, 256)
    q, k, v = random(1, 2, 64, 64), random(1, 2, 64, 64), random(1, 2, 64, 64)
    one = random(1, 1, 2, 64)
    run = {
        "softmax": lambda **how: ttnn.softmax(x, dim=-1, **how),
        "softmax of FP32": lambda **how: ttnn.softmax(x, dim=-1, **how),
        "rms_norm": lambda **how: ttnn.rms_norm(x, **how),
        "layer_norm": lambda **how: ttnn.layer_norm(x, **how),
        "sum": lambda **how: ttnn.sum(x, dim=-1, **how),
        "rotary_embedding": lambda **how: ttnn.experimental.rotary_embedding(x, cos, sin, **how),
        "rotary_embedding_hf": lambda **how: ttnn.experimental.rotary_embedding_hf(x, cos, sin, **how),
        "sdpa": lambda **how: ttnn.transformer.scaled_dot_product_attention(q, k, v, **how),
        "sdpa_decode": lambda **how: ttnn.transformer.scaled_dot_product_attention_decode(
            one, k, v, cur_pos=[50], **how
        ),
        "minimal_matmul": lambda **how: ttnn.experimental.minimal_matmul(x, random_weights, **how),
    }[operation]
    random_weights = random(1, 1, 256, 64)
    others = [(name, wide) for name in ("LoFi", "HiFi2", "HiFi3", "HiFi4") for wide in (False, True)]
    agreeing = [other for other in others if same(run, *other)]
    assert (fidelity, fp32) in agreeing
    assert {wide for _, wide in agreeing} == {fp32}
    # a sum's scaler of 1 has bits for even phases only, and a fourth phase of BF16 values drowns in BF16 destinations
    assert len(agreeing) <= 2, agreeing


def test_blackhole_needs_no_care_with_hifi4() -> None:
    assert defaults.reduction(wormhole=True) == KernelConfig(3, fp32=True)
    assert defaults.reduction(wormhole=False) == KernelConfig(4, fp32=True)
    assert defaults.softmax(fp32=True, wormhole=True).phases == 3
    assert defaults.softmax(fp32=True, wormhole=False).phases == 4
    assert defaults.softmax(fp32=False, wormhole=True) == KernelConfig(4, fp32=False, approximate=True)


@pytest.mark.parametrize(("name", "phases"), [("LoFi", 1), ("HiFi2", 2), ("HiFi3", 3), ("HiFi4", 4), ("Invalid", 1)])
def test_phases_of_a_fidelity(name: str, phases: int) -> None:
    assert phases_of(getattr(ttnn.MathFidelity, name)) == phases


def test_a_config_is_taken_as_it_is(mesh_device: ttnn.MeshDevice) -> None:
    asked = ttnn.init_device_compute_kernel_config(
        mesh_device.arch(),
        math_fidelity=ttnn.MathFidelity.HiFi3,
        math_approx_mode=True,
        fp32_dest_acc_en=False,
        packer_l1_acc=True,
    )
    assert given_or(asked, KernelConfig(1, fp32=True)) == KernelConfig(3, False, True, True)
    assert given_or(None, KernelConfig(1, fp32=True)) == KernelConfig(1, fp32=True)


class TestChunksOfADecodeStep:
    """Keys at a time."""

    def chunk(self, *, keys: int = 100, cache: int | None = None, asked: int | None = None, fp32: bool = False) -> int:
        program = None
        if asked is not None:
            program = ttnn.SDPAProgramConfig(
                compute_with_storage_grid_size=(8, 8), q_chunk_size=32, k_chunk_size=asked, exp_approx_mode=False
            )
        config = ttnn.WormholeComputeKernelConfig(fp32_dest_acc_en=fp32)
        return AttentionSetting.for_decode(1.0, keys, program, config, half_tiles=False, cache=cache).chunk

    @pytest.mark.parametrize(("cache", "expected"), [(32, 32), (96, 32), (128, 128), (1152, 128), (4096, 512)])
    def test_of_a_contiguous_cache_divide_it(self, cache: int, expected: int) -> None:
        assert self.chunk(cache=cache) == self.chunk(cache=cache, asked=0) == expected

    def test_of_a_paged_one(self) -> None:
        assert self.chunk() == 32
        assert [self.chunk(keys=keys, asked=0) for keys in (32, 33, 100, 1000)] == [32, 64, 128, 256]
        assert [self.chunk(keys=keys, asked=0, fp32=True) for keys in (33, 100, 1000)] == [64, 128, 128]

    def test_of_the_callers(self) -> None:
        assert self.chunk(asked=64) == self.chunk(cache=4096, asked=64) == 64

    def test_exp_is_approximated_unless_the_program_config_says_no(self) -> None:
        exact = ttnn.SDPAProgramConfig(
            compute_with_storage_grid_size=(8, 8), q_chunk_size=32, k_chunk_size=32, exp_approx_mode=False
        )
        for setting, coarse in (
            (AttentionSetting.for_prefill(1.0, None, None), True),
            (AttentionSetting.for_prefill(1.0, exact, None), False),
            (AttentionSetting.for_decode(1.0, 32, exact, None, half_tiles=False, cache=32), False),
            (AttentionSetting.for_decode(1.0, 32, exact, None, half_tiles=True, cache=32), True),
        ):
            assert setting.coarse_exp is coarse
            assert setting.config == KernelConfig(2, fp32=False, approximate=True)
