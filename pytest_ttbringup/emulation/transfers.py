"""TT-NN's calls that move values rather than compute them, or that make or end a buffer.

Each replacement takes TT-NN's own function first, calls it for all that happens on the control plane, and moves the
values. What `ttnn.Tensor` offers as a method comes here, too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import device_tensors
from pytest_ttbringup.emulation.commands import reads_later
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.host import is_on_device, overwrite, to_host, write_from_host, write_unknown
from pytest_ttbringup.emulation.partial_copies import elements_on

if TYPE_CHECKING:
    import ttnn

    from pytest_ttbringup.emulation.commands import Commands
    from pytest_ttbringup.emulation.values import DeviceMemory

Function = Callable[..., Any]


class Transfers:
    """The transfers of one device memory."""

    def __init__(self, memory: DeviceMemory, commands: Commands) -> None:
        self._memory = memory
        self._commands = commands

    def operations(self) -> dict[str, Function]:
        """Replacements for operations, by full name; each takes TT-NN's function before the operation's arguments."""
        return {
            "ttnn.from_torch": self._from_torch,
            "ttnn.to_device": self._to_device,
            "ttnn.from_device": self._from_device,
            "ttnn.copy_host_to_device_tensor": self._copy_to_device,
            "ttnn.copy_host_to_device_tensor_partial": self._copy_part_to_device,
            "ttnn.copy_device_to_host_tensor": self._copy_to_host,
            **dict.fromkeys(_ALLOCATING, self._allocate),
            "ttnn.deallocate": self._deallocate,
        }

    def functions(self) -> dict[str, Function]:
        """Replacements for functions of the `ttnn` module that are no operations, by name."""
        import ttnn

        replacements: dict[str, Function] = {
            "distribute_tensor": self._distribute,
            "aggregate_tensor": self._aggregate,
            "get_device_tensors": self._parts,
            "combine_device_tensors": self._combine,
        }
        return {name: partial(method, getattr(ttnn, name)) for name, method in replacements.items()}

    def tensor_methods(self) -> dict[str, Function]:
        """Replacements for the methods of `ttnn.Tensor` that read a device tensor, put one on a device or free it."""
        import ttnn

        methods = {name: self._reading(getattr(ttnn.Tensor, name)) for name in _READING_METHODS}
        methods["reshape"] = self._reshape(ttnn.Tensor.reshape)
        methods["extract_shard"] = self._extract_shard(ttnn.Tensor.extract_shard)
        for name, replacement in (("cpu", self._from_device), ("to", self._to), ("deallocate", self._deallocate)):
            methods[name] = _as_method(replacement, getattr(ttnn.Tensor, name))
        return methods

    def file_loader(self) -> Function:
        """A replacement for TT-NN's reader of `.tensorbin` files, which can put the tensor on a device itself."""
        import ttnn

        original = ttnn._ttnn.tensor.load_tensor_flatbuffer

        def load_tensor_flatbuffer(file_name: str, device: ttnn.MeshDevice | None = None) -> ttnn.Tensor:
            loaded = original(file_name, None)
            return loaded if device is None else self.place(loaded, device)

        return load_tensor_flatbuffer

    def file_writer(self) -> Function:
        """A replacement for TT-NN's writer of `.tensorbin` files, which would read a device tensor by itself."""
        import ttnn

        original = ttnn._ttnn.tensor.dump_tensor_flatbuffer

        def dump_tensor_flatbuffer(file_name: str, tensor: ttnn.Tensor, *arguments: Any, **keywords: Any) -> Any:
            return original(file_name, self.on_host(tensor), *arguments, **keywords)

        return dump_tensor_flatbuffer

    def on_host(self, tensor: ttnn.Tensor) -> ttnn.Tensor:
        """A tensor's values in a host tensor, to be written to a file; itself if it is one."""
        return self._read("ttnn.dump_tensor", tensor, (), {}, placed=True) if is_on_device(tensor) else tensor

    def place(
        self, tensor: ttnn.Tensor, device: ttnn.MeshDevice, *, padding: float = 0.0, queue: Any = None
    ) -> ttnn.Tensor:
        """A host tensor on a device, in the memory that its memory config names."""
        import ttnn

        self._commands.forks.check("ttnn.from_torch", device)
        placed = ttnn._ttnn.operations.core.to_device(tensor, device, memory_config=tensor.memory_config())
        self._commands.transfer("ttnn.from_torch", {"cq_id": queue}, written=placed)
        write_from_host(self._memory, tensor, placed, padding=padding)
        return placed

    def _from_torch(
        self, function: Function, tensor: Any, *arguments: Any, device: Any = None, **keywords: Any
    ) -> ttnn.Tensor | None:
        made = function(tensor, *arguments, **keywords)
        if device is None or made is None:
            return made
        return self.place(made, device, padding=keywords.get("pad_value") or 0.0, queue=keywords.get("cq_id"))

    def _to_device(self, function: Function, tensor: ttnn.Tensor, *arguments: Any, **keywords: Any) -> ttnn.Tensor:
        self._commands.forks.check_call("ttnn.to_device", arguments, keywords)
        placed = function(tensor, *arguments, **keywords)
        if not is_on_device(tensor):
            queue = {"cq_id": arguments[2]} if len(arguments) > 2 else keywords  # Tensor.to takes it by position, too
            self._commands.transfer("ttnn.to_device", queue, written=placed)
            write_from_host(self._memory, tensor, placed)
        return placed

    def _from_device(self, function: Function, tensor: ttnn.Tensor, *arguments: Any, **keywords: Any) -> ttnn.Tensor:
        if not is_on_device(tensor):
            return function(tensor, *arguments, **keywords)
        return self._read("ttnn.from_device", tensor, arguments, keywords, placed=True)

    def _read(
        self,
        name: str,
        tensor: ttnn.Tensor,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        *,
        placed: bool = False,
        filled: ttnn.Tensor | None = None,
    ) -> ttnn.Tensor:
        """A host tensor with what a device tensor holds; `arguments` are those after the tensor.

        `filled` is the host tensor that the program has for it, if it is not this one.
        """
        self._memory.check_allocated(tensor)
        keywords = dict(zip(("blocking", "cq_id"), arguments, strict=False)) | keywords
        self._commands.transfer(name, keywords, read=tensor)
        made = to_host(self._memory, tensor, placed=placed)
        if reads_later(keywords):
            self._commands.read_later(name, keywords, tensor.device().id(), made if filled is None else filled)
        return made

    def _copy_to_device(
        self,
        function: Function,
        host_tensor: ttnn.Tensor,
        device_tensor: ttnn.Tensor,
        *arguments: Any,
        **keywords: Any,
    ) -> None:
        self._memory.check_allocated(device_tensor)
        function(host_tensor, device_tensor, *arguments, **keywords)
        queue = {"cq_id": arguments[0]} if arguments else keywords
        self._commands.transfer("ttnn.copy_host_to_device_tensor", queue, written=device_tensor)
        write_from_host(self._memory, host_tensor, device_tensor)

    def _copy_part_to_device(
        self,
        function: Function,
        host_tensor: ttnn.Tensor,
        device_tensor: ttnn.Tensor,
        logical_core_filter: ttnn.CoreRangeSet,
        *arguments: Any,
        **keywords: Any,
    ) -> None:
        self._memory.check_allocated(device_tensor)
        function(host_tensor, device_tensor, logical_core_filter, *arguments, **keywords)
        if not logical_core_filter.num_cores():
            return
        chosen = elements_on(device_tensor, logical_core_filter)
        queue = {"cq_id": arguments[0]} if arguments else keywords
        self._commands.transfer("ttnn.copy_host_to_device_tensor_partial", queue, written=device_tensor)
        write_from_host(self._memory, host_tensor, device_tensor, chosen=chosen)

    def _copy_to_host(
        self, _: Function, device_tensor: ttnn.Tensor, host_tensor: ttnn.Tensor, *arguments: Any, **keywords: Any
    ) -> None:
        """TT-NN's own function crashes for a deallocated tensor, and reads zeros from the mock cluster otherwise."""
        name = "ttnn.copy_device_to_host_tensor"
        if not is_on_device(device_tensor) or is_on_device(host_tensor):
            raise EmulationError(f"{name}: copies from a device tensor to a host tensor, in this order.")
        made = self._read(name, device_tensor, arguments, keywords, filled=host_tensor)
        if made.spec != host_tensor.spec or made.host_buffer().shape() != host_tensor.host_buffer().shape():
            one, other = (f"{list(it.shape)} {it.dtype.name} {it.layout.name}" for it in (device_tensor, host_tensor))
            raise EmulationError(
                f"{name}: the host tensor ({other}) is not of the device tensor's kind ({one}), or spread over another "
                "number of chips. Make it with ttnn.allocate_tensor_on_host(device_tensor.spec, mesh_device)."
            )
        overwrite(host_tensor, made)

    def _distribute(
        self, function: Function, tensor: ttnn.Tensor, mapper: Any, mesh_device: ttnn.MeshDevice | None = None
    ) -> ttnn.Tensor:
        distributed = function(tensor, mapper)
        return distributed if mesh_device is None else self.place(distributed, mesh_device)

    def _parts(self, function: Function, tensor: ttnn.Tensor) -> list[ttnn.Tensor]:
        parts: list[ttnn.Tensor] = function(tensor)
        self._commands.pending_reads.inherit(tensor, parts)
        return parts

    def _aggregate(self, function: Function, tensor: ttnn.Tensor, composer: Any) -> ttnn.Tensor:
        self._commands.pending_reads.check("ttnn.aggregate_tensor", tensor)
        return function(to_host(self._memory, tensor) if is_on_device(tensor) else tensor, composer)

    def _combine(self, function: Function, tensors: list[ttnn.Tensor]) -> ttnn.Tensor:
        """Join the parts of chips to one tensor of the mesh. TT-NN lets the parts keep their buffers, of which it must
        be one, as `ttnn.get_device_tensors` gives them.
        """
        return function(tensors=tensors)

    def _allocate(self, function: Function, *arguments: Any, **keywords: Any) -> Any:
        for tensor in device_tensors(*arguments, *keywords.values()):  # `ttnn.empty_like` of a dead one crashes
            self._memory.check_allocated(tensor)
        made = function(*arguments, **keywords)
        for tensor in device_tensors(made):
            write_unknown(self._memory, tensor)
            self._commands.allocated(tensor, keywords)
        return made

    def _deallocate(self, function: Function, tensor: ttnn.Tensor, *arguments: Any, **keywords: Any) -> None:
        buffer = tensor.buffer_unique_id() if is_on_device(tensor) and tensor.is_allocated() else None
        function(tensor, *arguments, **keywords)
        if buffer is not None and not tensor.is_allocated():
            self._memory.free(buffer)

    def _to(self, function: Function, tensor: ttnn.Tensor, *arguments: Any, **keywords: Any) -> ttnn.Tensor:
        """`Tensor.to(device)` and `Tensor.to(layout)`, which leaves a tensor where it is."""
        import ttnn

        layout = next((it for it in (*arguments, *keywords.values()) if isinstance(it, ttnn.Layout)), None)
        if is_on_device(tensor) and layout is not None:
            return ttnn.to_layout(tensor, layout)
        if _names_device(arguments, keywords):
            return self._to_device(function, tensor, *arguments, **keywords)
        return function(tensor, *arguments, **keywords)

    def _reshape(self, original: Function) -> Function:
        def method(tensor: ttnn.Tensor, *shape: Any) -> ttnn.Tensor:
            if not is_on_device(tensor):
                return original(tensor, *shape)
            import ttnn

            return ttnn.reshape(tensor, tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape)

        return method

    def _extract_shard(self, original: Function) -> Function:
        def method(tensor: ttnn.Tensor, core: Any) -> ttnn.Tensor:
            if not is_on_device(tensor):
                return original(tensor, core)
            raise EmulationError(
                "Tensor.extract_shard is not emulated: values are kept per tensor, not per core. Read the whole tensor "
                "and take the part."
            )

        return method

    def _reading(self, original: Function) -> Function:
        name = f"Tensor.{original.__name__}"

        def method(tensor: ttnn.Tensor, *arguments: Any, **keywords: Any) -> Any:
            if is_on_device(tensor):
                source = self._read(name, tensor, (), keywords)
            else:
                if name != "Tensor.host_buffer":  # gives the memory, which is filled wherever it is held
                    self._commands.pending_reads.check(name, tensor)
                source = tensor
            if keywords.get("mesh_composer") is not None and source.host_buffer().shape().mesh_size() == 1:
                keywords = keywords | {
                    "mesh_composer": None
                }  # one chip's part, of a mesh that the composer knows whole
            return original(source, *arguments, **keywords)

        return method


_ALLOCATING = (
    "ttnn.allocate_tensor_on_device",
    "ttnn.empty",
    "ttnn.empty_like",
    "ttnn.experimental.reduce_scatter_minimal_async_create_intermediate_buffer",
    "ttnn.experimental.reduce_scatter_minimal_direct_create_persistent_buffers",
    "ttnn.experimental.reduce_scatter_minimal_direct_create_staging_buffer",
)
"""Operations that make one or more buffers and write nothing into them."""

_READING_METHODS = (
    "to_torch",
    "to_torch_with_padded_shape",
    "to_numpy",
    "to_list",
    "item",
    "host_buffer",
    "__repr__",
)


def _as_method(replacement: Function, original: Function) -> Function:
    def method(tensor: ttnn.Tensor, *arguments: Any, **keywords: Any) -> Any:
        return replacement(original, tensor, *arguments, **keywords)

    return method


def _names_device(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    import ttnn

    return any(isinstance(value, ttnn.MeshDevice) for value in (*arguments, *keywords.values()))
