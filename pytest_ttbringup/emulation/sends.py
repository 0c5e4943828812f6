"""Sending a chip's part to one other chip.

TT-Metal's mock cluster crashes when a program runs on some chips of a mesh and not on others (measured with ttnn
0.81.1), as that of `ttnn.point_to_point` does on more than two. So TT-NN's part of it, checks and the output's buffer,
is done here. That the program was not compiled before goes unseen in the capture of a trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.values import Chip, chips_of

if TYPE_CHECKING:
    import ttnn


def point_to_point(
    input_tensor: ttnn.Tensor,
    sender_coord: Any,
    receiver_coord: Any,
    *,
    output_tensor: ttnn.Tensor | None = None,
    **_: Any,
) -> ttnn.Tensor:
    """The output of `ttnn.point_to_point`, into which nothing is written yet.

    Raises:
        EmulationError: sender or receiver is not among the tensor's chips, the fabric has no way between them, or the
            output given is of another kind than the input.
    """
    import ttnn

    _check(input_tensor, tuple(sender_coord), tuple(receiver_coord))
    if output_tensor is None:
        return ttnn.allocate_tensor_on_device.function(input_tensor.spec, input_tensor.device())
    if output_tensor.spec != input_tensor.spec:
        raise EmulationError(
            f"ttnn.point_to_point: the output tensor ({list(output_tensor.shape)} {output_tensor.dtype.name}) is "
            f"not of the input's kind ({list(input_tensor.shape)} {input_tensor.dtype.name})."
        )
    return output_tensor


def _check(tensor: ttnn.Tensor, sender: Chip, receiver: Chip) -> None:
    """What TT-NN checks, too."""
    import ttnn

    chips = chips_of(tensor)
    for role, chip in (("sender", sender), ("receiver", receiver)):
        if chip not in chips:
            raise EmulationError(f"ttnn.point_to_point: the {role} {chip} is not among the tensor's chips, {chips}.")
    fabric = ttnn.get_fabric_config()
    differing = sum(one != other for one, other in zip(sender, receiver, strict=True))
    if differing > 1 and "1D" in str(fabric):
        raise EmulationError(
            f"ttnn.point_to_point: a 1D fabric has no way from {sender} to {receiver}, which are in different rows and "
            "columns. Use FABRIC_2D, or send twice."
        )
