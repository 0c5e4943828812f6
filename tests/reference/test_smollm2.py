"""The real weights."""

from __future__ import annotations

import pytest
import torch

from pytest_ttbringup.reference.baseline import baseline_checks
from pytest_ttbringup.reference.decode import prefill_history, reference_decode_stack
from pytest_ttbringup.reference.generation import batch_greedy, greedy, reference_logits
from pytest_ttbringup.reference.loading import load_model
from pytest_ttbringup.reference.model import BringupModel

from .conftest import same_weights

pytestmark = pytest.mark.slow


def test_it_knows_the_capital_of_france(smollm2: BringupModel) -> None:
    answer = greedy(smollm2.reference, smollm2.chat("What is the capital of France?"), 20, stop=smollm2.stop_tokens)
    assert answer[-1] in smollm2.stop_tokens
    assert smollm2.decode(answer) == "The capital of France is Paris."


def test_its_baseline_holds(smollm2: BringupModel) -> None:
    assert [str(check) for check in baseline_checks(smollm2) if not check.passed] == []
    config = smollm2.config
    sizes = (config.hidden_size, config.num_attention_heads, config.num_key_value_heads, config.head_dim)
    assert (*sizes, config.num_hidden_layers, config.vocab_size) == (576, 9, 3, 64, 30, 49152)


def test_the_converted_copy_is_the_gguf_file(smollm2: BringupModel) -> None:
    lines: list[str] = []
    direct = load_model("smollm2-135m", progress=lines.append)
    assert len(lines) == 1
    assert same_weights(direct, smollm2)
    texts = [*smollm2.prompts(32), smollm2.decode(smollm2.passage(300)), "Zürich 東京 1234 don't \n\n  x"]
    for text in texts:
        assert direct.encode(text) == smollm2.encode(text)
        assert direct.chat(text) == smollm2.chat(text)
    ids = smollm2.passage(8)
    assert torch.equal(reference_logits(direct.reference, ids), reference_logits(smollm2.reference, ids))


def test_the_passage_is_long_enough_and_foreseeable(smollm2: BringupModel) -> None:
    ids = smollm2.passage(160)
    # As Tenstorrent's simulator was given it.
    assert ids[:12] == [1589, 436, 260, 1450, 282, 1711, 28, 357, 436, 260, 9250, 282]
    logits = reference_logits(smollm2.reference, ids).double()
    loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]))
    assert 2 < loss.exp() < 30
    backwards = reference_logits(smollm2.reference, ids[::-1]).double()
    assert torch.nn.functional.cross_entropy(backwards[:-1], torch.tensor(ids[::-1][1:])).exp() > 100


def test_users_of_a_batch_are_as_alone(smollm2: BringupModel) -> None:
    prompts = [smollm2.chat(prompt) for prompt in smollm2.prompts(4)]
    assert batch_greedy(smollm2.reference, prompts, 10) == [greedy(smollm2.reference, it, 10) for it in prompts]


def test_a_decode_step_is_the_next_row_of_the_text(smollm2: BringupModel) -> None:
    ids = smollm2.passage(40)
    lengths = [39, 20, 1]
    history, _ = prefill_history(smollm2.reference, [ids[:length] for length in lengths])
    tokens = torch.tensor([ids[length] for length in lengths])
    step = reference_decode_stack(smollm2.reference, tokens, history, history.lengths)
    torch.testing.assert_close(step.logits, reference_logits(smollm2.reference, ids)[lengths], rtol=1e-3, atol=1e-3)


def test_activations_of_a_trained_model(smollm2: BringupModel) -> None:
    def rms(layer: str, point: str = "layer") -> float:
        return smollm2.decode_activations(layer=layer, point=point).pow(2).mean().sqrt().item()

    assert rms("first") == pytest.approx(0.12, abs=0.02)
    assert rms("middle") == pytest.approx(6.5, rel=0.2), "the first token, with its huge activations, was counted"
    assert rms("last") == pytest.approx(30, rel=0.2)
    assert rms("last", "mlp") < 1
    outlier = smollm2.decode_activations(layer="last").abs().mean(0)
    assert outlier.max() > 30 * outlier.median()
