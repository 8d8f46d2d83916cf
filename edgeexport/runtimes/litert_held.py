"""LiteRT with inputs that stay where they are between calls, as the cache of a language model must.

An interpreter copies every input at every call, and keeps a form of the weights that suits the processor for each
signature apart, beside the file's. A compiled model reads and writes buffers that signatures may share, and keeps the
weights once. Its Python package gives no access to a buffer's memory, but the C interface in the same package does:
``LiteRtGetTensorBufferHostMemory`` of ``litert_tensor_buffer.h``.
"""

import ctypes
import os
import tempfile

import ai_edge_litert
import numpy as np
import tflite_model
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.options import CpuOptions, Options


def works():
    """Whether the package has what this needs."""
    try:
        return hasattr(_library(), "LiteRtGetTensorBufferHostMemory")
    except OSError:
        return False


class Held:
    """A model whose signatures share the inputs that :meth:`hold` gives."""

    def __init__(self, path, threads):
        with tempfile.TemporaryDirectory() as folder:
            # Nothing in it tells of which model it is, so that it must not be found again.
            weights = os.path.join(folder, "weights")
            cpu = CpuOptions(num_threads=threads, xnnpack_weight_cache_path=weights)
            options = Options(HardwareAccelerator.CPU, cpu_options=cpu)
            # The first writes the file, with room of its own for the largest weight; what opens it then only maps it.
            CompiledModel.from_file(path, options=options).close()
            self._model = CompiledModel.from_file(path, options=options)
        self._signatures = [
            (key, tflite_model.taken(self._model.get_input_tensor_details(key)))
            for key in self._model.get_signature_list()
        ]
        self._held = {}
        self._calls = {}

    def hold(self, names):
        """Arrays of zeros for these inputs, which :meth:`run` reads in place; what is written to them counts at once.

        Each must have the same shape in every signature. Raises ValueError for one that has not, or is no input.
        """
        for name in names:
            shapes = {taken.get(name) for _, taken in self._signatures}
            if len(shapes) != 1 or None in shapes:
                raise ValueError(f"'{name}' is not an input of one shape in all signatures")
            if name not in self._held:
                buffer = self._model.create_input_buffer_by_name(self._signatures[0][0], name)
                self._held[name] = (buffer, _memory(buffer, *shapes.pop()))
            self._held[name][1][...] = 0
        return {name: self._held[name][1] for name in names}

    def run(self, inputs):
        """Run one sample: a dict of arrays in, a dict of arrays out, which the next call with these shapes overwrites.

        Raises ValueError where no signature has these names, types and shapes; nothing is converted.
        """
        key = tflite_model.choose(self._signatures, inputs)
        if key not in self._calls:
            self._calls[key] = self._buffers(key)
        buffers, arrays, outputs, results = self._calls[key]
        for name, array in inputs.items():
            if array is not arrays[name]:
                arrays[name][...] = array
        self._model.run_by_name(key, buffers, outputs)
        return results

    def facts(self):
        """Whoever opens this has seen that XNNPACK works, which takes all that computes in such a model."""
        return {"delegate": "xnnpack"}

    def _buffers(self, key):
        """Inputs and outputs of a signature, as the runtime has them and as arrays."""
        model = self._model
        taken = dict(self._signatures)[key]
        given = tflite_model.taken(model.get_output_tensor_details(key))
        inputs = {
            name: self._held[name][0] if name in self._held else model.create_input_buffer_by_name(key, name)
            for name in taken
        }
        outputs = {name: model.create_output_buffer_by_name(key, name) for name in given}
        arrays = {
            name: self._held[name][1] if name in self._held else _memory(inputs[name], *about)
            for name, about in taken.items()
        }
        return inputs, arrays, outputs, {name: _memory(outputs[name], *about) for name, about in given.items()}


def _library():
    return ctypes.CDLL(os.path.join(os.path.dirname(ai_edge_litert.__file__), "libLiteRt.so"))


def _memory(buffer, shape, dtype):
    """A buffer's own memory as an array; the buffer lives as long as it."""
    pointer, name = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_GetName
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    address = ctypes.c_void_p()
    find = _library().LiteRtGetTensorBufferHostMemory
    find.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)]
    status = find(pointer(buffer.capsule, name(buffer.capsule)), ctypes.byref(address))
    if status != 0 or not address.value:
        raise RuntimeError(f"LiteRT does not tell where a buffer lies (status {status})")
    block = (ctypes.c_char * (int(np.prod(shape)) * dtype.itemsize)).from_address(address.value)
    block.owner = buffer  # which an array that outlives the model still needs
    return np.frombuffer(block, dtype).reshape(shape)
