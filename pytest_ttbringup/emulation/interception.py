"""Where the value plane meets TT-NN: one wrapper around every operation.

TT-NN calls each operation through `ttnn.decorators.FastOperation`. The wrapper lets TT-NN do all it does on a device
(checks, output shapes, allocation, program selection), then computes what the output's buffer would hold. TT-NN's slow
runtime mode offers hooks for the same purpose, but costs 0.3 ms per operation, more than most operations' values on a
decode step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.calls import Call, device_tensors, substitute, updated_by
from pytest_ttbringup.emulation.capture import Capture, Recorded
from pytest_ttbringup.emulation.collectives import collective_function, require_fabric
from pytest_ttbringup.emulation.commands import Commands
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.evaluation import OUTPUT_KEYWORDS, Evaluator
from pytest_ttbringup.emulation.golden import semantics_of
from pytest_ttbringup.emulation.handles import TensorHandle
from pytest_ttbringup.emulation.host_arguments import with_host_values
from pytest_ttbringup.emulation.issuing import Issuer
from pytest_ttbringup.emulation.measured_calls import MeasuredCalls
from pytest_ttbringup.emulation.padding import READING_PADDING
from pytest_ttbringup.emulation.semantics import Semantics, own_semantics
from pytest_ttbringup.emulation.values import DeviceMemory

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
        self._issuer = Issuer(original, commands.part_programs)
        self._evaluator = Evaluator(memory)
        self._known: dict[str, Semantics] = {}
        self._measured = MeasuredCalls(memory.meter, original)
        commands.forget_programs = self._measured.programs.close
        own_semantics()  # loads the collectives, too

    def __call__(self, operation: FastOperation, *arguments: Any, **keywords: Any) -> Any:
        """Run `operation` in TT-NN, then give its outputs their values.

        Raises:
            EmulationError: the operation has no semantics, or an input has no value. Whatever TT-NN itself raises
            passes through.
        """
        name = operation.python_fully_qualified_name
        self._commands.forks.check_call(name, arguments, keywords)
        self._commands.pending_reads.check(name, arguments, keywords)
        transfer = self._transfers.get(name)
        if transfer is not None:
            return transfer(operation.function, *arguments, **keywords)
        if not operation.is_cpp_operation and name not in own_semantics():
            # written in Python: the operations inside come by here
            return self._original(operation, *arguments, **keywords)

        inputs = device_tensors(*arguments, *(it for name, it in keywords.items() if name not in OUTPUT_KEYWORDS))
        if self._memory.graph_captures.sends_nothing():
            return self._without_values(operation, arguments, keywords, inputs)
        if collective_function(name) is not None and inputs:
            require_fabric(name, inputs[0])
        capture = self._capture_around(name, arguments, keywords, inputs) if self._commands.capturing() else None
        if capture is not None:
            with capture.complete(name):
                return self._capture(capture, operation, arguments, keywords, inputs)
        arguments, keywords = with_host_values(name, arguments, keywords, self._read_first)
        self._check_outputs(keywords)
        read = self._memory.read_padded if name in READING_PADDING else self._memory.read
        values = {id(tensor): read(tensor) for tensor in inputs}
        sent = self._commands.program(keywords, inputs)
        output, told = self._measured.issue(name, inputs, lambda: self._issuer.run(operation, arguments, sent))
        outputs = device_tensors(output)
        if not outputs and not inputs:
            return output  # ran on the host
        kept = [it for it in inputs if it.is_allocated() and it.buffer_unique_id() is not None]  # some are freed
        rule = self._semantics(operation)
        if rule.updates:
            updated = updated_by(Call(name, arguments, keywords, output, ()), rule.updates)
            fresh = _fresh(outputs, updated)
            self._commands.command(name, keywords, reads=kept, writes=updated + fresh, program=True)
            self._evaluator.update(rule, Call(name, arguments, keywords, output, ()), fresh, values)
            self._measured.ran(operation, arguments, sent, inputs, outputs, told)
            return output
        if not outputs:
            raise EmulationError(
                f"{name} returned no tensor, so it may have written into an argument, of which TT-NN's golden function "
                f'says nothing. Give it semantics with @semantics("{name}", updates=...).'
            )
        if name in VIEWS and inputs and outputs[0].buffer_unique_id() == inputs[0].buffer_unique_id():
            return output  # no command is sent
        self._commands.command(name, keywords, reads=kept, writes=outputs, program=True)
        self._evaluator.store(rule, name, arguments, keywords, output, outputs, kept, values)
        self._measured.ran(operation, arguments, sent, inputs, outputs, told)
        return output

    def _capture_around(
        self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any], inputs: list[ttnn.Tensor]
    ) -> Capture | None:
        """The capture that a call belongs to; of inputs that are dead, an output that is given may tell the device."""
        return self._commands.capture_of(name, arguments, keywords, [*inputs, *device_tensors(*keywords.values())])

    def _without_values(
        self,
        operation: FastOperation,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        inputs: list[ttnn.Tensor],
    ) -> Any:
        """Run `operation` where TT-NN allocates and sends nothing: in a graph capture with `RunMode.NO_DISPATCH`."""
        self._check_outputs(keywords)
        for tensor in inputs:
            self._memory.check_allocated(tensor)
        return self._issuer.run(operation, arguments, keywords)

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
        before = {id(tensor): TensorHandle.of(tensor, capture.buffers) for tensor in inputs}
        given = {it.buffer_unique_id() for it in device_tensors(*arguments, *keywords.values()) if it.is_allocated()}
        program = self._commands.program(keywords, inputs, captured=True)
        output = self._issuer.run_in(capture, operation, arguments, program)
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
        after = {id(tensor): TensorHandle.of(tensor, capture.buffers) for tensor in outputs}

        def handle(tensor: ttnn.Tensor) -> Any:
            return after.get(id(tensor)) or before.get(id(tensor)) or tensor

        held = substitute(arguments, lambda tensor: before.get(id(tensor), tensor))
        held_keywords = substitute(keywords, lambda tensor: before.get(id(tensor), tensor))
        updated = updated_by(Call(name, held, held_keywords, None, ()), rule.updates)
        written = updated + [after[id(tensor)] for tensor in _fresh(outputs, updated)]
        beside = self._measured.captured(operation, arguments, program, inputs, outputs)
        tensors = substitute(output, handle), list(before.values()), written
        capture.operations.append(Recorded(name, rule, held, held_keywords, *tensors, beside))
        return output

    def _check_outputs(self, keywords: dict[str, Any]) -> None:
        """Refuse dead tensors as outputs, on which some operations of TT-NN crash."""
        for name in OUTPUT_KEYWORDS if keywords else ():
            if keywords.get(name) is not None:
                for tensor in device_tensors(keywords[name]):
                    self._memory.check_allocated(tensor)

    def replay(self, operation: Recorded) -> None:
        """Compute one operation of a trace from what its inputs' buffers hold now."""
        name, rule, arguments, keywords, output, inputs, written, _ = operation
        handles: list[Any] = list(inputs)
        read = self._memory.read_padded if name in READING_PADDING else self._memory.read
        values = {id(handle): read(handle) for handle in handles}
        if rule.updates:
            call = Call(name, arguments, keywords, output, ())
            fresh = list(written)[len(updated_by(call, rule.updates)) :]
            self._evaluator.update(rule, call, fresh, values)
        else:
            self._evaluator.store(rule, name, arguments, keywords, output, list(written), handles, values)

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


def _fresh(outputs: list[ttnn.Tensor], updated: list[Any]) -> list[ttnn.Tensor]:
    """The outputs that are not arguments which were updated."""
    known = {tensor.buffer_unique_id() for tensor in updated}
    return [tensor for tensor in outputs if tensor.buffer_unique_id() not in known]
