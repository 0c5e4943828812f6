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
        name: str,  # noqa: ARG002
        tensor: torch.Tensor,
        *,
        dtype: ttnn.DataType,
        layout: ttnn.Layout,
        device: ttnn.MeshDevice,
        memory_config: ttnn.MemoryConfig,
        mesh_mapper: ttnn.MeshMapperConfig | None = None,
    ) -> ttnn.Tensor:
        """A tensor of this shape on the device, of which `tensor` need only know the shape.

        Raises:
            BringupError: it is to be spread over several chips.
        """
        import ttnn

        if mesh_mapper is not None:
            raise BringupError("a weight that is spread over a mesh can't be allocated unwritten")
        return ttnn.empty(list(tensor.shape), dtype=dtype, layout=layout, device=device, memory_config=memory_config)


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


def share_of(config: Any, chips: int, name: str) -> Any:
    """The configuration of what one of `chips` computes in tensor parallel: its heads, its part of MLP and vocabulary.

    Raises:
        BringupError: these can't be shared out evenly.
    """
    if chips == 1:
        return config
    parts = {}
    for what in ("num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size"):
        value = getattr(config, what)
        if value % chips:
            raise BringupError(f"{name}: {what} = {value} can't be shared out evenly to {chips} chips.")
        parts[what] = value // chips
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    stated = {key: value for key, value in config.to_dict().items() if key != "model_type"}
    return type(config)(**{**stated, **parts, "head_dim": head_dim})
