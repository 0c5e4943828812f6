"""`ttnn.rotate`: images turned by an angle. TT-NN's golden function needs torchvision."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.semantics import semantics

if TYPE_CHECKING:
    import torch


@semantics("ttnn.rotate")
def rotate(
    input_tensor: torch.Tensor,
    angle: float,
    center: tuple[float, float] | None = None,
    fill: float = 0.0,
    expand: bool = False,
    *,
    interpolation_mode: str = "nearest",
    **_: Any,
) -> torch.Tensor:
    """[N, H, W, C] turned counter-clockwise by `angle` degrees around `center` (x, y), by default the middle; places
    whose source lies outside get `fill`, in part where the source is interpolated.
    """
    import torch

    del expand  # TT-NN takes False only
    height, width = input_tensor.shape[1:3]
    middle_x, middle_y = center if center is not None else ((width - 1) / 2, (height - 1) / 2)
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    y, x = torch.meshgrid(torch.arange(height) - middle_y, torch.arange(width) - middle_x, indexing="ij")
    source_x, source_y = cosine * x - sine * y + middle_x, sine * x + cosine * y + middle_y
    grid = torch.stack([2 * source_x / max(width - 1, 1) - 1, 2 * source_y / max(height - 1, 1) - 1], dim=-1)
    images = input_tensor.permute(0, 3, 1, 2) - fill  # what lies outside is zero for PyTorch
    turned = torch.nn.functional.grid_sample(
        images, grid.float().expand(images.shape[0], -1, -1, -1), mode=interpolation_mode, align_corners=True
    )
    return (turned + fill).permute(0, 2, 3, 1)
