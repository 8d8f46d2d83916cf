"""Distances of hidden states, attention and relations, against their formulas."""

import numpy as np
import pytest
import torch

from edgeexport.compress._students import cut
from edgeexport.compress._transfer import Capture, Transfer
from edgeexport.errors import RecipeError
from edgeexport.stages import Distill

EVERYTHING = {"hidden": 1.0, "attention": 1.0, "relations": 1.0, "cosine": 1.0}


def distances(stage, student, teacher, layers, inputs):
    """What each sample's transfer is, and what both sides gave."""
    torch.manual_seed(0)
    transfer = Transfer(stage, student, teacher, layers)
    asked = {key: True for key, on in transfer.asks.items() if on}
    with torch.no_grad():
        mine, theirs = (side.run(inputs, **asked) for side in (student, teacher))
        batch = {**inputs, "sample": torch.arange(2)}
        return transfer(mine, theirs, batch), mine, theirs, transfer


@pytest.mark.parametrize("kind", ["bert", "distilbert", "gpt2", "vit", "llama", "qwen"])
@pytest.mark.parametrize("what", EVERYTHING)
def test_a_copy_has_no_distance_and_a_cut_has_one(editable_of, inputs_of, kind, what):
    stage = Distill(layers=4, **{what: 1.0})
    teacher = editable_of(kind)
    made = cut(teacher, None, 1.0)
    found, *_ = distances(stage, made.student, teacher, made.layers, inputs_of(kind))
    assert found.shape == (2,)
    assert found.abs().max() < 1e-5
    made = cut(teacher, [0, 2], 1.0)
    found, *_ = distances(stage, made.student, teacher, made.layers, inputs_of(kind))
    assert (found > 1e-4).all()


def masked(values, mask):
    return np.array([row[: int(m.sum())].mean() for row, m in zip(values, mask, strict=True)])


def test_hidden_states_layer_by_layer(editable_of, inputs_of):
    teacher = editable_of("bert")
    made = cut(teacher, [1, 3], 1.0)
    inputs = inputs_of("bert")
    found, mine, theirs, transfer = distances(Distill(hidden=2.0), made.student, teacher, made.layers, inputs)
    assert len(list(transfer.parameters())) == 0
    expected = np.zeros(2)
    for at, number in enumerate((0, 2, 4)):  # the embeddings' first
        apart = (mine["hidden_states"][at] - theirs["hidden_states"][number]).square().mean(-1).numpy()
        expected += masked(apart, inputs["attention_mask"]) / 3
    np.testing.assert_allclose(found.numpy(), 2 * expected, rtol=1e-4)


def test_hidden_states_of_other_widths_are_projected(editable_of, inputs_of):
    teacher = editable_of("bert")
    made = cut(teacher, [1, 3], 0.5)
    inputs = inputs_of("bert")
    found, mine, theirs, transfer = distances(Distill(hidden=1.0), made.student, teacher, made.layers, inputs)
    assert [tuple(one.weight.shape) for one in transfer.projections] == [(32, 16)] * 3
    expected = np.zeros(2)
    for at, number in enumerate((0, 2, 4)):
        projected = transfer.projections[at](mine["hidden_states"][at])
        apart = (projected - theirs["hidden_states"][number]).square().mean(-1).detach().numpy()
        expected += masked(apart, inputs["attention_mask"]) / 3
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def divergence(theirs, mine):
    return (theirs * (np.log(theirs + 1e-9) - np.log(mine + 1e-9))).sum(-1)


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_attention_by_head_or_by_the_heads_mean(editable_of, inputs_of, width):
    teacher = editable_of("bert")
    made = cut(teacher, [1, 3], width)
    inputs = inputs_of("bert")
    found, mine, theirs, _ = distances(Distill(attention=1.0), made.student, teacher, made.layers, inputs)
    expected = np.zeros(2)
    for at, number in enumerate((1, 3)):
        own, given = mine["attentions"][at].double().numpy(), theirs["attentions"][number].double().numpy()
        assert own.shape[1] == (4 if width == 1 else 2)
        if width < 1:
            own, given = own.mean(1, keepdims=True), given.mean(1, keepdims=True)
        expected += masked(divergence(given, own).mean(1), inputs["attention_mask"]) / 2
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-6)


def relations(vectors, heads, count):
    tokens, channels = vectors.shape
    parted = vectors.reshape(tokens, heads, channels // heads).transpose(1, 0, 2)[:, :count]
    scores = parted @ parted.transpose(0, 2, 1) / np.sqrt(channels // heads)
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize(("kind", "width"), [("bert", 1.0), ("bert", 0.5), ("gpt2", 1.0)])
def test_relations_of_the_last_layer(editable_of, inputs_of, kind, width):
    teacher = editable_of(kind)
    made = cut(teacher, [0, 2], width)
    inputs = inputs_of(kind)
    found, *_ = distances(Distill(relations=1.0), made.student, teacher, made.layers, inputs)
    stack = {"bert": "bert.encoder.layer", "gpt2": "transformer.h"}[kind]
    heads = 4 if width == 1 else 2
    captured = []
    for side, layer in ((made.student, 1), (teacher, 3)):
        seen = {}
        last = side.model.get_submodule(f"{stack}.{layer}")
        names = ("attention.self.query", "attention.self.key", "attention.self.value")
        for name in names if kind == "bert" else ("attn.c_attn",):
            last.get_submodule(name).register_forward_hook(
                lambda _module, _given, result, name=name, seen=seen: seen.update(
                    {name: result.detach().double().numpy()}
                )
            )
        with torch.no_grad():
            side.run(inputs)
        whole = list(seen.values())
        captured.append(np.split(whole[0], 3, -1) if len(whole) == 1 else whole)
    expected = np.zeros(2)
    for own, given in zip(*captured, strict=True):
        for row, count in enumerate(inputs["attention_mask"].sum(1).tolist()):
            mine, theirs = (relations(side[row], heads, count) for side in (own, given))
            expected[row] += divergence(theirs, mine).mean()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3)


def test_cosine_of_last_hidden_states(editable_of, inputs_of):
    teacher = editable_of("bert")
    made = cut(teacher, [0, 2], 1.0)
    inputs = inputs_of("bert")
    found, mine, theirs, _ = distances(Distill(cosine=3.0), made.student, teacher, made.layers, inputs)
    own, given = (side["hidden_states"][-1].double().numpy() for side in (mine, theirs))
    near = (own * given).sum(-1) / np.linalg.norm(own, axis=-1) / np.linalg.norm(given, axis=-1)
    np.testing.assert_allclose(found.numpy(), 3 * masked(1 - near, inputs["attention_mask"]), rtol=1e-4)


def test_weights_add_up(editable_of, inputs_of):
    teacher = editable_of("bert")
    made = cut(teacher, [0, 2], 1.0)
    single = sum(
        distances(Distill(**{what: 0.5}), made.student, teacher, made.layers, inputs_of("bert"))[0]
        for what in EVERYTHING
    )
    together = Distill(**dict.fromkeys(EVERYTHING, 0.5))
    found, *_ = distances(together, made.student, teacher, made.layers, inputs_of("bert"))
    torch.testing.assert_close(found, single)


def test_heads_that_divide_neither_width_meet_in_their_common_divisor(editable_of, inputs_of):
    teacher = editable_of("bert")
    made = cut(teacher, [0, 2], 0.75)  # 3 heads of 8; the teacher's 32 channels are not 3 heads
    found, *_ = distances(Distill(relations=1.0), made.student, teacher, made.layers, inputs_of("bert"))
    assert torch.isfinite(found).all()
    assert (found > 0).all()


@pytest.mark.parametrize(
    ("kind", "width", "weights", "said"),
    [
        ("bert", 0.5, {"cosine": 1.0}, "cosine of hidden states of 16 and 32 channels is not defined"),
        ("swin", 1.0, {"attention": 1.0}, "no Transformers model whose num_attention_heads is known"),
        ("mobilenet", 1.0, {"hidden": 1.0}, "no Transformers model whose hidden_size is known"),
    ],
)
def test_refusals(editable_of, kind, width, weights, said):
    teacher = editable_of(kind)
    student = teacher if width == 1 else cut(teacher, None, width).student
    with pytest.raises(RecipeError, match=said):
        Transfer(Distill(**weights), student, teacher, ())


def test_unknown_names_of_queries_are_refused(editable_of):
    with pytest.raises(RecipeError, match="its queries, keys and values are not where they are looked for"):
        Capture(editable_of("mobilenet"))
