"""Sending a chip's part to one other chip.

TT-Metal's mock cluster crashes when a program runs on some chips of a mesh and not on others (measured with ttnn
0.81.1), as that of `ttnn.point_to_point` does on more than two. So the emulated device does the whole operation itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.collectives import require_fabric
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.values import Chip, DeviceMemory, chips_of

if TYPE_CHECKING:
    import ttnn


def point_to_point(memory: DeviceMemory) -> Callable[..., Any]:
    """A replacement for `ttnn.point_to_point`, which takes TT-NN's function first."""

    def send(
        _: Callable[..., Any],
        input_tensor: ttnn.Tensor,
        sender_coord: Any,
        receiver_coord: Any,
        *,
        output_tensor: ttnn.Tensor | None = None,
        **__: Any,
    ) -> ttnn.Tensor:
        import ttnn

        sender, receiver = tuple(sender_coord), tuple(receiver_coord)
        _check(input_tensor, sender, receiver)
        parts = memory.read(input_tensor)
        if output_tensor is None:
            output_tensor = ttnn.allocate_tensor_on_device(input_tensor.spec, input_tensor.device())
        elif output_tensor.spec != input_tensor.spec:
            raise EmulationError(
                f"ttnn.point_to_point: the output tensor ({list(output_tensor.shape)} {output_tensor.dtype.name}) is "
                f"not of the input's kind ({list(input_tensor.shape)} {input_tensor.dtype.name})."
            )
        kept = memory.read_or_unknown(output_tensor, chips_of(output_tensor))
        memory.write(output_tensor, kept | {receiver: parts[sender]})
        if output_tensor.buffer_unique_id() != input_tensor.buffer_unique_id():
            memory.mark_shared(output_tensor)
            memory.mark_shared(input_tensor)
        return output_tensor

    return send


def _check(tensor: ttnn.Tensor, sender: Chip, receiver: Chip) -> None:
    """What TT-NN checks, too."""
    import ttnn

    chips = chips_of(tensor)
    for role, chip in (("sender", sender), ("receiver", receiver)):
        if chip not in chips:
            raise EmulationError(f"ttnn.point_to_point: the {role} {chip} is not among the tensor's chips, {chips}.")
    require_fabric("ttnn.point_to_point", tensor)
    fabric = ttnn.get_fabric_config()
    differing = sum(one != other for one, other in zip(sender, receiver, strict=True))
    if differing > 1 and "1D" in str(fabric):
        raise EmulationError(
            f"ttnn.point_to_point: a 1D fabric has no way from {sender} to {receiver}, which are in different rows and "
            "columns. Use FABRIC_2D, or send twice."
        )
