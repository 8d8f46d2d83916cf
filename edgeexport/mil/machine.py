"""Runs one function of a program, operation by operation.

A value lives until its last use. In the mode ``device`` every result that the program declares float16 is rounded to
float16, as hardware that computes in float16 would at best: it accumulates in float32 within an operator, and what
overflows or turns into NaN there is located.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from edgeexport.errors import EdgeExportError, ModelError
from edgeexport.mil import table
from edgeexport.mil.budget import Budget
from edgeexport.mil.findings import Findings
from edgeexport.mil.program import Block, Function, Named, Operation
from edgeexport.mil.program import Literal as Constant

Mode = Literal["exact", "device"]
Watch = Callable[[str, torch.Tensor], None]

_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What Python and PyTorch raise where a program asks for something that makes no sense."""


@dataclass(frozen=True)
class _Step:
    """An operation with its constants converted.

    Attributes:
        fixed: arguments that are constants.
        reads: parameter, name of the value, and what to convert it to (None where nothing is to be done).
        several: parameters that take more than one value, with a constant or a name for each.
        last: names that nothing uses after this step.
    """

    operation: Operation
    op: table.Op
    fixed: dict[str, Any]
    reads: tuple[tuple[str, str, Any], ...]
    several: tuple[tuple[str, tuple[Any, ...]], ...]
    last: tuple[str, ...]
    blocks: tuple[_Plan, ...]


@dataclass(frozen=True)
class _Plan:
    """A block ready to run, with the constants that it gives as outputs."""

    block: Block
    steps: tuple[_Step, ...]
    constants: dict[str, Any]


@dataclass
class _Run:
    """What one run carries along."""

    state: dict[str, torch.Tensor]
    watch: Watch | None
    budget: Budget


class Machine:
    """A function ready to run.

    Args:
        function: see :class:`~edgeexport.mil.program.Function`.
        mode: ``exact`` or ``device``.
        iterations: how often loops may run in one run, all together, before one is taken for endless.

    Raises:
        ModelError: an operator is not executed, misses a parameter, or uses a value before there is one.
    """

    def __init__(self, function: Function, mode: Mode, iterations: int) -> None:
        self.function = function
        self.findings = Findings()
        self._device = mode == "device"
        self._iterations = iterations
        self._constants: dict[str, Any] = {}
        self._held = Budget()
        names = {value.name for value in function.inputs}
        self._plan = self._prepare(function.block, names)

    def run(self, inputs: Mapping[str, Any], state: dict[str, torch.Tensor], watch: Watch | None) -> list[Any]:
        """The function's outputs in order."""
        given = {value.name: inputs[value.name] for value in self.function.inputs}
        values = {
            value.name: self._settle(value, given[value.name], ("input", (given[value.name],)))
            for value in self.function.inputs
        }
        with torch.inference_mode():
            run = _Run(state, watch, Budget(self._held.held, self._iterations))
            return list(self._run_plan(self._plan, values, run))

    # Preparing.

    def _prepare(self, block: Block, known: set[str]) -> _Plan:
        outside, known = known, set(known)
        _see_new(block.inputs, known)
        last = _last_uses(block)
        steps = []
        for number, operation in enumerate(block.operations):
            with _located(operation):
                step = self._step(operation, known, last.get(number, []))
            if step is not None:
                steps.append(step)
            _see_new(operation.outputs, known)
        for name in block.outputs:
            if name not in known:
                raise ModelError(f"the program's output '{name}' is given by no operation")
        constants = {name: self._constants[name] for name in block.outputs if name in self._constants}
        # Another block may use the same names for something else.
        for name in known - outside:
            self._constants.pop(name, None)
        return _Plan(block, tuple(steps), constants)

    def _step(self, operation: Operation, known: set[str], last: list[str]) -> _Step | None:
        if operation.op == "const":
            value = operation.arguments.get("val")
            if not isinstance(value, Constant):
                raise ModelError("a constant has no value")
            self._constants[operation.outputs[0].name] = self._load(value)
            return None
        op = table.find(operation.op, self.function.opset)
        step = self._bind(operation, op, known, tuple(name for name in last if name not in self._constants))
        if operation.op.startswith("constexpr_") and not step.reads and not step.several:
            # Weights are decompressed once; what they were is let go unless something else uses it.
            results = op.run(**step.fixed)
            results = results if isinstance(results, tuple) else (results,)
            if len(results) != len(operation.outputs):
                raise ModelError(f"it gives {len(results)} values, and the program takes {len(operation.outputs)}")
            for output, result in zip(operation.outputs, results, strict=True):
                settled = self._settle(output, result, (operation.op, step.fixed.values()))
                self._held.hold(settled.nbytes)
                self._constants[output.name] = settled
            for name in last:
                self._constants.pop(name, None)
            return None
        return step

    def _bind(self, operation: Operation, op: table.Op, known: set[str], last: tuple[str, ...]) -> _Step:
        unknown = set(operation.arguments) - set(op.parameters)
        if unknown:
            raise ModelError(f"it has the parameter {min(unknown)!r}, which is not known")
        missing = op.required - set(operation.arguments)
        if missing:
            raise ModelError(f"it lacks the parameter {min(missing)!r}")
        fixed: dict[str, Any] = {}
        reads: list[tuple[str, str, Any]] = []
        several: list[tuple[str, tuple[Any, ...]]] = []
        for key, argument in operation.arguments.items():
            kind = op.parameters[key]
            parts = argument if isinstance(argument, tuple) else (argument,)
            if len(parts) != 1 and kind not in (table.Tensors, Any):
                raise ModelError(f"its parameter {key!r} takes one value, and the program has {len(parts)}")
            found = tuple(self._lookup(part, known) for part in parts)
            if all(constant for constant, _ in found):
                values = tuple(value for _, value in found)
                variadic = kind == table.Tensors or isinstance(argument, tuple)
                fixed[key] = values if variadic else table.convert(values[0], kind)
            elif kind == table.Tensors or isinstance(argument, tuple):
                several.append((key, found))
            else:
                reads.append((key, found[0][1], None if kind is Any else kind))
        blocks = tuple(self._prepare(block, known) for block in operation.blocks)
        return _Step(operation, op, fixed, tuple(reads), tuple(several), last, blocks)

    def _lookup(self, part: str | Constant, known: set[str]) -> tuple[bool, Any]:
        if isinstance(part, Constant):
            return True, self._load(part)
        if part not in known:
            raise ModelError(f"it uses '{part}' before any operation gives it")
        if part in self._constants:
            return True, self._constants[part]
        return False, part

    def _load(self, constant: Constant) -> Any:
        """The constant's value; one that is not simply a part of its file is counted."""
        value = constant.load()
        if isinstance(value, torch.Tensor) and constant.stored is not None and constant.stored.bytes < value.nbytes:
            self._held.hold(value.nbytes)
        return value

    # Running.

    def _run_plan(self, plan: _Plan, values: dict[str, Any], run: _Run) -> tuple[Any, ...]:
        run.budget.frames.append(values)
        for step in plan.steps:
            with _located(step.operation):
                arguments = self._arguments(step, values, run)
                self._store(step, arguments, step.op.run(**arguments), values, run)
            for name in step.last:
                values.pop(name, None)
        run.budget.frames.pop()
        return tuple(plan.constants[name] if name in plan.constants else values[name] for name in plan.block.outputs)

    def _arguments(self, step: _Step, values: dict[str, Any], run: _Run) -> dict[str, Any]:
        arguments = dict(step.fixed)
        for key, name, kind in step.reads:
            value = values[name]
            arguments[key] = value if kind is None else table.convert(value, kind)
        for key, parts in step.several:
            arguments[key] = tuple(value if constant else values[value] for constant, value in parts)
        if step.op.wants_call is not None:
            arguments[step.op.wants_call] = self._call(step, values, run)
        return arguments

    def _store(
        self, step: _Step, arguments: Mapping[str, Any], results: Any, values: dict[str, Any], run: _Run
    ) -> None:
        outputs = step.operation.outputs
        if not isinstance(results, tuple):
            results = (results,)
        if len(results) != len(outputs):
            raise ModelError(f"it gives {len(results)} values, and the program takes {len(outputs)}")
        for value, result in zip(outputs, results, strict=True):
            # What is in a block is located there.
            source = None if step.blocks else (step.operation.op, arguments.values())
            settled = self._settle(value, result, source)
            values[value.name] = settled
            if isinstance(settled, torch.Tensor):
                run.budget.add(settled)
                if run.watch is not None:
                    run.watch(value.name, settled)

    def _call(self, step: _Step, values: dict[str, Any], run: _Run) -> table.Call:
        def run_block(number: int, arguments: Sequence[Any]) -> tuple[Any, ...]:
            plan = step.blocks[number]
            inner = dict(values)
            for value, argument in zip(plan.block.inputs, arguments, strict=True):
                inner[value.name] = argument
            return self._run_plan(plan, inner, run)

        return table.Call(step.operation, run_block, run.budget.iterate, run.state)

    def _settle(self, value: Named, result: Any, source: tuple[str, Iterable[Any]] | None) -> Any:
        """Bring a result to the declared type, and check its shape."""
        kind = value.type
        if kind.container != "tensor" or not isinstance(result, torch.Tensor):
            return result
        if result.dtype is not kind.dtype.held:
            if result.is_floating_point() != (kind.dtype.kind == "float"):
                raise ModelError(f"'{value.name}' is declared {kind} and came out as {result.dtype}")
            result = result.to(kind.dtype.held)
        if kind.shape is not None and not _fits(result.shape, kind.shape):
            raise ModelError(f"'{value.name}' is declared {kind} and came out with the shape {list(result.shape)}")
        if self._device and kind.dtype.name == "fp16":
            rounded = result.half().float()
            if source is not None:
                self.findings.note(value.name, result, rounded, *source)
            return rounded
        return result


def _fits(found: Sequence[int], declared: Sequence[int | None]) -> bool:
    return len(found) == len(declared) and all(b is None or a == b for a, b in zip(found, declared, strict=True))


def _see_new(values: Iterable[Named], known: set[str]) -> None:
    """Add names to those that are known, each of which is given once."""
    for value in values:
        if value.name in known:
            raise ModelError(f"the program gives '{value.name}' twice")
        known.add(value.name)


def _last_uses(block: Block) -> dict[int, list[str]]:
    """By the number of an operation, the values that the block makes and does not give, and that it is last to use."""
    made = {value.name for operation in block.operations for value in operation.outputs}
    uses: dict[str, int] = {}
    for number, operation in enumerate(block.operations):
        for value in operation.outputs:
            uses[value.name] = number
        for name in _names(operation):
            if name in made:
                uses[name] = number
    for name in block.outputs:
        uses.pop(name, None)
    last: dict[int, list[str]] = {}
    for name, number in uses.items():
        last.setdefault(number, []).append(name)
    return last


def _names(operation: Operation) -> set[str]:
    """Names that an operation uses, in its blocks too."""
    found: set[str] = set()
    for argument in operation.arguments.values():
        parts = argument if isinstance(argument, tuple) else (argument,)
        found |= {part for part in parts if isinstance(part, str)}
    for block in operation.blocks:
        found |= set(block.outputs)
        for inner in block.operations:
            found |= _names(inner)
    return found


def _at(operation: Operation, what: str) -> ModelError:
    return ModelError(f"{operation.op} '{operation.name}': {what}")


class _located:  # noqa: N801
    """Says of an error which operation it is about."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, EdgeExportError):
            raise _at(self._operation, str(error)) from error
        if isinstance(error, _FAULTS):
            raise _at(self._operation, str(error).splitlines()[0] if str(error) else repr(error)) from error
