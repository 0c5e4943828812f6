"""The ladder: the stages of a bring-up, in the order they are climbed."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from pytest_ttbringup.errors import BringupError


@dataclass(frozen=True)
class Stage:
    """One rung of the ladder.

    Attributes:
        number: its place, 0 to 13; also the `NN` of its file `model_tests/test_NN_*.py`.
        name: as the `stage` marker and every report spell it.
        default_pcc: the least PCC of a comparison that gives no threshold of its own; None when the stage compares no
            device tensors. Tenstorrent's report on LLMs (tenstorrent/tt-metal, `tech_reports/LLMs/llms.md`)
            recommends about 0.999 for a module, 0.998 for a decoder layer and 0.99 for a whole model.
        select: a `pytest -k` expression that runs this stage and no other.
        heading: its column on the board.
    """

    number: int
    name: str
    default_pcc: float | None
    select: str
    heading: str


STAGES: tuple[Stage, ...] = (
    Stage(0, "demo", 0.999, "test_00", "demo"),
    Stage(1, "baseline", 0.999, "test_01", "base"),
    Stage(2, "decode modules", 0.999, "test_02", "modules"),
    Stage(3, "decode layer", 0.998, "test_03", "layer"),
    Stage(4, "decode stack", 0.99, "test_04", "stack"),
    Stage(5, "prefill by decode", 0.99, "test_05", "by decode"),
    Stage(6, "full model", 0.99, "test_06", "text"),
    Stage(7, "teacher forcing", 0.99, "test_07", "forcing"),
    Stage(8, "coherence", None, "test_08", "coherent"),
    Stage(9, "prefill", 0.999, "test_09", "prefill"),
    Stage(10, "prefill then decode", 0.99, "test_10", "both"),
    Stage(11, "performance", None, "test_11", "speed"),
    Stage(12, "data parallel", 0.999, "test_12", "DP"),
    Stage(13, "tensor parallel", 0.999, "test_13", "TP"),
)


def stage_of(key: int | str) -> Stage:
    """The stage with this number or name.

    Raises:
        BringupError: there is none; the message lists the legal names and suggests the nearest.
    """
    for stage in STAGES:
        if (key == stage.number and not isinstance(key, bool)) or key == stage.name:
            return stage
    near = difflib.get_close_matches(str(key), [stage.name for stage in STAGES], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    legal = ", ".join(f"{stage.number} {stage.name!r}" for stage in STAGES)
    raise BringupError(f"stage {key!r} is not on the ladder.{hint} The stages, by number or name: {legal}.")
