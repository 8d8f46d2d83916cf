"""What the packers need to know of a ``.tflite`` file: its operators, and its inputs and outputs by position."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.errors import ConversionError, MissingRequirement


@dataclass(frozen=True)
class ModelFacts:
    """A model's first subgraph, the one that is run.

    Attributes:
        ops: names in the schema's spelling, such as ``CONV_2D`` or ``CUSTOM(name)``, each once, in the order of their
            first use in any subgraph.
        inputs: names by position. The position is what a runtime without signatures knows them by.
        outputs: likewise.
    """

    ops: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_facts(path: Path) -> ModelFacts:
    """Read the file at ``path``.

    Raises:
        ConversionError: it is no readable TFLite model.
        MissingRequirement: the reader is not installed.
    """
    try:
        schema: Any = importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as error:
        raise MissingRequirement(
            "reading a .tflite file needs the package ai-edge-litert", "pip install 'edgeexport[litert]'"
        ) from error
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise ConversionError(f"packing: {path} is not a TFLite model")
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    try:
        return _facts(schema.Model.GetRootAs(data, 0), names)
    except Exception as error:  # the generated reader raises whatever damaged offsets lead to
        raise ConversionError(f"packing: {path} is damaged: {type(error).__name__}: {error}") from error


def _facts(model: Any, builtin_names: dict[int, str]) -> ModelFacts:
    subgraphs = [model.Subgraphs(index) for index in range(model.SubgraphsLength())]
    ops: dict[str, None] = {}
    for subgraph in subgraphs:
        for index in range(subgraph.OperatorsLength()):
            code = model.OperatorCodes(subgraph.Operators(index).OpcodeIndex())
            # Files from before there were more than 127 operators keep the number in a field of one byte.
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            name = builtin_names.get(number, f"BUILTIN_{number}")
            ops[f"CUSTOM({code.CustomCode().decode()})" if name == "CUSTOM" else name] = None
    main = subgraphs[0]
    inputs = [main.Inputs(index) for index in range(main.InputsLength())]
    outputs = [main.Outputs(index) for index in range(main.OutputsLength())]
    given_inputs = {tensor: main.Tensors(tensor).Name().decode() for tensor in inputs}
    given_outputs = {tensor: main.Tensors(tensor).Name().decode() for tensor in outputs}
    for index in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(index)
        if signature.SubgraphIndex() == 0:
            entries = [signature.Inputs(number) for number in range(signature.InputsLength())]
            given_inputs.update((entry.TensorIndex(), entry.Name().decode()) for entry in entries)
            entries = [signature.Outputs(number) for number in range(signature.OutputsLength())]
            given_outputs.update((entry.TensorIndex(), entry.Name().decode()) for entry in entries)
            break
    return ModelFacts(
        tuple(ops), tuple(given_inputs[tensor] for tensor in inputs), tuple(given_outputs[tensor] for tensor in outputs)
    )
