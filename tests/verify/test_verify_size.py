"""Where the bytes are."""

from edgeexport.verify.size import measure


def test_components_add_up_and_the_rest_is_the_graph():
    tensors = [("matmul", "int8", 60), ("embedding", "int8", 20), ("matmul", "int8", 5), ("matmul", "float32", 8)]
    size = measure(100, 400, iter(tensors))
    assert (size.artifact_bytes, size.source_float32_bytes, size.ratio) == (100, 400, 0.25)
    parts = [(part.name, part.dtype, part.bytes) for part in size.components]
    assert parts == [
        ("matmul", "int8", 65),
        ("embedding", "int8", 20),
        ("matmul", "float32", 8),
        ("graph", "-", 7),
    ]


def test_a_model_without_parameters():
    size = measure(10, 0, [])
    assert size.ratio == 0
    assert [(part.name, part.bytes) for part in size.components] == [("graph", 10)]
