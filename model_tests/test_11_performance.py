"""Stage 11: the decode step is fit to be fast: captured, replayed, fed and read by a second queue, compiled once.

On a device these tests time the step. On the emulated target they check that it is legal and equal to the eager step,
and nothing about speed: no kernel runs there.

Shapes: B users, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import ttnn
from decode_inputs import prompts_for, texts_of_first_users
from lifetimes import not_freed, places, watch_exchanges
from transfers import watch_transfers
from ttnn_models.decode_state import DecodeState
from ttnn_models.generator import Generator
from ttnn_models.model import CausalLM
from ttnn_models.pipeline import ForcedPipeline, GreedyPipeline
from ttnn_models.traced_step import TracedStep

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.fixtures.roofline import DecodeBound
from pytest_ttbringup.fixtures.teacher_forcing import TeacherForcing
from pytest_ttbringup.generation.sampling import GREEDY, SamplingConfig
from pytest_ttbringup.reference.generation import reference_logits
from pytest_ttbringup.reference.model import BringupModel
from pytest_ttbringup.run import target_of

pytestmark = [
    pytest.mark.stage("performance"),
    pytest.mark.parametrize(
        "device_params", [pytest.param({"trace_region_size": 32 << 20, "num_command_queues": 2}, id="")], indirect=True
    ),
]

STEPS = 64
FORCED_STEPS = 16
BOUND_POSITION = 128
"""Of the tokens in the step whose bound is reported: behind a prompt of 128, as speeds are published."""
POSITIONS, PREFILLED = 96, 70


class Users:
    """32 users of each instance at the first token of their prompts, and KV caches that they fill anew each time."""

    def __init__(self, model: BringupModel, causal_lm: CausalLM) -> None:
        self.causal_lm = causal_lm
        self.prompts = [model.encode(prompt) for prompt in prompts_for(model, causal_lm.config.users)]
        self.state = DecodeState(causal_lm.mesh_device, causal_lm.parallelism)
        self.kv_caches = causal_lm.new_kv_caches()

    def start(self) -> None:
        """Put all users at position 0."""
        self.state.write_tokens([prompt[-1] for prompt in self.prompts])
        self.state.write_positions([0] * len(self.prompts))
        ttnn.synchronize_device(self.causal_lm.mesh_device)

    def step(self) -> None:
        """One eager greedy step."""
        self.causal_lm.decode_greedy(self.state, self.kv_caches)


@pytest.fixture
def users(model: BringupModel, causal_lm: CausalLM, _built: dict[str, Any]) -> Users:
    """The users, kept like the model, whose caches are large."""
    if "users" not in _built:
        _built["users"] = Users(model, causal_lm)
    kept: Users = _built["users"]
    return kept


@dataclass(frozen=True)
class EagerRun:
    """What 64 eager steps left behind, each of them.

    Attributes:
        tokens: [B], chosen by the step.
        programs: how many the device's program cache holds behind the step.
    """

    tokens: list[list[int]]
    programs: list[int]


@pytest.fixture
def eager(users: Users, _built: dict[str, Any]) -> EagerRun:
    """64 eager steps, run once: what traced steps are compared with, and what must compile nothing."""
    if "eager" not in _built:
        users.start()
        run = EagerRun([], [])
        for _ in range(STEPS):
            users.step()
            run.tokens.append(users.state.read_tokens())
            run.programs.append(users.causal_lm.mesh_device.num_program_cache_entries())
        _built["eager"] = run
    kept: EagerRun = _built["eager"]
    return kept


@pytest.fixture
def timed(
    pytestconfig: pytest.Config, progress: Callable[[str], None], record_property: Callable[[str, object], None]
) -> Callable[[str], Any]:
    """Reports the time of 64 steps of a `with` block; on the emulated target it says that this is no device's."""
    target = target_of(pytestconfig).name

    @contextmanager
    def measure(what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        milliseconds = (time.perf_counter() - start) / STEPS * 1000
        if target == "emulated":
            progress(f"{what}: legality and equality only, the emulated target has no speed of a device")
        else:
            record_property(f"milliseconds per decode step, {what}, {target}", milliseconds)
            progress(f"{what}: {milliseconds:.2f} ms per decode step on {target}")

    return measure


def check_equal(compare: Compare, what: str, tokens: list[list[int]], eager: list[list[int]]) -> None:
    """Token for token; of steps that differ at all."""
    compare.check("the eager steps write different tokens", len({tuple(step) for step in eager}) > 1)
    differing = [number for number, (one, other) in enumerate(zip(tokens, eager, strict=True)) if one != other]
    compare.check(f"{len(eager)} steps {what} give the eager tokens", not differing, f"not steps {differing[:5]}")


def test_performance_trace(users: Users, eager: EagerRun, compare: Compare, timed: Callable[[str], Any]) -> None:
    """A captured step replayed is the eager step, token for token."""
    step = TracedStep.greedy(users.causal_lm, users.state, users.kv_caches)
    try:
        users.start()
        tokens = []
        with timed("trace, tokens read after each step"):
            for _ in range(STEPS):
                step()
                tokens.append(users.state.read_tokens())
    finally:
        step.release()
    check_equal(compare, "replayed", tokens, eager.tokens)


def test_performance_asynchronous_reads(
    users: Users, eager: EagerRun, compare: Compare, timed: Callable[[str], Any]
) -> None:
    """Queue 1 reads a step's tokens while queue 0 computes the next: the same tokens."""
    pipeline = GreedyPipeline(users.causal_lm, users.state, users.kv_caches)
    try:
        users.start()
        with timed("trace, tokens read on queue 1"):
            tokens = list(pipeline.tokens(STEPS))
    finally:
        pipeline.release()
    check_equal(compare, "on two queues", tokens, eager.tokens)


def test_performance_two_queues(users: Users, compare: Compare) -> None:
    """Tokens written and logits read on queue 1 while queue 0 computes: the logits of one queue, bit for bit."""
    given = [[(7 * step + 3 * user + 1) % 500 for user in range(users.state.users)] for step in range(FORCED_STEPS)]
    users.start()
    expected = []
    for tokens in given:
        users.state.write_tokens(tokens)
        logits = users.causal_lm.decode_forced(users.state, users.kv_caches)
        expected.append(users.causal_lm.parallelism.take(logits, data=2)[0, 0])
    pipeline = ForcedPipeline(users.causal_lm, users.state, users.kv_caches)
    try:
        users.start()
        logits_read = list(pipeline.logits(given))
    finally:
        pipeline.release()
    differing = [
        number for number, (one, other) in enumerate(zip(logits_read, expected, strict=True)) if not one.equal(other)
    ]
    compare.check(f"two queues give one queue's logits, {FORCED_STEPS} steps", not differing, f"not steps {differing}")


def test_performance_program_cache(users: Users, eager: EagerRun, compare: Compare, decode_bound: DecodeBound) -> None:
    """The first step compiles everything: the program cache does not grow in the steps that follow."""
    users.start()
    with decode_bound(users.state.users, BOUND_POSITION):
        users.step()
    entries = eager.programs
    compare.check("the first step fills the program cache", entries[0] > 0)
    grown = [number for number in range(1, STEPS) if entries[number] != entries[number - 1]]
    compare.check(f"steps 2 to {STEPS} compile nothing", not grown, f"steps {grown} did; entries {entries}")


def test_performance_moves_nothing_but_tokens(users: Users, compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager steps touch the host for 32 tokens of each instance only, from one of its chips."""
    users.start()
    users.step()
    moved = watch_transfers(monkeypatch)
    for _ in range(3):
        users.step()
    compare.check("a step moves nothing between host and device", not moved, f"it moves {moved[:3]}")
    users.state.read_tokens()
    tokens = [("from_device", [1, 32])] * users.causal_lm.parallelism.data
    compare.check("tokens are seen when they are read", moved == tokens, f"seen: {moved}")


def test_performance_frees_its_tensors(users: Users, compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager steps leave the buffers that they found, and free at once what a collective has taken."""
    mesh_device = users.causal_lm.mesh_device
    users.start()
    users.step()
    before = places(mesh_device)
    for _ in range(3):
        users.step()
    grown = places(mesh_device) ^ before
    compare.check("3 steps leave the buffers that they found", not grown, f"{len(grown)} differ")
    left = ttnn.clone(users.state.positions)
    compare.check("a tensor that is left is seen", len(places(mesh_device) - before) == 1)
    ttnn.deallocate(left)
    taken = watch_exchanges(monkeypatch)
    users.step()
    exchanging = users.causal_lm.parallelism.tensor > 1
    compare.check("chips exchange tensors where they share a model", bool(taken) == exchanging, f"{len(taken)} taken")
    kept = not_freed(taken)
    compare.check("what a collective has taken is freed", not kept, f"of {len(taken)} tensors not {kept[:5]}")


def test_performance_teacher_forcing(
    model: BringupModel,
    users: Users,
    compare: Compare,
    teacher_forcing: TeacherForcing,
    progress: Callable[[str], None],
) -> None:
    """Stage 7 with a prefilled prompt and a traced step: the eager logits, and the reference's tokens."""
    text = model.passage(POSITIONS + 1)
    readers, texts, prefilled = texts_of_first_users(users.state.users, text[:-1], prefilled=PREFILLED)
    logits = []
    for trace in (False, True):
        generator = Generator(users.causal_lm, trace=trace, kv_caches=users.kv_caches)
        try:
            logits.append(generator.forced_logits(texts, prefilled=prefilled, report=progress))
        finally:
            generator.release()
    expected = reference_logits(model.reference, text[:-1])
    for instance, user in enumerate(readers):
        where = users.causal_lm.parallelism.chips(instance)
        eager, traced = (rows[user] for rows in logits)
        compare.check(f"the traced step gives the eager logits{where}", torch.equal(eager, traced))
        teacher_forcing(traced, expected, text[1:])


def test_performance_traced_text(model: BringupModel, users: Users, compare: Compare) -> None:
    """Prompts prefilled behind the capture, then replays: the texts of the eager generator, again and again."""
    prompts = [model.encode(prompt) for prompt in prompts_for(model, users.state.users)]
    eager = Generator(users.causal_lm, prefill=True, kv_caches=users.kv_caches)
    expected = eager.generate(prompts, max_new_tokens=6)
    traced = Generator(users.causal_lm, prefill=True, trace=True, kv_caches=users.kv_caches)
    try:
        batches = [traced.generate(prompts, max_new_tokens=6) for _ in range(2)]
    finally:
        traced.release()
    for number, batch in enumerate(batches, start=1):
        differing = [user for user, (one, other) in enumerate(zip(batch, expected, strict=True)) if one != other]
        compare.check(
            f"the traced generator writes the eager texts, batch {number}", not differing, f"not users {differing}"
        )


def test_performance_traced_draws(model: BringupModel, users: Users, compare: Compare) -> None:
    """Greedy users, and such as device and host draw for: each kind of traced step gives the eager texts."""
    on_device, on_host = SamplingConfig(1.0, top_k=20, top_p=0.9, seed=1), SamplingConfig(1.0, top_p=0.9, seed=2)
    prompts = [model.encode(prompt) for prompt in model.prompts(3)]
    batches = ([GREEDY] * 3, [GREEDY, on_device, on_device], [GREEDY, on_host, on_device], [on_host, GREEDY, GREEDY])
    written = []
    for trace in (False, True):
        generator = Generator(users.causal_lm, prefill=True, trace=trace, kv_caches=users.kv_caches)
        try:
            written.append([generator.generate(prompts, max_new_tokens=4, sampling=batch) for batch in batches])
        finally:
            generator.release()
    for number, (eager, traced) in enumerate(zip(*written, strict=True)):
        compare.check(
            f"traced steps write the eager texts in batch {number}", traced == eager, f"{traced}, not {eager}"
        )
