"""Equalization: neighbouring layers' channels scaled against each other, so that int8 fits both.

SmoothQuant (Xiao et al., arXiv:2211.10438) and cross-layer equalization (Nagel et al., arXiv:1906.04721), folded into
the weights that are there: the architecture, the parameters' names and the outputs stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeexport.compress._feeds import Arrays, Feeds
from edgeexport.compress._groups import count_groups, count_left, worst_spread
from edgeexport.compress._scales import Scales
from edgeexport.compress._tracer import Traced
from edgeexport.compress._tracing import trace
from edgeexport.compression import Materials
from edgeexport.errors import ModelError, RecipeError
from edgeexport.source import Editable, Source
from edgeexport.stages import Equalize

_TOLERANCE = 1e-5
"""Of an output's largest magnitude: what folding may change it by."""
_CHECKED = 16
"""Samples whose outputs are compared; those of a language model take 16 MB each."""


@dataclass
class Observed:
    """A model before it is changed, on samples.

    Attributes:
        inputs: of the first samples.
        outputs: for them.
        values: for each layer's weight, the largest magnitude of each channel of its input over all samples, float64.
        samples: how many there were.
    """

    inputs: list[Arrays] = field(default_factory=list)
    outputs: list[Arrays] = field(default_factory=list)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    samples: int = 0


class Equalization:
    """See :class:`edgeexport.compression.Method`."""

    def compress(self, source: Source, stage: Equalize, materials: Materials, folder: Path) -> dict[str, Any]:
        """Write the equalized model to ``folder``; see :class:`edgeexport.compression.Method`."""
        if materials.calibration is None and not stage.cross_layer:
            raise RecipeError(
                "without calibration samples and without pairs of weights there is nothing to equalize",
                "Give --calibration FILE, or leave cross_layer on.",
            )
        editable = source.editable()
        editable.model.requires_grad_(False)
        feeds = Feeds(source, editable, materials)
        with _said("following channels", materials):
            traced = trace(editable, feeds.example())
        observed = _observe(editable, traced, feeds, materials)
        state = {name: tensor.detach() for name, tensor in editable.model.state_dict().items()}
        scales = Scales(traced, state, observed.values, stage.alpha, stage.cross_layer)
        before = worst_spread(scales)
        with _said("equalizing", materials):
            sweeps = scales.settle()
        left = count_left(traced, scales)
        if not len(scales.moved):
            raise ModelError(
                f"{source.name} has no channels that can be equalized; in the way of its layers: {_listed(left)}",
                "Leave the stage out.",
            )
        _apply(editable, traced, scales)
        difference = _check(editable, observed, source.name)
        editable.save(folder)
        after = worst_spread(scales)
        facts: dict[str, Any] = {
            "groups": count_groups(traced, scales),
            "channels": len(scales.moved),
            "sweeps": sweeps,
            "ratios": {what: [before[what], after[what]] for what in sorted(after)},
            "difference": difference,
            "calibrated_on": observed.samples if feeds.calibrated else 0,
            "checked_on": f"{len(observed.inputs)} {'calibration' if feeds.calibrated else 'synthetic'} samples",
            "left_out": left,
        }
        return {"summary": _summary(facts), **facts}


def open_method() -> Equalization:
    """The method of this module."""
    return Equalization()


def _observe(editable: Editable, traced: Traced, feeds: Feeds, materials: Materials) -> Observed:
    observed = Observed()
    watched = [name for name, edit in traced.edits.items() if edit.inputs is not None] if feeds.calibrated else []
    with (
        torch.inference_mode(),
        _one_thread(),
        _watch(editable, traced, watched, observed.values),
        materials.progress.stage("observing channels", len(feeds)) as stage,
    ):
        for inputs in stage.follow(feeds):
            outputs = editable.run(inputs)
            observed.samples += 1
            if len(observed.inputs) < _CHECKED:
                observed.inputs.append(inputs)
                observed.outputs.append(outputs)
    return observed


@contextmanager
def _watch(editable: Editable, traced: Traced, names: list[str], values: dict[str, np.ndarray]) -> Iterator[None]:
    """Keep the largest magnitudes of each channel of what the modules with these weights are given.

    A weight whose module is not called, as attention in one kernel does, or not with one tensor, has none.
    """
    handles = []
    for name in names:
        module = editable.model.get_submodule(name.rpartition(".")[0])
        size = len(traced.edits[name].inputs)  # type: ignore[arg-type]
        axis = 1 if isinstance(module, torch.nn.modules.conv._ConvNd) else -1

        def note(_module: Any, given: tuple[Any, ...], name: str = name, size: int = size, axis: int = axis) -> None:
            if len(given) == 1 and isinstance(given[0], torch.Tensor) and given[0].shape[axis] == size:
                channels = given[0].movedim(axis, 0).reshape(size, -1).abs().amax(1).double().numpy()
                values[name] = np.maximum(values.get(name, channels), channels)

        handles.append(module.register_forward_pre_hook(note))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _apply(editable: Editable, traced: Traced, scales: Scales) -> None:
    parameters = dict(editable.model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name in traced.edits:
            parameter = parameters[name]
            parameter.copy_(parameter.double() * torch.from_numpy(np.asarray(scales.factor(name))))


def _check(editable: Editable, observed: Observed, name: str) -> float:
    """The largest difference of an output, over its largest magnitude.

    Raises:
        ModelError: it is above what rounding explains.
    """
    apart: dict[str, float] = {}
    size: dict[str, float] = {}
    with torch.inference_mode(), _one_thread():
        for inputs, before in zip(observed.inputs, observed.outputs, strict=True):
            for key, after in editable.run(inputs).items():
                apart[key] = max(apart.get(key, 0.0), float((after - before[key]).abs().max()))
                size[key] = max(size.get(key, 0.0), float(before[key].abs().max()))
    worst = max(apart[key] / size[key] if size[key] else apart[key] for key in apart)
    if not worst <= _TOLERANCE:
        raise ModelError(
            f"equalizing {name} changed its outputs by {worst:.1e} of their magnitude, more than {_TOLERANCE:.0e}; "
            "nothing was written",
            "Leave the stage out: the model does something with its channels that its graph does not show.",
        )
    return worst


@contextmanager
def _one_thread() -> Iterator[None]:
    """Single samples gain little from more, and lose much where another process has a core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _said(title: str, materials: Materials) -> Iterator[None]:
    with materials.progress.stage(title):
        yield


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items()) or "nothing"


def _summary(facts: Mapping[str, Any]) -> str:
    ratios = facts["ratios"]
    what = "activations" if "activations" in ratios else "weights"
    before, after = ratios.get(what, (1.0, 1.0))
    text = f"{sum(facts['groups'].values())} groups of {facts['channels']:,} channels equalized"
    text += f" ({_listed(facts['groups'])}); largest {what.removesuffix('s')} channel over the median one"
    text += f" {before:.1f} → {after:.1f}; outputs within {facts['difference']:.0e}"
    if not facts["calibrated_on"]:
        text += "; without samples, by weights alone"
    if facts["left_out"]:
        text += f"; left out: {_listed(facts['left_out'])}"
    return text
