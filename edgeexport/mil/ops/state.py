"""Values that last from one call to the next (since iOS 18).

coremltools writes its ``coreml_update_state`` as the two of them: ``write_state``, which gives nothing, and
``read_state`` where the new value is used.
"""

from __future__ import annotations

from typing import Any

from edgeexport.errors import ModelError
from edgeexport.mil.table import Call, Tensor, op


@op("read_state", since=18)
def read_state(input: Any, call: Call) -> Tensor:
    """The state's value (since iOS 18)."""
    return _held(input, call)


@op("write_state", since=18)
def write_state(input: Any, data: Tensor, call: Call) -> tuple[()]:
    """data as the state's value, giving nothing (since iOS 18)."""
    held = _held(input, call)
    if data.shape != held.shape:
        raise ModelError(f"a value of shape {list(data.shape)} for the state '{input}' of shape {list(held.shape)}")
    # A copy, for data may be memory of the caller's.
    call.state[input] = data.to(held.dtype, copy=True)
    return ()


def _held(name: Any, call: Call) -> Tensor:
    if not isinstance(name, str) or name not in call.state:
        raise ModelError(f"there is no state {name!r}")
    return call.state[name]
