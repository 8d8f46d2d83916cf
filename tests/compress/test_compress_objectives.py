"""Losses of each task, against their formulas."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgeexport.compress._objectives import Classes, NextTokens, Vectors, divergence, mean, objective_of
from edgeexport.errors import RecipeError
from edgeexport.signature import Signature, TensorSpec


@pytest.fixture
def random():
    return torch.Generator().manual_seed(3)


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def kl(student, teacher, temperature):
    mine, theirs = (softmax(side.numpy().astype(np.float64) / temperature) for side in (student, teacher))
    return (theirs * (np.log(theirs) - np.log(mine))).sum(-1) * temperature**2


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_divergence_is_kullback_and_leiblers_times_the_temperatures_square(random, temperature):
    student, teacher = (torch.randn(4, 3, 7, generator=random) * 4 for _ in range(2))
    found = divergence(student, teacher, temperature)
    np.testing.assert_allclose(found.numpy(), kl(student, teacher, temperature), rtol=1e-4, atol=1e-5)
    assert torch.allclose(divergence(teacher, teacher, temperature), torch.zeros(4, 3), atol=1e-6)
    assert not torch.allclose(divergence(teacher, student, temperature), found)


def test_classes(random):
    student, teacher = (torch.randn(5, 3, generator=random) for _ in range(2))
    batch = {"label": torch.tensor([0, 2, 1, 1, 0])}
    task = Classes()
    np.testing.assert_allclose(task.soft(student, teacher, batch, 2.0).numpy(), kl(student, teacher, 2.0), rtol=1e-4)
    expected = -np.log(softmax(student.numpy())[np.arange(5), batch["label"]])
    np.testing.assert_allclose(task.hard(student, batch).numpy(), expected, rtol=1e-5)
    assert int(task.right(student, batch)) == int((student.numpy().argmax(-1) == batch["label"].numpy()).sum())


def test_next_tokens_lose_what_transformers_loses(editable_of, inputs_of):
    model = editable_of("gpt2").model
    batch = dict(inputs_of("gpt2"))
    scores = model(**batch).logits
    for row in range(2):  # its own mean is over all tokens of a batch; ours is of each sample
        one = {name: tensor[row : row + 1] for name, tensor in batch.items()}
        labels = torch.where(one["attention_mask"] == 1, one["input_ids"], -100)
        expected = model(**one, labels=labels).loss
        torch.testing.assert_close(NextTokens().hard(scores[row : row + 1], one)[0], expected, rtol=1e-5, atol=1e-6)
    losses, counts = NextTokens().hard(scores, batch), NextTokens().count(batch)
    assert counts.tolist() == [5, 3]
    labels = torch.where(batch["attention_mask"] == 1, batch["input_ids"], -100)
    torch.testing.assert_close((losses * counts).sum() / counts.sum(), model(**batch, labels=labels).loss)


def test_next_tokens_leave_padding_out(random):
    student, teacher = (torch.randn(2, 4, 6, generator=random) for _ in range(2))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    batch = {"input_ids": torch.randint(6, (2, 4), generator=random), "attention_mask": mask}
    found = NextTokens().soft(student, teacher, batch, 2.0)
    apart = kl(student, teacher, 2.0)
    np.testing.assert_allclose(found.numpy(), [apart[0].mean(), apart[1, :2].mean()], rtol=1e-4)
    hard = NextTokens().hard(student, batch)
    student[1, 2:] = 100 * torch.randn(2, 6, generator=random)
    batch["input_ids"][1, 2:] = 0
    assert torch.equal(NextTokens().soft(student, teacher, batch, 2.0), found)
    assert torch.equal(NextTokens().hard(student, batch), hard)
    without = {"input_ids": batch["input_ids"]}
    np.testing.assert_allclose(
        NextTokens().soft(student, teacher, without, 2.0).numpy(), kl(student, teacher, 2.0).mean(1), rtol=1e-4
    )


def cosines(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit @ unit.T


def test_vectors_by_cosine_and_by_similarities_among_each_other(random):
    student, teacher = (torch.randn(4, 6, generator=random) for _ in range(2))
    mine, theirs = student.numpy().astype(np.float64), teacher.numpy().astype(np.float64)
    near = 1 - (mine * theirs).sum(1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(theirs, axis=1)
    among = ((cosines(mine) - cosines(theirs)) ** 2).mean(1)
    np.testing.assert_allclose(Vectors().soft(student, teacher, {}, 9.0).numpy(), near + among, rtol=1e-4)
    # turned by one rotation, similarities stay; in another size they are all there is
    turn = torch.linalg.qr(torch.randn(6, 6, generator=random))[0]
    np.testing.assert_allclose(
        Vectors().soft(teacher @ turn, torch.cat([teacher, torch.zeros(4, 2)], 1), {}, 1.0).numpy(), 0, atol=1e-6
    )
    assert not Vectors().hard(student, {}).any()


def test_a_vector_a_token(random):
    student, teacher = (torch.randn(3, 4, 6, generator=random) for _ in range(2))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    found = Vectors().soft(student, teacher, {"attention_mask": mask}, 1.0)
    mine, theirs = student.numpy().astype(np.float64), teacher.numpy().astype(np.float64)
    near = 1 - (mine * theirs).sum(-1) / np.linalg.norm(mine, axis=-1) / np.linalg.norm(theirs, axis=-1)
    counts = (4, 2, 1)
    means = [np.stack([row[:n].mean(0) for row, n in zip(side, counts, strict=True)]) for side in (mine, theirs)]
    among = ((cosines(means[0]) - cosines(means[1])) ** 2).mean(1)
    expected = np.array([row[:n].mean() for row, n in zip(near, counts, strict=True)]) + among
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)
    unmasked = Vectors().soft(student, teacher, {}, 1.0)
    among = ((cosines(mine.mean(1)) - cosines(theirs.mean(1))) ** 2).mean(1)
    np.testing.assert_allclose(unmasked.numpy(), near.mean(1) + among, rtol=1e-4)


def test_mean_under_a_mask():
    values = torch.tensor([[1.0, 2.0, 30.0], [4.0, 50.0, 60.0]])
    assert mean(values, torch.tensor([[1.0, 1, 0], [1, 0, 0]])).tolist() == [1.5, 4]
    assert mean(values, None).tolist() == [11, 38]
    assert mean(values, torch.zeros(2, 3)).tolist() == [0, 0]


def fake(task, output, shape, inputs=("input_ids",)):
    specs = tuple(TensorSpec(name, "int64", ("batch", "tokens")) for name in inputs)
    return SimpleNamespace(name="model", task=task, signature=Signature(specs, (TensorSpec(output, "float32", shape),)))


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (fake("classification", "logits", ("batch", 3)), Classes),
        (fake("classification", "logits", ("batch", 3), ("pixel_values",)), Classes),
        (fake("embedding", "sentence_embedding", ("batch", 8)), Vectors),
        (fake("generic", "last_hidden_state", ("batch", "tokens", 8)), Vectors),
        (fake("generic", "logits", ("batch", "tokens", 40)), NextTokens),
    ],
)
def test_what_a_source_is_for(source, kind):
    assert type(objective_of(source)) is kind


@pytest.mark.parametrize(
    "source",
    [
        fake("generic", "logits", ("batch", "tokens", 40), ("x",)),
        fake("generic", "logits", ("batch", 40)),
        fake("generic", "output", ("batch", 40)),
    ],
)
def test_what_is_not_known_is_refused(source):
    with pytest.raises(RecipeError, match="what model gives is not known to be classes, an embedding or next tokens"):
        objective_of(source)


@pytest.mark.parametrize("output", ["logits", "last_hidden_state", "values"])
def test_a_regression_is_never_classes_or_anything_else(output):
    source = fake("regression", output, ("batch", "tokens", 40), ("input_ids",))
    with pytest.raises(RecipeError, match="model gives real numbers, and only classes, embeddings and next tokens can"):
        objective_of(source)


def test_real_sources(source_of):
    kinds = {kind: type(objective_of(source_of(kind))) for kind in ("bert", "encoder", "gpt2", "vit")}
    assert kinds == {"bert": Classes, "encoder": Vectors, "gpt2": NextTokens, "vit": Classes}
