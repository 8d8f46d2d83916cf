"""Reading a state; writing is tested with a converted model."""

import numpy as np

from tests.mil.harness import case, seeded

_held = seeded("state").normal(size=(2, 3)).astype(np.float16)


def _read(mb, x, s):
    return mb.add(x=mb.cast(x=mb.read_state(input=s), dtype="fp32"), y=x)


case(
    "read_state",
    "in a sum",
    _read,
    {"x": np.float32([[1], [2]])},
    _held.astype(np.float32) + np.float32([[1], [2]]),
    ios=18,
    states={"s": _held},
)
