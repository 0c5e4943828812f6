"""Weights on their way to the device: converted once, kept on disk in the device's format."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
import ttnn

from pytest_ttbringup.errors import BringupError

SUFFIX = ".tensorbin"


class WeightCache:
    """Converts torch weights to TT-NN tensors on a device, and keeps the converted form in a folder.

    A file is named after the weight, after a key of everything that decides its content (`weight_key`) and after the
    SHA-256 of that content. So a stale file is never found, and one that was truncated or damaged is seen, removed and
    made anew. Files appear whole or not at all, so processes may share the folder.

    Args:
        directory: where the files are kept; None keeps none.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory

    def load(
        self,
        name: str,
        tensor: torch.Tensor,
        *,
        dtype: ttnn.DataType,
        layout: ttnn.Layout,
        device: ttnn.MeshDevice,
        memory_config: ttnn.MemoryConfig,
        mesh_mapper: ttnn.MeshMapperConfig | None = None,
    ) -> ttnn.Tensor:
        """`tensor` on the device.

        Args:
            name: what people will look for; it need not be unique.
            tensor: the weight as the device shall hold it, transposed and permuted already.
            dtype: the format on the device.
            layout: tiles or rows.
            device: the mesh.
            memory_config: where on the device.
            mesh_mapper: how the weight is spread over the mesh; None puts all of it on every device.

        Raises:
            BringupError: the folder can't be written.
        """
        if mesh_mapper is None:
            mesh_mapper = ttnn.MeshMapperConfig([ttnn.PlacementReplicate() for _ in device.shape])
        stem = None
        host = None
        if self.directory is not None:
            key = weight_key(
                tensor,
                dtype=dtype,
                layout=layout,
                memory_config=memory_config,
                mesh_shape=tuple(device.shape),
                mesh_mapper=mesh_mapper,
            )
            stem = f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}-{key}"
            host = self._read(self.directory, stem)
        if host is None:
            host = ttnn.from_torch(
                tensor, dtype=dtype, layout=layout, mesh_mapper=ttnn.create_mesh_mapper(device, mesh_mapper)
            )
            if self.directory is not None and stem is not None:
                self._write(self.directory, stem, host)
        return ttnn.to_device(host, device, memory_config=memory_config)

    @staticmethod
    def _read(directory: Path, stem: str) -> ttnn.Tensor | None:
        for path in directory.glob(f"{stem}-*{SUFFIX}"):
            if _file_digest(path) == path.name.removeprefix(f"{stem}-").removesuffix(SUFFIX):
                return ttnn.load_tensor(path)
            path.unlink(missing_ok=True)
        return None

    @staticmethod
    def _write(directory: Path, stem: str, host: ttnn.Tensor) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".writing-", dir=directory) as folder:
                temporary = Path(folder) / f"weight{SUFFIX}"
                ttnn.dump_tensor(temporary, host)
                temporary.replace(directory / f"{stem}-{_file_digest(temporary)}{SUFFIX}")
        except OSError as error:
            raise BringupError(
                f"The weight cache folder {directory} can't be written ({error.strerror}). "
                "Make it writable or choose another."
            ) from error


UNCACHED = WeightCache(None)
"""Converts without keeping anything."""


def weight_key(
    tensor: torch.Tensor,
    *,
    dtype: ttnn.DataType,
    layout: ttnn.Layout,
    memory_config: ttnn.MemoryConfig,
    mesh_shape: tuple[int, ...],
    mesh_mapper: ttnn.MeshMapperConfig,
) -> str:
    """32 hexadecimal digits that change with anything that changes the converted weight.

    The weight is hashed after its transformations (transpose, head permutation, concatenation), so that the key changes
    with those, too.
    """
    # Hashed as it lies in memory, together with the order of its dimensions there: transposed weights need no copy.
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    content = tensor.detach().permute(order).contiguous()
    description = {
        "memory_order": order,
        "content": hashlib.sha256(content.view(torch.uint8).numpy().data).hexdigest(),
        "torch_dtype": str(content.dtype),
        "shape": list(content.shape),
        "dtype": str(dtype),
        "layout": str(layout),
        "tile": [ttnn.TILE_SIZE, ttnn.TILE_SIZE],
        "memory_config": repr(memory_config),
        "mesh_shape": list(mesh_shape),
        "mesh_mapper": repr(mesh_mapper),
        "ttnn": _ttnn_version(),
    }
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:32]


@cache
def _ttnn_version() -> str:
    return version("ttnn")


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
