"""The judgement from the file alone, against what the runtimes give when they run the same file."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import version

import numpy as np
import pytest

from edgeexport.devices._environments import environment_of, python_for
from edgeexport.errors import MissingRequirement
from edgeexport.formats.tflite.runtime_ops import problems

# Prints the first output, dequantized, or nothing where the runtime refuses the model.
_CLASSIC = """
import json, sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
model = Interpreter(sys.argv[1], num_threads=1)
model.allocate_tensors()
for detail, values in zip(model.get_input_details(), json.loads(sys.argv[2])):
    model.set_tensor(detail["index"], np.array(values, detail["dtype"]).reshape(detail["shape"]))
model.invoke()
detail = model.get_output_details()[0]
scale, zero = detail["quantization"]
print(json.dumps(((model.get_tensor(detail["index"]).astype(float) - zero) * (scale or 1)).ravel().tolist()))
"""
_MICRO = """
import json, sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
model = runtime.Interpreter.from_file(sys.argv[1], arena_size=100_000)
for index, values in enumerate(json.loads(sys.argv[2])):
    detail = model.get_input_details(index)
    model.set_input(np.array(values, detail["dtype"]).reshape(detail["shape"]), index)
model.invoke()
parameters = model.get_output_details(0)["quantization_parameters"]
scale = parameters["scales"][0] if len(parameters["scales"]) else 1
zero = parameters["zero_points"][0] if len(parameters["zero_points"]) else 0
print(json.dumps(((model.get_output(0).astype(float) - zero) * scale).ravel().tolist()))
"""
RUNTIMES = {
    "tflite-runtime": ("tflite_classic", "2.14.0", _CLASSIC),
    "tflite-micro": ("tflm", "0", _MICRO),
}
WEIGHT = np.arange(12).reshape(3, 4) - 6.0
CHANNELS = [0.5, 1.0, 2.0]


def run(runtime, path, inputs):
    """The output, or None where the runtime refused the model or was ended by it."""
    module, _, script = RUNTIMES[runtime]
    try:
        python = python_for(module)
    except MissingRequirement as missing:
        pytest.skip(f"{missing.what}: {missing.hint}")
    done = subprocess.run(
        [python, "-c", script, path, json.dumps([np.asarray(values).tolist() for values in inputs])],
        capture_output=True,
        text=True,
        env=environment_of(module),
        timeout=120,
        check=False,
    )
    assert "ModuleNotFoundError" not in done.stderr
    return np.array(json.loads(done.stdout)) if done.returncode == 0 else None


def dense(x, scales, step):
    return x @ (WEIGHT * np.reshape(np.broadcast_to(scales, 3), (3, 1))).T * step


CASES = {
    "dense float32": ("dense", ("float32", None), [1.0, 2.0, -1.0, 0.5], 1.0),
    "dense int8 tensor": ("dense", ("int8", [0.5]), [1.0, 2.0, -1.0, 0.5], 0.5),
    "dense int8 channel": ("dense", ("int8", CHANNELS), [1.0, 2.0, -1.0, 0.5], CHANNELS),
    "dense int4 tensor": ("dense", ("int4", [0.5]), [1.0, 2.0, -1.0, 0.5], 0.5),
    "dense int4 channel": ("dense", ("int4", CHANNELS), [1.0, 2.0, -1.0, 0.5], CHANNELS),
    "dense static int8": ("dense", ("int8", CHANNELS, 4, "int8"), [3, 2, -1, 4], CHANNELS),
    "dense static int16": ("dense", ("int8", CHANNELS, 4, "int16"), [3, 2, -1, 4], CHANNELS),
    "dense static int4 channel": ("dense", ("int4", CHANNELS, 10, "int8"), [3, 2, -1, 4], CHANNELS),
    "dense int16 x int4": ("dense", ("int4", [0.5], 10, "int16"), [3, 2, -1, 4], 0.5),
    "weight only int8 tensor": ("weight_only", ("int8", [0.5]), [1.0, 2.0, -1.0, 0.5], 0.5),
    "weight only int8 channel": ("weight_only", ("int8", CHANNELS), [1.0, 2.0, -1.0, 0.5], CHANNELS),
    "weight only int4": ("weight_only", ("int4", [0.5]), [1.0, 2.0, -1.0, 0.5], 0.5),
    "weight only float16": ("weight_only", ("float16", None), [1.0, 2.0, -1.0, 0.5], 1.0),
    "embedding int8 tensor": ("embedding", ("int8", [0.5]), [2], 0.5),
    "embedding int8 row": ("embedding", ("int8", CHANNELS), [2], CHANNELS),
    "embedding int4": ("embedding", ("int4", [0.5]), [2], 0.5),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("case", CASES)
def test_what_is_judged_right_runs_right_and_nothing_else(build, save, case, runtime):
    made, arguments, values, scales = CASES[case]
    model = getattr(build, made)(*arguments)
    judged = problems(model, runtime, RUNTIMES[runtime][1])
    given = run(runtime, save(model), [values])
    if made == "embedding":
        right = WEIGHT[values[0]] * np.broadcast_to(scales, 3)[values[0]]
    else:
        right = dense(np.array(values), scales, 0.1 if "static" in case or "int16" in case else 1.0)
    # Hybrid kernels quantize their inputs to 8 bits, and static ones their outputs to steps of 0.1.
    runs_right = given is not None and bool(np.allclose(given, right, atol=0.02 * np.abs(right).max() + 0.06))
    assert runs_right == (judged == []), (given, right, judged)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("op", "out"), [("SUB", 1e-9), ("SUB", 1e-8), ("ADD", 1e-9), ("ADD", 1e-8)])
def test_a_degenerate_output_scale_ends_the_process(build, save, op, out, runtime):
    model = build.binary(op, "int8", (0.004, 0.004, out))
    judged = problems(model, runtime, RUNTIMES[runtime][1])
    given = run(runtime, save(model), [np.ones((2, 4)), np.zeros((2, 4))])
    assert (given is None) == bool(judged)


@pytest.mark.parametrize("case", CASES)
def test_litert_runs_right_what_is_judged_right(build, save, case):
    from ai_edge_litert.interpreter import Interpreter

    made, arguments, values, scales = CASES[case]
    model = getattr(build, made)(*arguments)
    assert problems(model, "litert", version("ai-edge-litert")) == []
    interpreter = Interpreter(str(save(model)), num_threads=1)
    interpreter.allocate_tensors()
    (detail,) = interpreter.get_input_details()
    interpreter.set_tensor(detail["index"], np.array(values, detail["dtype"]).reshape(detail["shape"]))
    interpreter.invoke()
    (detail,) = interpreter.get_output_details()
    given = interpreter.get_tensor(detail["index"]).ravel() * (detail["quantization"][0] or 1.0)
    if made == "embedding":
        right = WEIGHT[values[0]] * np.broadcast_to(scales, 3)[values[0]]
    else:
        right = dense(np.array(values), scales, 0.1 if "static" in case or "int16" in case else 1.0)
    np.testing.assert_allclose(given, right, atol=0.02 * np.abs(right).max() + 0.06)
