"""Each fault that a bring-up makes sooner or later turns its rung red. A rung that let one pass would be worth nothing.

Every control breaks one thing in the TT-NN model and then runs the rung itself, the very test function. It is judged
at the rung's own threshold, whatever `--pcc-threshold` the user gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import test_02_decode_modules as modules
import test_03_decode_layer as layers
import test_06_full_model as full_model
import test_08_coherence as coherence
import torch
import ttnn
from evidence import compared_by
from faults import by_chip
from ttnn_models.attention import Attention
from ttnn_models.config import ModelConfig
from ttnn_models.contiguous_kv_cache import ContiguousKVCache
from ttnn_models.decode_state import DecodeState
from ttnn_models.decoder_layer import DecoderLayer
from ttnn_models.device_sampling import DeviceSampler
from ttnn_models.generator import Generation, Generator
from ttnn_models.lm_head import LMHead
from ttnn_models.mlp import MLP
from ttnn_models.precision import DEFAULT_PRECISION
from ttnn_models.rms_norm import RMSNorm
from ttnn_models.rotary_embedding import RotaryEmbedding, RotaryTables
from ttnn_models.state_dict import StateDict
from ttnn_models.weights import UNCACHED

from pytest_ttbringup.comparison import ComparisonFailure
from pytest_ttbringup.fixtures.compare import MAX_OFFSET_ERROR, MAX_SCALE_ERROR, Compare
from pytest_ttbringup.generation import sampling
from pytest_ttbringup.reference.model import BringupModel
from pytest_ttbringup.stages import stage_of

Break = Callable[[pytest.MonkeyPatch, ModelConfig], None]


def swapped_heads(monkeypatch: pytest.MonkeyPatch, config: ModelConfig) -> None:
    """The first and the last query head change places."""

    def swap(weights: StateDict) -> StateDict:
        query = weights["self_attn.q_proj.weight"].unflatten(0, (config.num_heads, -1)).clone()
        query[[0, -1]] = query[[-1, 0]]
        return {**weights, "self_attn.q_proj.weight": query.flatten(0, 1)}

    _with_weights(monkeypatch, Attention, swap)


def one_before(positions: torch.Tensor) -> torch.Tensor:
    """The position before, of those behind the first."""
    return (positions - 1).clamp(min=0)


def rotary_off_by_one(monkeypatch: pytest.MonkeyPatch, _: ModelConfig) -> None:
    """Q and K are rotated for the position before."""
    decode_tables = RotaryEmbedding.decode_tables

    def stale(self: RotaryEmbedding, positions: ttnn.Tensor) -> RotaryTables:
        return decode_tables(self, by_chip(positions, one_before))

    monkeypatch.setattr(RotaryEmbedding, "decode_tables", stale)


def keys_and_values_exchanged(monkeypatch: pytest.MonkeyPatch, _: ModelConfig) -> None:
    """K is written into the cache of V, and V into that of K."""
    update = ContiguousKVCache.update
    monkeypatch.setattr(
        ContiguousKVCache, "update", lambda self, key, value, positions: update(self, value, key, positions)
    )


def stale_cache_position(monkeypatch: pytest.MonkeyPatch, _: ModelConfig) -> None:
    """K and V are written one position too early."""
    update = ContiguousKVCache.update

    def stale(self: ContiguousKVCache, key: ttnn.Tensor, value: ttnn.Tensor, positions: ttnn.Tensor) -> None:
        update(self, key, value, by_chip(positions, one_before))

    monkeypatch.setattr(ContiguousKVCache, "update", stale)


def no_attention_scale(monkeypatch: pytest.MonkeyPatch, _: ModelConfig) -> None:
    """Scores are not divided by the square root of the head size."""
    attend = ContiguousKVCache.attend
    monkeypatch.setattr(
        ContiguousKVCache, "attend", lambda self, query, positions, **_: attend(self, query, positions, scale=1.0)
    )


def transposed_weight(monkeypatch: pytest.MonkeyPatch, _: ModelConfig) -> None:
    """The output projection is square, so its transpose fits as well."""

    def transpose(weights: StateDict) -> StateDict:
        return {**weights, "self_attn.o_proj.weight": weights["self_attn.o_proj.weight"].T.contiguous()}

    _with_weights(monkeypatch, Attention, transpose)


def no_silu(monkeypatch: pytest.MonkeyPatch, _: ModelConfig) -> None:
    """The gate goes through no activation."""
    decode = MLP.decode

    def linear(self: MLP, x: ttnn.Tensor) -> ttnn.Tensor:
        self.gate_activations = []
        return decode(self, x)

    monkeypatch.setattr(MLP, "decode", linear)


def shifted_user(monkeypatch: pytest.MonkeyPatch, _: ModelConfig) -> None:
    """One user's row of the MLP's output is shifted by one element."""
    decode = MLP.decode

    def shifted(self: MLP, x: ttnn.Tensor) -> ttnn.Tensor:
        return by_chip(decode(self, x), roll)

    def roll(rows: torch.Tensor) -> torch.Tensor:
        rows[..., 5, :] = rows[..., 5, :].roll(1, -1)
        return rows

    monkeypatch.setattr(MLP, "decode", shifted)


def scale_output(monkeypatch: pytest.MonkeyPatch, module: type[Any], factor: float) -> None:
    """The output is off by a factor, which PCC does not see; 0.96 is what math fidelity LoFi does."""
    decode = module.decode
    monkeypatch.setattr(
        module, "decode", lambda self, *inputs, **named: ttnn.multiply(decode(self, *inputs, **named), factor)
    )


ATTENTION: tuple[Break, ...] = (
    swapped_heads,
    rotary_off_by_one,
    keys_and_values_exchanged,
    stale_cache_position,
    no_attention_scale,
    transposed_weight,
)
FEED_FORWARD: tuple[Break, ...] = (no_silu, shifted_user)


@pytest.fixture
def rungs(
    request: pytest.FixtureRequest,
    model: BringupModel,
    mesh_device: ttnn.MeshDevice,
    model_config: ModelConfig,
    rotary: RotaryEmbedding,
) -> dict[type[Any], Callable[[], None]]:
    """The rung of each module and of the layer, each with `compare` as that rung has it; to be called."""
    common = {
        "model": model,
        "mesh_device": mesh_device,
        "precision": DEFAULT_PRECISION,
        "model_config": model_config,
        "compare": Compare(request, rung=stage_of("decode modules")),
    }
    stored = {**common, "weight_cache": UNCACHED}
    return {
        MLP: partial(modules.test_decode_mlp, layer="first", **stored),
        RMSNorm: partial(modules.test_decode_rms_norm, layer="first", norm="input_layernorm", **common),
        LMHead: partial(modules.test_decode_lm_head, **stored),
        Attention: partial(
            modules.test_decode_attention, layer="first", place="mixed", cache="contiguous", rotary=rotary, **stored
        ),
        DecoderLayer: partial(
            layers.test_decode_layer,
            layer="first",
            place="mixed",
            rotary=rotary,
            **{**stored, "compare": Compare(request, rung=stage_of("decode layer"))},
        ),
    }


@pytest.fixture(params=[*ATTENTION, *FEED_FORWARD], ids=lambda fault: fault.__name__)
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, model_config: ModelConfig) -> Break:
    """One thing broken in the TT-NN model for the time of a test."""
    request.param(monkeypatch, model_config)
    broken: Break = request.param
    return broken


def test_a_fault_turns_its_module_red(fault: Break, rungs: dict[type[Any], Callable[[], None]]) -> None:
    with pytest.raises(ComparisonFailure, match=r"PCC -?\d\.\d+ < 0\.999"):
        rungs[MLP if fault in FEED_FORWARD else Attention]()


@pytest.mark.parametrize(
    ("module", "factor"),
    [
        pytest.param(MLP, 0.96, id="mlp_by_0.96"),
        pytest.param(Attention, 0.96, id="attention_by_0.96"),
        pytest.param(RMSNorm, 1.05, id="norm_by_1.05"),
        pytest.param(LMHead, 2.0, id="lm_head_by_2"),
    ],
)
def test_a_scale_turns_its_module_red(
    module: type[Any], factor: float, rungs: dict[type[Any], Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scale found is the factor, to within what a scale may be off by."""
    scale_output(monkeypatch, module, factor)
    with pytest.raises(ComparisonFailure, match=r"scale \d\.\d+ is off by more than") as failure:
        rungs[module]()
    assert abs(failure.value.comparison.scale - factor) <= MAX_SCALE_ERROR


def test_an_offset_turns_its_module_red(
    rungs: dict[type[Any], Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A constant is added to the output, which PCC does not see."""
    decode = LMHead.decode
    monkeypatch.setattr(LMHead, "decode", lambda *inputs: ttnn.add(decode(*inputs), 5.0))
    with pytest.raises(ComparisonFailure, match=r"offset \d\S* is \S+ of the reference's RMS, more than") as failure:
        rungs[LMHead]()
    found = failure.value.comparison
    rms = found.offset / found.offset_error
    assert abs(found.offset - 5.0) <= MAX_OFFSET_ERROR * rms


@pytest.mark.usefixtures("fault")
def test_a_fault_turns_its_layer_red(rungs: dict[type[Any], Callable[[], None]]) -> None:
    with pytest.raises(ComparisonFailure, match="decode_layer"):
        rungs[DecoderLayer]()


class _Spoilt:
    """A generator whose texts go wrong behind the first token."""

    def __init__(self, generator: Generator, spoil: Callable[[Sequence[int]], Sequence[int]]) -> None:
        self.state, self.users = generator.state, generator.users
        self._generator = generator
        self._spoil = spoil

    def generate(self, *prompts: Any, **how: Any) -> list[Generation]:
        """As Generator.generate, spoilt."""
        written = self._generator.generate(*prompts, **how)
        return [replace(user, tokens=(user.tokens[0], *self._spoil(user.tokens[1:]))) for user in written]


def test_a_fault_behind_the_first_token_turns_the_text_red(
    model: BringupModel,
    generator: Generator,
    model_config: ModelConfig,
    compare: Compare,
    progress: Callable[[str], None],
) -> None:
    spoilt: Any = _Spoilt(generator, lambda tokens: [(token + 1) % model_config.vocab_size for token in tokens])
    with pytest.raises(AssertionError, match="of the tokens are"):
        full_model.test_full_model(model, spoilt, compare, progress)


def test_a_position_that_is_not_reset_turns_joining_red(
    model: BringupModel, generator: Generator, compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who joins goes on at the position of the slot's last user, and reads what they left in the cache."""
    write, last = DecodeState.write_positions, dict[int, int]()

    def go_on(self: DecodeState, positions: Sequence[int]) -> None:
        places = [max(place, last.get(slot, 0)) if place == 0 else place for slot, place in enumerate(positions)]
        last.update(enumerate(places))
        write(self, places)

    monkeypatch.setattr(DecodeState, "write_positions", go_on)
    with pytest.raises(AssertionError, match=r"PCC -?\d\.\d+ < 0\.999 +keys of who joins at a used slot"):
        full_model.test_full_model_users_join_and_leave(model, generator, compare)


def the_host_ignores_top_p(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "filtered", lambda logits, _: torch.softmax(logits.double(), -1))


def the_device_ignores_top_p(monkeypatch: pytest.MonkeyPatch) -> None:
    write_users = DeviceSampler.write_users
    monkeypatch.setattr(
        DeviceSampler, "write_users", lambda self, users: write_users(self, [replace(it, top_p=1.0) for it in users])
    )


@pytest.mark.parametrize(
    ("fault", "top_k"),
    [
        pytest.param(the_host_ignores_top_p, None, id="drawn on the host"),
        pytest.param(the_device_ignores_top_p, full_model.TOP_K, id="drawn on the device"),
    ],
)
def test_draws_without_top_p_turn_sampling_red(
    model: BringupModel,
    generator: Generator,
    compare: Compare,
    fault: Callable[[pytest.MonkeyPatch], None],
    top_k: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault(monkeypatch)
    with pytest.raises(AssertionError, match="tokens are among the reference's likeliest"):
        full_model.test_full_model_sampling(model, generator, compare, top_k)


def test_texts_that_go_round_turn_coherence_red(
    model: BringupModel, generator: Generator, compare: Compare, progress: Callable[[str], None]
) -> None:
    spoilt: Any = _Spoilt(generator, lambda tokens: (list(tokens[:3]) * len(tokens))[: len(tokens)])
    with pytest.raises(AssertionError, match="does not go round in a loop"):
        coherence.test_coherence(model, spoilt, compare, progress)


def test_a_loop_of_two_tokens_counts_as_repetition() -> None:
    assert coherence.looping([1, 2] * 24) > 0.95
    assert coherence.looping([7] * 48) > 0.95
    assert coherence.looping(list(range(48))) == 0.0
    assert coherence.looping([3, 4, 3]) <= coherence.LOOPING, "too short for a loop"


def test_where_a_loop_begins_to_repeat() -> None:
    assert coherence.first_round([1, 2] * 24) == 2
    assert coherence.first_round([9, 8, 7, *[3, 4, 5] * 15]) == 6
    assert coherence.parting([1, 2, 3], [1, 2, 3, 4]) == 4
    assert coherence.parting([1, 2, 3], [1, 5, 3]) == 2


@pytest.mark.parametrize(
    ("module", "comparisons"),
    [
        pytest.param(module, comparisons, id=module.__name__)
        for module, comparisons in ((MLP, 1), (RMSNorm, 1), (LMHead, 1), (Attention, 5), (DecoderLayer, 3))
    ],
)
def test_without_a_fault_a_rung_is_green(
    module: type[Any],
    comparisons: int,
    rungs: dict[type[Any], Callable[[], None]],
    request: pytest.FixtureRequest,
) -> None:
    """The controls above fail for their fault and not for the way they run: the rung raises where it is not right."""
    assert len(compared_by(request, rungs[module])) == comparisons


def _with_weights(
    monkeypatch: pytest.MonkeyPatch, module: type[Attention], change: Callable[[StateDict], StateDict]
) -> None:
    build = module.__init__

    def broken(
        self: Attention, mesh_device: ttnn.MeshDevice, config: ModelConfig, weights: StateDict, **how: object
    ) -> None:
        build(self, mesh_device, config, change(weights), **how)

    monkeypatch.setattr(module, "__init__", broken)
