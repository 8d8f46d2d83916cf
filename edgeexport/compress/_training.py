"""The training loop that distillation and quantization-aware training share, on Accelerate: CPU, one GPU or many.

An interrupted run goes on from its last checkpoint and ends with the same bytes as one that was left alone: the order
of samples and every random number follow from the seed and the step, not from what ran before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from edgeexport.compress._encoded import Batch, Encoded, order
from edgeexport.compress._parameters import freeze_unused, groups
from edgeexport.compress._passes import Passes, passes
from edgeexport.compression import CHECKPOINT
from edgeexport.errors import ConversionError, MissingRequirement, RecipeError
from edgeexport.progress import Progress
from edgeexport.stages import Training

_LOOK = 50
"""Steps between looks at the loss: each look waits for the device."""
_SCORING_BATCH = 256


class Learner(Protocol):
    """A torch module that learns.

    Its ``forward`` takes a batch and gives the loss of each sample, [batch]. Whatever its ``state_dict`` holds is
    trained and kept in checkpoints.
    """

    def begin(self, step: int, steps: int) -> None:
        """Told before each of so many steps, counted from 0."""

    def measure(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Sums over a batch without gradients: ``loss``, and ``right`` where samples have classes."""


@dataclass
class Epoch:
    """One pass over the training set.

    Attributes:
        number: from 1.
        loss: mean over the samples trained on.
        held_out: mean loss over the held-out part; None without one.
        accuracy: share of it that is right; None without classes.
    """

    number: int
    loss: float
    held_out: float | None = None
    accuracy: float | None = None

    def better_than(self, other: Epoch | None) -> bool:
        """By accuracy, where that is equal or unknown by loss; a later epoch where nothing was held out."""
        if other is None or self.held_out is None or other.held_out is None:
            return True
        return (self.accuracy or 0.0, -self.held_out) > (other.accuracy or 0.0, -other.held_out)


@dataclass
class History:
    """What a training did.

    Attributes:
        epochs: in order.
        best: number of the epoch that was kept.
        steps: taken in all.
        samples, tokens: seen by this process, padding left out.
        seconds: that they took; interrupted runs before this one left out.
        waiting: seconds of these that batches took on the host.
        resumed_at: the step that an interrupted run was at, or 0.
    """

    epochs: list[Epoch] = field(default_factory=list)
    best: int = 0
    steps: int = 0
    samples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    waiting: float = 0.0
    resumed_at: int = 0

    def facts(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Split:
    """Sample numbers to train on, and those held out."""

    training: np.ndarray
    held_out: np.ndarray


def split(count: int, training: Training) -> Split:
    """Choose by the seed which samples are trained on and which held out."""
    chosen = np.random.default_rng(training.seed).permutation(count)[: training.samples]
    held = math.floor(len(chosen) * training.held_out)
    return Split(np.sort(chosen[held:]), np.sort(chosen[:held]))


class Trainer:
    """Trains a learner on an encoded set.

    Args:
        training: see :class:`~edgeexport.stages.Training`.
        work: a folder for checkpoints, which an interrupted run of the same inputs left something in.
        progress: told of every epoch.
        kept: whether ``work`` outlives this run.
    """

    def __init__(self, training: Training, work: Path, progress: Progress, kept: bool = True) -> None:
        self.training = training
        self._work, self._kept = work, kept
        self.progress = progress
        self.accelerator = _accelerator(training)
        self._checkpoint = work / CHECKPOINT

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return torch.device(self.accelerator.device)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes; of several with ``accelerate launch``, the first."""
        return bool(self.accelerator.is_main_process)

    def fit(self, learner: torch.nn.Module, data: Encoded, parts: Split) -> History:
        """Train; afterwards ``learner`` holds the weights of the best epoch, on the CPU.

        Raises:
            ConversionError: the loss is not finite.
            MissingRequirement: there is not enough memory.
        """
        with self.readable():
            return self._fit(learner, data.to(self.device), parts)

    def _fit(self, learner: torch.nn.Module, data: Encoded, parts: Split) -> History:
        training = self.training
        learner.to(self.device)
        if self.accelerator.num_processes > 1:  # which would wait for each other's gradients of them
            freeze_unused(learner, data.batch(parts.training[:2], self.device))
        fused = self.device.type == "cuda"
        optimizer = torch.optim.AdamW(groups(learner, training), lr=training.learning_rate, fused=fused)
        prepared, optimizer = self.accelerator.prepare(learner, optimizer)
        per_epoch = math.ceil(len(parts.training) / training.batch)
        total = torch.zeros((), device=self.device)
        work = passes(self.accelerator, prepared, data, total, self.progress)
        run = _Run(learner, prepared, optimizer, work, total, History(), per_epoch * training.epochs)
        start = self._resume(run)
        for epoch in range(start.epoch, training.epochs):
            if self._stopped(run.history):
                break
            self._epoch(run, data, parts, epoch, start.step if epoch == start.epoch else 0)
        learner.load_state_dict(run.kept or learner.state_dict())
        learner.to("cpu").eval()
        return run.history

    def _epoch(self, run: _Run, data: Encoded, parts: Split, epoch: int, skip: int) -> None:
        training = self.training
        batches = order(data.lengths[parts.training], training.batch, training.seed, epoch)
        run.prepared.train()
        began = time.perf_counter()
        with self.progress.stage(f"training, epoch {epoch + 1} of {training.epochs}", len(batches)) as stage:
            for number, batch in enumerate(batches):
                if number >= skip:
                    self._step(run, data, parts.training[batch])
                    self._look(run, epoch, number + 1, len(batches))
                stage.at(number + 1)
        self._check(run)
        run.history.seconds += time.perf_counter() - began
        run.history.waiting, run.passes.waited = run.history.waiting + run.passes.waited, 0.0
        sums = self.accelerator.reduce(torch.stack([run.total, torch.full_like(run.total, run.seen)]), "sum")
        done = Epoch(epoch + 1, float(sums[0] / sums[1]))
        self._score(run.learner, data, parts.held_out, done)
        run.history.epochs.append(done)
        best = next((one for one in run.history.epochs if one.number == run.history.best), None)
        if done.better_than(best):
            run.history.best = done.number
            run.kept = {key: value.detach().cpu().clone() for key, value in run.learner.state_dict().items()}
        self.progress.say(_line(done))
        run.total.zero_()
        run.seen = 0
        self._save(run, epoch + 1, 0)

    def _step(self, run: _Run, data: Encoded, chosen: np.ndarray) -> None:
        """One step of the optimizer: the batch cut into parts for every process and accumulated pass."""
        processes, at = self.accelerator.num_processes, self.accelerator.process_index
        if len(chosen) < processes:  # the last batch; a process without a sample would leave the others waiting
            return
        mine = chosen[at::processes]
        _seed(self.training.seed, run.history.steps, at)
        run.learner.begin(run.history.steps, run.steps)  # type: ignore[operator]
        for group in run.optimizer.param_groups:
            group["lr"] = _rate(self.training, run.history.steps, run.steps)
        pieces = [piece for piece in np.array_split(mine, self.training.accumulate) if len(piece)]
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            with nullcontext() if last else self.accelerator.no_sync(run.prepared):
                # Processes' gradients are averaged, so each takes its share of the whole batch times their number.
                run.passes.add(piece, processes / len(chosen))
            run.seen += len(piece)
            run.history.tokens += int(data.lengths[piece].sum())
        if self.training.clip:
            self.accelerator.clip_grad_norm_(run.prepared.parameters(), self.training.clip)
        run.optimizer.step()
        run.passes.clear()
        run.history.steps += 1
        run.history.samples += len(mine)

    def _look(self, run: _Run, epoch: int, step: int, count: int) -> None:
        every = self.training.checkpoint_steps
        due = every is not None and step % every == 0 and step < count
        if due or step % _LOOK == 0:
            self._check(run)
        if due:
            self._save(run, epoch, step)

    def _check(self, run: _Run) -> None:
        if not bool(torch.isfinite(run.total)):
            raise ConversionError(
                f"training: the loss is not finite by step {run.history.steps}",
                f"Lower training.learning_rate (now {self.training.learning_rate:g}), or check the samples. "
                + self._left(),
            )

    def _score(self, learner: torch.nn.Module, data: Encoded, chosen: np.ndarray, epoch: Epoch) -> None:
        if len(chosen):
            sums = self.measure(learner, data, chosen)
            epoch.held_out = sums["loss"] / len(chosen)
            epoch.accuracy = sums["right"] / len(chosen) if "right" in sums else None

    def measure(self, learner: Any, data: Encoded, chosen: np.ndarray) -> dict[str, float]:
        """Sums over the chosen samples of what the learner measures."""
        sums: dict[str, torch.Tensor] = {}
        learner.eval()
        with torch.inference_mode(), self.accelerator.autocast():
            for batch in by_length(data.lengths, chosen):
                for key, value in learner.measure(data.batch(batch, self.device)).items():
                    sums[key] = sums.get(key, torch.zeros((), dtype=torch.float64, device=value.device)) + value
        return {key: float(value) for key, value in sums.items()}

    def _stopped(self, history: History) -> bool:
        patience = self.training.patience
        return bool(patience and history.epochs and history.epochs[-1].number - history.best >= patience)

    def _save(self, run: _Run, epoch: int, step: int) -> None:
        if not self.leads:
            return
        state = {
            "learner": run.learner.state_dict(),
            "optimizer": run.optimizer.state_dict(),
            "scaler": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
            "kept": run.kept,
            "history": run.history.facts(),
            "total": run.total,
            "seen": run.seen,
            "epoch": epoch,
            "step": step,
        }
        self._work.mkdir(parents=True, exist_ok=True)
        partial = self._checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._checkpoint)

    def _resume(self, run: _Run) -> _Place:
        if not self._checkpoint.is_file():
            return _Place(0, 0)
        state = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
        run.learner.load_state_dict(state["learner"])
        run.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        kept = state["history"]
        run.history = History(**{**kept, "epochs": [Epoch(**one) for one in kept["epochs"]]})
        run.history.resumed_at = run.history.steps
        run.kept, run.seen = state["kept"], state["seen"]
        run.total.copy_(state["total"])
        self.progress.say(f"going on from step {run.history.steps}, which an interrupted run reached")
        return _Place(state["epoch"], state["step"])

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Say in a sentence that memory is short.

        Raises:
            MissingRequirement: it is.
        """
        try:
            yield
        except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
            if not _lacks_memory(error):
                raise
            raise MissingRequirement(
                f"training: not enough memory for {self.training.batch // self.training.accumulate} samples at once",
                f"Raise training.accumulate (now {self.training.accumulate}) or lower training.batch. " + self._left(),
            ) from error

    def _left(self) -> str:
        if not self._checkpoint.is_file():
            return "No checkpoint was made yet."
        if not self._kept:
            return "Without the cache, no checkpoint is kept."
        return f"The last checkpoint is kept in {self._checkpoint.parent}."


@dataclass
class _Run:
    """A training under way.

    Attributes:
        learner: the bare module; ``prepared`` is the same as Accelerate wraps it.
        total, seen: sum of losses and samples of this epoch.
        steps: planned in all.
        kept: weights of the best epoch so far.
    """

    learner: torch.nn.Module
    prepared: torch.nn.Module
    optimizer: Any
    passes: Passes
    total: torch.Tensor
    history: History
    steps: int
    kept: dict[str, torch.Tensor] | None = None
    seen: int = 0


@dataclass(frozen=True)
class _Place:
    epoch: int
    step: int


def by_length(lengths: np.ndarray, chosen: np.ndarray) -> Iterator[np.ndarray]:
    """Batches of the chosen samples, shortest first: for passes whose order does not matter."""
    ordered = chosen[np.argsort(lengths[chosen], kind="stable")]
    for start in range(0, len(ordered), _SCORING_BATCH):
        yield ordered[start : start + _SCORING_BATCH]


def _accelerator(training: Training) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # it would hold the precision of an earlier training in this process
    accelerator = Accelerator(mixed_precision=training.mixed_precision)
    if training.mixed_precision == "fp16" and accelerator.scaler is None:  # small gradients would become zero
        raise RecipeError(
            f"training.mixed_precision = 'fp16' needs a GPU, and this machine trains on its {accelerator.device.type}",
            "Leave it out: float32 trains everywhere.",
        )
    return accelerator


def _rate(training: Training, step: int, steps: int) -> float:
    """Linear rise over the warm-up, then linear fall to zero."""
    warm = round(training.warmup * steps)
    if step < warm:
        return training.learning_rate * (step + 1) / warm
    return training.learning_rate * (steps - step) / max(1, steps - warm)


def _seed(seed: int, step: int, process: int) -> None:
    """Random numbers of a step, the same whether a run was interrupted before it or not."""
    torch.manual_seed(hash((seed, step, process)) % 2**63)


def _lacks_memory(error: Exception) -> bool:
    """The CPU's allocator raises a plain RuntimeError."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "allocate memory" in str(error) or "out of memory" in str(error)


def _line(epoch: Epoch) -> str:
    text = f"  epoch {epoch.number}: loss {epoch.loss:.4f}"
    if epoch.held_out is not None:
        text += f", held out {epoch.held_out:.4f}"
    return text if epoch.accuracy is None else f"{text}, {100 * epoch.accuracy:.2f} % right"
