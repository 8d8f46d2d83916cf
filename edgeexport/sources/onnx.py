"""Existing ``.onnx`` files. No torch is needed: the float32 reference is ONNX Runtime on the file itself."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexport.artifact import file_digest
from edgeexport.errors import ModelError
from edgeexport.onnx_file import load_onnx, read_signature
from edgeexport.preprocess import ArraysPreprocess, Preprocess
from edgeexport.signature import Signature
from edgeexport.source import Source, SourceOptions, Task

if TYPE_CHECKING:
    import numpy as np


_QUANTIZED = re.compile(r"[Qq]uantize|^QLinear|^Q(Gemm|Attention)|Integer|NBits")
"""In the names of ONNX's and ONNX Runtime's operators on integers."""


def accepts(model: str) -> bool:
    """A path that ends in ``.onnx``."""
    return Path(model).suffix == ".onnx"


def open_source(model: str, _options: SourceOptions) -> OnnxSource:
    """Open an ``.onnx`` file.

    Raises:
        ModelError: there is none, or it is not a float ONNX model.
    """
    path = Path(model)
    if not path.is_file():
        raise ModelError(f"no ONNX file at {path}")
    return OnnxSource(path)


class OnnxSource(Source):
    """A float32 ONNX model."""

    task: Task = "generic"
    labels = None
    assets = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = path.stem
        self.preprocess: Preprocess = ArraysPreprocess()

    def fingerprint(self) -> str:
        """SHA-256 of the file and of its external data."""
        digest = hashlib.sha256(file_digest(self._path).encode())
        for name in sorted(self._external_files()):
            digest.update(f"{name}\0{file_digest(self._path.parent / name)}\0".encode())
        return digest.hexdigest()

    @cached_property
    def signature(self) -> Signature:
        """As the graph declares it."""
        return read_signature(self._model)

    @cached_property
    def float32_bytes(self) -> int:
        """Four bytes for every floating-point element of the initializers."""
        from onnx import TensorProto

        floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
        elements = (math.prod(tensor.dims) for tensor in self._model.graph.initializer if tensor.data_type in floats)
        return 4 * int(sum(elements))

    def reference(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See :class:`Source`."""
        names = [spec.name for spec in self.signature.outputs]
        return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))

    def write_onnx(self, path: Path) -> None:
        """Copy the model, with its external data drawn in."""
        import onnx

        self._external_files()
        onnx.save(load_onnx(self._path), str(path))

    @cached_property
    def _model(self) -> Any:
        model = load_onnx(self._path, weights=False)
        found = sorted({node.op_type for node in model.graph.node if _QUANTIZED.search(node.op_type)})
        if found:
            raise ModelError(
                f"{self._path} is quantized already (it has {found[0]})",
                "Give the float32 model it came from.",
            )
        return model

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        self._external_files()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # as in TorchReference
        return onnxruntime.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])

    def _external_files(self) -> set[str]:
        """Names of the files with external data, each of which is there and in the model's folder."""
        names = set()
        for tensor in self._model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    names.add(str(entry.value))
        for name in names:
            inside = (self._path.parent / name).resolve().is_relative_to(self._path.parent.resolve())
            if not inside:
                raise ModelError(f"{self._path} names external data outside its folder: {name}")
            if not (self._path.parent / name).is_file():
                raise ModelError(f"the external data of {self._path} is missing: {name}")
        return names
