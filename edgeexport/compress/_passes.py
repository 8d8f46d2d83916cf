"""One forward and backward over a piece of a batch: plainly, or on one GPU as a graph that was recorded once.

A small model's step is hundreds of short kernels, and a GPU waits for the host to launch each. Recorded as a CUDA graph
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs), they are launched at once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from edgeexport.compress._encoded import Batch, Encoded
from edgeexport.progress import Progress

_MULTIPLE = 8
"""Lengths of recorded batches are padded to this, so that there are few shapes; the tensor cores like it as well."""
_FIRST = 2
"""Times that a shape runs plainly before it is recorded: what libraries set up on first use must not be recorded."""


class Passes:
    """Adds a piece's gradients to the parameters, and its losses to ``total``.

    Args:
        accelerator: of Accelerate.
        prepared: the learner as Accelerate wraps it.
        data: on the device.
        total: where losses are summed.

    Attributes:
        waited: seconds that putting batches together took on the host.
    """

    def __init__(self, accelerator: Any, prepared: torch.nn.Module, data: Encoded, total: torch.Tensor) -> None:
        self.accelerator, self.prepared, self.data, self.total = accelerator, prepared, data, total
        self.device = torch.device(accelerator.device)
        self.waited = 0.0

    def add(self, piece: np.ndarray, share: float) -> None:
        """Forward and backward on the samples of ``piece``; ``share`` is the weight of each one's loss."""
        self._add(self._batch(piece, 1), share)

    def clear(self) -> None:
        """Forget the gradients of the last step."""
        self.prepared.zero_grad(set_to_none=True)

    def _add(self, batch: Batch, share: float) -> None:
        losses = self.prepared(batch)
        self.accelerator.backward(losses.sum() * share)
        self.total += losses.detach().sum()

    def _batch(self, piece: np.ndarray, multiple: int) -> Batch:
        began = time.perf_counter()
        batch = self.data.batch(piece, self.device, multiple)
        self.waited += time.perf_counter() - began
        return batch


class RecordedPasses(Passes):
    """The same on one GPU, recorded for each shape that comes again.

    Gradients stay where they are between steps, because the recording writes to their addresses. A model that cannot
    be recorded, such as one that asks the GPU for a value in its forward, goes on plainly, and that is said.
    """

    def __init__(
        self,
        accelerator: Any,
        prepared: torch.nn.Module,
        data: Encoded,
        total: torch.Tensor,
        progress: Progress,
    ) -> None:
        super().__init__(accelerator, prepared, data, total)
        self._progress = progress
        self._seen: dict[tuple[Any, ...], int] = {}
        self._recorded: dict[tuple[Any, ...], tuple[torch.cuda.CUDAGraph, Batch]] = {}
        self._able = True
        for parameter in prepared.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)

    def add(self, piece: np.ndarray, share: float) -> None:
        """See :class:`Passes`."""
        batch = self._batch(piece, _MULTIPLE if self._able else 1)
        key = (share, *_shape(batch))
        if key in self._recorded:
            self._replay(key, batch)
        elif self._able and self._seen.get(key, 0) >= _FIRST:
            self._record(key, batch, share)
        else:
            self._seen[key] = self._seen.get(key, 0) + 1
            self._add(batch, share)

    def clear(self) -> None:
        """See :class:`Passes`."""
        self.prepared.zero_grad(set_to_none=False)

    def _replay(self, key: tuple[Any, ...], batch: Batch) -> None:
        graph, static = self._recorded[key]
        for name, tensor in static.items():
            tensor.copy_(batch[name], non_blocking=True)
        graph.replay()

    def _record(self, key: tuple[Any, ...], batch: Batch, share: float) -> None:
        graph = torch.cuda.CUDAGraph()
        static = {name: tensor.clone() for name, tensor in batch.items()}
        try:
            with torch.cuda.graph(graph):
                self._add(static, share)
        except RuntimeError as error:
            self._able = False
            torch.cuda.synchronize(self.device)
            first = error.__context__ or error  # ending a failed recording raises an error of its own
            reason = str(first).strip().splitlines()[0]
            self._progress.say(f"the model's passes cannot be recorded for the GPU and run one by one: {reason}")
            self._add(batch, share)
            return
        self._recorded[key] = graph, static
        self._replay(key, batch)


def passes(
    accelerator: Any, prepared: torch.nn.Module, data: Encoded, total: torch.Tensor, progress: Progress
) -> Passes:
    """Recorded where this process has a GPU to itself and no loss scale that changes; else plain."""
    alone = accelerator.device.type == "cuda" and accelerator.num_processes == 1 and accelerator.scaler is None
    if alone:
        return RecordedPasses(accelerator, prepared, data, total, progress)
    return Passes(accelerator, prepared, data, total)


def _shape(batch: Mapping[str, torch.Tensor]) -> tuple[Any, ...]:
    return tuple((name, tuple(tensor.shape)) for name, tensor in batch.items())
