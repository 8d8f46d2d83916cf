"""Language models with a cache as ML Programs: their logits against the model's own, and where the cache lies."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers

pytest.importorskip("coremltools", reason="pip install 'edgeexport[coreml]'")

from edgeexport import mil
from edgeexport.decoder import to_runner
from edgeexport.errors import RecipeError
from edgeexport.formats.coreml import CoremlFormat, decoding
from edgeexport.formats.coreml.library import open_program, operations
from edgeexport.recipe import resolve
from edgeexport.runtimes.coreml import Evaluated
from edgeexport.runtimes.decoder import Decoder
from edgeexport.settings import Interface
from edgeexport.sources._decoding import DecodingSource
from edgeexport.target import load_target

CONTEXT, VOCABULARY, WIDTH = 32, 96, 64
TARGETS = ["iphone-ios17", "iphone-ios18"]


def learned():
    """Learned positions, as many key heads as query heads, a tied table."""
    config = transformers.GPT2Config(
        n_layer=2, n_embd=WIDTH, n_head=4, vocab_size=VOCABULARY, n_positions=CONTEXT, initializer_range=0.2
    )
    return transformers.GPT2LMHeadModel(config)


def rotary():
    """Rotary positions, two query heads to a key head, a tied table."""
    config = transformers.LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        tie_word_embeddings=True,
        initializer_range=0.2,
        max_position_embeddings=4096,
    )
    return transformers.LlamaForCausalLM(config)


MODELS = {"learned": learned, "rotary": rotary}


def settings(target, precision="fp32", prefill=(8,), **more):
    flags = {"precision": precision, "interface": {"prefill": list(prefill), "context": CONTEXT}, **more}
    return resolve(load_target(target), {}, "", flags).settings


class Running:
    """The evaluator as a runtime has it."""

    def __init__(self, path, mode):
        self.model = mil.load(path, mode)
        self.state = None

    def reset(self):
        self.state = self.model.new_state()

    def run(self, inputs):
        return self.model(inputs, self.state)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """``exported(model, target, precision)``: the torch model and the artifact, made once."""
    folder, made, models = tmp_path_factory.mktemp("decoders"), {}, {}

    def export(name, target, precision="fp32"):
        if name not in models:
            torch.manual_seed(0)
            models[name] = MODELS[name]().eval()
        if (name, target, "fp32") not in made:
            interface = settings(target).interface
            source = DecodingSource(SimpleNamespace(name=name, preprocess=None, assets=None), models[name], interface)
            made[name, target, "fp32"] = CoremlFormat().baseline(
                source, interface, folder / f"{name}-{target}.mlpackage"
            )
        if (name, target, precision) not in made:
            path = folder / f"{name}-{target}-{precision}.mlpackage"
            baseline = made[name, target, "fp32"]
            made[name, target, precision] = CoremlFormat().convert(baseline, settings(target, precision), None, path)
        return models[name], made[name, target, precision]

    return export


def driven(artifact, mode="exact"):
    return Decoder(Running(artifact.path, mode), to_runner(artifact.decoder, artifact.signature))


def ids(count):
    return np.random.default_rng(3).integers(0, VOCABULARY, count)


def of_model(model, tokens, window=None):
    """The model's own logits, each token looking back on ``window`` of them, itself included."""
    count = len(tokens)
    far = np.subtract.outer(np.arange(count), np.arange(count))
    mask = np.where((far >= 0) & (far < (window or count)), 0, -1e4).astype(np.float32)
    with torch.inference_mode():
        given = torch.from_numpy(np.asarray(tokens, np.int64))[None]
        result = model(input_ids=given, attention_mask=torch.from_numpy(mask)[None, None], use_cache=False)
    return result.logits[0].numpy()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", MODELS)
def test_pieces_and_single_tokens_give_the_models_logits(exported, name, target):
    model, artifact = exported(name, target)
    tokens, text = ids(CONTEXT), driven(artifact)
    found = np.concatenate([text.feed(tokens[:13]), text.feed(tokens[13:14]), text.feed(tokens[14:])])
    wanted = of_model(model, tokens)
    assert np.ptp(wanted) > 2
    np.testing.assert_allclose(found, wanted, atol=2e-5)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", MODELS)
def test_greedy_tokens_are_the_models_in_a_second_text_too(exported, name, target):
    model, artifact = exported(name, target)
    text = driven(artifact)
    for start in (ids(5), ids(9)[4:]):
        tokens = list(start)
        text.reset()
        logits = text.feed(tokens)[-1]
        while len(tokens) < CONTEXT:
            np.testing.assert_allclose(logits, of_model(model, tokens)[-1], atol=1e-4)
            tokens.append(int(logits.argmax()))
            if len(tokens) < CONTEXT:
                logits = text.feed(tokens[-1:])[0]


@pytest.mark.parametrize("target", TARGETS)
def test_a_window_slides_over_the_context(exported, target):
    model, artifact = exported("rotary", target)
    tokens, text = ids(3 * CONTEXT), driven(artifact)
    found = np.concatenate([text.feed(tokens[:20]), text.feed(tokens[20:75]), text.feed(tokens[75:])])
    np.testing.assert_allclose(found, of_model(model, tokens, CONTEXT), atol=2e-5)


def test_the_signature_is_what_the_description_says(exported):
    _, artifact = exported("rotary", "iphone-ios18")
    assert (artifact.decoder.cache, artifact.decoder.prefill) == ("state", (8,))
    assert artifact.signature.lengths == {"sequence": (1, 8)}
    spec = open_description(artifact.path)
    assert [one.name for one in spec.input] == [one.name for one in artifact.signature.inputs]
    assert [one.name for one in spec.output] == ["logits"]
    assert [one.name for one in spec.state] == ["key_0", "value_0", "key_1", "value_1"]
    shapes = {one.name: [list(s.shape) for s in one.type.multiArrayType.enumeratedShapes.shapes] for one in spec.input}
    assert shapes == {
        "input_ids": [[1, 8], [1, 1]],
        "position_ids": [[1, 8], [1, 1]],
        "attention_mask": [[1, 1, 8, CONTEXT], [1, 1, 1, CONTEXT]],
        "slot": [],
    }


def test_before_ios18_the_cache_goes_in_and_out(exported):
    _, artifact = exported("rotary", "iphone-ios17")
    assert artifact.decoder.cache == "slots"
    assert artifact.signature.lengths == {"sequence": (1, 8), "total": (CONTEXT + 1, CONTEXT + 8)}
    spec = open_description(artifact.path)
    assert [one.name for one in spec.input] == [
        *("input_ids", "position_ids", "attention_mask"),
        *("past_key_0", "past_value_0", "past_key_1", "past_value_1"),
    ]
    names = ["logits", "new_key_0", "new_value_0", "new_key_1", "new_value_1"]
    assert [one.name for one in spec.output] == names
    [span] = {
        tuple((size.lowerBound, size.upperBound) for size in one.type.multiArrayType.shapeRange.sizeRanges)
        for one in spec.input
        if one.name == "attention_mask"
    }
    assert span == ((1, 1), (1, 1), (1, 8), (CONTEXT + 1, CONTEXT + 8))


def open_description(path):
    from coremltools.proto.Model_pb2 import Model

    spec = Model()
    spec.ParseFromString((path / "Data" / "com.apple.CoreML" / "model.mlmodel").read_bytes())
    return spec.description


@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8"])
def test_states_are_written_in_place_and_keys_are_never_repeated(exported, precision):
    _, artifact = exported("rotary", "iphone-ios18", precision)
    found = operations(open_program(artifact.path))
    writes = [op for op in found if op.op_type == "coreml_update_state"]
    assert sorted(op.state.name for op in writes) == ["key_0", "key_1", "value_0", "value_1"]
    for write in writes:
        assert write.value.op.op_type == "slice_update"
        assert write.value.op.x.op.op_type == "read_state"
        assert [user.op_type for user in write.value.child_ops] == ["coreml_update_state"]
    slots = (1, 2, CONTEXT, 16)
    takers = {op.op_type for op in found for out in op.outputs if out.shape == slots for op in out.child_ops}
    assert takers == {"slice_update", "coreml_update_state", "matmul"} | ({"cast"} if precision == "fp32" else set())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8", "w4"])
def test_the_tied_table_is_stored_once(exported, name, precision):
    _, artifact = exported(name, "iphone-ios18", precision)
    found = operations(open_program(artifact.path))
    tables = [op for op in found if op.outputs[0].shape == (VOCABULARY, WIDTH)]
    *packed, table = tables
    assert [op.op_type for op in tables] == (
        ["const"] if precision[0] == "f" else ["const", "constexpr_blockwise_shift_scale"]
    )
    assert all(user is table for op in packed for user in op.outputs[0].child_ops)
    assert {user.op_type for user in table.outputs[0].child_ops} == {"gather", "linear"}
    bits = {"fp32": 32, "fp16": 16, "w8": 8, "w4": 4}[precision]
    blob = (artifact.path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").read_bytes()
    stored = table.data.val if bits < 16 else table.outputs[0].val
    if bits > 4:
        assert blob.count(stored.tobytes()) == 1
    else:
        low, high = (stored.reshape(-1, 2).astype(np.int8) & 15).astype(np.uint8).T
        assert blob.count((low | high << 4).tobytes()) == 1


def apart(found, wanted):
    """Root mean square of the difference, over the deviation of what is wanted."""
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())


@pytest.mark.parametrize(("precision", "least", "most"), [("fp16", 0, 0.005), ("w8", 0.005, 0.08), ("w4", 0.08, 0.9)])
@pytest.mark.parametrize("name", MODELS)
def test_smaller_weights_stay_near(exported, name, precision, least, most):
    model, artifact = exported(name, "iphone-ios18", precision)
    text = driven(artifact, "device")
    found, wanted = text.feed(ids(CONTEXT)), of_model(model, ids(CONTEXT))
    assert least < apart(found, wanted) < most
    assert text._model.model.findings == []


def far_on(path, tokens, first=3001):
    """Logits on the device of a text whose positions begin far from zero."""
    count = len(tokens)
    mask = np.full((1, 1, count, CONTEXT), -1e4, np.float32)
    mask[0, 0, :, :count] = np.triu(mask[0, 0, :, :count], 1)
    feeds = {
        "input_ids": tokens[None].astype(np.int32),
        "position_ids": np.arange(first, first + count, dtype=np.int32)[None],
        "attention_mask": mask,
        "slot": np.zeros(1, np.int32),
    }
    return mil.load(path, "device")(feeds)["logits"][0]


def test_rotary_angles_and_squares_stay_float32(exported, tmp_path, monkeypatch):
    model, artifact = exported("rotary", "iphone-ios18", "fp16")
    kinds = ("cos", "sin", "rsqrt", "reduce_mean")
    wide = [op for op in operations(open_program(artifact.path)) if op.op_type in kinds]
    assert {op.op_type for op in wide} == set(kinds)
    assert {op.outputs[0].dtype.__name__ for op in wide} == {"fp32"}
    wanted = of_model(model, ids(8))  # of rotary positions only differences count
    assert apart(far_on(artifact.path, ids(8)), wanted) < 0.01

    monkeypatch.setattr(decoding, "keeps_float32", lambda _: False)
    _, baseline = exported("rotary", "iphone-ios18")
    narrow = tmp_path / "narrow.mlpackage"
    CoremlFormat().convert(baseline, settings("iphone-ios18", "fp16"), None, narrow)
    assert apart(far_on(narrow, ids(8)), wanted) > 0.1


def test_the_runtime_keeps_states_from_reset_on(exported):
    _, artifact = exported("rotary", "iphone-ios18")
    model = Evaluated(artifact.path, 1)
    mask = np.full((1, 1, 1, CONTEXT), -1e4, np.float32)
    mask[..., :2] = 0

    def run(token, slot):
        place = np.array([slot], np.int32)
        feeds = {"input_ids": np.array([[token]], np.int32), "position_ids": place[None], "slot": place}
        return model.run({**feeds, "attention_mask": mask})["logits"]

    alone = run(7, 1)
    run(5, 0)
    np.testing.assert_array_equal(run(7, 1), alone)
    for _ in range(2):
        model.reset()
        np.testing.assert_array_equal(run(7, 1), alone)
        run(5, 0)
        assert np.abs(run(7, 1) - alone).max() > 0.05


def test_a_program_for_single_tokens_alone(tmp_path):
    torch.manual_seed(0)
    model, interface = rotary().eval(), settings("iphone-ios18", prefill=(1,)).interface
    source = DecodingSource(SimpleNamespace(name="one", preprocess=None, assets=None), model, interface)
    artifact = CoremlFormat().baseline(source, interface, tmp_path / "one.mlpackage")
    assert artifact.signature.lengths == {"sequence": (1,)}
    np.testing.assert_allclose(driven(artifact).feed(ids(9)), of_model(model, ids(9)), atol=2e-5)


@pytest.mark.parametrize(
    ("target", "more", "what"),
    [
        ("iphone-ios17", {"precision": "w8a8"}, "not calibrated for Core ML"),
        ("iphone-ios17", {"precision": "w8", "quantization": {"block_size": 32}}, "need iOS 18"),
        ("iphone-ios17", {"precision": "w8", "quantization": {"palette_bits": 3}}, "need iOS 18"),
    ],
)
def test_what_does_not_exist_is_refused(exported, target, more, what, tmp_path):
    _, baseline = exported("learned", target)
    with pytest.raises(RecipeError, match=what):
        CoremlFormat().convert(baseline, settings(target, **more), None, tmp_path / "model.mlpackage")


def test_int4_before_ios18_is_refused():
    with pytest.raises(RecipeError, match="w4"):
        settings("iphone-ios17", "w4")


def test_images_are_refused(tmp_path):
    torch.manual_seed(0)
    interface = Interface(images=True, prefill=(8,))
    source = DecodingSource(SimpleNamespace(name="m", preprocess=None, assets=None), learned().eval(), interface)
    with pytest.raises(RecipeError, match="takes no images"):
        decoding.write_decoder(source, interface, tmp_path / "model.mlpackage")
