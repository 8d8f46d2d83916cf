"""Short, unique tensor names, made of the module path in the source model.

The converter names a tensor after every class on the way to it, which takes some hundred bytes a tensor and a quarter
of a megabyte a signature.

    package.Bert_model/package.BertEncoder_encoder/torch.nn.modules.linear.Linear_dense;1   →   model.encoder.dense.2
"""

from __future__ import annotations

import itertools
from typing import Any

from edgeexport.formats.tflite.flatbuffer import tensor_name


def module_path(name: str) -> str:
    """The path of the module that a tensor was computed in, such as ``encoder.layer.0.dense``; "" for the model's own.

    A fused operator has several names; the last says where its result belongs.
    """
    parts = [part for part in name.split(";") if "/" in part or "_" in part.rpartition(".")[2]]
    steps = parts[-1].split("/") if parts else []
    attributes = (step.rpartition(".")[2].partition("_")[2] for step in steps)
    return ".".join(attribute for attribute in attributes if attribute)


def shorten(model: Any) -> None:
    """Rename every tensor in place; tensors of later signatures begin with their number.

    Operators that follow each other in the same way in two signatures get the same name after that number.
    """
    for number, graph in enumerate(model.subgraphs):
        first = f"{number}/" if number else ""
        names: dict[int, str] = {}
        for index in graph.inputs:
            names[index] = f"{first}input.{len(names)}"
        names.update({index: f"{first}output.{place}" for place, index in enumerate(graph.outputs)})
        taken = set(names.values())
        for operator in graph.operators:
            for output in (index for index in operator.outputs if index not in names):
                path = module_path(tensor_name(graph.tensors[output])) or "model"
                names[output] = _free(f"{first}{path}", taken)
            user = names[operator.outputs[0]] if operator.outputs else f"{first}end"
            for position, index in enumerate(operator.inputs):
                if index >= 0 and index not in names:
                    names[index] = f"{user}/{position}"
        for index, tensor in enumerate(graph.tensors):
            tensor.name = names.get(index, f"{first}unused.{index}").encode()


def _free(name: str, taken: set[str]) -> str:
    """The name, or the first of name.2, name.3 … that nothing has yet; it is taken then."""
    numbered = (f"{name}.{number}" for number in itertools.count(2))
    found = next(candidate for candidate in itertools.chain([name], numbered) if candidate not in taken)
    taken.add(found)
    return found
