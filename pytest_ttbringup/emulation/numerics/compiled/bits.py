"""Float32 as bits and back, inside compiled loops."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic


@intrinsic
def as_int(_: Any, value: Any) -> Any:  # noqa: ARG001
    """The bits of a float32 as an int32."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.int32))

    return types.int32(types.float32), generate


@intrinsic
def as_float(_: Any, value: Any) -> Any:  # noqa: ARG001
    """The float32 of an int32's bits."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate
