"""Element types of MIL, and what the evaluator holds them in.

Every floating type is held in float32: an operator computes in float32 whatever the program declares, and the machine
rounds results that are declared float16 where it imitates a device. Integers that PyTorch has few operators for are
held in the next wider type it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Dtype:
    """One element type.

    Attributes:
        name: as MIL's text form writes it, such as ``fp16``.
        bits: of an element in a file.
        held: the PyTorch type of such values here.
        kind: ``float``, ``int``, ``uint``, ``bool`` or ``string``.
    """

    name: str
    bits: int
    held: torch.dtype
    kind: str


_FLOATS = {"FLOAT16": ("fp16", 16), "FLOAT32": ("fp32", 32), "FLOAT64": ("fp64", 64), "BFLOAT16": ("bf16", 16)}
_INTEGERS = {
    **{f"INT{bits}": ("int", bits) for bits in (4, 8, 16, 32, 64)},
    **{f"UINT{bits}": ("uint", bits) for bits in (1, 2, 3, 4, 6, 8, 16, 32, 64)},
}
_HELD = {
    ("int", 4): torch.int8,
    ("int", 8): torch.int8,
    ("int", 16): torch.int16,
    ("int", 32): torch.int32,
    ("int", 64): torch.int64,
    **{("uint", bits): torch.uint8 for bits in (1, 2, 3, 4, 6, 8)},
    ("uint", 16): torch.int32,
    ("uint", 32): torch.int64,
    ("uint", 64): torch.int64,
}

DTYPES: dict[str, Dtype] = {
    **{key: Dtype(name, bits, torch.float32, "float") for key, (name, bits) in _FLOATS.items()},
    **{key: Dtype(f"{kind}{bits}", bits, _HELD[kind, bits], kind) for key, (kind, bits) in _INTEGERS.items()},
    "BOOL": Dtype("bool", 8, torch.bool, "bool"),
    "STRING": Dtype("string", 0, torch.uint8, "string"),
}
"""By the name that the specification's ``DataType`` has."""

BY_NAME: dict[str, Dtype] = {dtype.name: dtype for dtype in DTYPES.values()}
"""By the name that ``cast`` and ``quantize`` use."""
