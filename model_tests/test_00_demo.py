"""Stage 0: one operation on the device, from PyTorch and back."""

from __future__ import annotations

import pytest
import torch
import ttnn

from pytest_ttbringup.fixtures.compare import Compare
from pytest_ttbringup.reference.model import BringupModel

pytestmark = pytest.mark.stage("demo")


@pytest.mark.usefixtures("mesh_device")
def test_demo(model: BringupModel, compare: Compare) -> None:
    """The model's activations, doubled."""
    compare(lambda x: torch.add(x, x), lambda x: ttnn.add(x, x), model.decode_activations(), axes=("user", "dim"))
