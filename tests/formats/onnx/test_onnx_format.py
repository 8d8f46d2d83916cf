"""The format as the pipeline uses it: files in, files out."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgeexport.artifact import Artifact
from edgeexport.errors import ConversionError, ModelError, RecipeError
from edgeexport.formats.onnx import OnnxFormat, open_format
from edgeexport.onnx_file import read_signature
from edgeexport.settings import Interface, Override
from edgeexport.signature import Signature, TensorSpec
from edgeexport.sources.onnx import OnnxSource


def opset(model):
    return next(entry.version for entry in model.opset_import if not entry.domain)


def test_the_module_opens_its_format():
    assert isinstance(open_format(), OnnxFormat)
    assert open_format().file_name == "model.onnx"


def test_a_baseline_is_the_source_with_its_signature(chain, tmp_path, run, chain_samples):
    onnx.save(chain(), str(tmp_path / "given.onnx"))
    source = OnnxSource(tmp_path / "given.onnx")
    artifact = OnnxFormat().baseline(source, Interface(), tmp_path / "model.onnx")
    assert (artifact.format, artifact.precision, artifact.signature) == ("onnx", "fp32", source.signature)
    written = onnx.load(str(artifact.path))
    expected = source.reference(chain_samples[0])["y"]
    assert np.array_equal(run(written, chain_samples[0])[0], expected)


def test_lengths_that_the_file_leaves_open_come_from_the_source(chain, tmp_path):
    model = chain()
    model.graph.output[0].type.tensor_type.shape.dim[1].Clear()

    class Known(OnnxSource):
        signature = Signature(
            (TensorSpec("x", "float32", ("n", 4, 16)),), (TensorSpec("y", "float32", ("batch", 4, "wide")),)
        )

        def write_onnx(self, path: Path) -> None:
            onnx.save(model, str(path))

    artifact = OnnxFormat().baseline(Known(tmp_path / "none.onnx"), Interface(), tmp_path / "model.onnx")
    assert artifact.signature.outputs[0].shape == ("n", 4, 8)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8", "w4", "w8a8-dynamic", "w8a8"])
@pytest.mark.parametrize("kind", ["chain", "convs"])
def test_the_same_conversion_gives_the_same_bytes(
    chain, convs, tmp_path, settings, chain_samples, conv_samples, precision, kind
):
    model, samples = (chain(), chain_samples) if kind == "chain" else (convs, conv_samples)
    onnx.save(model, str(tmp_path / "float.onnx"))
    baseline = Artifact("onnx", tmp_path / "float.onnx", "fp32", read_signature(model))
    rules = settings(precision, method="mse", smoothing=0.85, carried_op_types=("Relu",))
    digests = set()
    for name in ("one.onnx", "two.onnx"):
        path = OnnxFormat().convert(baseline, rules, lambda _: iter(samples), tmp_path / name).path
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize("precision", ["fp16", "w8", "w4", "w8a8-dynamic", "w8a8"])
def test_precisions_differ_from_float_and_stay_near(chain, convert, settings, run, chain_samples, precision):
    model, _ = convert(chain(), settings(precision), chain_samples)
    before, after = (np.stack([run(which, sample)[0] for sample in chain_samples]) for which in (chain(), model))
    cosine = (before * after).sum() / np.linalg.norm(before) / np.linalg.norm(after)
    assert (0.98 if precision == "w4" else 0.999) < cosine
    assert not np.array_equal(before, after)
    assert read_signature(model) == read_signature(chain())


def test_fp32_is_the_float_model(chain, convert, settings, run, chain_samples):
    model, notes = convert(chain(), settings("fp32"))
    assert notes == ()
    assert np.array_equal(run(model, chain_samples[0])[0], run(chain(), chain_samples[0])[0])


@pytest.mark.parametrize("precision", ["fp32", "w8a8-dynamic", "w8a8", "w8"])
def test_an_old_opset_is_raised(chain, convert, settings, run, chain_samples, precision):
    model, _ = convert(chain(11), settings(precision, smoothing=0.85, smoothing_ratio=1.5), chain_samples)
    assert opset(model) >= 13
    before, after = (np.stack([run(which, sample)[0] for sample in chain_samples]) for which in (chain(), model))
    assert (before * after).sum() / np.linalg.norm(before) / np.linalg.norm(after) > 0.999


def test_a_later_opset_is_kept(chain, convert, settings):
    assert opset(convert(chain(18), settings("w8a8-dynamic"))[0]) == 18


def dense(build, normal):
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="dense")]
    constants = {"w": normal(16, 8), "b": normal(8)}
    return build(nodes, constants, {"x": ("float32", ["n", 16])}, {"y": ("float32", ["n", 8])})


def test_static_without_calibration_is_refused(chain, build, normal, convert, settings):
    by_override = settings("w8a8-dynamic", [Override(precision="w8a8", name="first")])
    # the layer of a dense model settles on dynamic activations; static was asked for all the same
    for model, rules in ((chain(), settings("w8a8")), (chain(), by_override), (dense(build, normal), settings("w8a8"))):
        with pytest.raises(RecipeError, match="needs calibration samples"):
            convert(model, rules)


def test_smoothing_is_noted_and_needs_calibration(chain, convert, settings, chain_samples):
    for sample in chain_samples:
        sample["x"][..., 3] *= 60
    rules = settings("w8a8-dynamic", smoothing=0.85, smoothing_ratio=20)
    _, notes = convert(chain(), rules, chain_samples)
    assert "1 activations with outlier channels smoothed (α 0.85)" in notes
    _, notes = convert(chain(), rules)
    assert "no calibration set was given, so activations with outlier channels were not smoothed" in notes
    _, notes = convert(chain(), settings("w8a8-dynamic"))
    assert not any("smoothed" in note for note in notes)


def test_smoothing_brings_int8_nearer_to_float(chain, convert, settings, run, chain_samples):
    for sample in chain_samples:
        sample["x"][..., 3] *= 200
    before = np.stack([run(chain(), sample)[0] for sample in chain_samples])
    errors = {}
    for strength in (0.0, 0.5):
        rules = settings("w8a8-dynamic", per_channel=False, smoothing=strength, smoothing_ratio=20)
        model, _ = convert(chain(), rules, chain_samples)
        after = np.stack([run(model, sample)[0] for sample in chain_samples])
        errors[strength] = np.square(after - before).mean()
    assert errors[0.5] < 0.7 * errors[0.0]


def test_a_quantizer_that_fails_is_a_conversion_error(chain, convert, settings):
    def broken():
        raise ValueError("no more samples")
        yield

    with pytest.raises(ConversionError, match=r"quantizing to w8a8 failed: ValueError: no more samples"):
        convert(chain(), settings("w8a8"), broken())


def test_nothing_inferred_is_written(convs, convert, settings, conv_samples):
    model, _ = convert(convs, settings("w8a8"), conv_samples)
    assert not model.graph.value_info
    assert not model.metadata_props


def test_inspect_refuses_another_file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="is not an ONNX model"):
        OnnxFormat().inspect(path)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("hybrid_per_channel", False),
        ("embedding_bits", 4),
        ("minimum_snr", 22.0),
        ("fallback", "w8"),
        ("io_type", "int8"),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "w8", "w8a8"])
def test_rules_of_other_formats_are_refused(chain, convert, settings, chain_samples, rule, value, precision):
    with pytest.raises(RecipeError, match=rf"the format onnx has no quantization\.{rule}"):
        convert(chain(), settings(precision, **{rule: value}), chain_samples)


@pytest.mark.parametrize("precision", ["w8", "w4"])
def test_blocks_of_nothing_are_refused(chain, convert, settings, precision):
    with pytest.raises(RecipeError, match=r"quantization\.block_size 16, 32, 64 or 128"):
        convert(chain(), settings(precision, block_size=0))


def test_16_bit_activations_are_refused(chain, convert, settings, chain_samples):
    with pytest.raises(RecipeError, match="the format onnx has no w8a16"):
        convert(chain(), settings("w8a16"), chain_samples)


@pytest.mark.parametrize("precision", ["w8a8", "w8a8-dynamic", "w4"])
def test_weights_alone_are_not_mixed_into_other_precisions(chain, convert, settings, chain_samples, precision):
    override = Override(precision="w8", name="first")
    with pytest.raises(RecipeError, match="mixes no w8 into other precisions"):
        convert(chain(), settings(precision, [override]), chain_samples)


@pytest.mark.parametrize("interface", [Interface(lengths=(8,)), Interface(channels_last=True)])
def test_an_interface_is_refused(chain, tmp_path, interface):
    onnx.save(chain(), str(tmp_path / "given.onnx"))
    with pytest.raises(RecipeError, match="'interface' is for formats that fix them"):
        OnnxFormat().baseline(OnnxSource(tmp_path / "given.onnx"), interface, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_there_are_no_gaps(tmp_path):
    assert list(OnnxFormat().gaps(tmp_path / "none.onnx", "onnxruntime", "1.20")) == []
