"""How far ranges inside a model still grow when a set is twice as large."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

Arrays = dict[str, "np.ndarray"]
_WORK = 1.5e11
"""Multiplications that the pass may take: a few seconds on one core."""

_LEAST = 32
_AT_MOST = 512
_BATCH = 32


@dataclass(frozen=True)
class Movement:
    """Growth of ranges from half of the samples to all, a mean over both halves (samples of even and of odd number).

    Attributes:
        samples: that it was taken over.
        growth: by the module's path in the model: 0.1 is a range a tenth wider over all samples than over a half.
    """

    samples: int
    growth: dict[str, float]


def growth(lows: Sequence[float], highs: Sequence[float]) -> float:
    """The same of a tensor with a lowest and highest value a sample: 0 where it never moves, infinite from no range."""
    if len(lows) < 2:
        return 0.0
    whole = max(highs) - min(lows)
    halves = [max(highs[start::2]) - min(lows[start::2]) for start in (0, 1)]
    if whole == 0:
        return 0.0
    return sum(whole / half - 1 if half else float("inf") for half in halves) / 2


def observe(
    module: torch.nn.Module, names: Sequence[str], encoded: Iterable[Arrays], total: int, *, together: bool
) -> Movement | None:
    """Run float32 samples through a torch module, and see what its innermost modules give.

    How many samples: as :data:`_WORK` allows by the first one's multiplications, spaced evenly.

    Args:
        module: takes the inputs ``names`` in order.
        encoded: samples by input name, each with a batch axis of 1.
        total: how many there are.
        together: whether the module takes any batch; else samples go in one by one.

    Returns:
        None where fewer than 32 samples are there or affordable.
    """
    import torch

    stream = iter(encoded)
    first = next(stream, None)
    if first is None or total < _LEAST:
        return None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode(), _Watch(module) as watch:
            watch.run(names, [(0, first)])
            count = min(total, _AT_MOST, int(_WORK / max(watch.work, 1)))
            if count < _LEAST:
                return None
            step = total / count
            rest = (one for number, one in enumerate(stream, 1) if int(number / step) != int((number - 1) / step))
            taken = 1
            for batch in _alike(enumerate(rest, 1), _BATCH if together else 1):
                watch.run_all(names, batch)
                taken += len(batch)
    finally:
        torch.set_num_threads(threads)
    complete = {path: rows for path, rows in watch.ranges.items() if len(rows) == taken}
    return Movement(taken, {path: _growth(rows) for path, rows in complete.items()})


def _growth(rows: dict[int, tuple[float, float]]) -> float:
    pairs = [rows[number] for number in sorted(rows)]
    return growth([low for low, _ in pairs], [high for _, high in pairs])


def _alike(samples: Iterable[tuple[int, Arrays]], size: int) -> Iterator[list[tuple[int, Arrays]]]:
    """Batches of up to ``size`` numbered samples with the same shapes."""
    groups: dict[object, list[tuple[int, Arrays]]] = {}
    for number, arrays in samples:
        shapes = tuple((name, array.shape) for name, array in sorted(arrays.items()))
        groups.setdefault(shapes, []).append((number, arrays))
        if len(groups[shapes]) == size:
            yield groups.pop(shapes)
    yield from groups.values()


class _Watch:
    """Hooks on a module's innermost modules, while it is entered.

    Attributes:
        ranges: by path, the lowest and highest value of each sample by its number.
        work: multiplications of all runs by weights of two axes and more.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self.ranges: dict[str, dict[int, tuple[float, float]]] = {}
        self.work = 0
        self._module = module
        self._numbers: list[int] = []

    def __enter__(self) -> _Watch:
        from torch import nn

        passing = (nn.Identity, nn.Dropout)  # whose outputs are what they read
        self._hooks = [
            one.register_forward_hook(functools.partial(self._see, path))
            for path, one in self._module.named_modules()
            if next(one.children(), None) is None and not isinstance(one, passing)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def run(self, names: Sequence[str], batch: list[tuple[int, Arrays]]) -> None:
        """Numbered samples of the same shapes, at once."""
        import numpy as np
        import torch

        self._numbers = [number for number, _ in batch]
        self._module(*(torch.from_numpy(np.concatenate([arrays[name] for _, arrays in batch])) for name in names))

    def run_all(self, names: Sequence[str], batch: list[tuple[int, Arrays]]) -> None:
        """The same, one by one where the module turns out to take no batch: its code may say 1 where it means any."""
        try:
            self.run(names, batch)
        except (RuntimeError, ValueError, IndexError):
            if len(batch) == 1:
                raise
            for one in batch:
                self.run(names, [one])

    def _see(self, path: str, module: torch.nn.Module, _: object, output: object) -> None:
        import torch

        if not isinstance(output, torch.Tensor) or not output.is_floating_point() or not output.numel():
            return
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.ndim > 1 and not isinstance(module, torch.nn.Embedding):
            channels = output.shape[1 if weight.ndim > 2 else -1]
            self.work += weight.numel() * (output.numel() // channels)
        if output.shape[0] != len(self._numbers):  # positions, say, which are the same for all
            return
        flat = output.reshape(len(self._numbers), -1)
        seen = self.ranges.setdefault(path, {})
        for number, low, high in zip(self._numbers, flat.amin(1).tolist(), flat.amax(1).tolist(), strict=True):
            before = seen.get(number, (low, high))
            seen[number] = (min(low, before[0]), max(high, before[1]))
