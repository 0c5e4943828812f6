"""The stack of decoder layers and the final norm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import ttnn

from pytest_ttbringup.errors import BringupError

from .decoder_layer import DecoderLayer
from .kv_cache import KVCache
from .prefill_chunk import PrefillChunk
from .rms_norm import RMSNorm
from .rotary_embedding import RotaryTables


class Decoder:
    """norm(layer N(… layer 1(x))).

    Shapes: B users, S rows of a prefill, D hidden.
    """

    def __init__(self, *, layers: Sequence[DecoderLayer], norm: RMSNorm) -> None:
        self.layers = list(layers)
        self.norm = norm

    def decode(
        self,
        x: ttnn.Tensor,
        *,
        positions: ttnn.Tensor,
        rotary_tables: RotaryTables,
        kv_caches: Sequence[KVCache],
    ) -> ttnn.Tensor:
        """[1, 1, B, D] → [1, 1, B, D]; `kv_caches` holds one for each layer."""
        for hidden in self.decode_layers(x, positions=positions, rotary_tables=rotary_tables, kv_caches=kv_caches):
            x = hidden
        return self.norm.decode(x)

    def decode_layers(
        self,
        x: ttnn.Tensor,
        *,
        positions: ttnn.Tensor,
        rotary_tables: RotaryTables,
        kv_caches: Sequence[KVCache],
    ) -> Iterator[ttnn.Tensor]:
        """The hidden state [1, 1, B, D] after each layer, before the final norm.

        Raises:
            BringupError: there is not one cache for each layer.
        """
        self._check(kv_caches)
        for layer, kv_cache in zip(self.layers, kv_caches, strict=True):
            x = layer.decode(x, positions=positions, rotary_tables=rotary_tables, kv_cache=kv_cache)
            yield x

    def prefill_layers(
        self, x: ttnn.Tensor, *, chunk: PrefillChunk, rotary_tables: RotaryTables, kv_caches: Sequence[KVCache]
    ) -> Iterator[ttnn.Tensor]:
        """The hidden state [1, 1, S, D] after each layer, before the final norm.

        Whoever takes the states must be done with one before the next: only the last is the taker's to free.

        Raises:
            BringupError: there is not one cache for each layer.
        """
        self._check(kv_caches)
        given = x
        for layer, kv_cache in zip(self.layers, kv_caches, strict=True):
            hidden = layer.prefill(x, chunk=chunk, rotary_tables=rotary_tables, kv_cache=kv_cache)
            if x is not given:
                ttnn.deallocate(x)
            x = hidden
            yield x

    def _check(self, kv_caches: Sequence[KVCache]) -> None:
        if len(kv_caches) != len(self.layers):
            raise BringupError(f"{len(self.layers)} decoder layers need as many KV caches; {len(kv_caches)} given.")
