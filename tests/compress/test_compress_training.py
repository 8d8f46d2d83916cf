"""The training loop: resumed, accumulated and distributed runs against plain ones, and what it refuses."""

import itertools
import math
import signal
import time

import loop
import numpy as np
import pytest
import torch
from torch.nn import functional

from edgeexport.compress._encoded import order
from edgeexport.compress._parameters import groups
from edgeexport.compress._training import CHECKPOINT, Epoch, Split, Trainer, split
from edgeexport.errors import ConversionError, MissingRequirement, RecipeError
from edgeexport.progress import Progress
from edgeexport.stages import Training


def weights(learner):
    return {name: tensor.clone() for name, tensor in learner.state_dict().items()}


def same(one, other):
    return list(one) == list(other) and all(
        one[name].numpy().tobytes() == other[name].numpy().tobytes() for name in one
    )


@pytest.fixture
def fit(tmp_path):
    """Train the small learner; gives its weights and the history."""
    numbers = itertools.count()

    def run(training, learner=None, data=None, parts=None, work=None, progress=None):
        data = loop.data() if data is None else data
        learner = loop.Learner() if learner is None else learner
        trainer = Trainer(training, work or tmp_path / f"work-{next(numbers)}", progress or Progress())
        history = trainer.fit(learner, data, split(len(data), training) if parts is None else parts)
        return weights(learner), history

    return run


PLAIN = Training(epochs=2, batch=32, learning_rate=1e-2)


def test_the_same_twice_and_another_seed_differs(fit):
    first, history = fit(PLAIN)
    again, _ = fit(PLAIN)
    assert same(first, again)
    assert not same(first, fit(Training(epochs=2, batch=32, learning_rate=1e-2, seed=1))[0])
    assert history.steps == 2 * math.ceil((200 - 4) / 32)
    assert history.samples == 2 * 196
    assert [epoch.number for epoch in history.epochs] == [1, 2]
    assert history.epochs[1].loss < history.epochs[0].loss


def test_a_step_is_adamws(fit):
    """Two steps by hand, in plain torch."""
    training = Training(epochs=1, batch=100, learning_rate=1e-2, warmup=0, held_out=0, clip=0.5, weight_decay=0.1)
    learner, data = loop.Learner(dropout=0), loop.data()
    twin = loop.Learner(dropout=0)
    found, history = fit(training, learner)
    assert history.steps == 2
    matrices = [parameter for parameter in twin.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in twin.parameters() if parameter.ndim <= 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}])
    for step, chosen in enumerate(order(data.lengths, 100, 0, 0)):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (2 - step) / 2
        optimizer.zero_grad()
        twin(data.batch(chosen, torch.device("cpu"))).mean().backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        optimizer.step()
    for name, tensor in weights(twin).items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("accumulate", [2, 4, 7])
def test_accumulated_passes_equal_a_whole_batch(fit, accumulate):
    whole = Training(epochs=2, batch=32, learning_rate=1e-2)
    parted = Training(epochs=2, batch=32, accumulate=accumulate, learning_rate=1e-2)
    first, history = fit(whole, loop.Learner(dropout=0))
    second, other = fit(parted, loop.Learner(dropout=0))
    assert (history.steps, history.samples) == (other.steps, other.samples)
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-5, atol=1e-6)
    assert history.epochs[-1].loss == pytest.approx(other.epochs[-1].loss, rel=1e-5)


# interrupted


@pytest.mark.parametrize("after", [3, 6, 8, 11])
def test_a_run_killed_at_any_step_ends_with_the_same_bytes(fit, tmp_path, after):
    expected, _ = fit(loop.TRAINING)
    work, result = tmp_path / "work", tmp_path / "result.pt"
    done = loop.start(work, result, "--die-after", after)
    assert done.returncode == -signal.SIGKILL
    assert not result.exists()
    found, history = fit(loop.TRAINING, work=work)
    assert 0 < history.resumed_at <= after
    assert same(found, expected)
    assert same(fit(loop.TRAINING, work=work)[0], expected)  # and a finished run that is asked for once more


def written(path):
    return path.stat().st_mtime_ns if path.exists() else None


@pytest.mark.slow
def test_a_run_killed_at_any_time_ends_with_the_same_bytes(fit, tmp_path):
    expected, _ = fit(loop.TRAINING)
    random = np.random.default_rng()
    for number in range(3):
        work, result = tmp_path / f"work-{number}", tmp_path / f"result-{number}.pt"
        kills = 0
        while not result.exists():
            before = written(work / CHECKPOINT)
            process = loop.popen(work, result, "--pause", "0.05")
            while written(work / CHECKPOINT) == before and process.poll() is None:  # each life gets somewhere
                time.sleep(0.01)
            time.sleep(random.uniform(0, 0.3))
            process.kill()
            process.wait()
            kills += 1
        assert kills
        assert same(torch.load(result, weights_only=True), expected)


def test_a_checkpoint_that_was_half_written_does_not_count(fit, tmp_path):
    expected, _ = fit(loop.TRAINING)
    work = tmp_path / "work"
    loop.start(work, tmp_path / "result.pt", "--die-after", 7)
    (work / CHECKPOINT).with_suffix(".partial").write_bytes(b"half")
    assert same(fit(loop.TRAINING, work=work)[0], expected)


# several processes


@pytest.mark.parametrize("unused", [(), ("--unused",)], ids=["", "with a weight that no loss depends on"])
def test_two_processes_end_where_one_does(fit, tmp_path, unused):
    alone, history = fit(loop.SHARED, loop.Learner(dropout=0))
    result = tmp_path / "result.pt"
    done = loop.launch(2, tmp_path / "work", result, "--shared", *unused)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("result*")) == ["result.pt"]  # the first alone writes
    found = torch.load(result, weights_only=True)
    for name, tensor in alone.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-5)
    assert f"steps {history.steps}" in done.stdout
    assert f"loss {history.epochs[-1].loss:.4f}" in done.stdout


# the best epoch


class Worse(loop.Learner):
    """Learns as it does, while what the held-out part says is made up."""

    def __init__(self, losses, accuracies=None):
        super().__init__(dropout=0)
        self.losses, self.accuracies, self.asked, self.seen = losses, accuracies, 0, []

    def measure(self, batch):
        count = len(batch["sample"])
        self.seen += batch["sample"].tolist()
        at, self.asked = self.asked, self.asked + 1
        sums = {"loss": torch.tensor(self.losses[at] * count, dtype=torch.float64)}
        if self.accuracies is not None:
            sums["right"] = torch.tensor(self.accuracies[at] * count, dtype=torch.float64)
        return sums


def test_the_epoch_that_is_best_on_the_held_out_part_is_kept(fit):
    short = Training(epochs=2, batch=32, learning_rate=1e-2, held_out=0.1)
    learner = Worse([3.0, 1.0, 2.0, 4.0])
    found, history = fit(Training(epochs=4, batch=32, learning_rate=1e-2, held_out=0.1), learner)
    assert (history.best, len(history.epochs)) == (2, 4)
    assert [epoch.held_out for epoch in history.epochs] == [3, 1, 2, 4]
    parts = split(200, short)
    assert sorted(set(learner.seen)) == parts.held_out.tolist()
    assert len(parts.held_out) == 20
    last, _ = fit(Training(epochs=4, batch=32, learning_rate=1e-2, held_out=0.1), Worse([4.0, 3.0, 2.0, 1.0]))
    assert not same(found, last)
    # what is kept is what the second epoch had: a run that stops there has it
    stopped, history = fit(
        Training(epochs=4, batch=32, learning_rate=1e-2, held_out=0.1, patience=1), Worse([3.0, 1.0, 2.0, 4.0])
    )
    assert (history.best, len(history.epochs)) == (2, 3)
    assert same(stopped, found)


def test_accuracy_counts_before_the_loss():
    first, second = Epoch(1, 0.5, 0.4, 0.9), Epoch(2, 0.4, 0.6, 0.91)
    assert second.better_than(first)
    assert not first.better_than(second)
    assert Epoch(2, 0, 0.3, 0.9).better_than(first)
    assert not Epoch(2, 0, 0.4, 0.9).better_than(first)
    assert Epoch(2, 9.0).better_than(Epoch(1, 1.0))  # nothing was held out
    assert first.better_than(None)


@pytest.mark.parametrize("patience", [1, 2])
def test_patience(fit, patience):
    training = Training(epochs=6, batch=64, held_out=0.1, patience=patience)
    _, history = fit(training, Worse([2.0, 1.0, 1.5, 1.6, 1.7, 1.8]))
    assert (history.best, len(history.epochs)) == (2, 2 + patience)


def test_a_run_that_stopped_early_and_is_resumed_stays_where_it_was(fit, tmp_path):
    training = Training(epochs=6, batch=64, held_out=0.1, patience=1)
    first, _ = fit(training, Worse([2.0, 1.0, 1.5]), work=tmp_path / "work")
    again, history = fit(training, Worse([]), work=tmp_path / "work")
    assert same(first, again)
    assert len(history.epochs) == 3


def test_without_a_held_out_part_the_last_epoch_is_kept(fit):
    _, history = fit(Training(epochs=3, batch=64, held_out=0), Worse([]))
    assert history.best == 3
    assert [epoch.held_out for epoch in history.epochs] == [None] * 3


@pytest.mark.parametrize("samples", [None, 50])
def test_the_parts_are_chosen_by_the_seed(samples):
    training = Training(samples=samples, held_out=0.1, seed=4)
    parts = split(200, training)
    count = samples or 200
    assert (len(parts.training), len(parts.held_out)) == (count * 9 // 10, count // 10)
    assert not set(parts.training.tolist()) & set(parts.held_out.tolist())
    assert split(200, training).training.tolist() == parts.training.tolist()
    other = split(200, Training(samples=samples, held_out=0.1, seed=5))
    assert other.held_out.tolist() != parts.held_out.tolist()


# the schedule and the groups


def test_learning_rates(fit, monkeypatch):
    rates = []
    step = torch.optim.AdamW.step

    def watched(self, *arguments, **named):
        rates.append([group["lr"] for group in self.param_groups])
        return step(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    fit(Training(epochs=2, batch=40, learning_rate=1.0, warmup=0.4, held_out=0), loop.Learner())
    assert len(rates) == 10
    expected = [0.25, 0.5, 0.75, 1.0, *(1 - number / 6 for number in range(6))]
    assert [first for first, _ in rates] == pytest.approx(expected)
    assert all(first == second for first, second in rates)


def test_weight_decay_is_for_matrices():
    learner = loop.Learner()
    learner.first.weight.requires_grad_(False)
    decayed, others = groups(learner, Training(weight_decay=0.3))
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0)
    assert [tuple(one.shape) for one in decayed["params"]] == [(3, 16)]
    assert [tuple(one.shape) for one in others["params"]] == [(16,), (3,)]


# what goes wrong


class Broken(loop.Learner):
    """Fails at a step."""

    def __init__(self, at, error=None):
        super().__init__()
        self.at, self.error, self.steps = at, error, 0

    def forward(self, batch):
        losses = super().forward(batch)
        self.steps += 1
        if self.steps == self.at:
            if self.error is not None:
                raise self.error
            return losses * float("nan")
        return losses


def test_a_loss_that_is_not_finite(fit, tmp_path):
    work = tmp_path / "work"
    with pytest.raises(ConversionError) as raised:
        fit(PLAIN, Broken(3), work=work)
    assert raised.value.what == "training: the loss is not finite by step 7"
    assert raised.value.hint == (
        "Lower training.learning_rate (now 0.01), or check the samples. No checkpoint was made yet."
    )
    with pytest.raises(ConversionError) as raised:
        fit(PLAIN, Broken(9), work=work)
    assert raised.value.hint.endswith(f"The last checkpoint is kept in {work}.")
    state = torch.load(work / CHECKPOINT, weights_only=True)
    assert (state["epoch"], state["step"], state["history"]["steps"]) == (1, 0, 7)
    assert all(torch.isfinite(tensor).all() for tensor in state["learner"].values())


def test_a_checkpoint_that_goes_with_the_run_is_not_promised(tmp_path):
    trainer = Trainer(PLAIN, tmp_path / "work", Progress(), kept=False)
    data = loop.data()
    with pytest.raises(ConversionError) as raised:
        trainer.fit(Broken(9), data, split(len(data), PLAIN))
    assert raised.value.hint.endswith("Without the cache, no checkpoint is kept.")


def test_a_checkpoint_never_holds_a_loss_that_is_not_finite(fit, tmp_path):
    training = Training(epochs=1, batch=20, checkpoint_steps=2)
    with pytest.raises(ConversionError, match="the loss is not finite by step 6"):
        fit(training, Broken(5), work=tmp_path / "work")
    assert torch.load(tmp_path / "work" / CHECKPOINT, weights_only=True)["step"] == 4


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_too_little_memory(fit, tmp_path, error):
    training = Training(epochs=2, batch=32, accumulate=2)
    with pytest.raises(MissingRequirement) as raised:
        fit(training, Broken(20, error), work=tmp_path / "work")
    assert raised.value.what == "training: not enough memory for 16 samples at once"
    assert raised.value.hint == (
        "Raise training.accumulate (now 2) or lower training.batch. "
        f"The last checkpoint is kept in {tmp_path / 'work'}."
    )
    assert (tmp_path / "work" / CHECKPOINT).is_file()


def test_other_errors_are_not_taken_for_memory(fit):
    with pytest.raises(RuntimeError, match="shapes"):
        fit(PLAIN, Broken(1, RuntimeError("shapes do not fit")))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes in fp16")
def test_a_precision_that_this_machine_has_not(tmp_path):
    with pytest.raises(RecipeError, match=r"training.mixed_precision = 'fp16' needs a GPU"):
        Trainer(Training(mixed_precision="fp16"), tmp_path, Progress())


def test_bf16_trains_near_float32(fit):
    plain, _ = fit(Training(epochs=1, batch=32, learning_rate=1e-2), loop.Learner(dropout=0))
    mixed, history = fit(
        Training(epochs=1, batch=32, learning_rate=1e-2, mixed_precision="bf16"), loop.Learner(dropout=0)
    )
    assert all(tensor.dtype == torch.float32 for tensor in mixed.values())
    assert not same(plain, mixed)
    assert max(float((plain[name] - mixed[name]).abs().max()) for name in plain) < 0.05
    assert math.isfinite(history.epochs[0].loss)


def test_a_batch_norm_s_statistics_are_kept_too(fit):
    class Normed(loop.Learner):
        def __init__(self):
            super().__init__(dropout=0)
            self.norm = torch.nn.BatchNorm1d(8)

        def forward(self, batch):
            return functional.cross_entropy(self.scores(self.norm(batch["x"])), batch["label"], reduction="none")

    found, _ = fit(PLAIN, Normed())
    assert int(found["norm.num_batches_tracked"]) == 14
    assert found["norm.running_mean"].abs().max() > 0.01


def test_progress_says_each_epoch(fit):
    said, titles = [], []

    class Listening(Progress):
        def stage(self, title, total=None):
            titles.append((title, total))
            return super().stage(title, total)

        def say(self, text):
            said.append(text)

    _, history = fit(PLAIN, progress=Listening())
    assert titles == [("training, epoch 1 of 2", 7), ("training, epoch 2 of 2", 7)]
    last = history.epochs[1]
    assert said[1] == (
        f"  epoch 2: loss {last.loss:.4f}, held out {last.held_out:.4f}, {100 * last.accuracy:.2f} % right"
    )


def test_a_training_part_smaller_than_a_batch(fit):
    _, history = fit(Training(epochs=1, batch=32), parts=Split(np.arange(5), np.arange(5, 7)))
    assert (history.steps, history.samples) == (1, 5)
