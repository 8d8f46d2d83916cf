"""What tests of remote boards share: a model that takes a while, jobs on it, and a look for stray processes."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeexport.job import Job

WIDTH = 512


def save_model(path, layers=12):
    """``layers`` matrix products and a tanh after each."""
    random = np.random.default_rng(0)
    nodes, weights, name = [], [], "x"
    for number in range(layers):
        weight = random.standard_normal((WIDTH, WIDTH)).astype(np.float32) / WIDTH**0.5
        weights.append(numpy_helper.from_array(weight, f"w{number}"))
        nodes.append(helper.make_node("MatMul", [name, f"w{number}"], [f"m{number}"]))
        name = "y" if number == layers - 1 else f"t{number}"
        nodes.append(helper.make_node("Tanh", [f"m{number}"], [name]))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", WIDTH])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def job(model, count=5, rows=1, **more):
    random = np.random.default_rng(1)
    inputs = [{"x": random.standard_normal((rows, WIDTH)).astype(np.float32)} for _ in range(count)]
    return Job(runtime="ort", models=(model,), inputs=inputs, **{"timeout_s": 60, **more})


def values(result):
    return np.stack([output["y"] for output in result.outputs])


def processes_in(folder):
    """The commands of processes that work in ``folder``; one that has ended and was not waited for yet has none."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if str(link.readlink()).startswith(str(folder)):
                found.append((link.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [command for command in found if command]
