"""Stage 3: one decoder layer, with a past in the cache and users at different positions."""

from __future__ import annotations

import pytest
import torch
import ttnn
from decode_inputs import PLACES, decode_state, positions_at, read_history, write_history
from ttnn_models.config import ModelConfig
from ttnn_models.contiguous_kv_cache import ContiguousKVCache
from ttnn_models.decoder_layer import DecoderLayer
from ttnn_models.precision import PrecisionConfig
from ttnn_models.rotary_embedding import RotaryEmbedding
from ttnn_models.weights import WeightCache

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.decode import reference_decode_layer
from pytest_ttbringup.reference.model import BringupModel, LayerKey

pytestmark = pytest.mark.stage("decode layer")


@pytest.mark.parametrize("place", PLACES)
def test_decode_layer(
    model: BringupModel,
    layer: LayerKey,
    place: str,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    rotary: RotaryEmbedding,
    precision: PrecisionConfig,
    weight_cache: WeightCache,
    compare: Compare,
) -> None:
    x = model.decode_activations(model_config.users, layer=layer)
    keys, values = model.decode_history(model_config.max_seq_len, model_config.users, layer=layer)
    positions = positions_at(place, model_config.max_seq_len, model_config.users)
    expected = reference_decode_layer(model.reference, model.layer_index(layer), x, keys, values, positions)

    decoder_layer = DecoderLayer.from_weights(
        mesh_device,
        model_config,
        model.layer_weights(layer),
        rotary=rotary,
        precision=precision,
        weight_cache=weight_cache,
    )
    kv_cache = ContiguousKVCache(mesh_device, model_config, precision=precision)
    write_history(kv_cache, keys, values, model_config.max_seq_len)
    state = decode_state(mesh_device, positions, parallelism=model_config.parallelism)
    tables = rotary.decode_tables(state.rotary_positions)

    def decode(x: ttnn.Tensor) -> ttnn.Tensor:
        return decoder_layer.decode(x, positions=state.positions, rotary_tables=tables, kv_cache=kv_cache)

    compare(
        expected.output,
        decode,
        x[None, None],
        name="decode_layer output",
        axes=(None, None, "user", "dim"),
        spread=model_config.parallelism.spread("residual", "residual"),
    )
    users = torch.arange(len(positions))
    for name, written, cached in zip(("key", "value"), expected[1:], read_history(kv_cache), strict=True):
        compare(written, cached[users, :, positions], name=f"decode_layer {name}", axes=("user", "head", "dim"))
