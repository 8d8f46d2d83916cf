"""What was equalized, counted: groups of tensors that share their channels, how uneven they are, and what is left."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from edgeexport.compress._scales import Scales
from edgeexport.compress._tracer import Traced

NORM, PAIR, ATTENTION = "norm to layers", "layer to layer", "query to key"
STREAM, LEARNED = "several layers to several", "learned values to layers"


def count_groups(traced: Traced, scales: Scales) -> dict[str, int]:
    """How many groups of tensors with the same channels were scaled, by kind."""
    members: dict[int, set[str]] = defaultdict(set)
    for name, edit in traced.edits.items():
        if edit.role == "other":
            continue
        for side, channels in (("gives", edit.gives), ("takes", edit.takes)):
            for root in () if channels is None else np.unique(traced.channels.find(channels)[0]).tolist():
                members[root].add(f"{side} {name}")
    groups = {frozenset(members[root]) for root in scales.moved.tolist()}
    return dict(sorted(Counter(_kind(traced, group) for group in groups).items()))


def count_left(traced: Traced, scales: Scales) -> dict[str, int]:
    """How many layers have an input that could not be scaled, by what stands in the way."""
    found: Counter[str] = Counter()
    for edit in traced.edits.values():
        if edit.inputs is not None and not scales.movable(edit.inputs).any():
            fixed = ~traced.channels.free(edit.inputs)
            found[traced.channels.reason(int(edit.inputs[fixed][0])) if fixed.any() else "no other side"] += 1
    return dict(found.most_common())


def worst_spread(scales: Scales) -> dict[str, float]:
    """Of activations and of weights, the largest ratio of a tensor's largest channel to its median one.

    Only tensors with channels that can be scaled count, and of those only the channels that are ever there.
    """
    found: dict[str, float] = {}
    for one in scales.ranges():
        sizes = one.sizes[scales.movable(one.channels) & (one.sizes > 0)]
        if len(sizes):
            what = "activations" if one.kind == "value" else "weights"
            found[what] = max(found.get(what, 1.0), float(sizes.max() / np.median(sizes)))
    return found


def _kind(traced: Traced, group: frozenset[str]) -> str:
    sides = [one.split(" ", 1) for one in sorted(group)]
    readers = [name for side, name in sides if side == "takes"]
    makers = [name for side, name in sides if side == "gives"]
    if not readers:
        return ATTENTION
    if not makers:
        return LEARNED
    if len(makers) > 1:
        return STREAM
    layer = traced.edits[makers[0]].role == "layer" or makers[0] in traced.folded
    return PAIR if layer else NORM
