"""The TT-NN model of the ladder, found and built without weights: every tensor is allocated, none is written."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.replacing import replace

if TYPE_CHECKING:
    import torch
    import ttnn

FOLDER = "model_tests"


def import_models() -> None:
    """Make `import ttnn_models` find the TT-NN models of the ladder.

    Those of a checkout one stands in, else those beside this package.

    Raises:
        BringupError: there are none.
    """
    here = Path.cwd()
    beside = Path(__file__).resolve().parents[3]
    for root in (here, *here.parents, beside):
        if (root / FOLDER / "ttnn_models").is_dir():
            if str(root / FOLDER) not in sys.path:
                sys.path.insert(0, str(root / FOLDER))
            importlib.import_module("ttnn_models")
            return
    raise BringupError(
        f"no {FOLDER}/ttnn_models is found in {here}, above it, or beside pytest_ttbringup: they hold the TT-NN model "
        "whose operations are recorded. Run this in a checkout of pytest-ttbringup."
    )


class Unwritten:
    """Stands where a weight cache does, and allocates what it would load: `load` takes what `WeightCache.load` does."""

    def load(
        self,
        _name: str,
        tensor: torch.Tensor,
        *,
        device: ttnn.MeshDevice,
        mesh_mapper: ttnn.MeshMapperConfig | None = None,
        **kind: Any,
    ) -> ttnn.Tensor:
        """A tensor on each chip of a mesh of one row, of the shape that the mapper gives it there.

        Of `tensor` only the shape is asked; `kind` is format, layout and memory.
        """
        import ttnn

        shape = list(tensor.shape)
        if mesh_mapper is not None:
            for placement, count in zip(mesh_mapper.placements, device.shape, strict=True):
                if isinstance(placement, ttnn.PlacementShard):
                    shape[placement.dim] //= count
        return ttnn.empty(shape, device=device, **kind)


@contextmanager
def zeros_unwritten() -> Iterator[None]:
    """Let `ttnn.zeros` allocate only: the zeros of a large KV cache take the host half a minute to make."""
    import ttnn

    with ExitStack() as changes:
        replace(changes, ttnn, "zeros", ttnn.empty)
        yield


def state_dict_of(config: Any) -> dict[str, torch.Tensor]:
    """The weights of a `transformers.PreTrainedConfig` by name, on PyTorch's meta device: shapes without values."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    weights: dict[str, torch.Tensor] = model.state_dict()
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    return weights
