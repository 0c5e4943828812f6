"""The values of an operation: its semantics on each chip, rounded to its outputs' formats, written to their buffers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pytest_ttbringup.emulation.arithmetic import arithmetic
from pytest_ttbringup.emulation.bindings import bound
from pytest_ttbringup.emulation.calls import Call, flat, substitute, updated_by
from pytest_ttbringup.emulation.collectives import run_collective
from pytest_ttbringup.emulation.errors import EmulationError
from pytest_ttbringup.emulation.filled import is_filled
from pytest_ttbringup.emulation.host import values_of
from pytest_ttbringup.emulation.padding import padding_left_by
from pytest_ttbringup.emulation.queues import QUEUE_KEYWORDS
from pytest_ttbringup.emulation.semantics import Semantics
from pytest_ttbringup.emulation.values import Chip, DeviceMemory, Shards, chips_of, unknown_values

if TYPE_CHECKING:
    import torch
    import ttnn
    from ttnn.decorators import FastOperation

OUTPUT_KEYWORDS = ("output_tensor", "optional_tensor", "optional_output_tensor", "out", "output", "output_tensors")
"""Keywords of tensors that an operation only writes (from `ttnn.decorators.DEFAULT_OUTPUT_TENSOR_KWARG_NAMES`)."""

_NOT_VALUES = (*QUEUE_KEYWORDS, *OUTPUT_KEYWORDS)


class Evaluator:
    """Computes what operations leave in a device's memory."""

    def __init__(self, memory: DeviceMemory) -> None:
        self._memory = memory

    def update(self, rule: Semantics, call: Call, outputs: list[ttnn.Tensor], values: dict[int, Shards]) -> None:
        """Let `rule` write into its arguments, and keep what it returns besides for `outputs`."""
        updated = updated_by(call, rule.updates)
        groups: dict[tuple[int, ...], list[Chip]] = {}
        for chip in _chosen(call, chips_of((updated or outputs)[0])):
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

    def store(
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
        """What the outputs hold on each chip, computed once for chips that hold the same where that is allowed."""
        chips = chips_of(outputs[0])
        if not any(tensor.logical_volume() for tensor in outputs):  # no rule needs to know of tensors without elements
            return [dict.fromkeys(chips, unknown_values(tensor)) for tensor in outputs]
        if len(chips) == 1:  # most often; what follows would cost as much as a small operation's values
            (chip,) = chips
            result = _evaluate(rule, Call(*call[:4], chip), chip, values)
            return [{chip: it} for it in _rounded(result, call.name, call.output, outputs)]
        results: list[Shards] = [{} for _ in outputs]
        computed: dict[tuple[int, ...], list[torch.Tensor]] = {}
        for chip in chips:
            if any(chip not in shards for shards in values.values()):  # of a tensor on some chips: nothing runs there
                for tensor, shards in zip(outputs, results, strict=True):
                    shards[chip] = unknown_values(tensor)
                continue
            same = chip if rule.by_chip else tuple(id(shards[chip]) for shards in values.values())
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
        return [_stored(result, outputs[0].dtype, name)]  # most often
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
        rounded.append(_stored(part, tensor.dtype, name))
    return rounded


def _stored(values: torch.Tensor, dtype: ttnn.DataType, name: str) -> torch.Tensor:
    """`values` as an output of `dtype` holds them; where one value fills it all, it is rounded and held once."""
    if not is_filled(values):
        return arithmetic().stored(values, dtype, name)
    block = values.as_strided((1, 32), (0, 0)).contiguous()
    return arithmetic().stored(block, dtype, name)[0, :1].clone().expand(values.shape)
