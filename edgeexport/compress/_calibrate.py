"""Activation ranges of a prepared graph, found as the format's own calibration will find them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from edgeexport.compress._encoded import Batch, Encoded
from edgeexport.compress._fake_quant import TableSteps
from edgeexport.compress._prepare import activations, rounders, set_mode
from edgeexport.errors import ConversionError
from edgeexport.ranges import Range

if TYPE_CHECKING:
    from edgeexport.settings import Calibration, Interface

_MOST = 64
"""Samples at once."""


def shaped(data: Encoded, interface: Interface, device: torch.device) -> Iterator[Batch]:
    """All samples in the shapes that the artifact takes: alike in length, or padded to the next of its lengths.

    No sample is padded that would not be on a device, where padding is seen by calibration as well.
    """
    wanted = np.asarray(sorted(interface.lengths) or [0])
    reached = data.lengths
    if interface.lengths:
        reached = wanted[np.minimum(np.searchsorted(wanted, data.lengths), len(wanted) - 1)]
    for length in np.unique(reached):
        numbers = np.flatnonzero(reached == length)
        for start in range(0, len(numbers), _MOST):
            batch = data.batch(numbers[start : start + _MOST], device)
            yield _padded(data, batch, int(length)) if interface.lengths else batch


def calibrate(
    graph: torch.nn.Module, data: Encoded, calibration: Calibration, interface: Interface, device: torch.device
) -> None:
    """Give every activation its range over the samples, from a pass in float32, or two for a histogram.

    Args:
        graph: prepared; takes a batch. It rounds afterwards.
        data: calibration samples.
        calibration: by which method.
        interface: the artifact's lengths.
        device: the graph's.

    Raises:
        ConversionError: an activation is not finite.
    """
    found = list(activations(graph).values())
    for one in found:
        one.seen, one.histogram = Range(), None
    for table in (one for one in rounders(graph) if isinstance(one, TableSteps)):
        table.look()
    with torch.no_grad():
        set_mode(graph, "extremes")
        for batch in shaped(data, interface, device):
            graph(batch)
        _check_finite(graph)
        if calibration.method != "minmax":
            set_mode(graph, "histogram")
            for one in found:
                if one.fixed is None and one.seen.count:
                    one.start_histogram(calibration.bins)
            for batch in shaped(data, interface, device):
                graph(batch)
    for one in found:
        if one.fixed is not None or one.seen.count:
            one.set_range(one.fixed or one.found(calibration))
        one.histogram = None
    set_mode(graph, "rounded")


def _check_finite(graph: torch.nn.Module) -> None:
    """Refuse weights that training has driven apart: the rounding of a small variance, for one, has steep gradients."""
    for name, one in activations(graph).items():
        if one.seen.count and not one.seen.finite:
            raise ConversionError(
                f"an activation ({name}) is not finite any more",
                "Lower training.learning_rate, or check the calibration samples.",
            )


def _padded(data: Encoded, batch: Batch, length: int) -> Batch:
    """A batch brought to a length, longer samples cut."""
    changed = dict(batch)
    for name, column in data.columns.items():
        if column.shape == (-1,):
            values = batch[name]
            changed[name] = functional.pad(values, (0, length - values.shape[1]), value=column.padding)
    return changed
