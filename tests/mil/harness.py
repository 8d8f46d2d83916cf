"""Cases of operators: a program of one operator, built by coremltools, and what an independent reference gives."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeexport.mil import table
from edgeexport.mil.machine import Machine
from edgeexport.mil.memory import limited
from edgeexport.mil.ops.control_flow import MilList
from edgeexport.mil.program import Reader

CASES: list["Case"] = []


@dataclass(frozen=True)
class Case:
    """One.

    Attributes:
        op: the operator that it is about.
        label: which aspect.
        build: ``build(mb, **variables)`` gives the program's result, one variable or several.
        inputs: arrays by name; they are the program's inputs.
        expected: from PyTorch, NumPy or coremltools' value inference; never from the evaluator.
        ios: whose opset.
        tolerance: relative to the largest expected magnitude; far below a thousandth.
        states: arrays by name; they are the program's inputs too, after the others.
    """

    op: str
    label: str
    build: Callable[..., Any]
    inputs: dict[str, np.ndarray]
    expected: tuple[np.ndarray, ...]
    ios: int
    tolerance: float = field(default=1e-5)
    states: dict[str, np.ndarray] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.op}-{self.label}"


def case(op, label, build, inputs, expected, ios=17, tolerance=1e-5, states=None):
    """Enter a case; ``expected`` is an array (or PyTorch tensor), or a tuple or list of them."""
    several = expected if isinstance(expected, tuple | list) else (expected,)
    arrays = tuple(np.asarray(value) for value in several)
    CASES.append(Case(op, label, build, inputs, arrays, ios, tolerance, states or {}))


def seeded(name):
    """A generator of its own for a family, so that adding a case changes no other family."""
    return np.random.default_rng(abs(sum(ord(c) * 31**i for i, c in enumerate(name))) % 2**32)


def collect():
    """All cases of all families."""
    if not CASES:
        families = importlib.import_module("tests.mil.families")
        for module in pkgutil.iter_modules(families.__path__):
            importlib.import_module(f"tests.mil.families.{module.name}")
    return CASES


def builder():
    """coremltools' builder, with its log lines off."""
    import logging

    logging.getLogger("coremltools").setLevel(logging.ERROR)
    from coremltools.converters.mil import Builder

    return Builder


def build_function(case, folder):
    """The case as a function of a saved program, without any optimization: the operator stays what it is."""
    mb = builder()
    import coremltools as ct
    from coremltools.converters.mil.backend.mil.load import MILProtoExporter
    from coremltools.converters.mil.mil import types

    kinds = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32, "bool": types.bool}
    kinds.update({"int8": types.int8, "uint8": types.uint8, "int16": types.int16, "uint16": types.uint16})
    # The builder takes the inputs' names from the function's parameters.
    names = [*case.inputs, *case.states]
    source = f"def program({', '.join(names)}): return build(mb, {', '.join(f'{n}={n}' for n in names)})"
    scope = {"build": case.build, "mb": mb}
    exec(source, scope)
    specs = [mb.TensorSpec(array.shape, kinds[array.dtype.name]) for array in case.inputs.values()]
    specs += [mb.StateTensorSpec(array.shape, kinds[array.dtype.name]) for array in case.states.values()]
    target = getattr(ct.target, f"iOS{case.ios}")
    program = mb.program(input_specs=specs, opset_version=target)(scope["program"])
    (Path(folder) / "weights").mkdir(exist_ok=True)
    return MILProtoExporter(program, str(Path(folder) / "weights"), case.ios - 9).export()


def evaluate(case, folder, mode="exact", largest=1 << 28):
    """The case's outputs as arrays."""
    from edgeexport.mil.blob import BlobFile

    message = build_function(case, folder)

    def blob(name, offset, dtype, shape):
        return BlobFile(Path(folder) / "weights" / Path(name).name).tensor(offset, dtype, shape)

    with limited(largest):
        machine = Machine(Reader(blob).functions(message)["main"], mode, 1000)
    inputs = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in case.inputs.items()}
    inputs = {name: value.float() if value.is_floating_point() else value for name, value in inputs.items()}
    state = {name: torch.from_numpy(array).float() for name, array in case.states.items()}
    with limited(largest):
        results = machine.run({**inputs, **{name: name for name in state}}, state, None)
    return [np.asarray(result) for result in results]


def assert_equal(case, found):
    """Every output is the expected one: shape, kind of elements and values."""
    assert len(found) == len(case.expected)
    for result, expected in zip(found, case.expected, strict=True):
        assert result.shape == expected.shape, f"shape {result.shape}, expected {expected.shape}"
        if expected.dtype.kind != "f":
            np.testing.assert_array_equal(result, expected)
            continue
        assert result.dtype == np.float32
        finite = np.abs(expected[np.isfinite(expected)])
        scale = float(finite.max()) if finite.size else 1.0
        np.testing.assert_allclose(result, expected, rtol=case.tolerance, atol=case.tolerance * 0.1 * scale)


def perturbed(value):
    """A result wrong by a thousandth; integers by one, truth values by one of them, and a list longer too."""
    if isinstance(value, tuple):
        return tuple(perturbed(part) for part in value)
    if isinstance(value, str):
        return value + "?"
    if isinstance(value, dict):
        return {label: number * 1.001 for label, number in value.items()}
    if isinstance(value, MilList):
        return dataclasses.replace(value, elements=(*perturbed(value.elements), None))
    if not isinstance(value, torch.Tensor) or value.numel() == 0:
        return value
    if value.is_floating_point():
        return value * 1.001
    if value.dtype is torch.bool:
        flipped = value.clone()
        flipped.view(-1)[0] ^= True
        return flipped
    return value + 1


def mutate(monkeypatch, name, output=None):
    """Make one operator wrong, in all that it gives or in the output of that number; returns how many it gave."""
    find = table.find
    counts = []

    def wrong(wanted, opset):
        found = find(wanted, opset)
        if wanted != name:
            return found

        def run(**arguments):
            result = found.run(**arguments)
            counts.append(len(result) if isinstance(result, tuple) else 1)
            if output is None or not isinstance(result, tuple):
                return perturbed(result)
            return tuple(perturbed(part) if number == output else part for number, part in enumerate(result))

        return dataclasses.replace(found, run=run)

    monkeypatch.setattr(table, "find", wrong)
    return counts
