"""ONNX Runtime on the CPU."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, when it is imported

import onnxruntime

RUNTIME = "onnxruntime"
NEEDS = {"imports": "onnxruntime", "distribution": "onnxruntime", "boards": ("arm64",)}


class Model:
    """One session, sequential, with a fixed number of threads."""

    def __init__(self, path, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs):
        """Run one sample: a dict of arrays in, a dict of arrays out."""
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs)))


def load(path, threads):
    """Open the ``.onnx`` file at ``path``."""
    return Model(path, threads)


def info():
    """Name and version for the report."""
    return {"runtime": RUNTIME, "version": onnxruntime.__version__}
