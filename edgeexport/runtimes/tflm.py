"""TensorFlow Lite for Microcontrollers, compiled for this machine: the kernels a board without SIMD would run."""

import os
import re
import tempfile
from importlib.metadata import version

import numpy as np
from tflite_micro.python.tflite_micro import runtime

RUNTIME = "tflite-micro"
NEEDS = {"imports": "tflite_micro.python.tflite_micro.runtime", "distribution": "tflite-micro", "extra": "micro"}

# Memory is only taken as it is touched. Growing it from attempt to attempt instead is no way: the runtime crashes on
# an arena that is far too small.
_ARENA_BYTES = 64 << 20
_TOTAL = re.compile(rb"Arena allocation total (\d+) bytes")


class Model:
    """One interpreter; the runtime knows inputs and outputs by position, the model's signature by name."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        self._inputs, self._outputs = _names(data, path)
        try:
            self._interpreter = runtime.Interpreter.from_bytes(data, arena_size=_ARENA_BYTES)
        except RuntimeError as error:
            # What is missing has just been printed on standard error by the runtime.
            raise RuntimeError(
                f"TensorFlow Lite Micro cannot run this model ({error}): it lacks an operator or a type, or its arena "
                f"would pass {_ARENA_BYTES >> 20} MiB; the lines above name it"
            ) from error
        details = [self._interpreter.get_input_details(index) for index in range(len(self._inputs))]
        self._taken = [(tuple(int(n) for n in d["shape"]), np.dtype(d["dtype"])) for d in details]

    def run(self, inputs):
        """Run one sample: a dict of arrays in, a dict of arrays out.

        Raises ValueError where names, types or shapes are not the model's; nothing is converted.
        """
        if set(inputs) != set(self._inputs):
            raise ValueError(f"the model takes {sorted(self._inputs)}, not {sorted(inputs)}")
        for index, (name, (shape, dtype)) in enumerate(zip(self._inputs, self._taken)):
            array = inputs[name]
            if array.shape != shape:
                raise ValueError(f"the model takes {name} {list(shape)}, not {list(array.shape)}")
            if array.dtype != dtype:
                raise ValueError(f"the model takes {dtype} as '{name}', not {array.dtype}")
            self._interpreter.set_input(array, index)
        self._interpreter.invoke()
        return {name: self._interpreter.get_output(index).copy() for index, name in enumerate(self._outputs)}

    def facts(self):
        """Bytes of the arena in use, on this machine: pointers in it are smaller on most microcontrollers."""
        found = _TOTAL.search(_standard_error_of(self._interpreter.print_allocations))
        return {"arena_bytes": int(found.group(1))} if found else {}


def load(path, threads):
    """Open the ``.tflite`` file at ``path``; the runtime has one thread whatever is asked for."""
    return Model(path)


def info():
    """Name and version for the report."""
    return {"runtime": RUNTIME, "version": version("tflite-micro")}


def _names(data, path):
    """Names of inputs and outputs in the order of the first subgraph's, from its signature or its tensors."""
    try:
        model = runtime.convert_bytearray_to_object(data)
        graph, signatures = model.subgraphs[0], model.signatureDefs or []
    except Exception as error:  # the reader raises whatever the bytes lead it to
        raise ValueError(f"{path} is not a TensorFlow Lite model: {error}") from error
    if len(signatures) > 1:
        keys = ", ".join(signature.signatureKey.decode() for signature in signatures)
        raise ValueError(f"TensorFlow Lite Micro runs models of one signature; this has {len(signatures)}: {keys}")
    if signatures:
        inputs, outputs = (
            {entry.tensorIndex: entry.name.decode() for entry in entries}
            for entries in (signatures[0].inputs, signatures[0].outputs)
        )
    else:
        inputs = outputs = {index: tensor.name.decode() for index, tensor in enumerate(graph.tensors)}
    return [inputs[index] for index in graph.inputs], [outputs[index] for index in graph.outputs]


def _standard_error_of(function):
    """What ``function`` prints on standard error, by native code too."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            function()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        return file.read()
