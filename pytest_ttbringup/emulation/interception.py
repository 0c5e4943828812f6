"""Where the value plane meets TT-NN: one wrapper around every operation.

TT-NN calls each operation through `ttnn.decorators.FastOperation`. The wrapper lets TT-NN do all it does on a device
(checks, output shapes, allocation, program selection), then computes what the output's buffer would hold. TT-NN's slow
runtime mode offers hooks for the same purpose, but costs 0.3 ms per operation, more than most operations' values on a
decode step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.arithmetic import arithmetic
from pytest_ttbringup.emulation.bindings import bound
from pytest_ttbringup.emulation.calls import Call, device_tensors, flat, substitute
from pytest_ttbringup.emulation.capture import Capture, Recorded
from pytest_ttbringup.emulation.collectives import collective_function, require_fabric, run_collective
from pytest_ttbringup.emulation.commands import Commands
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.golden import semantics_of
from pytest_ttbringup.emulation.handles import TensorHandle
from pytest_ttbringup.emulation.host import to_host, values_of
from pytest_ttbringup.emulation.host_arguments import with_host_values
from pytest_ttbringup.emulation.padding import padding_left_by
from pytest_ttbringup.emulation.queues import QUEUE_KEYWORDS
from pytest_ttbringup.emulation.semantics import Semantics, own_semantics
from pytest_ttbringup.emulation.sends import point_to_point
from pytest_ttbringup.emulation.values import Chip, DeviceMemory, Shards, chips_of

if TYPE_CHECKING:
    import torch
    import ttnn
    from ttnn.decorators import FastOperation

VIEWS = frozenset(
    f"ttnn.{name}"
    for name in (
        "reshape",
        "view",
        "experimental.view",
        "squeeze",
        "unsqueeze",
        "unsqueeze_to_4D",
        "to_layout",
        "to_memory_config",
        "typecast",
        "slice",
    )
)
"""Operations that may return a view of their input's buffer, in which case there is nothing to compute."""


OUTPUT_KEYWORDS = ("output_tensor", "optional_tensor", "optional_output_tensor", "out", "output", "output_tensors")
"""Keywords of tensors that an operation only writes (from `ttnn.decorators.DEFAULT_OUTPUT_TENSOR_KWARG_NAMES`)."""

_STAND_INS = {"ttnn.point_to_point": point_to_point}
"""What to do instead of TT-NN's part of operations that crash on TT-Metal's mock cluster."""

_NOT_VALUES = (*QUEUE_KEYWORDS, *OUTPUT_KEYWORDS)


class OperationWrapper:
    """Computes values for every operation that TT-NN runs on the emulated device."""

    def __init__(
        self,
        memory: DeviceMemory,
        original: Callable[..., Any],
        transfers: dict[str, Callable[..., Any]],
        commands: Commands,
    ) -> None:
        self._memory = memory
        self._commands = commands
        self._original = original
        self._transfers = transfers
        self._known: dict[str, Semantics] = {}
        own_semantics()  # loads the collectives, too

    def __call__(self, operation: FastOperation, *arguments: Any, **keywords: Any) -> Any:
        """Run `operation` in TT-NN, then give its outputs their values.

        Raises:
            EmulationError: the operation has no semantics, or an input has no value. Whatever TT-NN itself raises
            passes through.
        """
        name = operation.python_fully_qualified_name
        transfer = self._transfers.get(name)
        if transfer is not None:
            return transfer(operation.function, *arguments, **keywords)
        if not operation.is_cpp_operation and name not in own_semantics():
            # written in Python: the operations inside come by here
            return self._original(operation, *arguments, **keywords)

        inputs = device_tensors(*arguments, *(it for name, it in keywords.items() if name not in OUTPUT_KEYWORDS))
        if collective_function(name) is not None and inputs:
            require_fabric(name, inputs[0])
        capture = self._commands.capture_of(arguments, keywords, inputs) if self._commands.capturing() else None
        if capture is not None:
            with capture.complete(name):
                return self._capture(capture, operation, arguments, keywords, inputs)
        arguments, keywords = with_host_values(name, arguments, keywords, self._read_first)
        self._check_outputs(keywords)
        values = {id(tensor): self._memory.read(tensor) for tensor in inputs}
        _refuse_parts(name, inputs)
        output = self._run(operation, arguments, self._commands.program(keywords, inputs))
        outputs = device_tensors(output)
        if not outputs and not inputs:
            return output  # ran on the host
        kept = [it for it in inputs if it.is_allocated() and it.buffer_unique_id() is not None]  # some are freed
        rule = self._semantics(operation)
        if rule.updates:
            updated = [Call(name, arguments, keywords, output, ()).argument(*it) for it in rule.updates]
            fresh = _fresh(outputs, updated)
            self._commands.command(name, keywords, reads=kept, writes=updated + fresh)
            self._update(rule, Call(name, arguments, keywords, output, ()), fresh, values)
            return output
        if not outputs:
            raise EmulationError(
                f"{name} returned no tensor, so it may have written into an argument, of which TT-NN's golden function "
                f'says nothing. Give it semantics with @semantics("{name}", updates=...).'
            )
        if name in VIEWS and inputs and outputs[0].buffer_unique_id() == inputs[0].buffer_unique_id():
            return output  # no command is sent
        self._commands.command(name, keywords, reads=kept, writes=outputs)
        self._store(rule, name, arguments, keywords, output, outputs, kept, values)
        return output

    def _capture(
        self,
        capture: Capture,
        operation: FastOperation,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        inputs: list[ttnn.Tensor],
    ) -> Any:
        """Run TT-NN's part of `operation`, and note the rest for the replays of a trace."""
        name = operation.python_fully_qualified_name
        self._check_outputs(keywords)
        for tensor in inputs:
            self._memory.check_allocated(tensor)
        _refuse_parts(name, inputs)
        before = {id(tensor): TensorHandle.of(tensor, capture.buffers, self._read_host) for tensor in inputs}
        given = {it.buffer_unique_id() for it in device_tensors(*arguments, *keywords.values()) if it.is_allocated()}
        with capture.watching(name):
            output = self._run(operation, arguments, self._commands.program(keywords, inputs))
        outputs = device_tensors(output)
        if not outputs and not inputs:
            return output
        rule = self._semantics(operation)
        if name in VIEWS and inputs and outputs[0].buffer_unique_id() == before[id(inputs[0])].buffer.number:
            return output
        fresh = [tensor for tensor in outputs if tensor.buffer_unique_id() not in given]
        capture.adopt(fresh)
        for tensor in fresh:
            self._memory.withhold(
                tensor,
                f"{name} makes it in trace {capture.number}, which has not been executed since. A capture only "
                "records; call ttnn.execute_trace first.",
            )
        after = {id(tensor): TensorHandle.of(tensor, capture.buffers, self._read_host) for tensor in outputs}

        def handle(tensor: ttnn.Tensor) -> Any:
            return after.get(id(tensor)) or before.get(id(tensor)) or tensor

        held = substitute(arguments, lambda tensor: before.get(id(tensor), tensor))
        held_keywords = substitute(keywords, lambda tensor: before.get(id(tensor), tensor))
        updated = [Call(name, held, held_keywords, None, ()).argument(*it) for it in rule.updates]
        written = updated + [after[id(tensor)] for tensor in _fresh(outputs, updated)]
        capture.operations.append(
            Recorded(name, rule, held, held_keywords, substitute(output, handle), list(before.values()), written)
        )
        return output

    def _run(self, operation: FastOperation, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """TT-NN's part of an operation: checks, outputs, program."""
        stand_in = _STAND_INS.get(operation.python_fully_qualified_name)
        return (
            self._original(operation, *arguments, **keywords) if stand_in is None else stand_in(*arguments, **keywords)
        )

    def _check_outputs(self, keywords: dict[str, Any]) -> None:
        """Refuse dead tensors as outputs, on which some operations of TT-NN crash."""
        for name in OUTPUT_KEYWORDS if keywords else ():
            if keywords.get(name) is not None:
                for tensor in device_tensors(keywords[name]):
                    self._memory.check_allocated(tensor)

    def replay(self, operation: Recorded) -> None:
        """Compute one operation of a trace from what its inputs' buffers hold now."""
        name, rule, arguments, keywords, output, inputs, written = operation
        handles: list[Any] = list(inputs)
        values = {id(handle): self._memory.read(handle) for handle in handles}
        if rule.updates:
            fresh = list(written)[len(rule.updates) :]
            self._update(rule, Call(name, arguments, keywords, output, ()), fresh, values)
        else:
            self._store(rule, name, arguments, keywords, output, list(written), handles, values)

    def _read_host(self, tensor: ttnn.Tensor) -> ttnn.Tensor:
        return to_host(self._memory, tensor)

    def _read_first(self, tensor: ttnn.Tensor) -> torch.Tensor:
        return next(iter(self._memory.read(tensor).values()))

    def _semantics(self, operation: FastOperation) -> Semantics:
        name = operation.python_fully_qualified_name
        found = self._known.get(name) or own_semantics().get(name)
        if found is None and (exchange := collective_function(name)) is not None:
            found = Semantics(exchange, updates=(), takes_call=False, collective=operation)
        found = found or semantics_of(operation)
        if found is None:
            raise EmulationError(
                f"{name} has no values on the emulated device: TT-NN gives it no golden function, and "
                "pytest_ttbringup/emulation/semantics/ has none of its own. Add one there with "
                f'@semantics("{name}"), or run this test on --tt-target=silicon or simulator.'
            )
        self._known[name] = found
        return found

    def _update(self, rule: Semantics, call: Call, outputs: list[ttnn.Tensor], values: dict[int, Shards]) -> None:
        """Let `rule` write into its arguments, and keep what it returns besides for `outputs`."""
        updated = [call.argument(*parameter) for parameter in rule.updates]
        groups: dict[tuple[int, ...], list[Chip]] = {}
        for chip in _chosen(call, chips_of(updated[0])):
            groups.setdefault(tuple(id(parts.get(chip)) for parts in values.values()), []).append(chip)
        written = {id(tensor): self._writable(tensor, values) for tensor in updated}
        for shards in written.values():
            chosen = {chip for chips in groups.values() for chip in chips}
            owned = {id(part) for chip, part in shards.items() if chip not in chosen}
            for chips in groups.values():  # chips that hold the same but get different updates part company here
                own = shards[chips[0]].clone() if id(shards[chips[0]]) in owned else shards[chips[0]]
                owned.add(id(own))
                shards.update(dict.fromkeys(chips, own))
        results: list[Shards] = [{} for _ in outputs]
        for chips in groups.values():
            made = _evaluate(rule, call, chips[0], values | written)
            if made is None:
                continue
            for shards, result in zip(results, _rounded(made, call.name, None, outputs), strict=True):
                shards.update(dict.fromkeys(chips, result))
        for tensor, shards in zip(outputs, results, strict=True):
            if shards:
                self._memory.write(tensor, shards)

    def _writable(self, tensor: ttnn.Tensor, values: dict[int, Shards]) -> Shards:
        """The values of an argument, to be written to, wherever TT-NN has moved them meanwhile."""
        if self._memory.form_of(tensor.buffer_unique_id()) is None:
            copies = {id(part): part.clone() for part in values[id(tensor)].values()}
            self._memory.write(tensor, {chip: copies[id(part)] for chip, part in values[id(tensor)].items()})
        return self._memory.writable(tensor)

    def _store(
        self,
        rule: Semantics,
        name: str,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        output: Any,
        outputs: list[ttnn.Tensor],
        inputs: list[ttnn.Tensor],
        values: dict[int, Shards],
    ) -> None:
        if rule.collective is not None:
            results, padding = self._exchange(rule.collective, arguments, keywords, outputs, values), math.nan
        else:
            call = Call(name, arguments, keywords, output, ())
            results, padding = self._per_chip(rule, call, outputs, values), padding_left_by(call)
        for tensor, shards in zip(outputs, results, strict=True):
            self._memory.write(tensor, shards, padding=padding)
        self._note_sharing(inputs, values, outputs, results)

    def _per_chip(
        self, rule: Semantics, call: Call, outputs: list[ttnn.Tensor], values: dict[int, Shards]
    ) -> list[Shards]:
        """What the outputs hold on each chip, computed once for chips that hold the same."""
        chips = chips_of(outputs[0])
        if len(chips) == 1:  # most often; what follows would cost as much as a small operation's values
            (chip,) = chips
            result = _evaluate(rule, Call(*call[:4], chip), chip, values)
            return [{chip: it} for it in _rounded(result, call.name, call.output, outputs)]
        results: list[Shards] = [{} for _ in outputs]
        computed: dict[tuple[int, ...], list[torch.Tensor]] = {}
        for chip in chips:
            same = tuple(id(shards.get(chip)) for shards in values.values())
            if same not in computed:
                own = call._replace(chip=chip)
                computed[same] = _rounded(_evaluate(rule, own, chip, values), call.name, call.output, outputs)
            for shards, result in zip(results, computed[same], strict=True):
                shards[chip] = result
        return results

    def _exchange(
        self,
        operation: FastOperation,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        outputs: list[ttnn.Tensor],
        values: dict[int, Shards],
    ) -> list[Shards]:
        """What the outputs of a collective hold once its chips have exchanged their parts."""
        name = operation.python_fully_qualified_name
        given = bound(operation, arguments, {key: it for key, it in keywords.items() if key not in QUEUE_KEYWORDS})
        inputs = {key: it for key, it in given.items() if key not in OUTPUT_KEYWORDS}
        results = run_collective(name, inputs, outputs, values, lambda part, to: _rounded(part, name, to, [to])[0])
        complete = []
        for tensor, shards in zip(outputs, results, strict=True):
            chips = chips_of(tensor)
            missing = [chip for chip in chips if chip not in shards]
            kept = self._memory.read_or_unknown(tensor, missing) if missing else {}
            complete.append({chip: shards[chip] if chip in shards else kept[chip] for chip in chips})
        return complete

    def _note_sharing(
        self, inputs: list[ttnn.Tensor], values: dict[int, Shards], outputs: list[ttnn.Tensor], results: list[Shards]
    ) -> None:
        """Mark buffers whose values are the same memory on the host, as after a move, so that no one writes them in
        place.
        """
        made = [
            (tensor, {_storage(part) for part in shards.values()})
            for tensor, shards in zip(outputs, results, strict=True)
        ]
        for source in inputs:
            held = {_storage(part) for part in values[id(source)].values()}
            for tensor, storages in made:
                if not held.isdisjoint(storages) and source.buffer_unique_id() != tensor.buffer_unique_id():
                    self._memory.mark_shared(source)
                    self._memory.mark_shared(tensor)


def _storage(values: torch.Tensor) -> int:
    """Where values lie in the host's memory; views of others lie where those do."""
    return values.untyped_storage().data_ptr()


def _chosen(call: Call, chips: list[Chip]) -> list[Chip]:
    """Those of `chips` that an operation is told to run on with `mesh_coords`; all if it is not."""
    wanted = call.keywords.get("mesh_coords")
    if not wanted:
        return chips
    places = {tuple(coordinate) for coordinate in wanted}
    return [chip for chip in chips if chip in places]


def _fresh(outputs: list[ttnn.Tensor], updated: list[Any]) -> list[ttnn.Tensor]:
    """The outputs that are not arguments which were updated."""
    known = {tensor.buffer_unique_id() for tensor in updated}
    return [tensor for tensor in outputs if tensor.buffer_unique_id() not in known]


def _refuse_parts(name: str, inputs: list[ttnn.Tensor]) -> None:
    """TT-Metal's mock cluster crashes when an operation runs on some chips of an open mesh and not on others."""
    for tensor in inputs:
        mesh = tensor.device()
        if mesh.get_num_devices() > 1 and len(tensor.device_coords()) < mesh.get_num_devices():
            places, shape = ", ".join(map(str, chips_of(tensor))), "x".join(map(str, mesh.shape))
            raise EmulationError(
                f"{name}: an input of shape {list(tensor.shape)} lies on {places} only, of a {shape} mesh; the "
                "emulated device runs operations on all chips of one. Make a mesh of those chips with "
                "mesh_device.create_submesh(...) and place the tensor there, or run this test on --tt-target=silicon."
            )


def _evaluate(rule: Semantics, call: Call, chip: Chip, values: dict[int, Shards]) -> Any:
    def on_chip(tensor: ttnn.Tensor) -> torch.Tensor:
        shards = values.get(id(tensor))
        return shards[chip] if shards is not None else values_of(tensor)

    refuses = rule.refuses if rule.updates else (*rule.refuses, "mesh_coords")
    for refused in refuses if call.keywords else ():
        if call.keywords.get(refused) not in (None, False):
            raise EmulationError(f"{call.name}: {refused}={call.keywords[refused]!r} is not emulated")
    arguments = substitute(call.arguments, on_chip)
    keywords = substitute({name: it for name, it in call.keywords.items() if name not in _NOT_VALUES}, on_chip)
    return rule.function(call, *arguments, **keywords) if rule.takes_call else rule.function(*arguments, **keywords)


def _rounded(result: Any, name: str, output: Any, outputs: list[ttnn.Tensor]) -> list[torch.Tensor]:
    """Results of one chip, each of the shape and dtype of its output."""
    if hasattr(result, "dtype") and len(outputs) == 1 and outputs[0].shape == result.shape and not result.is_complex():
        return [arithmetic().stored(result, outputs[0].dtype, name)]  # most often
    if isinstance(output, (list, tuple)) and isinstance(result, (list, tuple)) and len(output) == len(result):
        result = [part for part, tensor in zip(result, output, strict=True) if tensor is not None]  # not asked for
    parts = [part for it in flat(result) for part in ((it.real, it.imag) if it.is_complex() else (it,))]
    if len(parts) != len(outputs):
        raise EmulationError(f"{name}: its semantics gave {len(parts)} tensors where TT-NN returned {len(outputs)}")
    rounded = []
    for part, tensor in zip(parts, outputs, strict=True):
        if tensor.shape != part.shape:
            # Ranks may differ by dimensions of one element; anything else would scramble the values.
            if [it for it in part.shape if it != 1] != [it for it in tuple(tensor.shape) if it != 1]:
                raise EmulationError(
                    f"{name}: its semantics gave the shape {list(part.shape)} where TT-NN's output has "
                    f"{list(tensor.shape)}"
                )
            part = part.reshape(tuple(tensor.shape))
        rounded.append(arithmetic().stored(part, tensor.dtype, name))
    return rounded
