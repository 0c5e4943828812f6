"""The operations of a decode step and of a prefill of a whole model, recorded on a mock cluster.

TT-NN runs all of its host side for every layer: shapes, formats, memory and program configs, and the allocator, in
which weights and KV caches must find room. No weight is read and no value computed, so that 8 billion parameters take
seconds. In tensor parallel the mesh has all chips of a copy, and what TT-NN issues on each of them is recorded once,
collectives included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.planning.footprint import PREFILL_CHUNK
from pytest_ttbringup.planning.roofline.ladder import (
    Unwritten,
    import_models,
    state_dict_of,
    zeros_unwritten,
)
from pytest_ttbringup.planning.roofline.operations import Operation, up
from pytest_ttbringup.planning.roofline.recording import recording
from pytest_ttbringup.planning.roofline.work import FULL_STEP
from pytest_ttbringup.targets import Target
from pytest_ttbringup.targets.systems import System

if TYPE_CHECKING:
    import ttnn
    from ttnn_models.config import ModelConfig
    from ttnn_models.model_precision import ModelPrecision
    from ttnn_models.precision import PrecisionConfig

POSITIONS_MULTIPLE = 128
"""The KV cache has room for a multiple of so many positions, the chunk that attention takes at once."""

Residual = Literal["replicated", "fractured"]


@dataclass(frozen=True)
class ModelSteps:
    """What was recorded of a model.

    Attributes:
        decode: of a greedy step of 32 rows, on one chip.
        prefill: of one user's prompt up to its first token, on one chip.
        chips: in tensor parallel.
    """

    decode: tuple[Operation, ...]
    prefill: tuple[Operation, ...]
    chips: int


def mock_cluster(system: System, cache_dir: Path) -> Target:
    """A target that opens meshes of a system on a mock cluster, without values; the ladder's models can be imported.

    Once in a process, and only in one that has not imported `ttnn` yet.

    Args:
        system: the machine.
        cache_dir: for compiled kernels.

    Raises:
        BringupError: `ttnn` was imported already, or there are no models.
    """
    from pytest_ttbringup.targets.emulated import EmulatedTarget

    target = EmulatedTarget(system, (1, system.chips), cache_dir)
    target.prepare()
    import_models()
    return target


def record_model(
    name: str,
    config: Any,
    target: Target,
    *,
    chips: int = 1,
    residual: Residual = "replicated",
    position: int = FULL_STEP.position,
    prompt: int = 128,
    precision: PrecisionConfig | ModelPrecision | None = None,
    report: Callable[[str], None] | None = None,
) -> ModelSteps:
    """Record a model.

    Args:
        name: of the model, for messages.
        config: its `transformers.PreTrainedConfig`, of an architecture the ladder builds.
        target: from `mock_cluster`.
        chips: how many share a copy of the model, in tensor parallel on a mesh of one row.
        residual: what each of them keeps of the hidden state, as `ttnn_models.parallelism` has it.
        position: of the token that a decode step reads; the KV cache has room for it.
        prompt: tokens to prefill.
        precision: formats and math; the ladder's default if None.
        report: called with a line of progress now and then.

    Raises:
        BringupError: the ladder can't build the model, it does not fit into the chip's DRAM, or TT-NN refuses an
            operation of that size.
    """
    sizes = _sizes(name, config, chips, residual, position, prompt)
    mesh = target.open_mesh(1, chips, fabric_config=chips > 1)
    try:
        return _record(name, config, sizes, mesh, position, prompt, precision, report or _say_nothing)
    except RuntimeError as error:  # what TT-NN raises
        said = _said(error)
        where = "one chip" if chips == 1 else f"each of {chips} chips"
        if "Out of Memory" in said:
            raise BringupError(
                f"{name} does not fit on {where}: {said}. What it fits on, says `ttbringup plan`."
            ) from error
        hint = " --residual=fractured deals its columns out." if chips > 1 and residual == "replicated" else ""
        raise BringupError(
            f"{name} on {where}, residual {residual}: TT-NN refuses an operation of the ladder's model at this size: "
            f"{said}.{hint}"
        ) from error
    finally:
        target.close_mesh(mesh)


def _said(error: RuntimeError) -> str:
    """TT-NN's sentence in one of its errors, which has the place in its source before it and a backtrace behind it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    after = lines.index("info:") + 1 if "info:" in lines[:-1] else 0
    return lines[after].rstrip(".")


def _say_nothing(line: str) -> None:
    pass


def _sizes(name: str, config: Any, chips: int, residual: Residual, position: int, prompt: int) -> ModelConfig:
    """The model's sizes on so many chips, with room in the KV cache; refused before a mesh is opened."""
    from ttnn_models.config import ModelConfig
    from ttnn_models.parallelism import SINGLE, Parallelism

    room = max(position + 1, prompt)
    longest = getattr(config, "max_position_embeddings", None)  # some architectures, none of them built here, have none
    if longest is not None and room > longest:
        raise BringupError(
            f"{name} has {longest} positions; a token at position {position} and a prompt of {prompt} need {room}. Ask "
            "for less with --position and --prefill."
        )
    parallelism = SINGLE if chips == 1 else Parallelism.over((1, chips), "tp", residual=residual)
    positions = min(up(room, POSITIONS_MULTIPLE), longest or room)
    return ModelConfig.from_hf(config, max_seq_len=positions, parallelism=parallelism)


def _record(
    name: str,
    config: Any,
    sizes: ModelConfig,
    mesh: ttnn.MeshDevice,
    position: int,
    prompt: int,
    precision: PrecisionConfig | ModelPrecision | None,
    report: Callable[[str], None],
) -> ModelSteps:
    from ttnn_models.config import DECODE_BATCH
    from ttnn_models.decode_state import DecodeState
    from ttnn_models.model import CausalLM
    from ttnn_models.precision import DEFAULT_PRECISION
    from ttnn_models.prefill_chunk import chunks_of

    with zeros_unwritten():
        model = CausalLM.from_weights(
            mesh,
            sizes,
            state_dict_of(config),
            precision=DEFAULT_PRECISION if precision is None else precision,
            weight_cache=Unwritten(),  # type: ignore[arg-type] # the one method of a cache that is used
        )
        kv_caches = model.new_kv_caches()
    report(f"{sizes.num_layers} layers of {name} allocated, without weights")
    state = DecodeState(mesh, sizes.parallelism)
    state.write_positions([position] * DECODE_BATCH)
    with recording() as decode:
        model.decode_greedy(state, kv_caches)
    report(f"a decode step issues {len(decode)} operations")
    chunks = list(chunks_of(mesh, sizes, [[0] * prompt], user=0, longest=PREFILL_CHUNK))
    with recording() as prefill:
        for chunk in chunks:
            hidden = model.prefill(chunk, kv_caches)
        model.lm_head.greedy(model.last_logits(hidden, chunks[-1]))
    report(f"a prefill of {prompt} tokens issues {len(prefill)}")
    return ModelSteps(tuple(decode), tuple(prefill), sizes.parallelism.tensor)


def chips_for(config: Any, system: System, asked: int | None) -> int:
    """Chips that share a copy: those asked for, else as many of the system as the model's heads can be shared out to.

    Raises:
        BringupError: the system has not that many.
    """
    if asked is not None:
        if not 1 <= asked <= system.chips:
            raise BringupError(f"--chips={asked}: {system.name} has {system.chips}. Ask for 1 to {system.chips}.")
        return asked
    even = ("num_attention_heads", "num_key_value_heads", "intermediate_size", "hidden_size")
    # Architectures that are not built here, and are refused when they are read, may lack some.
    return math.gcd(system.chips, *(int(getattr(config, what)) for what in even if hasattr(config, what)))
