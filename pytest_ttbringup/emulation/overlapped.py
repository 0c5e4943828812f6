"""Files of overlapped tensors: views of parts of one device buffer, which TT-NN reads and writes in C++."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def overlapped_files(read: Function, place: Function) -> dict[str, Function]:
    """Replacements for `dump_overlapped_tensors` and `load_overlapped_tensors` of `ttnn._ttnn.tensor`.

    Args:
        read: gives a host tensor with the values of a tensor.
        place: puts a host tensor on a device.
    """
    import ttnn

    dump, load = ttnn._ttnn.tensor.dump_overlapped_tensors, ttnn._ttnn.tensor.load_overlapped_tensors

    def dump_overlapped_tensors(file_name: str, views: dict[Any, Any]) -> None:
        if not views or len({view.fused_tensor.buffer_unique_id() for view in views.values()}) > 1:
            dump(file_name, views)  # refuses them
            return
        fused = read(next(iter(views.values())).fused_tensor)
        dump(file_name, {name: _view_of(fused, view) for name, view in views.items()})

    def load_overlapped_tensors(file_name: str, device: Any = None) -> dict[Any, Any]:
        views = load(file_name, None)
        if device is None or not views:
            return dict(views)
        fused = place(next(iter(views.values())).fused_tensor, device)
        return {name: _view_of(fused, view) for name, view in views.items()}

    return {"dump_overlapped_tensors": dump_overlapped_tensors, "load_overlapped_tensors": load_overlapped_tensors}


def _view_of(fused: Any, view: Any) -> Any:
    """A view like `view`, of another tensor."""
    import ttnn

    return ttnn.OverlappedTensor(
        fused,
        view.tensor_shape,
        view.shard_shape,
        view.core_range_set,
        view.dtype,
        view.tile_shape,
        view.byte_offset,
        view.total_size,
    )
