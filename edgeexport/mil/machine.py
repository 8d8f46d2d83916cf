"""Runs one function of a program, operation by operation.

A value lives until its last use. In the mode ``device`` every result that the program declares float16 is rounded to
float16, as hardware that computes in float16 would at best: it accumulates in float32 within an operator, and what
overflows or turns into NaN there is located.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from edgeexport.errors import EdgeExportError, ModelError
from edgeexport.mil import table
from edgeexport.mil.program import Block, Function, Named, Operation
from edgeexport.mil.program import Literal as Constant

Mode = Literal["exact", "device"]
Watch = Callable[[str, torch.Tensor], None]

_HALF_MAX = 65504.0


@dataclass(frozen=True)
class Finding:
    """A result that left the range of float16, of operands that were within it.

    Attributes:
        op: the operator.
        output: the value's name.
        kind: ``overflow`` or ``nan``.
        count: elements that did, over all runs.
        largest: the largest magnitude before rounding; NaN where the result was.
    """

    op: str
    output: str
    kind: Literal["overflow", "nan"]
    count: int
    largest: float

    @property
    def where(self) -> str:
        """The operator and the value, for a report."""
        return f"{self.op} '{self.output}'"


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


class Machine:
    """A function ready to run.

    Args:
        function: see :class:`~edgeexport.mil.program.Function`.
        mode: ``exact`` or ``device``.
        iterations: how often a loop may run before it is taken for endless.

    Raises:
        ModelError: an operator is not executed, misses a parameter, or uses a value before there is one.
    """

    def __init__(self, function: Function, mode: Mode, iterations: int) -> None:
        self.function = function
        self.findings: dict[str, Finding] = {}
        self._device = mode == "device"
        self._iterations = iterations
        self._constants: dict[str, Any] = {}
        names = {value.name for value in function.inputs}
        self._plan = self._prepare(function.block, names)

    def run(self, inputs: Mapping[str, Any], state: dict[str, torch.Tensor], watch: Watch | None) -> list[Any]:
        """The function's outputs in order."""
        values = {value.name: self._settle(value, inputs[value.name], None) for value in self.function.inputs}
        with torch.inference_mode():
            return list(self._run_plan(self._plan, values, _Run(state, watch)))

    # Preparing.

    def _prepare(self, block: Block, known: set[str]) -> _Plan:
        known = known | {value.name for value in block.inputs}
        last_use = _last_uses(block)
        steps = []
        for number, operation in enumerate(block.operations):
            for value in operation.outputs:
                if value.name in known:
                    raise ModelError(f"the program gives '{value.name}' twice")
            with _located(operation):
                step = self._step(operation, known, [name for name, use in last_use.items() if use == number])
            if step is not None:
                steps.append(step)
            known |= {value.name for value in operation.outputs}
        for name in block.outputs:
            if name not in known:
                raise ModelError(f"the program's output '{name}' is given by no operation")
        constants = {name: self._constants[name] for name in block.outputs if name in self._constants}
        return _Plan(block, tuple(steps), constants)

    def _step(self, operation: Operation, known: set[str], last: list[str]) -> _Step | None:
        if operation.op == "const":
            value = operation.arguments.get("val")
            if not isinstance(value, Constant):
                raise ModelError("a constant has no value")
            self._constants[operation.outputs[0].name] = value.load()
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
                self._constants[output.name] = self._settle(output, result, None)
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
            found = tuple(self._lookup(part, known) for part in parts)
            if all(constant for constant, _ in found):
                values = tuple(value for _, value in found)
                variadic = kind == table.Tensors or isinstance(argument, tuple)
                fixed[key] = values if variadic else table.convert(values[0], kind)
            elif kind == table.Tensors or isinstance(argument, tuple):
                several.append((key, found))
            else:
                simple = kind is table.Tensor or kind is Any
                reads.append((key, found[0][1], None if simple else kind))
        blocks = tuple(self._prepare(block, known) for block in operation.blocks)
        return _Step(operation, op, fixed, tuple(reads), tuple(several), last, blocks)

    def _lookup(self, part: str | Constant, known: set[str]) -> tuple[bool, Any]:
        if isinstance(part, Constant):
            return True, part.load()
        if part in self._constants:
            return True, self._constants[part]
        if part not in known:
            raise ModelError(f"it uses '{part}' before any operation gives it")
        return False, part

    # Running.

    def _run_plan(self, plan: _Plan, values: dict[str, Any], run: _Run) -> tuple[Any, ...]:
        for step in plan.steps:
            arguments = dict(step.fixed)
            for key, name, kind in step.reads:
                value = values[name]
                arguments[key] = value if kind is None else table.convert(value, kind)
            for key, parts in step.several:
                arguments[key] = tuple(value if constant else values[value] for constant, value in parts)
            if step.op.wants_call is not None:
                arguments[step.op.wants_call] = self._call(step, values, run)
            try:
                results = step.op.run(**arguments)
                self._store(step, arguments, results, values, run.watch)
            except EdgeExportError as error:
                raise _at(step.operation, str(error)) from error
            except (RuntimeError, ValueError, IndexError, TypeError, KeyError, MemoryError) as error:
                raise _at(step.operation, str(error).splitlines()[0] if str(error) else repr(error)) from error
            for name in step.last:
                values.pop(name, None)
        return tuple(plan.constants[name] if name in plan.constants else values[name] for name in plan.block.outputs)

    def _store(
        self, step: _Step, arguments: Mapping[str, Any], results: Any, values: dict[str, Any], watch: Watch | None
    ) -> None:
        outputs = step.operation.outputs
        if not isinstance(results, tuple):
            results = (results,)
        if len(results) != len(outputs):
            raise ModelError(f"it gives {len(results)} values, and the program takes {len(outputs)}")
        for value, result in zip(outputs, results, strict=True):
            settled = self._settle(value, result, (step.operation, arguments))
            values[value.name] = settled
            if watch is not None and isinstance(settled, torch.Tensor):
                watch(value.name, settled)

    def _call(self, step: _Step, values: dict[str, Any], run: _Run) -> table.Call:
        def run_block(number: int, arguments: Sequence[Any]) -> tuple[Any, ...]:
            plan = step.blocks[number]
            inner = dict(values)
            for value, argument in zip(plan.block.inputs, arguments, strict=True):
                inner[value.name] = argument
            return self._run_plan(plan, inner, run)

        return table.Call(step.operation, run_block, self._iterations, run.state)

    def _settle(self, value: Named, result: Any, source: tuple[Operation, Mapping[str, Any]] | None) -> Any:
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
                self._inspect(value.name, result, rounded, *source)
            return rounded
        return result

    def _inspect(
        self, name: str, result: torch.Tensor, rounded: torch.Tensor, operation: Operation, arguments: Mapping[str, Any]
    ) -> None:
        """Note a result that is not finite though every operand is."""
        lost = ~torch.isfinite(rounded)
        count = int(lost.sum())
        if count == 0 or not all(_finite(argument) for argument in arguments.values()):
            return
        nan = bool(torch.isnan(rounded).any())
        largest = float("nan") if nan else float(result.abs().max())
        known = self.findings.get(name)
        if known is not None:
            count += known.count
            nan = nan or known.kind == "nan"
            largest = largest + known.largest if nan else max(largest, known.largest)  # NaN where either is
        self.findings[name] = Finding(operation.op, name, "nan" if nan else "overflow", count, largest)


def _finite(argument: Any) -> bool:
    if isinstance(argument, torch.Tensor):
        return not argument.is_floating_point() or bool(torch.isfinite(argument).all())
    if isinstance(argument, tuple):
        return all(_finite(part) for part in argument)
    return True


def _fits(found: Sequence[int], declared: Sequence[int | None]) -> bool:
    return len(found) == len(declared) and all(b is None or a == b for a, b in zip(found, declared, strict=True))


def _last_uses(block: Block) -> dict[str, int]:
    """For each value that the block makes and does not give, the number of the last operation that uses it."""
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
    return uses


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
        if isinstance(error, ModelError):
            raise _at(self._operation, str(error)) from error
        if isinstance(error, RuntimeError | ValueError | IndexError | TypeError):
            raise _at(self._operation, str(error).splitlines()[0] if str(error) else repr(error)) from error
