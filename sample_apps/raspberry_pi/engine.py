"""Runs a bundle's model: ONNX Runtime for ``.onnx``, LiteRT for ``.tflite``. Real numbers go in and come out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from bundle import Arrays, Bundle, BundleError

Run = Callable[[Arrays], Arrays]


class Engine:
    """A loaded model.

    Args:
        bundle: whose model to load.
        threads: that one inference may use.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._bundle = bundle
        openers = {"onnx": _open_onnx, "tflite": _open_tflite}
        form = bundle.manifest["format"]
        if form not in openers:
            raise BundleError(f"{bundle.path} holds a model in the format {form}; this app runs {', '.join(openers)}")
        self._run = openers[form](str(bundle.model), threads)

    def __call__(self, arrays: Arrays) -> Arrays:
        """Run one sample of real numbers, named and shaped as the manifest's signature says."""
        return self.run_raw(quantized(arrays, self._bundle.specs("inputs")))

    def run_raw(self, arrays: Arrays) -> Arrays:
        """The same for arrays in the model's own types, such as the golden inputs."""
        return dequantized(self._run(arrays), self._bundle.specs("outputs"))


def quantized(arrays: Arrays, specs: dict[str, dict[str, Any]]) -> Arrays:
    """Inputs in the model's types: ``integer = round(real / scale) + zero_point`` where it takes integers for reals."""
    given: Arrays = {}
    for name, spec in specs.items():
        if name not in arrays:
            raise BundleError(f"the model takes '{name}', and the preprocessing gives {', '.join(arrays)}")
        array = arrays[name]
        if spec.get("scale") is not None:
            limits = np.iinfo(spec["dtype"])
            steps = np.rint(array / np.float32(spec["scale"])) + spec["zero_point"]
            array = np.clip(steps, limits.min, limits.max).astype(spec["dtype"])
        given[name] = np.ascontiguousarray(array)
    return given


def dequantized(outputs: Arrays, specs: dict[str, dict[str, Any]]) -> Arrays:
    """Outputs as real numbers: ``real = scale * (integer - zero_point)``."""
    real: Arrays = {}
    for name, array in outputs.items():
        spec = specs[name]
        if spec.get("scale") is not None and array.dtype.kind in "iu":
            real[name] = (array.astype(np.int32) - spec["zero_point"]).astype(np.float32) * np.float32(spec["scale"])
        else:
            real[name] = array
    return real


def _open_onnx(path: str, threads: int) -> Run:
    try:
        import onnxruntime
    except ImportError as error:
        raise BundleError("onnxruntime is not installed: pip install -r requirements.txt") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda arrays: dict(zip(names, session.run(names, arrays), strict=True))


def _open_tflite(path: str, threads: int) -> Run:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise BundleError("LiteRT is not installed: pip install ai-edge-litert") from error
    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    runners = [interpreter.get_signature_runner(key) for key in interpreter.get_signature_list()]
    if not runners:
        raise BundleError(f"{path} has no signature, so its inputs have no names; export it again")

    def run(arrays: Arrays) -> Arrays:
        # A model has one signature for each length that it takes: the one whose shapes are those of the sample.
        for runner in runners:
            details = runner.get_input_details()
            if all(name in arrays and tuple(d["shape"]) == arrays[name].shape for name, d in details.items()):
                return dict(runner(**arrays))
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise BundleError(f"{path} has no signature for {shapes}")

    return run
