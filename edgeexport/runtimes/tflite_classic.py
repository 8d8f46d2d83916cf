"""The last TensorFlow Lite runtime for Python, 2.14: what apps that have not moved to LiteRT still carry.

Its XNNPACK takes float operators only, and its wheels for 32-bit ARM have none: the rest runs on TensorFlow Lite's own
kernels, which is how this runtime is and no fault of the machine.
"""

import tflite_model
from tflite_runtime import __version__
from tflite_runtime.interpreter import Interpreter

RUNTIME = "tflite-runtime"
# The last release: its wheels end with Python 3.11 and were built against numpy 1.
NEEDS = {
    "imports": "tflite_runtime.interpreter",
    "distribution": "tflite-runtime",
    "version": "2.14.0",
    "numpy": "numpy<2",
    "newest_python": "3.11",
    "boards": ("arm64", "armhf"),
}


def load(path, threads):
    """Open the ``.tflite`` file at ``path``."""
    return tflite_model.Model(Interpreter(model_path=path, num_threads=threads))


def info():
    """Name and version for the report."""
    return {"runtime": RUNTIME, "version": __version__}
