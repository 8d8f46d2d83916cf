"""Throughput of distillation in samples and tokens a second, beside Transformers' Trainer and bare matrix products.

A student of three of the teacher's layers; the second of two epochs over the same samples is timed, all in turn in one
process. Each of the loop's measures is also switched off by itself, to show what it gives. On a GPU, the share of the
time in which no kernel runs is taken from the profiler. Needs PyTorch's environment of edgeexport and nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from edgeexport.compress import _passes, _training, distill
from edgeexport.compress._encoded import Encoded, encode
from edgeexport.compress._objectives import objective_of
from edgeexport.compress._students import cut
from edgeexport.pipeline import open_source
from edgeexport.progress import Progress, Stage
from edgeexport.samples import open_samples
from edgeexport.source import SourceOptions
from edgeexport.stages import Distill, Training

LAYERS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).resolve().parent.parent.parent / "shared"
    parser.add_argument("--model", type=Path, default=shared / "models" / "sst2-minilm", help="the teacher's folder")
    parser.add_argument("--train", type=Path, default=shared / "data" / "sst2" / "train.jsonl", help="its samples")
    parser.add_argument("--samples", type=int, default=19_200, help="of these, so many are trained on")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", default="bf16" if torch.cuda.is_available() else "no")
    parser.add_argument("--only", nargs="+", help="names of what to time")
    options = parser.parse_args()
    results: dict[str, Any] = {"device": device_name(), "torch": torch.__version__, "batch": options.batch}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, Path(folder))
        for name, run in bench.all().items():
            if options.only is None or name in options.only:
                results[name] = run()
                print(name, json.dumps(results[name]), flush=True)
    print(json.dumps(results))


class Bench:
    """One teacher, one encoded set, several ways to go over it."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.source = open_source(str(options.model), SourceOptions())
        self.training = Training(
            epochs=2, batch=options.batch, mixed_precision=options.precision, samples=options.samples, held_out=0.0
        )
        samples = open_samples(options.train)
        self.data = encode(self.source, samples, folder / "encoded", Progress())
        self.parts = _training.split(len(self.data), self.training)
        self.tokens = int(self.data.lengths[self.parts.training].sum())

    def all(self) -> dict[str, Any]:
        """What is timed, in order."""
        return {
            "edgeexport": self.ours,
            "edgeexport, teacher asked at every step": lambda: self.ours(answers=False),
            "edgeexport, lengths mixed": lambda: self.ours(bucketed=False),
            "edgeexport, kernels launched one by one": lambda: self.ours(recorded=False),
            "edgeexport, none of the three": lambda: self.ours(answers=False, bucketed=False, recorded=False),
            "Trainer": self.trainer,
            "Trainer, grouped by length": lambda: self.trainer(grouped=True),
            "matrix products": self.floor,
            "edgeexport again": self.ours,
        }

    def ours(self, answers: bool = True, bucketed: bool = True, recorded: bool = True) -> dict[str, float]:
        """The package's own loop, with or without its measures."""
        stage = Distill(layers=LAYERS, training=self.training)
        teacher = self.source.editable()
        made = cut(teacher, LAYERS, 1.0)
        with tempfile.TemporaryDirectory(dir=self.folder) as work, patched(bucketed, recorded):
            progress = Clock()
            trainer = _training.Trainer(self.training, Path(work), progress)
            learner = distill.Pupil(made.student, teacher, stage, objective_of(self.source), made.layers)
            learner.attend(trainer, self.data, self.parts.training)
            if not answers:
                learner._answers = None
            history = trainer.fit(learner, self.data, self.parts)
            seconds = progress.seconds["training, epoch 2 of 2"]
            found = self._rates(seconds)
            found["loss"] = history.epochs[-1].loss
            if torch.cuda.is_available():
                found["waiting"] = progress.idle["training, epoch 2 of 2"]
        return found

    def trainer(self, grouped: bool = False) -> dict[str, float]:
        """Transformers' Trainer with the same loss, its own loader and collator, the teacher in every step."""
        from transformers import AutoTokenizer, DataCollatorWithPadding, TrainerCallback, TrainingArguments
        from transformers import Trainer as Transformers

        teacher = self.source.editable()
        student = cut(teacher, LAYERS, 1.0).student.model
        teacher.model.to(device()).eval().requires_grad_(False)
        ends: list[float] = []

        class Distilling(Transformers):
            def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
                labels = inputs.pop("labels")
                scores = model(**inputs).logits
                with torch.no_grad():
                    soft = teacher.model(**inputs).logits
                loss = distill_loss(scores, soft, labels)
                return (loss, scores) if return_outputs else loss

        class Ends(TrainerCallback):
            def on_epoch_begin(self, *_: Any, **__: Any) -> None:
                ends.append(now())

            def on_epoch_end(self, *_: Any, **__: Any) -> None:
                ends.append(now())

        arguments = TrainingArguments(
            output_dir=str(self.folder / "trainer"),
            num_train_epochs=2,
            per_device_train_batch_size=self.options.batch,
            learning_rate=self.training.learning_rate,
            bf16=self.options.precision == "bf16",
            group_by_length=grouped,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        collator = DataCollatorWithPadding(AutoTokenizer.from_pretrained(self.options.model))
        Distilling(
            model=student, args=arguments, train_dataset=self._records(), data_collator=collator, callbacks=[Ends()]
        ).train()
        return self._rates(ends[3] - ends[2])

    def floor(self) -> dict[str, float]:
        """Only the products of the layers' weights: teacher once, student three times (forward and two backward)."""
        config = self.source.editable().model.config
        hidden, inner = config.hidden_size, config.intermediate_size
        layers = config.num_hidden_layers + 3 * LAYERS
        kind = torch.bfloat16 if self.options.precision == "bf16" else torch.float32
        square, up, down = (
            torch.randn(*size, device=device(), dtype=kind)
            for size in ((hidden, hidden), (hidden, inner), (inner, hidden))
        )
        times = []
        for chosen in _training.order(self.data.lengths[self.parts.training], self.options.batch, 0, 0)[:64]:
            lengths = self.data.lengths[self.parts.training][chosen]
            rows = torch.randn(len(chosen) * int(lengths.max()), hidden, device=device(), dtype=kind)
            wide = torch.randn(len(rows), inner, device=device(), dtype=kind)
            for _ in range(2):
                began = now()
                for _ in range(layers):
                    for _ in range(4):
                        rows @ square
                    rows @ up
                    wide @ down
                taken = now() - began
            times.append(taken)
        return self._rates(statistics.mean(times) * -(-self.options.samples // self.options.batch))

    def _rates(self, seconds: float) -> dict[str, float]:
        return {
            "seconds": round(seconds, 3),
            "samples_per_second": round(len(self.parts.training) / seconds, 1),
            "tokens_per_second": round(self.tokens / seconds, 1),
        }

    def _records(self) -> list[dict[str, Any]]:
        """The training samples as lists, as a datasets.Dataset would give them."""
        starts = self.data.places[1].tolist()
        records = []
        for number in self.parts.training.tolist():
            span = slice(starts[number], starts[number] + int(self.data.lengths[number]))
            record = {name: column.flat[span].tolist() for name, column in self.data.columns.items()}
            records.append({**record, "label": int(self.data.labels[number])})
        return records


class Clock(Progress):
    """Takes the time of each stage, and on a GPU the share of it in which no kernel ran."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.idle: dict[str, float] = {}

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Stage]:
        """See :class:`Progress`."""
        if torch.cuda.is_available() and title.startswith("training, epoch 2"):
            yield Watched(self, title, total or 1)
            return
        began = now()
        yield Stage()
        self.seconds[title] = now() - began


class Watched(Stage):
    """The first half of the steps is timed, then a few are profiled."""

    PROFILED = 40

    def __init__(self, clock: Clock, title: str, total: int) -> None:
        self._clock, self._title, self._total = clock, title, total
        self._until = total - self.PROFILED
        self._began = now()

    def at(self, step: int) -> None:
        """A step is done."""
        if step == self._until:
            self._clock.seconds[self._title] = (now() - self._began) * self._total / step
            self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            self._profiler.__enter__()
            self._profiled = now()
        elif step == self._total:
            wall = now() - self._profiled
            self._profiler.__exit__(None, None, None)
            self._clock.idle[self._title] = round(1 - busy(self._profiler) / wall, 4)


def busy(profiler: Any) -> float:
    """Seconds in which at least one kernel ran."""
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    total, end = 0.0, 0.0
    for start, stop in spans:
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total / 1e6


@contextmanager
def patched(bucketed: bool, recorded: bool) -> Iterator[None]:
    """The loop without some of its measures."""

    def shuffled(lengths: np.ndarray, size: int, seed: int, epoch: int) -> list[np.ndarray]:
        mixed = np.random.default_rng((seed, epoch)).permutation(len(lengths))
        return [mixed[at : at + size] for at in range(0, len(mixed), size)]

    def plain(accelerator: Any, prepared: Any, data: Encoded, total: torch.Tensor, _progress: Progress) -> Any:
        return _passes.Passes(accelerator, prepared, data, total)

    with (
        mock.patch.object(_training, "order", _training.order if bucketed else shuffled),
        mock.patch.object(_training, "passes", _training.passes if recorded else plain),
    ):
        yield


def distill_loss(scores: torch.Tensor, soft: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    functional = torch.nn.functional
    apart = functional.kl_div(
        functional.log_softmax(scores.float() / 2, -1),
        functional.log_softmax(soft.float() / 2, -1),
        reduction="batchmean",
        log_target=True,
    )
    return 0.5 * 4 * apart + 0.5 * functional.cross_entropy(scores.float(), labels)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
