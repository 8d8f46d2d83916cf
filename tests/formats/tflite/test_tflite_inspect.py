"""What a file says it takes and gives, and where its bytes are."""

from collections import Counter

import pytest
from tflite_models import (
    Builder,
    convolutions,
    make_settings,
    save,
    two_layers,
    words,
)

from edgeexport.errors import ModelError
from edgeexport.formats.tflite.compact import share_quantization
from edgeexport.formats.tflite.flatbuffer import read_model
from edgeexport.formats.tflite.inspect import names, read_signature, stored_tensors
from edgeexport.formats.tflite.quantize import quantize
from edgeexport.signature import Signature, TensorSpec

INTERVALS = {"input.0": (-4, 4), "first": (0, 30), "output.0": (-60, 60)}


@pytest.fixture
def quantized(tmp_path):
    def write(model, precisions, precision, intervals=INTERVALS, **rules):
        both = {**intervals, **{f"1/{name}": interval for name, interval in intervals.items()}}
        quantize(model, precisions, both, make_settings(precision, **rules), tmp_path / "model.tflite")
        return read_model(tmp_path / "model.tflite")

    return write


def identity(*shapes, key="sequence_{}"):
    """One signature a shape, which gives what it takes."""
    built = Builder()
    for number, shape in enumerate(shapes):
        built.graph()
        x, y = built.tensor("x", shape), built.tensor("y", shape)
        built.op("TANH", [x], y)
        built.signature(key.format(number), {"x": x}, {"y": y})
    return built.model


# signatures


def test_one_signature_is_as_it_stands(tmp_path):
    model = read_model(save(convolutions(), tmp_path / "model.tflite"))
    assert read_signature(model, "here") == Signature(
        (TensorSpec("x", "float32", (1, 6, 6, 3)),), (TensorSpec("y", "float32", (1, 4)),)
    )


@pytest.mark.parametrize("lengths", [(4, 8), (8, 4, 16)])
def test_several_make_one_with_a_named_dimension(tmp_path, lengths):
    model = read_model(save(words(lengths), tmp_path / "model.tflite"))
    assert read_signature(model, "here") == Signature(
        (TensorSpec("ids", "int32", ("sequence",)),),
        (TensorSpec("y", "float32", ("sequence", 8)),),
        {"sequence": tuple(sorted(lengths))},
    )


@pytest.mark.parametrize(("key", "dimension"), [("text_length_{}", "text_length"), ("run{}", "length")])
def test_the_dimension_is_named_by_the_signatures(key, dimension):
    found = read_signature(identity((1, 4), (1, 6), key=key), "here")
    assert found.inputs[0].shape == (1, dimension)
    assert found.lengths == {dimension: (4, 6)}


def test_several_axes_may_have_the_one_length():
    found = read_signature(identity((1, 4, 4), (1, 6, 6)), "here")
    assert found.outputs[0].shape == (1, "sequence", "sequence")
    assert found.lengths == {"sequence": (4, 6)}


@pytest.mark.parametrize("precision", ["w8a8", "w8a16"])
def test_integers_are_named_with_their_scale(quantized, precision):
    dtype = {"w8a8": "int8", "w8a16": "int16"}[precision]
    model = quantized(two_layers((4, 8)), dict.fromkeys(plan(2), precision), precision, io_type=dtype)
    found = read_signature(model, "here")
    (x,), (y,) = found.inputs, found.outputs
    assert (x.dtype, y.dtype, x.shape, found.lengths) == (dtype, dtype, ("sequence", 16), {"sequence": (4, 8)})
    assert x.scale == pytest.approx(8 / 255 if dtype == "int8" else 4 / 32767)
    assert y.scale == pytest.approx(120 / 255 if dtype == "int8" else 60 / 32767)
    assert x.zero_point in ({0, -1} if dtype == "int8" else {0})
    assert x.real() == TensorSpec("x", "float32", ("sequence", 16))


def test_indices_and_float_have_no_scale(quantized):
    model = quantized(words(), {"embed": "embedding-8", "output.0": "w8"}, "w8", {})
    found = read_signature(model, "here")
    assert [(spec.dtype, spec.scale, spec.zero_point) for spec in (*found.inputs, *found.outputs)] == [
        ("int32", None, None),
        ("float32", None, None),
    ]


def test_a_file_without_signatures_is_refused():
    model = two_layers()
    model.signatureDefs = []
    with pytest.raises(ModelError, match=r"board\.tflite has no signature"):
        read_signature(model, "board.tflite")


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (((1, 4), (2, 8)), "its signatures differ in more than one length"),
        (((1, 4, 4), (1, 6, 8)), "its signatures differ in more than one length"),
        (((1, 4), (1, 4, 4)), "its signatures have 'x' in different ranks"),
    ],
)
def test_signatures_that_are_not_one_in_several_lengths_are_refused(shapes, said):
    with pytest.raises(ModelError, match=f"m.tflite: {said}"):
        read_signature(identity(*shapes), "m.tflite")


def test_signatures_of_other_names_are_refused():
    model = two_layers((4, 8))
    model.signatureDefs[1].inputs[0].name = b"z"
    with pytest.raises(ModelError, match="its signatures have different inputs and outputs"):
        read_signature(model, "m.tflite")


# bytes


def plan(count):
    return ["first", "output.0", "1/first", "1/output.0"][: 2 * count]


@pytest.fixture
def stored(tmp_path):
    """Every share of a model, written and read again."""

    def shares(model):
        share_quantization(model)
        path = save(model, tmp_path / "stored.tflite")
        found = list(stored_tensors(path, read_model(path)))
        assert sum(item.bytes for item in found) == path.stat().st_size
        return found

    return shares


@pytest.fixture
def totals(stored):
    def count(model):
        found = Counter()
        for item in stored(model):
            if item.what != "structure":
                found[item.component, item.dtype] += item.bytes
        return dict(found)

    return count


def test_constants_belong_to_the_operator_that_reads_them(totals):
    assert totals(convolutions()) == {
        ("convolution", "float32"): 4 * (16 * 3 * 3 * 3 + 16 + 3 * 3 * 16 + 16 * 16),  # one bias, shared by the three
        ("linear", "float32"): 4 * 4 * 16,
        ("other", "int32"): 2 * 4,
    }
    assert totals(words()) == {("embedding", "float32"): 4 * 50 * 16, ("linear", "float32"): 4 * 8 * 16}


def test_what_two_signatures_share_counts_once(totals):
    assert totals(two_layers((4, 8, 16))) == totals(two_layers())


def test_scales_are_counted_once_with_their_zero_points(quantized, totals):
    one, two = (totals(quantized(two_layers((4, 8)[:n]), dict.fromkeys(plan(n), "w8"), "w8", {})) for n in (1, 2))
    assert one == two
    assert one["linear", "int8"] == 32 * 16 + 8 * 32
    assert one["linear", "float32"] == 4 * (32 + 8)
    assert one["scales", "float32"] == 4 * (32 + 8)
    assert one["scales", "int64"] == 8 * (32 + 8)


@pytest.mark.parametrize(
    ("precision", "dtype", "size"), [("w8", "int8", 1), ("fp16", "float16", 2), ("w8a8-dynamic", "int8", 1)]
)
def test_a_weight_is_its_layers_seen_through_a_dequantization(quantized, totals, precision, dtype, size):
    model = quantized(convolutions(), {"stem": precision, "output.0": precision}, precision, {})
    found = totals(model)
    assert found["convolution", dtype] == size * 16 * 27
    assert found["linear", dtype] == size * 4 * 16


@pytest.mark.parametrize(("bits", "dtype", "size"), [(8, "int8", 800), (4, "int4", 400)])
def test_tables_are_embeddings(quantized, totals, bits, dtype, size):
    model = quantized(words(), {"embed": f"embedding-{bits}"}, "w8", {})
    assert totals(model)["embedding", dtype] == size


def test_the_bytes_are_those_of_the_file(quantized, tmp_path):
    model = quantized(two_layers(), dict.fromkeys(plan(1), "w8a8"), "w8a8")
    path = tmp_path / "model.tflite"
    shares = list(stored_tensors(path, model))
    assert sum(item.bytes for item in shares) == path.stat().st_size
    values = sum(item.bytes for item in shares if item.what != "structure")
    content = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    assert content <= values < path.stat().st_size < values + 3000


def test_the_first_signatures_operators_are_named():
    assert list(names(two_layers((4, 8)))) == [("FULLY_CONNECTED", "first"), ("FULLY_CONNECTED", "output.0")]
    assert list(names(words())) == [("EMBEDDING_LOOKUP", "embed"), ("FULLY_CONNECTED", "output.0")]


def test_a_model_without_constants_stores_none(totals):
    assert totals(identity((2, 3))) == {}
