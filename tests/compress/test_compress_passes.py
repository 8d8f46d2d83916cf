"""Forward and backward over a piece of a batch: the gradients are autograd's own, recorded or not."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgeexport.compress import _passes
from edgeexport.compress._encoded import Column, Encoded
from edgeexport.progress import Progress

LENGTHS = np.asarray([3, 9, 5, 12, 7, 4])


class Learner(torch.nn.Module):
    """The mean of the embedded tokens of a sample, weighted: a loss that padding does not change."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(20, 4, padding_idx=0)
        self.head = torch.nn.Linear(4, 1, bias=False)

    def forward(self, batch):
        count = (batch["ids"] > 0).sum(1, keepdim=True)
        return self.head(self.table(batch["ids"]).sum(1) / count).square()[:, 0]


class Said(Progress):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    flat = torch.from_numpy(random.integers(1, 20, LENGTHS.sum()).astype(np.int32))
    starts = np.concatenate([[0], np.cumsum(LENGTHS)[:-1]])
    column = Column(flat, (-1,), torch.int64, 0)
    places = torch.from_numpy(np.stack([LENGTHS, starts]))
    return Encoded({"ids": column}, LENGTHS, np.zeros(len(LENGTHS), np.int64), places)


@pytest.fixture
def accelerator():
    return SimpleNamespace(
        device=torch.device("cpu"), num_processes=1, scaler=None, backward=lambda loss: loss.backward()
    )


def wanted(data, pieces, share):
    """Gradients and summed losses by autograd alone, sample by sample."""
    learner, total = Learner(), 0.0
    for number in np.concatenate(pieces):
        loss = learner(data.batch(np.asarray([number]), torch.device("cpu")))
        (loss.sum() * share).backward()
        total += float(loss.sum())
    return [parameter.grad for parameter in learner.parameters()], total


def test_gradients_add_up_over_pieces(data, accelerator):
    learner, total = Learner(), torch.zeros(())
    work = _passes.passes(accelerator, learner, data, total, Progress())
    assert type(work) is _passes.Passes
    pieces = [np.asarray([0, 3, 4]), np.asarray([1, 5])]
    for piece in pieces:
        work.add(piece, 0.2)
    expected, losses = wanted(data, pieces, 0.2)
    for parameter, gradient in zip(learner.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert float(total) == pytest.approx(losses, rel=1e-5)
    assert work.waited > 0
    work.clear()
    assert all(parameter.grad is None for parameter in learner.parameters())


def test_what_cannot_be_recorded_goes_on_plainly_and_is_said(data, accelerator, monkeypatch):
    @contextmanager
    def refused(_graph):
        try:
            yield
            raise ValueError("the model asks for a value")
        except ValueError:
            raise RuntimeError("the recording failed") from None

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", refused)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _device: None)
    learner, total, said = Learner(), torch.zeros(()), Said()
    work = _passes.RecordedPasses(accelerator, learner, data, total, said)
    kept = [parameter.grad for parameter in learner.parameters()]
    for _ in range(2):
        work.add(np.asarray([0, 3, 4]), 0.5)
    work.clear()
    assert all(float(gradient.abs().max()) == 0 for gradient in kept)
    add, calls = work._add, []

    def once(batch, share):
        calls.append(batch["ids"].shape[1])
        if len(calls) > 1:  # the first is the recording
            add(batch, share)

    monkeypatch.setattr(work, "_add", once)
    work.add(np.asarray([0, 3, 4]), 0.5)
    expected, _ = wanted(data, [np.asarray([0, 3, 4])], 0.5)
    for parameter, gradient, own in zip(learner.parameters(), expected, kept, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
        assert parameter.grad is own  # a recording writes to its address
    assert said.lines == [
        "the model's passes cannot be recorded for the GPU and run one by one: the model asks for a value"
    ]
    work.add(np.asarray([1]), 1.0)
    assert calls == [12, 12, 9]  # from a multiple of eight to the natural length


def test_lengths_are_multiples_where_samples_leave_room(data):
    cpu = torch.device("cpu")
    assert data.batch(np.asarray([0, 2]), cpu, 8)["ids"].shape == (2, 8)
    assert data.batch(np.asarray([1]), cpu, 8)["ids"].shape == (1, 12)
    padded, plain = data.batch(np.asarray([0, 2]), cpu, 8)["ids"], data.batch(np.asarray([0, 2]), cpu)["ids"]
    assert torch.equal(padded[:, :5], plain)
    assert int(padded[:, 5:].abs().max()) == 0
