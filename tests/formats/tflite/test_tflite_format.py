"""The format as the pipeline uses it: files in, files out."""

import hashlib
import re

import numpy as np
import pytest
from tflite_models import (
    by_name,
    convolutions,
    cosine,
    make_settings,
    normal,
    operators,
    run,
    save,
    two_layers,
    values,
    weight,
    words,
)

from edgeexport.artifact import Artifact
from edgeexport.errors import ConversionError, RecipeError
from edgeexport.formats.tflite import TfliteFormat, open_format
from edgeexport.formats.tflite.flatbuffer import dtype_name, read_model
from edgeexport.formats.tflite.inspect import read_signature
from edgeexport.interface import dequantize
from edgeexport.interface import quantize as to_integers
from edgeexport.settings import PRECISIONS, Override

COMPRESSED = [precision for precision in PRECISIONS if precision != "fp32"]


@pytest.fixture
def convert(tmp_path):
    """Convert a model as the pipeline would; gives baseline and artifact."""
    count = iter(range(100))

    def convert(model, settings, samples=None):
        number = next(count)
        path = save(model, tmp_path / f"float{number}.tflite")
        baseline = Artifact("tflite", path, "fp32", read_signature(read_model(path), path.name), ("before",))
        feeds = None if samples is None else lambda _: iter(samples)
        return baseline, TfliteFormat().convert(baseline, settings, feeds, tmp_path / f"model{number}.tflite")

    return convert


@pytest.fixture
def rows():
    return [{"x": normal(4, 16, seed=seed)} for seed in range(30)]


@pytest.fixture
def images():
    return [{"x": normal(1, 6, 6, 3, seed=seed)} for seed in range(30)]


@pytest.fixture
def ids():
    return [{"ids": np.random.default_rng(seed).integers(0, 50, 4).astype(np.int32)} for seed in range(30)]


def outputs(path, feeds, key=None):
    return np.stack([run(path, feed, key)["y"] for feed in feeds])


def scale_of(artifact, name, graph=0):
    quantization = by_name(read_model(artifact.path), graph)[name].quantization
    return float(quantization.scale[0]), int(quantization.zeroPoint[0])


def with_outlier(samples, value=2000.0):
    """Many samples of which one has one large value."""
    many = [{"x": normal(4, 16, seed=1000 + seed)} for seed in range(400)] + list(samples)
    many[7]["x"][1, 3] = value
    return many


def test_the_module_opens_its_format():
    assert isinstance(open_format(), TfliteFormat)
    assert open_format().file_name == "model.tflite"


def test_fp32_is_the_baseline(convert):
    baseline, artifact = convert(two_layers(), make_settings("fp32"))
    assert artifact.path != baseline.path
    assert artifact.path.read_bytes() == baseline.path.read_bytes()
    assert (artifact.precision, artifact.signature, artifact.notes) == ("fp32", baseline.signature, ("before",))


@pytest.mark.parametrize("precision", COMPRESSED)
@pytest.mark.parametrize("kind", ["rows", "images", "ids"])
def test_precisions_differ_from_float_and_stay_near(convert, request, precision, kind):
    model = {"rows": two_layers, "images": convolutions, "ids": words}[kind]()
    samples = request.getfixturevalue(kind)
    baseline, artifact = convert(model, make_settings(precision), samples)
    assert (artifact.format, artifact.precision) == ("tflite", precision)
    assert artifact.signature == baseline.signature
    before, after = outputs(baseline.path, samples), outputs(artifact.path, samples)
    assert cosine(before, after) > {"w4": 0.98, "w8a8": 0.9995}.get(precision, 0.9999)
    assert not np.array_equal(before, after)
    assert artifact.bytes < baseline.bytes


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_conversion_gives_the_same_bytes(convert, images, precision):
    rules = make_settings(precision, method="mse", carried_op_types=("ADD", "MEAN"), minimum_snr=20.0)
    digests = {
        hashlib.sha256(convert(convolutions(), rules, images)[1].path.read_bytes()).hexdigest() for _ in range(2)
    }
    assert len(digests) == 1


@pytest.mark.parametrize("length", [4, 8])
def test_every_signature_has_the_ranges_of_the_one_that_samples_reach(convert, length):
    samples = [{"x": normal(length, 16, seed=seed)} for seed in range(20)]
    _, artifact = convert(two_layers((4, 8)), make_settings("w8a8"), samples)
    x = np.stack([sample["x"] for sample in samples])
    scale, zero = scale_of(artifact, "input.0_quantized")
    assert scale == pytest.approx((x.max() - x.min()) / 255)
    assert (scale, zero) == scale_of(artifact, "1/input.0_quantized", 1)
    for name in ("first", "output.0"):
        assert scale_of(artifact, name) == scale_of(artifact, f"1/{name}", 1)
    other = [{"x": normal(12 - length, 16, seed=99)}]
    key = f"sequence_{12 - length}"
    plain = save(two_layers((4, 8)), artifact.path.with_suffix(".f"))
    assert cosine(outputs(plain, other, key), outputs(artifact.path, other, key)) > 0.999


def test_minmax_spans_true_extremes(convert, rows):
    rows[11]["x"][2, 2] = 9.0
    rows[3]["x"][0, 0] = -7.0
    _, artifact = convert(two_layers(), make_settings("w8a8"), rows)
    scale, zero = scale_of(artifact, "input.0_quantized")
    assert scale == pytest.approx(16 / 255)
    assert zero == round(-128 + 7 / scale)


def test_a_percentile_clips_a_lone_outlier(convert, rows):
    samples = with_outlier(rows, 30.0)
    found = np.stack([sample["x"] for sample in samples])
    low, high = np.quantile(found, [0.0005, 0.9995])
    _, artifact = convert(two_layers(), make_settings("w8a8", method="percentile", percentile=99.9), samples)
    assert scale_of(artifact, "input.0_quantized")[0] == pytest.approx((high - low) / 255, rel=0.02)


# falling back


@pytest.mark.parametrize("fallback", ["w8a8-dynamic", "w8", "fp32"])
def test_a_layer_beside_an_outlier_falls_back_and_a_note_says_so(convert, rows, fallback):
    samples = with_outlier(rows)
    rules = {"minimum_snr": 22.0, "fallback": fallback, "carried_op_types": ("ADD",)}
    baseline, artifact = convert(two_layers(), make_settings("w8a8", **rules), samples)
    assert f"2 layers have {fallback} instead of w8a8: below 22 dB in int8 steps (first, output.0)" in artifact.notes
    assert "QUANTIZE" not in operators(read_model(artifact.path))
    _, without = convert(two_layers(), make_settings("w8a8"), samples)
    expected, small = outputs(baseline.path, rows), {}
    for name, found in (("with", artifact), ("without", without)):
        small[name] = np.square(outputs(found.path, rows) - expected).mean()
    assert small["with"] < 0.1 * small["without"]


def test_only_the_layer_that_touches_the_outlier_falls_back(convert, rows):
    model = two_layers()
    blind = values(model, weight(model, "first")).copy()
    blind[:, 3] = 0  # the outlier's channel
    model.buffers[weight(model, "first").buffer].data = blind.reshape(-1).view(np.uint8)
    _, artifact = convert(model, make_settings("w8a8", minimum_snr=22.0), with_outlier(rows))
    assert "1 layers have w8a8-dynamic instead of w8a8: below 22 dB in int8 steps (first)" in artifact.notes
    assert "operators by precision: 1 w8a8, 1 w8a8-dynamic" in artifact.notes
    assert operators(read_model(artifact.path)) == ["FULLY_CONNECTED", "QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE"]


def test_nothing_falls_back_without_an_outlier(convert, rows):
    _, artifact = convert(two_layers(), make_settings("w8a8", minimum_snr=22.0), rows)
    assert artifact.notes == ("before", "operators by precision: 2 w8a8")


def test_notes_count_operators_of_one_signature(convert, rows):
    override = Override(precision="w8", name="first")
    _, artifact = convert(two_layers((4, 8)), make_settings("w8a8", [override]), rows)
    assert artifact.notes == ("before", "operators by precision: 1 w8, 1 w8a8")


# carried operators


def test_integers_pass_through_carried_operators(convert, images):
    _, apart = convert(convolutions(), make_settings("w8a8"), images)
    baseline, through = convert(convolutions(), make_settings("w8a8", carried_op_types=("ADD", "MEAN")), images)
    apart, found = (operators(read_model(artifact.path)) for artifact in (apart, through))
    assert apart.count("QUANTIZE") + apart.count("DEQUANTIZE") == 5
    assert found == [
        "QUANTIZE",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "CONV_2D",
        "ADD",
        "MEAN",
        "FULLY_CONNECTED",
        "DEQUANTIZE",
    ]
    assert cosine(outputs(baseline.path, images), outputs(through.path, images)) > 0.9995


@pytest.mark.parametrize(("least", "convolution"), [(1, "int8"), (8, "float32")])
def test_the_stem_stays_float(convert, images, least, convolution):
    _, artifact = convert(convolutions(), make_settings("w8a8", least_channels=least), images)
    model = read_model(artifact.path)
    types = {name: dtype_name(weight(model, name).type) for name in ("stem", "deep", "body")}
    assert types == {"stem": convolution, "deep": convolution, "body": "int8"}


def test_an_override_leaves_a_weight_untouched(convert, images):
    override = Override(precision="fp32", name="^body$")
    _, artifact = convert(convolutions(), make_settings("w8a8", [override]), images)
    model = read_model(artifact.path)
    kept = values(model, weight(model, "body"))
    assert kept.tobytes() == values(convolutions(), weight(convolutions(), "body")).tobytes()
    assert dtype_name(weight(model, "stem").type) == "int8"


@pytest.mark.parametrize(("bits", "dtype"), [(None, "int8"), (4, "int4"), (8, "int8")])
def test_embedding_bits(convert, ids, bits, dtype):
    _, artifact = convert(words(), make_settings("w8a8", embedding_bits=bits), ids)
    model = read_model(artifact.path)
    assert dtype_name(weight(model, "embed").type) == dtype


# integer inputs and outputs


@pytest.mark.parametrize(("precision", "io_type"), [("w8a8", "int8"), ("w8a16", "int16"), ("w8a8", "int16")])
@pytest.mark.parametrize("kind", ["rows", "images"])
def test_integer_ends_have_their_scale_in_the_signature(convert, request, precision, io_type, kind):
    model = {"rows": two_layers, "images": convolutions}[kind]()
    samples = request.getfixturevalue(kind)
    rules = {"op_types": ("*",)} if kind == "images" else {}
    baseline, artifact = convert(model, make_settings(precision, io_type=io_type, **rules), samples)
    (x,), (y,) = artifact.signature.inputs, artifact.signature.outputs
    assert (x.dtype, y.dtype, x.shape) == (io_type, io_type, baseline.signature.inputs[0].shape)
    assert artifact.signature == TfliteFormat().inspect(artifact.path)[0]
    values_of_x = np.stack([sample["x"] for sample in samples])
    low, high = values_of_x.min(), values_of_x.max()
    if io_type == "int8":
        assert x.scale == pytest.approx((high - low) / 255)
        assert x.zero_point == round(float(-128 - low / x.scale))
    else:
        assert x.scale == pytest.approx(max(-low, high) / 32767)
        assert x.zero_point == 0


@pytest.mark.parametrize(("precision", "io_type"), [("w8a8", "int8"), ("w8a16", "int16")])
def test_integer_ends_give_what_float_ends_give(convert, rows, precision, io_type):
    _, real = convert(two_layers(), make_settings(precision), rows)
    _, integers = convert(two_layers(), make_settings(precision, io_type=io_type), rows)
    for sample in [*rows, {"x": normal(4, 16, seed=77, scale=3)}]:
        expected = run(real.path, sample)["y"]
        raw = run(integers.path, to_integers(sample, integers.signature))["y"]
        assert raw.dtype == io_type
        found = dequantize({"y": raw}, integers.signature)["y"]
        assert found.dtype == np.float32
        assert found.tobytes() == expected.tobytes()


def test_integer_ends_beside_a_float_layer_are_converted(convert, rows):
    override = Override(precision="fp32", name="first")
    baseline, artifact = convert(two_layers(), make_settings("w8a8", [override], io_type="int8"), rows)
    raw = np.stack([run(artifact.path, to_integers(row, artifact.signature))["y"] for row in rows])
    assert raw.dtype == np.int8
    found = dequantize({"y": raw}, artifact.signature)["y"]
    assert cosine(found, outputs(baseline.path, rows)) > 0.999


def test_indices_stay_integers_of_their_own(convert, ids):
    _, artifact = convert(words(), make_settings("w8a8", io_type="int8"), ids)
    (given,), (y,) = artifact.signature.inputs, artifact.signature.outputs
    assert (given.dtype, given.scale, y.dtype) == ("int32", None, "int8")
    assert y.scale is not None


# what is refused


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("smoothing", 0.5),
        ("reduce_range", True),
        ("bias_correction", True),
        ("float_outputs", ("FULLY_CONNECTED",)),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "w8a8"])
def test_rules_of_other_formats_are_refused(convert, rows, rule, value, precision):
    with pytest.raises(RecipeError, match=rf"the format tflite has no quantization\.{rule}"):
        convert(two_layers(), make_settings(precision, **{rule: value}), rows)


@pytest.mark.parametrize("rule", ["activation_type", "weight_type"])
def test_unsigned_types_are_refused(convert, rows, rule):
    with pytest.raises(RecipeError, match="take int8 activations and weights"):
        convert(two_layers(), make_settings("w8a8", **{rule: "uint8"}), rows)


@pytest.mark.parametrize(("precision", "blocks"), [("w4", 16), ("w8", 16), ("w8", 32)])
def test_blocks_that_kernels_lack_are_refused(convert, precision, blocks):
    with pytest.raises(RecipeError, match=f"TFLite's {precision} has no blocks of {blocks}"):
        convert(two_layers(), make_settings(precision, block_size=blocks))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8", "w4", "w8a8-dynamic"])
def test_integer_ends_need_static_activations(convert, precision):
    with pytest.raises(RecipeError, match=f"need a static precision, not {re.escape(precision)}"):
        convert(two_layers(), make_settings(precision, io_type="int8"))


@pytest.mark.parametrize("precision", ["w8", "w8a8"])
def test_overrides_beside_fp32_are_refused(convert, precision):
    with pytest.raises(RecipeError, match="an override contradicts precision fp32"):
        convert(two_layers(), make_settings("fp32", [Override(precision=precision, name="first")]))


@pytest.mark.parametrize("precision", ["w8a8", "w8a16"])
def test_static_without_calibration_is_refused(convert, precision):
    with pytest.raises(RecipeError, match=f"static precision {precision} needs calibration samples"):
        convert(two_layers(), make_settings(precision))


def test_an_override_that_matches_nothing_is_refused(convert, rows):
    with pytest.raises(RecipeError, match="matches no operator of the model"):
        convert(two_layers(), make_settings("w8", [Override(precision="fp32", name="third")]), rows)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_calibration_that_is_not_finite_is_refused(convert, rows, value):
    rows[4]["x"][0, 0] = value
    with pytest.raises(ConversionError, match=r"calibration: the activation '[\w.]+' is not finite"):
        convert(two_layers(), make_settings("w8a8"), rows)


# reading


def test_inspect_gives_signature_and_bytes(convert, rows):
    _, artifact = convert(two_layers(), make_settings("w8"), rows)
    signature, stored = TfliteFormat().inspect(artifact.path)
    assert signature == artifact.signature
    assert sum(item.bytes for item in stored if item.dtype == "int8") == 16 * 32 + 32 * 8


def test_gaps_name_operator_and_place(convert, rows):
    _, artifact = convert(two_layers(), make_settings("w8a8-dynamic"), rows)
    (gap,) = TfliteFormat().gaps(artifact.path, "tflite-micro", "0")
    assert (gap.operator, gap.where) == ("FULLY_CONNECTED", "first")
    assert list(TfliteFormat().gaps(artifact.path, "litert", "2.3")) == []
