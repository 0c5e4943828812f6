"""`ttbringup generate` in processes of its own: the tiny model's text, and what is refused before a device opens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_ttbringup

ROOT = Path(pytest_ttbringup.__file__).parents[1]

REFUSED = {
    "temperature": (["--temperature=-1"], "temperature = -1.0 must be 0 (greedy), or 0.01 to 100"),
    "top-k": (["--temperature=1", "--top-k=0"], "top_k = 0 must be a whole number of tokens, at least 1"),
    "top-p alone": (["--top-p=0.9"], "top_p = 0.9: no effect at temperature 0"),
    "seed": (["--temperature=1", "--seed=-1"], "seed = -1 must be a whole number from 0"),
    "empty": (["--prompt="], "prompt 2 of 2 is empty. Give some text with --prompt TEXT"),
    "compared draws": (["--temperature=1", "--compare-reference"], "--compare-reference compares greedy texts"),
    "two models": (["--tt-model=tiny-llama,tiny-llama-scaled"], "text comes from one model; name one"),
    "no such model": (["--tt-model=big-llama"], "big-llama"),
    "no such target": (["--tt-target=silicone"], "--tt-target=silicone: no such target. Did you mean 'silicon'?"),
    "chat": (["--chat"], "--chat: tiny-llama has no chat template"),
    "system": (["--system=Be brief."], "--system: a system message needs a chat template, and tiny-llama has none"),
    "implementation": (["--implementation=nowhere"], "--implementation=nowhere: there is no module nowhere.build"),
}
"""Arguments besides a good prompt, and what is said of them; none gets as far as importing ttnn."""

IN_ONE_PROCESS = """
import contextlib, io, json, sys
from pytest_ttbringup.cli import main
from pytest_ttbringup.fixtures.mesh_pool import MeshPool

def lease(*_):
    raise AssertionError("a device is opened")

MeshPool.lease = lease
results = []
for arguments in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            code = main(["generate", *arguments])
        except SystemExit as end:
            code = end.code
    results.append((code, said.getvalue()))
print(json.dumps(results))
"""
MAIN = "from pytest_ttbringup.cli import main; raise SystemExit(main())"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Without the outer run's settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TT_", "TTNN_", "TTBRINGUP_", "PYTEST_", "LOGURU_"))
    }
    cache = os.environ.get("TTBRINGUP_CACHE") or str(tmp_path_factory.mktemp("cache"))
    return {**kept, "PYTHONPATH": str(ROOT), "TTBRINGUP_TARGET": "emulated", "TTBRINGUP_CACHE": cache}


def generate(environment: dict[str, str], *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, "generate", *arguments],
        cwd=ROOT,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_prompt_of_standard_input_is_continued_as_by_the_reference(environment: dict[str, str]) -> None:
    done = generate(environment, "--max-new-tokens=6", "--compare-reference", given="Say hello.\n")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "> Say hello."
    assert lines[1].strip()
    assert "(the same 6 tokens)" in lines
    assert lines[-1].startswith("6 tokens behind 7 of the prompts in ")
    assert "tiny-llama on emulated (wormhole_b0, n150, mesh 1x1), precision default, numerics" in lines[-1]
    assert lines[-1].endswith("emulated time is no device time")


def test_several_prompts_get_a_text_each(environment: dict[str, str]) -> None:
    prompts = ("Good morning!", "Good morning!", "What is a haiku?")
    arguments = ("--temperature=1", "--top-k=30", "--seed=5", "--max-new-tokens=5", "--trace")
    done = generate(environment, *arguments, *(f"--prompt={prompt}" for prompt in prompts))
    assert done.returncode == 0, done.stderr
    texts = [part.split("\n")[:2] for part in ("\n" + done.stdout).split("\n> ")[1:]]
    assert sorted(prompt for prompt, _ in texts) == sorted(prompts)
    assert texts[0][1] != texts[1][1], "each prompt has a seed of its own"
    assert "\n15 tokens behind " in done.stdout


def test_in_data_parallel_a_33rd_prompt_goes_to_the_second_chip(environment: dict[str, str]) -> None:
    mesh = ("--tt-system=n300", "--tt-mesh=1x2", "--tt-parallel=dp")
    prompts = [f"--prompt=Say {number}" for number in range(33)]
    done = generate(environment, *mesh, "--max-new-tokens=2", "--compare-reference", *prompts)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("(the same 2 tokens)") >= 32
    assert "\n66 tokens behind " in done.stdout


@pytest.fixture(scope="module")
def refusals(environment: dict[str, str]) -> dict[str, tuple[int, str]]:
    """What was said to each of `REFUSED`, and to what imports ttnn, once and last."""
    commands = [["--prompt=Say hello.", *arguments] for arguments, _ in REFUSED.values()]
    commands.append(["--prompt=Good morning!"] * 33)
    done = subprocess.run(
        [sys.executable, "-c", IN_ONE_PROCESS, json.dumps(commands)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip([*REFUSED, "33"], json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(refusals: dict[str, tuple[int, str]], case: str) -> None:
    code, said = refusals[case]
    assert code == 4, said
    assert REFUSED[case][1] in said
    assert said.startswith("ttbringup: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_a_33rd_prompt_is_refused(refusals: dict[str, tuple[int, str]]) -> None:
    code, said = refusals["33"]
    assert (code, said.strip()) == (4, "ttbringup: 33 texts given; a batch has 1 to 32 users.")
