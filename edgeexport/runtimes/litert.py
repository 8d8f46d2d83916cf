"""LiteRT, TensorFlow Lite's successor, on the CPU with XNNPACK."""

from importlib.metadata import version

import tflite_model
from ai_edge_litert.interpreter import Interpreter

RUNTIME = "litert"
NEEDS = {
    "imports": "ai_edge_litert.interpreter",
    "distribution": "ai-edge-litert",
    "extra": "litert",
    "boards": ("arm64",),
}


def load(path, threads):
    """Open the ``.tflite`` file at ``path``.

    Raises RuntimeError where XNNPACK does not work on this machine: LiteRT would go on without a word, on kernels that
    are slower by far and round otherwise. A model none of whose operators XNNPACK takes is fine.
    """
    if not tflite_model.xnnpack_works(Interpreter):
        raise RuntimeError(
            "XNNPACK is not active: it did not recognise the processor from /proc/cpuinfo and /sys/devices/system/cpu"
        )
    interpreter = Interpreter(model_path=path, num_threads=threads)
    if "decode" in interpreter.get_signature_list():  # a language model, whose cache must not be copied at every call
        del interpreter
        held = _held()
        if held is not None:
            return held.Held(path, threads)
        interpreter = Interpreter(model_path=path, num_threads=threads)
    return tflite_model.Model(interpreter)


def _held():
    """The module for models with a cache, or None where this build of LiteRT has not what it needs."""
    try:
        import litert_held
    except ImportError:
        return None
    return litert_held if litert_held.works() else None


def info():
    """Name and version for the report."""
    return {"runtime": RUNTIME, "version": version("ai-edge-litert")}
