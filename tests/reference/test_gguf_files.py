"""Broken and unsupported GGUF files: one clear error each, before anything is loaded."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.reference import catalog
from pytest_ttbringup.reference.gguf_header import read_header

Edit = Callable[[gguf.GGUFWriter, dict[str, np.ndarray]], None]


def refused(path: Path) -> str:
    with pytest.raises(BringupError) as refusal:
        catalog.check(str(path))
    assert str(path) in str(refusal.value)
    return str(refusal.value)


def test_the_header_agrees_with_the_reader_of_gguf(write_gguf: Callable[..., Path]) -> None:
    path = write_gguf()
    header, reader = read_header(path), gguf.GGUFReader(path)
    assert {name: (info.offset, tuple(info.shape), info.ggml_type) for name, info in header.tensors.items()} == {
        it.name: (it.data_offset, tuple(int(size) for size in reversed(it.shape)), it.tensor_type)
        for it in reader.tensors
    }
    scalars = {key: value for key, value in header.metadata.items() if isinstance(value, (int, float, str))}
    assert scalars == {key: reader.fields[key].contents() for key in scalars}
    assert header.metadata["tokenizer.ggml.tokens"].items == 512


@pytest.mark.parametrize(
    ("start", "part"),
    [
        pytest.param(b"", "the file is empty", id="empty"),
        pytest.param(b"PK\x03\x04 and more", "is no GGUF file: it starts with b'PK", id="magic"),
        pytest.param(b"GG", "is no GGUF file", id="two bytes"),
        pytest.param(b"GGUF", "its version lies beyond its end", id="magic only"),
        pytest.param(b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "has GGUF version 1; 2 and 3", id="old"),
        pytest.param(b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "has GGUF version 50331648", id="big-endian"),
        pytest.param(b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "metadata entry 0", id="entries"),
        pytest.param(b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 63), "beyond its end", id="long key"),
        pytest.param(b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 99), "the unknown type 99", id="type"),
        pytest.param(b"GGUF" + struct.pack("<IQQQ1s", 3, 0, 1, 1, b"\xff"), "is not UTF-8 text", id="text"),
        pytest.param(b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "architecture '' is not supported", id="nothing in it"),
    ],
)
def test_a_file_that_is_no_gguf(start: bytes, part: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(start)
    assert part in refused(path)


def test_a_file_cut_off_anywhere(write_gguf: Callable[..., Path], tmp_path: Path) -> None:
    content = write_gguf().read_bytes()
    end = max(it.data_offset + it.n_bytes for it in gguf.GGUFReader(tmp_path / "tiny.gguf").tensors)
    cut = tmp_path / "cut.gguf"
    for length in [*range(0, len(content), 20011), end - 1]:
        cut.write_bytes(content[:length])
        refused(cut)
    assert "the file has only" in refused(cut)
    cut.write_bytes(content[:end])
    catalog.check(str(cut))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it writes the file anew for each example
@given(data=st.data())
def test_a_header_with_wrong_bytes_gives_no_other_error(data: st.DataObject, write_gguf: Callable[..., Path]) -> None:
    path = write_gguf()
    content = bytearray(path.read_bytes())
    header = min(info.offset for info in read_header(path).tensors.values())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        catalog.check(str(path))
    except BringupError as refusal:
        assert str(path) in str(refusal)  # noqa: PT017  most damage is refused, but not all can be seen


def drop(name: str) -> Edit:
    return lambda _writer, weights: weights.__delitem__(name)


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        pytest.param(
            drop("blk.2.ffn_up.weight"), "1 of its tensors are missing, the first 'blk.2.ffn_up.weight'", id="lost"
        ),
        pytest.param(
            lambda _writer, weights: weights.update({"rope_freqs.weight": np.ones(16, np.float32)}),
            "has RoPE scaling, which transformers drops",
            id="rope factors",
        ),
        pytest.param(
            lambda writer, _weights: writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR),
            "has RoPE scaling, which transformers drops",
            id="rope scaling",
        ),
        pytest.param(
            lambda writer, _weights: writer.add_uint16("split.count", 3), "one part of a split GGUF", id="split"
        ),
        pytest.param(lambda writer, _weights: writer.add_head_count_kv(3), "can't share 3 KV heads evenly", id="heads"),
        pytest.param(lambda writer, _weights: writer.add_block_count(0), "num_hidden_layers is 0", id="no layers"),
        pytest.param(lambda writer, _weights: writer.add_string("llama.block_count", "4"), "no number", id="no number"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicated key name")
def test_a_model_that_can_not_be_used(edit: Edit, part: str, write_gguf: Callable[..., Path]) -> None:
    assert part in refused(write_gguf(edit))


def test_another_architecture(write_gguf: Callable[..., Path]) -> None:
    message = refused(write_gguf(architecture="gemma3"))
    assert "architecture 'gemma3' is not supported. Supported is the Llama family" in message


def test_a_changed_file_is_read_again(write_gguf: Callable[..., Path]) -> None:
    path = write_gguf()
    catalog.check(str(path))
    path.write_bytes(b"")
    assert "empty" in refused(path)
