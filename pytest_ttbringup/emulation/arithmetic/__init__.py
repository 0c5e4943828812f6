"""With which arithmetic the emulated device computes: `--tt-numerics`.

- `exact`: in float32, each result rounded to its tensor's format. What an operation means, without the device's own
  arithmetic.
- `device`: as the device does, as far as it is quick. Large matmuls are modelled to their statistics.
- `bitexact`: as the device does, bit by bit. For small cases.

Operations call `arithmetic()` for what the device has rules of its own for; all others are the same in each.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    import ttnn

    from pytest_ttbringup.emulation.arithmetic.attention_setting import AttentionMask, AttentionSetting
    from pytest_ttbringup.emulation.arithmetic.matmul_setting import MatmulSetting

Activation = Callable[["torch.Tensor", bool], "torch.Tensor"]
"""A fused activation: of values, and whether the vector unit computes it for BF16 destinations."""


class Arithmetic(Protocol):
    """What depends on the device's arithmetic. Results need not be rounded to the output's format yet.

    A method that may give None does so where this arithmetic has no rule of its own for what is asked.
    """

    def matmul(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        setting: MatmulSetting,
        *,
        bias: torch.Tensor | None = None,
        activation: Activation | None = None,
    ) -> torch.Tensor:
        """[..., M, K] x [..., K, N] (+ bias [..., M or 1, N], then the activation) -> [..., M, N]."""

    def norm(
        self,
        x: torch.Tensor,
        *,
        centered: bool,
        epsilon: float,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        residual: torch.Tensor | None,
        output: ttnn.DataType,
        compute_kernel_config: Any = None,
    ) -> torch.Tensor:
        """RMS norm over the last dimension of [..., D], or layer norm (`centered`); weight and bias [D]."""

    def softmax(
        self, x: torch.Tensor, *, stable: bool, fp32: bool, output: ttnn.Tensor, compute_kernel_config: Any = None
    ) -> torch.Tensor | None:
        """Over the last dimension; `fp32` if the operation computes in FP32 by itself."""

    def total(
        self, x: torch.Tensor, dim: int, *, mean: bool, output: ttnn.Tensor, compute_kernel_config: Any = None
    ) -> torch.Tensor | None:
        """The sum or mean along one of the last two dimensions, which stays with size 1."""

    def binary(
        self,
        name: str,
        a: torch.Tensor,
        b: torch.Tensor,
        formats: tuple[ttnn.DataType, ttnn.DataType],
        output: ttnn.DataType,
    ) -> torch.Tensor | None:
        """`add`, `subtract` or `multiply` of tensors of these formats, into one of that."""

    def unary(self, name: str, x: torch.Tensor, **parameters: Any) -> torch.Tensor | None:
        """A function of the vector unit for BF16 destinations, by the name of TT-NN's operation."""

    def rotary(
        self,
        x: torch.Tensor,
        rotated: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        *,
        compute_kernel_config: Any = None,
    ) -> torch.Tensor:
        """X * cos + rotated * sin, where `rotated` holds values of x, some with the other sign."""

    def attention(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: AttentionMask, setting: AttentionSetting
    ) -> torch.Tensor:
        """softmax(q k^T * scale) v of q [B, H, M, h], k and v [B, K, S, h] -> [B, H, M, h]; in decode M is 1. A query
        that looks nowhere gets NaN.
        """

    def stored(self, values: torch.Tensor, dtype: ttnn.DataType, name: str) -> torch.Tensor:
        """What an output of `dtype` of the operation of this full name holds, given its values."""


_made: dict[str, Arithmetic] = {}
_current: list[Arithmetic] = []


def arithmetic() -> Arithmetic:
    """The arithmetic of this process."""
    if not _current:
        choose("exact")
    return _current[0]


def restore(before: Arithmetic) -> None:
    """Compute again with what `arithmetic` gave before."""
    _current[:] = [before]


def choose(name: str, cache_dir: Path | None = None) -> None:
    """Compute with the arithmetic of this name from now on; made once, so that choosing it again costs nothing.

    Args:
        name: one of `targets.emulated.NUMERICS`.
        cache_dir: where compiled loops are kept, unless NUMBA_CACHE_DIR says; if it can't be written they are compiled
            for this process only. None for beside their source, or where numba finds a place.
    """
    if name not in _made:
        _made[name] = _exact() if name == "exact" else _device(cache_dir, bit_by_bit=name == "bitexact")
    _current[:] = [_made[name]]


def _exact() -> Arithmetic:
    from pytest_ttbringup.emulation.arithmetic.exact import Exact

    return Exact()


def _device(cache_dir: Path | None, *, bit_by_bit: bool) -> Arithmetic:
    from pytest_ttbringup.emulation.arithmetic.device import Device

    if cache_dir is not None and "NUMBA_CACHE_DIR" not in os.environ:  # read at numba's import
        os.environ["NUMBA_CACHE_DIR"] = str(_writable(cache_dir / "numba" / _version()))
    return Device(bit_by_bit=bit_by_bit)


def _writable(folder: Path) -> Path:
    """The folder, or one for this process alone where it can't be written, for which numba finds no other place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        own = tempfile.mkdtemp(prefix="ttbringup-numba-")
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        return Path(own)


def _version() -> str:
    """Of the compiled loops: numba sees a function change by its own file, and not by those of what it calls."""
    digest = hashlib.sha256()
    for source in sorted((Path(__file__).parents[1] / "numerics" / "compiled").glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
