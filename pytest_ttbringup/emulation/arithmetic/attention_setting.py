"""What decides how attention is computed, besides its operands' values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.arithmetic import defaults
from pytest_ttbringup.emulation.numerics.attention import Flash
from pytest_ttbringup.emulation.numerics.kernel_config import KernelConfig, given_or

if TYPE_CHECKING:
    import torch

TILE = 32

_LONGEST = 512
"""Keys of a chunk of a contiguous cache at most."""

_MOST = {False: 8, True: 4}
"""Tiles of keys that a decode kernel takes at most at a time: those that BF16 or FP32 destinations hold at once."""


@dataclass(frozen=True)
class AttentionMask:
    """Which keys queries look at. Held as positions, since an arithmetic may do without the matrix.

    Attributes:
        last: the position of the last key that each query looks at, [B or 1, M]; None if all look at all keys.
        window: how many keys up to that one, if not all.
        triangle: whether `last` is simply a query's own place.
    """

    last: torch.Tensor | None = None
    window: int | None = None
    triangle: bool = False

    @classmethod
    def causal(cls, queries: int) -> AttentionMask:
        """Each query looks at the keys up to its own place."""
        import torch

        return cls(torch.arange(queries)[None], triangle=True)

    def hidden(self, queries: int, keys: int) -> torch.Tensor:
        """[B or 1, M, S], true where a query does not look."""
        import torch

        if self.last is None:
            return torch.zeros(1, queries, keys, dtype=torch.bool)
        index, last = torch.arange(keys), self.last[..., None]
        hidden = index > last
        return hidden if self.window is None else hidden | (index <= last - self.window)


@dataclass(frozen=True)
class AttentionSetting:
    """The options of one call.

    Attributes:
        config: of the compute kernel.
        scale: of the scores.
        chunk: keys at a time.
        coarse_exp: whether exp is approximated.
        decode: whether the kernel is the one of decode steps.
    """

    config: KernelConfig
    scale: float
    chunk: int
    coarse_exp: bool
    decode: bool

    @classmethod
    def for_prefill(cls, scale: float, program_config: Any, compute_kernel_config: Any) -> AttentionSetting:
        """Chunks of one tile of keys and an approximated exp, unless the program config says otherwise."""
        chunk = int(getattr(program_config, "k_chunk_size", TILE) or TILE)
        config = given_or(compute_kernel_config, defaults.ATTENTION)
        return cls(config, scale, chunk, _coarse(program_config), decode=False)

    @classmethod
    def for_decode(
        cls,
        scale: float,
        keys: int,
        program_config: Any,
        compute_kernel_config: Any,
        *,
        half_tiles: bool,
        cache: int | None,
    ) -> AttentionSetting:
        """Chunks as the program config has them, else as TT-NN's sdpa_decode.cpp does.

        Those of a contiguous cache are the greatest power of two that divides its length, 512 at most. A paged one has
        one tile of keys; with a program config that names no chunk it has all keys at once, up to what the
        destinations hold (`get_dynamic_Sk_chunk_t` in rt_args_common.hpp).

        Args:
            scale: of the scores.
            keys: that the longest user looks at.
            program_config: the caller's, if any.
            compute_kernel_config: the caller's, if any.
            half_tiles: whether queries fill half a tile, for which the kernel always approximates exp.
            cache: the length of a contiguous cache; None for a paged one.
        """
        config = given_or(compute_kernel_config, defaults.ATTENTION)
        chunk = int(getattr(program_config, "k_chunk_size", 0))
        if not chunk and cache is not None:
            chunk = min(_LONGEST, cache & -cache)
        elif not chunk and program_config is None:
            chunk = TILE
        elif not chunk:
            chunk = TILE * min(_MOST[config.fp32], 1 << (-(-keys // TILE) - 1).bit_length())
        return cls(config, scale, chunk, half_tiles or _coarse(program_config), decode=True)

    def flash(self, *, exact: bool) -> Flash:
        """How the kernel goes about it; matrix products bit by bit if `exact`."""
        return Flash(
            self.config,
            self.scale,
            self.chunk,
            coarse_exp=self.coarse_exp,
            fp32_between=self.config.fp32 and not self.decode,
            sums_by_tile=not self.decode,
            exact=exact,
        )


def _coarse(program_config: Any) -> bool:
    """`exp_approx_mode`, which is on where nobody says."""
    asked = getattr(program_config, "exp_approx_mode", None)
    return True if asked is None else bool(asked)
