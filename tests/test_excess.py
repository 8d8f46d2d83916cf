"""What is beyond a quarter adds up exactly, and modules roll up without a byte lost."""

import pytest

from edgeexport.analysis import ModuleBytes
from edgeexport.excess import explain, rolled_up
from edgeexport.results import Size


def share(path, what, dtype, count):
    return ModuleBytes(path=path, what=what, dtype=dtype, bytes=count)


MODULES = (
    share("encoder.0.dense", "weight", "int8", 800),
    share("encoder.0.dense", "weight", "int32", 40),
    share("encoder.0.dense", "scale", "float32", 80),
    share("encoder.0.dense", "structure", "", 30),
    share("encoder.1.dense", "weight", "float32", 400),
    share("encoder.1.norm", "weight", "float16", 20),
    share("embeddings", "weight", "uint4", 50),
    share("", "structure", "", 60),
    share("encoder", "constant", "int64", 8),
)


def size(parameters, modules=MODULES):
    total = sum(module.bytes for module in modules)
    return Size(
        artifact_bytes=total,
        source_float32_bytes=4 * parameters,
        ratio=total / parameters / 4,
        components=(),
        modules=modules,
    )


def test_each_part_is_what_it_has_beyond_a_byte_a_value():
    found = explain(size(1020))  # 800 + 10 + 100 + 10 + 100 values
    assert found.quarter == 1020
    assert {(part.path, part.reason): part.bytes for part in found.parts} == {
        ("encoder.1.dense", "float32 weights"): 300,
        ("encoder.0.dense", "scales and zero points"): 80,
        ("", "structure of the file"): 60,
        ("encoder.0.dense", "int32 biases"): 30,
        ("encoder.0.dense", "names, operators, shapes"): 30,
        ("encoder.1.norm", "float16 weights"): 10,
        ("encoder", "constants of the graph"): 8,
        ("embeddings", "uint4 weights"): -50,
    }
    assert [part.bytes for part in found.parts] == sorted((part.bytes for part in found.parts), reverse=True)


@pytest.mark.parametrize(
    ("parameters", "reason", "count"),
    [
        (1000, "values stored more than once, or as padding", 20),
        (1100, "parameters merged into others, or left out", -80),
        (1020, None, 0),
    ],
)
def test_parts_add_up_whatever_the_source_has(parameters, reason, count):
    whole = size(parameters)
    found = explain(whole)
    assert found.bytes == whole.artifact_bytes - parameters == sum(part.bytes for part in found.parts)
    assert {part.reason: part.bytes for part in found.parts}.get(reason, 0) == count


def test_reasons_over_all_modules():
    found = dict(explain(size(1020)).by_reason())
    assert found["structure"] == 90
    assert found["scales and zero points"] == 80
    assert sum(found.values()) == explain(size(1020)).bytes


WHOLE = {"encoder.0.dense": 950, "encoder.1.dense": 400, "embeddings": 50, "": 60, "encoder.1.norm": 20, "encoder": 8}


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (0, WHOLE),
        (1, {"encoder": 1378, "embeddings": 50, "": 60}),
        (2, {"encoder.0": 950, "encoder.1": 420, "embeddings": 50, "": 60, "encoder": 8}),
        (9, WHOLE),
    ],
)
def test_modules_roll_up_by_depth(depth, expected):
    branches = rolled_up(MODULES, depth)
    assert {branch.path: branch.bytes for branch in branches} == expected
    assert [branch.bytes for branch in branches] == sorted(expected.values(), reverse=True)
    assert all(sum(branch.kinds.values()) == branch.bytes for branch in branches)


def test_kinds_of_a_branch():
    encoder = next(branch for branch in rolled_up(MODULES, 1) if branch.path == "encoder")
    assert encoder.kinds == {"int8": 800, "float": 420, "other": 48, "scale": 80, "structure": 30}
