"""Short, unique tensor names, made of the module path in the source model.

The converter names a tensor after every class on the way to it, which takes some hundred bytes a tensor and a quarter
of a megabyte a signature.

    package.Bert_model/package.BertEncoder_encoder/torch.nn.modules.linear.Linear_dense;1   →   model.encoder.dense:2
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from edgeexport.formats.tflite.flatbuffer import tensor_name
from edgeexport.module_paths import source_path


def module_path(name: str, common: Mapping[str, int] | None = None) -> str:
    """The path of the module that a tensor was computed in, such as ``encoder.layer.0.dense``; "" for the model's own.

    A fused operator has several names. The last says where its result belongs, unless other layers have it too, as
    the projections of an attention have that of the first: then it is the last of those that the fewest have.

    Args:
        name: as the converter gives it.
        common: of a layer with a weight, how many such layers have each path among theirs.
    """
    paths = _paths(name)
    if not common:
        return paths[-1] if paths else ""
    least = min((common.get(path, 0) for path in paths), default=0)
    rare = [path for path in reversed(paths) if common.get(path, 0) == least]
    inner = (path for path in rare if path.startswith(f"{rare[0]}."))  # the weight's own module, not one around it
    return next(inner, rare[0]) if rare else ""


def _has_weight(model: Any, graph: Any, operator: Any) -> bool:
    """Whether an operator reads a constant of two axes or more."""
    for index in operator.inputs:
        tensor = graph.tensors[index] if index >= 0 else None
        if tensor is not None and tensor.buffer and model.buffers[tensor.buffer].data is not None:
            several = tensor.shape is not None and len(tensor.shape) > 1
            if several:
                return True
    return False


def _paths(name: str) -> list[str]:
    parts = [part for part in name.split(";") if "/" in part or "_" in part.rpartition(".")[2]]
    attributes = [[step.rpartition(".")[2].partition("_")[2] for step in part.split("/")] for part in parts]
    return [".".join(attribute for attribute in steps if attribute) for steps in attributes]


@contextmanager
def source_paths() -> Iterator[None]:
    """While the block runs, the converter names operators by the whole path of a module in the source.

    By itself it takes the last part of each module's name, which leaves out what is never called, such as the
    ModuleList ``layer`` of ``encoder.layer.0``; and it begins with the modules that a
    conversion wraps around the source.
    """
    from litert_torch.backend import debuginfo

    def hierarchy(node: Any) -> str | None:
        path = source_path(node)
        return (
            None if path is None else "/".join(("Model", *(f"Module_{part}" for part in path.split(".") if part))) + ";"
        )

    original = debuginfo.build_mlir_debuginfo
    debuginfo.build_mlir_debuginfo = hierarchy
    try:
        yield
    finally:
        debuginfo.build_mlir_debuginfo = original


def shorten(model: Any, parameters: Mapping[bytes, str] | None = None) -> None:
    """Rename every tensor in place; tensors of later signatures begin with their number.

    Operators that follow each other in the same way in two signatures get the same name after that number. What gives
    an output of the model is called so, and its module is in the names of the constants that it reads.

    Args:
        model: as converted.
        parameters: the path of the module of a parameter, by the :func:`digest` of its bytes.
    """
    owners = parameters or {}
    for number, graph in enumerate(model.subgraphs):
        first = f"{number}/" if number else ""
        names: dict[int, str] = {}
        for index in graph.inputs:
            names[index] = f"{first}input.{len(names)}"
        names.update({index: f"{first}output.{place}" for place, index in enumerate(graph.outputs)})
        taken = set(names.values())
        layers = [operator for operator in graph.operators if operator.outputs and _has_weight(model, graph, operator)]
        written = [tensor_name(graph.tensors[operator.outputs[0]]) for operator in layers]
        common = Counter(path for name in written for path in set(_paths(name)))
        weighted = {operator.outputs[0] for operator in layers}
        for operator in graph.operators:
            for output in (index for index in operator.outputs if index not in names):
                counted = common if output in weighted else None
                path = module_path(tensor_name(graph.tensors[output]), counted) or "model"
                names[output] = _free(f"{first}{path}", taken)
            user = names[operator.outputs[0]] if operator.outputs else f"{first}end"
            if user.removeprefix(first).startswith("output."):
                user = _owner(model, graph, operator, owners, first) or user
            for position, index in enumerate(operator.inputs):
                if index >= 0 and index not in names:
                    names[index] = _free(f"{user}/{position}", taken)
        for index, tensor in enumerate(graph.tensors):
            tensor.name = names.get(index, f"{first}unused.{index}").encode()


def _owner(model: Any, graph: Any, operator: Any, owners: Mapping[bytes, str], first: str) -> str:
    """The module whose parameter an operator reads; empty where it reads none as it was."""
    for index in operator.inputs:
        buffer = graph.tensors[index].buffer if index >= 0 else 0
        data = model.buffers[buffer].data if buffer else None
        if data is not None and len(data) and (path := owners.get(digest(bytes(data)))):
            return f"{first}{path}"
    return ""


def digest(data: bytes) -> bytes:
    """What a parameter is recognised by."""
    return hashlib.sha256(data).digest()


def _free(name: str, taken: set[str]) -> str:
    """The name, or the first of name:2, name:3 … that nothing has yet; it is taken then."""
    numbered = (f"{name}:{number}" for number in itertools.count(2))
    found = next(candidate for candidate in itertools.chain([name], numbered) if candidate not in taken)
    taken.add(found)
    return found
