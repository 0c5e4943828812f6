"""The header of a GGUF file, read and checked without its tensor data.

gguf's own `GGUFReader` makes a NumPy view of every vocabulary entry: 3 to 5 s for SmolLM2, against 0.05 s here, and
this is read while tests are collected. It also slices past the end of a cut-off file without noticing. The format is
`docs/gguf.md` of ggml-org/ggml.
"""

from __future__ import annotations

import functools
import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pytest_ttbringup.errors import BringupError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MAX_DIMENSIONS = 4  # GGML_MAX_DIMS

# Value types of the metadata, by their number in the file.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class ArrayLength:
    """Stands for an array in the metadata, whose items are not kept."""

    items: int


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: `shape` outermost first as in PyTorch, `ggml_type` its format, `offset` bytes into the file."""

    shape: tuple[int, ...]
    ggml_type: int
    offset: int


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says about itself.

    Attributes:
        path: the file.
        size: its length in bytes.
        metadata: key to value; arrays are only counted.
        tensors: name to place.
    """

    path: Path
    size: int
    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))


def read_header(path: Path) -> GgufHeader:
    """The header of the GGUF file at `path`; read once per state of the file.

    Raises:
        BringupError: it can't be read, is empty, is no GGUF, has an unknown version, or its metadata is cut off or
            makes no sense.
    """
    try:
        state = path.stat()
        return _read(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise BringupError(
            f"{path} can't be read: {error.strerror}. Give the path of a GGUF file that you may read."
        ) from error


@functools.lru_cache(maxsize=16)
def _read(path: Path, size: int, modified: int) -> GgufHeader:  # noqa: ARG001  `modified` is there for the cache's key
    if size == 0:
        raise damaged(path, "the file is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _Walk(path, data).header()


def damaged(path: Path, what: str) -> BringupError:
    """The error for a file whose content is not what it has to be."""
    return BringupError(
        f"{path} can't be used: {what}. The file is cut off or corrupt: copy, download or install it again."
    )


class _Walk:
    """One pass over the header; `at` is how far it has come."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at = path, data, 0

    def header(self) -> GgufHeader:
        if self.data[:4] != MAGIC:
            raise BringupError(
                f"{self.path} is no GGUF file: it starts with {bytes(self.data[:4])!r} in place of {MAGIC!r}. "
                "Give a GGUF file, or the folder of a Hugging Face model."
            )
        self.at = 4
        version = self.number("I", "its version")
        if version not in VERSIONS:
            raise BringupError(
                f"{self.path} has GGUF version {version}; {' and '.join(map(str, VERSIONS))} (little-endian) can be "
                "read. Convert it with llama.cpp's current tools, or copy it again if it should be one of these."
            )
        tensor_count, entries = (
            self.number("Q", "its number of tensors"),
            self.number("Q", "its number of metadata entries"),
        )
        metadata: dict[str, Any] = {}
        for index in range(entries):
            key = self.string(f"the name of metadata entry {index} of {entries}")
            if key in metadata:
                self.fail(f"metadata entry {key!r} is there twice")
            metadata[key] = self.value(self.number("I", f"the type of {key!r}"), key)
        tensors = [self.tensor(index, tensor_count) for index in range(tensor_count)]
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            self.fail(f"'general.alignment' is {alignment!r}, not a power of two")
        start = -(-self.at // alignment) * alignment
        placed: dict[str, TensorInfo] = {}
        for name, info in tensors:
            if name in placed:
                self.fail(f"tensor {name!r} is there twice")
            placed[name] = TensorInfo(info.shape, info.ggml_type, start + info.offset)
        return GgufHeader(self.path, len(self.data), metadata, placed)

    def tensor(self, index: int, count: int) -> tuple[str, TensorInfo]:
        name = self.string(f"the name of tensor {index} of {count}")
        dimensions = self.number("I", f"the number of dimensions of {name!r}")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            self.fail(f"tensor {name!r} has {dimensions} dimensions, not 1 to {MAX_DIMENSIONS}")
        shape = tuple(self.number("Q", f"the shape of {name!r}") for _ in range(dimensions))
        ggml_type = self.number("I", f"the type of {name!r}")
        return name, TensorInfo(shape[::-1], ggml_type, self.number("Q", f"the place of {name!r}"))

    def value(self, kind: int, key: str) -> Any:
        if kind == STRING:
            return self.string(f"the value of {key!r}")
        if kind in SCALARS:
            return self.number(SCALARS[kind], f"the value of {key!r}")
        if kind == ARRAY:
            return self.array(key)
        return self.fail(f"metadata entry {key!r} has the unknown type {kind}")

    def array(self, key: str) -> ArrayLength:
        kind, items = self.number("I", f"the item type of {key!r}"), self.number("Q", f"the length of {key!r}")
        if kind in SCALARS:
            self.take(items * struct.calcsize(SCALARS[kind]), f"the items of {key!r}")
        elif kind == STRING:
            for _ in range(items):
                self.take(self.number("Q", f"the items of {key!r}"), f"the items of {key!r}")
        else:
            self.fail(f"metadata entry {key!r} is an array of the unknown type {kind}")
        return ArrayLength(items)

    def string(self, what: str) -> str:
        length = self.number("Q", what)
        start = self.take(length, what)
        try:
            return self.data[start : start + length].decode("utf-8")
        except UnicodeDecodeError:
            return self.fail(f"{what} is not UTF-8 text")

    def number(self, code: str, what: str) -> Any:
        size = struct.calcsize(code)
        return struct.unpack_from("<" + code, self.data, self.take(size, what))[0]

    def take(self, size: int, what: str) -> int:
        start = self.at
        if size > len(self.data) - start:
            self.fail(f"{what} lies beyond its end ({len(self.data)} bytes)")
        self.at = start + size
        return start

    def fail(self, what: str) -> NoReturn:
        raise damaged(self.path, what)


def check_tensors(header: GgufHeader) -> None:
    """Check that the data of every tensor lies inside the file.

    Raises:
        BringupError: a tensor ends beyond the file, has a type unknown to gguf, or a row that is no whole number of
            its blocks.
    """
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    for name, info in header.tensors.items():
        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(info.ggml_type)]
        except (ValueError, KeyError):
            raise damaged(
                header.path, f"tensor {name!r} has the type {info.ggml_type}, which the gguf package does not know"
            ) from None
        if info.shape[-1] % block:
            raise damaged(
                header.path,
                f"tensor {name!r} has rows of {info.shape[-1]} values, not a multiple of its block of {block}",
            )
        end = info.offset + math.prod(info.shape) // block * size
        if end > header.size:
            raise damaged(
                header.path,
                f"tensor {name!r} ends at byte {end}, but the file has only {header.size} ({end - header.size} are "
                "missing)",
            )
