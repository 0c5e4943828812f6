"""`ttnn.Tensor` as a constructor that puts its tensor on a device.

The class comes from nanobind, which keeps its constructor where Python can't replace it. So the name `ttnn.Tensor` gets
a stand-in, of which everything that is one of TT-NN's tensors is an instance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_Place = Callable[[Any, Any], Any]


class _TensorType(type):
    """The class of the stand-in: what it is asked, the genuine class answers."""

    genuine: type
    place: _Place

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        import ttnn

        given = (*arguments, *keywords.values())
        device = next((value for value in given if isinstance(value, ttnn.MeshDevice)), None)
        if device is None:
            return cls.genuine(*arguments, **keywords)
        # The mock cluster would forget the values; a tensor on the host has them, and the rest of what was asked for.
        on_host = cls.genuine(
            *(None if value is device else value for value in arguments),
            **{name: None if value is device else value for name, value in keywords.items()},
        )
        return cls.place(on_host, device)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.genuine)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.genuine)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.genuine, name)

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.genuine

    def __hash__(cls) -> int:
        return hash(cls.genuine)


def tensor_type(genuine: type, place: _Place) -> type:
    """A stand-in for `ttnn.Tensor`.

    Args:
        genuine: the class itself.
        place: takes a host tensor and a mesh device, and gives the tensor on that device.
    """
    return _TensorType("Tensor", (), {"genuine": genuine, "place": staticmethod(place), "__doc__": genuine.__doc__})
