"""Students cut out of teachers: which weights they have, and what they compute."""

import re

import pytest
import torch

from edgeexport.compress._students import cut
from edgeexport.errors import RecipeError

STACKS = {
    "bert": "bert.encoder.layer",
    "encoder": "encoder.layer",
    "distilbert": "distilbert.transformer.layer",
    "gpt2": "transformer.h",
    "vit": "vit.encoder.layer",
    "llama": "model.layers",
    "qwen": "model.layers",
}


@pytest.mark.parametrize("kind", STACKS)
def test_layers_are_the_teachers_bit_by_bit(editable_of, kind):
    teacher = editable_of(kind)
    given = {name: tensor.clone() for name, tensor in teacher.model.state_dict().items()}
    made = cut(teacher, [1, 3], 1.0)
    assert made.layers == (1, 3)
    assert made.student.model.config.num_hidden_layers == 2
    state = made.student.model.state_dict()
    seen = set()
    for name, tensor in state.items():
        found = re.fullmatch(rf"{re.escape(STACKS[kind])}\.(\d+)\.(.+)", name)
        origin = f"{STACKS[kind]}.{(1, 3)[int(found[1])]}.{found[2]}" if found else name
        assert torch.equal(tensor, given[origin]), name
        seen.add(origin)
    assert {name for name in given if name not in seen} == {
        name for name in given if re.match(rf"{re.escape(STACKS[kind])}\.[02]\.", name)
    }
    state[next(iter(state))].zero_()
    assert all(torch.equal(tensor, given[name]) for name, tensor in teacher.model.state_dict().items())


@pytest.mark.parametrize("kind", STACKS)
def test_all_layers_compute_what_the_teacher_computes(editable_of, inputs_of, kind):
    teacher = editable_of(kind)
    student = cut(teacher, None, 1.0).student
    with torch.no_grad():
        given, mine = (side.run(inputs_of(kind)) for side in (teacher, student))
    assert list(given) == list(mine)
    for name, tensor in given.items():
        assert torch.equal(tensor, mine[name])
        assert tensor.std() > 0.01


@pytest.mark.parametrize("kind", STACKS)
def test_a_student_without_its_last_layers_gives_what_the_teacher_has_there(editable_of, inputs_of, kind):
    teacher = editable_of(kind)
    student = cut(teacher, [0, 1], 1.0).student
    with torch.no_grad():
        given, mine = (side.run(inputs_of(kind), output_hidden_states=True) for side in (teacher, student))
    depth = 1 if kind in {"gpt2", "llama", "qwen"} else 2  # their last state has passed the final norm
    for theirs, own in zip(given["hidden_states"][: depth + 1], mine["hidden_states"][: depth + 1], strict=True):
        assert torch.equal(theirs, own)


@pytest.mark.parametrize(("count", "layers"), [(1, (0,)), (2, (0, 3)), (3, (0, 2, 3)), (4, (0, 1, 2, 3))], ids=str)
def test_so_many_layers_are_spread_from_the_first_to_the_last(editable_of, count, layers):
    assert cut(editable_of("bert"), count, 1.0).layers == layers


def test_settings_of_each_layer_go_with_it(editable_of):
    teacher = editable_of("qwen")
    assert teacher.model.config.layer_types == ["full_attention"] * 2 + ["sliding_attention"] * 2
    student = cut(teacher, [1, 2, 3], 1.0).student.model
    assert student.config.layer_types == ["full_attention", "sliding_attention", "sliding_attention"]
    assert [layer.attention_type for layer in student.model.layers] == student.config.layer_types
    assert [layer.self_attn.layer_idx for layer in student.model.layers] == [0, 1, 2]


WIDE = ("bert", "distilbert", "gpt2", "vit", "llama")


@pytest.mark.parametrize("kind", WIDE)
def test_a_narrow_students_sizes(editable_of, inputs_of, kind):
    teacher = editable_of(kind)
    student = cut(teacher, 2, 0.5).student
    config = student.model.config
    assert (config.hidden_size, config.num_attention_heads, config.num_hidden_layers) == (16, 2, 2)
    inner = {"bert": "intermediate.dense", "distilbert": "lin1", "gpt2": "c_fc", "vit": "intermediate.dense"}
    name = next(n for n, _ in student.model.named_modules() if n.endswith(inner.get(kind, "up_proj")))
    assert 48 in student.model.get_submodule(name).weight.shape or kind == "gpt2"
    assert kind != "gpt2" or student.model.get_submodule(name).weight.shape == (16, 64)
    with torch.no_grad():
        given, mine = (next(iter(side.run(inputs_of(kind)).values())) for side in (teacher, student))
    assert given.shape == mine.shape
    assert torch.isfinite(mine).all()


def test_kept_channels_are_the_teachers_heaviest_heads(editable_of):
    teacher = editable_of("bert")
    table = teacher.model.bert.embeddings.word_embeddings.weight
    with torch.no_grad():
        table[:, 8:16] *= 10  # the second group of a head's size,
        table[:, 24:32] *= 9  # and the fourth
    student = cut(teacher, [2], 0.5).student.model
    channels = [*range(8, 16), *range(24, 32)]
    given, mine = teacher.model.bert, student.bert
    assert torch.equal(mine.embeddings.word_embeddings.weight, table[:, channels])
    theirs, own = given.encoder.layer[2], mine.encoder.layer[0]
    query = theirs.attention.self.query
    assert torch.equal(own.attention.self.query.weight, query.weight[channels][:, channels])
    assert torch.equal(own.attention.self.query.bias, query.bias[channels])
    heaviest = theirs.intermediate.dense.weight.square().sum(1) + theirs.output.dense.weight.square().sum(0)
    neurons = heaviest.topk(48).indices.sort().values
    assert torch.equal(own.intermediate.dense.weight, theirs.intermediate.dense.weight[neurons][:, channels])
    assert torch.equal(own.intermediate.dense.bias, theirs.intermediate.dense.bias[neurons])
    assert torch.equal(own.output.dense.weight, theirs.output.dense.weight[channels][:, neurons])


def test_fused_queries_keys_and_values_keep_the_same_channels_each(editable_of):
    teacher = editable_of("gpt2")
    student = cut(teacher, [1], 0.5).student.model
    theirs, own = (side.transformer.h for side in (teacher.model, student))
    table = teacher.model.transformer.wte.weight
    heads = table.square().sum(0).reshape(4, 8).sum(1).topk(2).indices.sort().values
    channels = torch.cat([torch.arange(head * 8, head * 8 + 8) for head in heads])
    fused = theirs[1].attn.c_attn.weight
    for part in range(3):
        expected = fused[channels][:, part * 32 + channels]
        assert torch.equal(own[0].attn.c_attn.weight[:, part * 16 : part * 16 + 16], expected)
        bias = theirs[1].attn.c_attn.bias[part * 32 + channels]
        assert torch.equal(own[0].attn.c_attn.bias[part * 16 : part * 16 + 16], bias)


def test_a_feed_forward_layer_three_times_the_hidden_size_is_not_taken_for_fused_ones(editable_of):
    theirs = editable_of("bert").model.bert.encoder.layer[0]
    assert theirs.intermediate.dense.weight.shape == (96, 32)
    teacher = editable_of("bert")
    with torch.no_grad():  # the heaviest neurons are the last
        teacher.model.bert.encoder.layer[0].intermediate.dense.weight[48:] += 5
    own = cut(teacher, [0], 0.5).student.model.bert.encoder.layer[0]
    assert torch.equal(own.intermediate.dense.bias, theirs.intermediate.dense.bias[48:])


def test_frozen_parameters_stay_frozen(editable_of):
    made = cut(editable_of("encoder"), [0, 2], 1.0).student
    frozen = [name for name, parameter in made.model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["pooler.dense.weight", "pooler.dense.bias"]
    assert not any(made.model.get_parameter(name).any() for name in frozen)


@pytest.mark.parametrize(
    ("kind", "layers", "width", "said"),
    [
        ("mobilenet", 2, 1.0, "mobilenet has no stack of layers to choose from"),
        ("swin", 2, 1.0, "its configuration says layer by layer what it is made of"),
        ("swin", None, 0.5, "swin has no one number of heads and channels"),
        ("qwen", None, 0.5, "qwen shares keys among heads; its width cannot be scaled"),
        ("bert", 5, 1.0, "bert has 4 layers, and 5 are asked for"),
        ("bert", [2, 1], 1.0, r"layers \[2, 1\] are not some of bert's 4"),
        ("bert", [1, 1], 1.0, r"layers \[1, 1\] are not some of bert's 4"),
        ("bert", [0, 4], 1.0, r"layers \[0, 4\] are not some of bert's 4"),
        ("bert", [], 1.0, r"layers \[\] are not some of bert's 4"),
        ("bert", None, 0.9, "a width of 0.9 leaves bert all of its 4 heads"),
    ],
)
def test_refusals(editable_of, kind, layers, width, said):
    with pytest.raises(RecipeError, match=said):
        cut(editable_of(kind), layers, width)


def test_a_torch_module_has_no_layers_to_choose_from(digits):
    from edgeexport.source import SourceOptions
    from edgeexport.sources.torch import open_source

    with pytest.raises(RecipeError, match="has no stack of layers to choose from"):
        cut(open_source(digits.model, SourceOptions()).editable(), 2, 1.0)
