"""What is recorded of TT-NN's operations, on the emulated device and beside the values it computes."""

from __future__ import annotations

import math

import pytest
import torch
import ttnn

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.planning.roofline.operations import BYTES_PER_VALUE, Operand, Operation
from pytest_ttbringup.planning.roofline.recording import operations_of, recording
from pytest_ttbringup.planning.roofline.work import Work


def placed(
    mesh: ttnn.MeshDevice,
    *shape: int,
    dtype: str = "bfloat16",
    memory_config: ttnn.MemoryConfig | None = None,
    layout: ttnn.Layout | None = None,
) -> ttnn.Tensor:
    return ttnn.from_torch(
        torch.zeros(shape),
        dtype=getattr(ttnn, dtype),
        layout=layout or ttnn.TILE_LAYOUT,
        device=mesh,
        memory_config=memory_config or ttnn.DRAM_MEMORY_CONFIG,
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bfloat8_b", "bfloat4_b"])
def test_an_operand_is_as_large_as_tt_nns_buffer(mesh_device: ttnn.MeshDevice, dtype: str) -> None:
    """By the pages of the buffer that TT-NN allocates."""
    tensor = placed(mesh_device, 1, 3, 40, 100, dtype=dtype)
    pages = math.prod(tensor.padded_shape) // 1024
    assert Operand((1, 3, 40, 100), dtype).size == pages * tensor.buffer_aligned_page_size()
    assert set(BYTES_PER_VALUE) >= {dtype}


def test_a_matmul_is_recorded_as_it_was_issued(mesh_device: ttnn.MeshDevice) -> None:
    x = placed(mesh_device, 1, 1, 32, 64, memory_config=ttnn.L1_MEMORY_CONFIG)
    weight = placed(mesh_device, 1, 1, 64, 96, dtype="bfloat8_b")
    math_config = ttnn.init_device_compute_kernel_config(mesh_device.arch(), math_fidelity=ttnn.MathFidelity.HiFi3)
    with recording() as operations:
        ttnn.linear(x, weight, memory_config=ttnn.L1_MEMORY_CONFIG, compute_kernel_config=math_config)
    assert operations == [
        Operation(
            "MatmulDeviceOperation",
            (Operand((1, 1, 32, 64), "bfloat16", in_dram=False), Operand((1, 1, 64, 96), "bfloat8_b")),
            (Operand((1, 1, 32, 96), "bfloat16", in_dram=False),),
            fidelity="HiFi3",
        )
    ]


def test_views_are_no_operations(mesh_device: ttnn.MeshDevice) -> None:
    x = placed(mesh_device, 1, 1, 32, 64)
    with recording() as operations:
        ttnn.add(ttnn.reshape(x, (1, 32, 64)), 1.0)
        ttnn.deallocate(x)
    assert [it.kind for it in operations] == ["BinaryNg"]


def test_outputs_that_tt_nn_does_not_return_alone_are_recorded(mesh_device: ttnn.MeshDevice) -> None:
    qkv = placed(mesh_device, 1, 1, 64, 5 * 32)
    with recording() as operations:
        ttnn.experimental.nlp_create_qkv_heads(qkv, num_heads=3, num_kv_heads=1, transpose_k_heads=False)
    (operation,) = operations
    assert sorted(it.shape for it in operation.outputs) == [(1, 1, 64, 32), (1, 1, 64, 32), (1, 3, 64, 32)]
    assert Work.of(operation).dram == 2 * 2 * 5 * 2048  # two rows of five tiles, read and written


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("configured", [True, False])
def test_causal_attention_is_told_from_other(mesh_device: ttnn.MeshDevice, causal: bool, configured: bool) -> None:
    heads = placed(mesh_device, 1, 1, 64, 32)
    program = ttnn.SDPAProgramConfig(
        compute_with_storage_grid_size=mesh_device.compute_with_storage_grid_size(), q_chunk_size=32, k_chunk_size=32
    )
    with recording() as operations:
        ttnn.transformer.scaled_dot_product_attention(
            heads, heads, heads, is_causal=causal, program_config=program if configured else None
        )
    (attention,) = operations
    assert attention.is_prefill_attention
    assert (attention.causal, attention.start) == (causal, 0)


def test_a_later_chunk_is_recorded_with_its_start(mesh_device: ttnn.MeshDevice) -> None:
    query, cache = placed(mesh_device, 1, 1, 64, 32), placed(mesh_device, 4, 1, 64, 32, dtype="bfloat8_b")
    pages = placed(mesh_device, 1, 4, dtype="int32", layout=ttnn.ROW_MAJOR_LAYOUT)
    with recording() as operations:
        ttnn.transformer.chunked_scaled_dot_product_attention(query, cache, cache, pages, chunk_start_idx=128)
    assert operations[-1].start == 128
    assert Work.of(operations[-1]).flops == 2 * 2 * 32 * (64 * 128 + 64 * 65 / 2)


def test_a_block_that_fails_ends_the_recording(mesh_device: ttnn.MeshDevice) -> None:
    x = placed(mesh_device, 1, 1, 32, 64)
    with pytest.raises(RuntimeError, match="width of the first tensor"), recording():
        ttnn.matmul(x, x)
    with recording() as operations:
        ttnn.add(x, x)
    assert len(operations) == 1


def test_recording_twice_at_once_is_refused(mesh_device: ttnn.MeshDevice) -> None:  # noqa: ARG001
    with recording(), pytest.raises(BringupError, match="TT-NN captures a graph already"), recording():
        pass


def test_nothing_is_nothing() -> None:
    assert operations_of([]) == []
