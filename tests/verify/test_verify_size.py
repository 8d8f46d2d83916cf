"""Where the bytes are."""

from edgeexport.analysis import ModuleBytes
from edgeexport.conversion import TensorBytes
from edgeexport.verify.size import measure


def share(component, dtype, size, path="", what="weight"):
    return TensorBytes(component, dtype, size, path, what)


SHARES = [
    share("linear", "int8", 60, "encoder.0.dense"),
    share("embedding", "int8", 20, "embeddings"),
    share("linear", "int8", 5, "encoder.1.dense"),
    share("graph", "", 2, "encoder.0.dense", "structure"),
    share("linear", "float32", 8, "encoder.0.dense"),
    share("linear", "int8", 1, "encoder.0.dense"),
]


def test_components_add_up_and_the_rest_is_the_graph():
    size = measure(100, 400, iter(SHARES))
    assert (size.artifact_bytes, size.source_float32_bytes, size.ratio) == (100, 400, 0.25)
    parts = [(part.name, part.dtype, part.bytes) for part in size.components]
    assert parts == [
        ("linear", "int8", 66),
        ("embedding", "int8", 20),
        ("linear", "float32", 8),
        ("graph", "-", 6),
    ]


def test_modules_add_up_and_the_rest_belongs_to_none():
    size = measure(100, 400, iter(SHARES))
    assert size.modules == (
        ModuleBytes(path="encoder.0.dense", what="weight", dtype="int8", bytes=61),
        ModuleBytes(path="embeddings", what="weight", dtype="int8", bytes=20),
        ModuleBytes(path="encoder.0.dense", what="weight", dtype="float32", bytes=8),
        ModuleBytes(path="encoder.1.dense", what="weight", dtype="int8", bytes=5),
        ModuleBytes(path="", what="structure", dtype="", bytes=4),
        ModuleBytes(path="encoder.0.dense", what="structure", dtype="", bytes=2),
    )
    assert sum(module.bytes for module in size.modules) == 100


def test_a_model_without_parameters():
    size = measure(10, 0, [])
    assert size.ratio == 0
    assert [(part.name, part.bytes) for part in size.components] == [("graph", 10)]
    assert [(module.path, module.what, module.bytes) for module in size.modules] == [("", "structure", 10)]
