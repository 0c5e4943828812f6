"""What the rungs of tensor parallelism share: how they use the mesh, and how they compare with one chip.

Shapes: B users, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
import ttnn
from ttnn_models.config import DECODE_BATCH, TILE_SIZE, ModelConfig
from ttnn_models.parallelism import SINGLE, Form, Parallelism, Residual

from pytest_ttbringup.errors import BringupError
from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.fixtures.tensors import to_mesh

ONE_CHIP_PCC = 0.9999
"""Least PCC against the same module on one chip: of a module, where only the order and the rounding of sums differ."""
ROUNDINGS = 16
"""Most by which an element may differ from one chip's: in 2^-8, a bfloat16 rounding, of it or of the output's RMS."""

Decode = Callable[[ttnn.Tensor], ttnn.Tensor]
Build = Callable[[ModelConfig, slice], Decode]


def tensor_parallelism(mesh_shape: Sequence[int], hidden_size: int, residual: Residual) -> Parallelism:
    """All chips of the mesh, in each row one instance; skips the test where there is one chip, or too few columns."""
    if tuple(mesh_shape) == (1, 1):
        pytest.skip("tensor parallel wants several chips; for instance --tt-mesh=1x4")
    spread = Parallelism.over(mesh_shape, "tp" if 1 in mesh_shape else "dpxtp", residual=residual)
    if spread.fractured:
        try:
            spread.split("hidden_size", hidden_size, TILE_SIZE)
        except BringupError as error:
            pytest.skip(f"no fractured residual: {error}")
    return spread


class AgainstOneChip:
    """Compares a module that is spread over a mesh with the same on one chip, by chip.

    Args:
        mesh_device: where both run; alone, the module is the same on every chip.
        config: of the module that is spread.
        compare: records and judges.
    """

    def __init__(self, mesh_device: ttnn.MeshDevice, config: ModelConfig, compare: Compare) -> None:
        self.mesh_device = mesh_device
        self.config = config
        self.compare = compare

    def __call__(self, name: str, build: Build, x: torch.Tensor, given: Form, taken: Form) -> None:
        """Compare outputs of `decode`.

        Args:
            name: the module's.
            build: makes its `decode` for a configuration and a range of users.
            x: [1, 1, B, D], or tokens [B/32, 32].
            given: the input's form.
            taken: the output's.

        Raises:
            ComparisonFailure: PCC is below `ONE_CHIP_PCC`.
            AssertionError: an element is more than `ROUNDINGS` away.
        """
        alone = replace(self.config, parallelism=SINGLE)
        batches = x.split(1) if given == "tokens" else x.split(DECODE_BATCH, dim=2)
        starts = range(0, self.config.users, DECODE_BATCH)
        users = [slice(start, start + DECODE_BATCH) for start in starts]
        single = [
            SINGLE.join(self._output(build, alone, *batch, given, taken)) for batch in zip(users, batches, strict=True)
        ]
        expected = torch.cat(single, dim=2).float()
        whole = self._output(build, self.config, slice(None), x, given, taken)
        spread = self.config.parallelism.spread(given, taken)
        self.compare(
            expected,
            whole,
            name=f"{name} against one chip",
            axes=(None, None, "user", "dim"),
            pcc_threshold=ONE_CHIP_PCC,
            spread=spread,
        )
        least = expected.square().mean().sqrt()
        roundings = max(
            float(((part.float() - one).abs() / one.abs().clamp(min=least)).max()) * 2**8
            for part, one in zip(spread.parts(whole), spread.reference_parts(expected), strict=True)
        )
        self.compare.check(
            f"{name}: {roundings:.1f} roundings from one chip, at most {ROUNDINGS}",
            roundings <= ROUNDINGS,
            "in units of 2^-8 of an element, or of the output's root mean square if that is more",
        )

    def _output(
        self, build: Build, config: ModelConfig, users: slice, rows: torch.Tensor, given: Form, taken: Form
    ) -> ttnn.Tensor:
        spread = config.parallelism.spread(given, taken)
        return build(config, users)(to_mesh(rows, lambda: self.mesh_device, spread))
