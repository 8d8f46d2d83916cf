"""What the interpreters of TensorFlow Lite share: signatures told apart by shape, and whether XNNPACK is at work."""

import base64

import numpy as np

# One float addition of four values. XNNPACK takes it wherever it works at all, so that a model without it can be
# told from a machine without it.
_ADDITION = base64.b64decode(
    "HAAAAFRGTDMUABwAGAAUABAADAAIAAAAAAAEABQAAAAYAAAAGAAAACAAAAAoAAAABAEAAAMAAAAAAAAAAQAAAAQAAAAI////BAAA"
    "AHRlc3QAAAAAAQAAABQAAAAAAA4AGAAUABAADAAIAAQADgAAABQAAAAcAAAAXAAAAGAAAABkAAAABAAAAG1haW4AAAAAAQAAABQA"
    "AAAAAA4AFAAAABAADAALAAQADgAAABAAAAAAAAALDAAAABAAAACA////AQAAAAEAAAACAAAAAAAAAAAAAAABAAAAAQAAAAEAAAAA"
    "AAAAAgAAADAAAAAEAAAA5P///wgAAAAMAAAAAQAAAHkAAAABAAAABAAAAAwADAAIAAAAAAAEAAwAAAAIAAAADAAAAAEAAAB4AAAA"
    "AQAAAAQAAAABAAAACAAAAAQABAAEAAAA"
)


class Model:
    """One interpreter.

    A model may hold several signatures with the same names, one for each length; a sample runs through the one whose
    shapes are its own. Without any signature, names are those of the tensors.
    """

    def __init__(self, interpreter):
        # Before any signature is asked for: version 2.14 gives subgraphs to XNNPACK only here.
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        keys = list(interpreter.get_signature_list())
        runners = [interpreter.get_signature_runner(key) for key in keys] or [_Unsigned(interpreter)]
        self._signatures = [(runner, taken(runner.get_input_details())) for runner in runners]
        self._chosen = {}

    def run(self, inputs):
        """Run one sample: a dict of arrays in, a dict of arrays out.

        Raises ValueError where no signature has these names, types and shapes; nothing is converted.
        """
        kind = tuple((name, array.dtype, array.shape) for name, array in inputs.items())
        runner = self._chosen.get(kind)
        if runner is None:
            runner = self._chosen[kind] = choose(self._signatures, inputs)
        return runner(**inputs)

    def facts(self):
        """Which delegate has operators of the first signature's graph: the interpreter shows no other."""
        return {"delegate": "xnnpack" if has_delegate(self._interpreter) else "none"}


class _Unsigned:
    """Stands in for a signature runner, with the tensors' own names."""

    def __init__(self, interpreter):
        self._interpreter = interpreter
        self._inputs = {detail["name"]: detail for detail in interpreter.get_input_details()}
        self._outputs = {detail["name"]: detail["index"] for detail in interpreter.get_output_details()}

    def get_input_details(self):
        return self._inputs

    def __call__(self, **inputs):
        resized = False
        for name, array in inputs.items():
            if tuple(self._inputs[name]["shape"]) != array.shape:
                self._interpreter.resize_tensor_input(self._inputs[name]["index"], array.shape)
                self._inputs[name]["shape"] = array.shape
                resized = True
        if resized:
            self._interpreter.allocate_tensors()
        for name, array in inputs.items():
            self._interpreter.set_tensor(self._inputs[name]["index"], array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def has_delegate(interpreter):
    """Whether a delegate took operators; it needs allocated tensors."""
    return any(operator["op_name"] == "DELEGATE" for operator in interpreter._get_ops_details())


def xnnpack_works(interpreter_class):
    """Whether XNNPACK takes an operator that it always takes where it works."""
    interpreter = interpreter_class(model_content=_ADDITION)
    interpreter.allocate_tensors()
    return has_delegate(interpreter)


def choose(signatures, inputs):
    """The first of ``(something, taken)`` that takes these inputs.

    Raises ValueError where none has these names, types and shapes.
    """
    for chosen, wanted in signatures:
        if set(wanted) != set(inputs):
            continue
        if all(_fits(inputs[name].shape, shape) for name, (shape, _) in wanted.items()):
            _check_types(inputs, wanted)
            return chosen
    known = "; ".join(_describe((name, shape) for name, (shape, _) in wanted.items()) for _, wanted in signatures)
    given = _describe((name, array.shape) for name, array in inputs.items())
    raise ValueError(f"no signature takes {given}; the model has {known}")


def taken(details):
    """For each input its shape, -1 where any length will do, and its type."""
    shapes = {name: tuple(int(n) for n in detail["shape"]) for name, detail in details.items()}
    for name, detail in details.items():
        free = tuple(int(n) for n in detail.get("shape_signature", ()))
        if len(free) == len(shapes[name]):
            shapes[name] = free
    return {name: (shapes[name], np.dtype(detail["dtype"])) for name, detail in details.items()}


def _fits(given, wanted):
    return len(given) == len(wanted) and all(b in (a, -1) for a, b in zip(given, wanted))


def _check_types(inputs, wanted):
    for name, (_, dtype) in wanted.items():
        if inputs[name].dtype != dtype:
            raise ValueError(f"the model takes {dtype} as '{name}', not {inputs[name].dtype}")


def _describe(shapes):
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes))
