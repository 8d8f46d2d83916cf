"""What is equal is written once, and what only looks equal is not."""

import numpy as np
import pytest
from tflite_models import RELU, Builder, by_name, convolutions, normal, run, save, two_layers, words

from edgeexport.formats.tflite.builder import SharingBuilder
from edgeexport.formats.tflite.flatbuffer import read_model, schema, write_model


def plain(model, path, monkeypatch):
    """The file that the schema's own builder writes."""
    with monkeypatch.context() as patch:
        patch.setattr("edgeexport.formats.tflite.builder.SharingBuilder", schema().flatbuffers.Builder)
        write_model(model, path)
    return path


def described(value):
    """A model's objects as plain values."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [described(item) for item in value]
    if hasattr(value, "__dict__"):
        return {name: described(item) for name, item in vars(value).items()}
    return value


def repeated(count=12):
    """A chain of layers of one shape and one set of options, each with weights of its own."""
    built = Builder()
    built.graph()
    x = last = built.tensor("x", (2, 8))
    for number in range(count):
        weight = built.tensor(f"w{number}", (8, 8), normal(8, 8, seed=number))
        last = built.op(
            "FULLY_CONNECTED",
            [last, weight, -1],
            built.tensor(f"layer{number}", (2, 8)),
            options="FullyConnectedOptions",
            fusedActivationFunction=RELU,
        )
    built.signature("main", {"x": x}, {"y": last})
    return built.model


@pytest.mark.parametrize("build", [two_layers, convolutions, words, repeated], ids=lambda build: build.__name__)
def test_the_same_objects_are_read_back(build, tmp_path, monkeypatch):
    model = build()
    shared, whole = save(model, tmp_path / "shared.tflite"), plain(model, tmp_path / "plain.tflite", monkeypatch)
    assert described(read_model(shared)) == described(read_model(whole))
    assert shared.stat().st_size <= whole.stat().st_size - (300 if build is repeated else 0)


def test_each_layer_of_the_same_shape_costs_less(tmp_path, monkeypatch):
    sizes = {
        kind: [write(repeated(count), tmp_path / f"{count}").stat().st_size for count in (12, 112)]
        for kind, write in (("shared", save), ("plain", lambda model, path: plain(model, path, monkeypatch)))
    }
    grown = {kind: (more - less) / 100 for kind, (less, more) in sizes.items()}
    assert grown["plain"] - grown["shared"] >= 2 * 12 + 8  # two shapes and the options, at least


def test_what_is_shared_computes_the_same(tmp_path, monkeypatch):
    x = {"x": normal(2, 8, seed=99)}
    paths = save(repeated(), tmp_path / "s.tflite"), plain(repeated(), tmp_path / "p.tflite", monkeypatch)
    one, two = (run(path, x, "main")["y"] for path in paths)
    assert one.tobytes() == two.tobytes()


def test_the_same_constant_in_two_buffers_is_stored_once(tmp_path):
    model = repeated(2)
    weights = [model.buffers[by_name(model)[name].buffer] for name in ("w0", "w1")]
    apart = save(model, tmp_path / "apart.tflite").stat().st_size
    weights[1].data = weights[0].data
    assert apart - save(model, tmp_path / "equal.tflite").stat().st_size >= 8 * 8 * 4


def test_vectors_of_offsets_are_never_shared():
    """Two vectors of one text each have the same bytes where the texts lie equally far, and mean different texts."""
    builder = SharingBuilder(1024)

    def vector(text):
        place = builder.CreateString(text)
        builder.StartVector(4, 1, 4)
        builder.PrependUOffsetTRelative(place)
        return builder.EndVector()

    first, second = vector("aaaa"), vector("bbbb")
    content = [bytes(builder.Bytes[len(builder.Bytes) - at : len(builder.Bytes) - at + 8]) for at in (first, second)]
    assert content[0] == content[1]
    assert first != second


def test_width_and_alignment_tell_vectors_apart():
    builder = SharingBuilder(1024)
    eight = builder.CreateNumpyVector(np.zeros(8, np.int8))
    assert builder.CreateNumpyVector(np.zeros(8, np.int8)) == eight
    assert builder.CreateNumpyVector(np.zeros(8, np.int32)) != eight
    builder.StartVector(1, 8, 16)
    builder.head -= 8
    builder.Bytes[builder.head : builder.head + 8] = bytes(8)
    aligned = builder.EndVector()
    assert aligned != eight
    assert (aligned - 4) % 16 == 0


def test_texts_and_vectors_of_bytes_are_apart():
    builder = SharingBuilder(1024)
    text = builder.CreateString("ab")
    assert builder.CreateString(b"ab") == text
    assert builder.CreateNumpyVector(np.frombuffer(b"ab", np.uint8)) != text


def test_a_builder_that_grows_still_finds_what_it_wrote():
    builder = SharingBuilder(16)
    first = builder.CreateNumpyVector(np.arange(10, dtype=np.int32))
    builder.CreateNumpyVector(np.arange(5000, dtype=np.int32))
    before = builder.Offset()
    assert builder.CreateNumpyVector(np.arange(10, dtype=np.int32)) == first
    assert builder.Offset() == before
