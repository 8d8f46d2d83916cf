"""A small learner for the training loop, and a program that trains it in a process of its own.

python loop.py WORK RESULT [--die-after STEP] [--pause SECONDS] [--shared] [--unused]
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from edgeexport.compress._encoded import Column, Encoded
from edgeexport.compress._training import Trainer, split
from edgeexport.progress import Progress
from edgeexport.stages import Training

TRAINING = Training(epochs=3, batch=48, accumulate=3, learning_rate=1e-2, held_out=0.1, checkpoint_steps=2)
SHARED = Training(epochs=2, batch=33, accumulate=2, learning_rate=1e-2, held_out=0.1)


class Learner(torch.nn.Module):
    """8 values to three classes."""

    def __init__(self, dropout=0.3, unused=False):
        super().__init__()
        torch.manual_seed(7)
        self.first, self.second = torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)
        self.dropout = torch.nn.Dropout(dropout)
        if unused:
            self.unused = torch.nn.Linear(2, 2)

    def scores(self, values):
        return self.second(self.dropout(self.first(values).tanh()))

    def begin(self, step, steps):
        self.begun = (*getattr(self, "begun", ()), (step, steps))

    def forward(self, batch):
        return functional.cross_entropy(self.scores(batch["x"]), batch["label"], reduction="none")

    def measure(self, batch):
        scores = self.scores(batch["x"])
        losses = functional.cross_entropy(scores, batch["label"], reduction="none")
        return {"loss": losses.double().sum(), "right": (scores.argmax(-1) == batch["label"]).sum().double()}


def data(count=200):
    random = np.random.default_rng(0)
    values = torch.from_numpy(random.standard_normal((count, 8)).astype(np.float32))
    labels = (values[:, :3] + 0.3 * values[:, 3:6]).argmax(1).numpy()
    lengths = np.ones(count, np.int64)
    places = torch.from_numpy(np.stack([lengths, np.arange(count)]))
    return Encoded({"x": Column(values.flatten(), (8,), torch.float32, 0)}, lengths, labels, places)


def _command(work, result, *more):
    return [__file__, str(work), str(result), *map(str, more)]


def _environment():
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}


def popen(work, result, *more):
    """This program, running."""
    return subprocess.Popen([sys.executable, *_command(work, result, *more)], env=_environment())


def start(work, result, *more):
    """This program, ended."""
    return subprocess.run([sys.executable, *_command(work, result, *more)], env=_environment(), check=False)


def launch(processes, work, result, *more):
    """The same in several processes."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
            *_command(work, result, *more),
        ],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class _Mortal(Progress):
    """Kills its process as it takes a step."""

    def __init__(self, die_after, pause):
        self.left, self.pause = die_after, pause

    def stage(self, title, total=None):
        mortal = self

        class Context:
            def __enter__(self):
                return self

            def __exit__(self, *_what):
                return None

            def at(self, _step):
                time.sleep(mortal.pause)
                mortal.left -= 1
                if mortal.left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        return Context()


def main():
    work, result, *more = sys.argv[1:]
    values = dict(zip(more[::2], more[1::2], strict=False)) if "--shared" not in more else {}
    torch.set_num_threads(1)
    shared = "--shared" in more
    learner = Learner(dropout=0, unused="--unused" in more) if shared else Learner()
    training = SHARED if shared else TRAINING
    mortal = _Mortal(int(values.get("--die-after", -1)), float(values.get("--pause", 0)))
    trainer = Trainer(training, Path(work), mortal)
    samples = data()
    history = trainer.fit(learner, samples, split(len(samples), training))
    if trainer.leads:
        state = {name: tensor for name, tensor in learner.state_dict().items() if not name.startswith("unused")}
        partial = Path(result).with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(result)
        sys.stdout.write(f"steps {history.steps} loss {history.epochs[-1].loss:.4f}\n")
    elif shared:
        assert trainer.accelerator.num_processes == 2
    if trainer.accelerator.num_processes > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
