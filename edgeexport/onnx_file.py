"""Reading ``.onnx`` files, for the source and the format alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeexport.errors import ModelError
from edgeexport.signature import Signature, TensorSpec


def load_onnx(path: Path, *, weights: bool = True) -> Any:
    """The ``ModelProto`` at ``path``; without ``weights``, external data stays on disk.

    Raises:
        ModelError: the file is missing, truncated or something else.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=weights)
    except FileNotFoundError as error:
        raise ModelError(f"no ONNX file at {path}, or its external data is missing: {error}") from error
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        raise ModelError(f"{path} is not an ONNX model: {error}") from error
    if not model.graph.output:
        raise ModelError(f"{path} is not an ONNX model: it has no outputs")
    return model


def read_signature(model: Any) -> Signature:
    """Inputs and outputs as the graph declares them; an unnamed dynamic axis is named after its tensor.

    Raises:
        ModelError: one of them is no tensor.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    return Signature(
        tuple(_spec(value) for value in model.graph.input if value.name not in constants),
        tuple(_spec(value) for value in model.graph.output),
    )


def _spec(value: Any) -> TensorSpec:
    from onnx import helper

    tensor = value.type.tensor_type
    if not tensor.elem_type:
        kind = value.type.WhichOneof("value") or "nothing"
        raise ModelError(
            f"'{value.name}' of the ONNX model is {kind.removesuffix('_type')}, not a tensor",
            "Export the model with tensors as inputs and outputs.",
        )
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{value.name}_{axis}"
        for axis, dim in enumerate(tensor.shape.dim)
    )
    return TensorSpec(value.name, str(helper.tensor_dtype_to_np_dtype(tensor.elem_type)), shape)
