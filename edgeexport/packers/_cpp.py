"""Text of C++17 sources."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from edgeexport.errors import ConversionError

if TYPE_CHECKING:
    import numpy as np

C_TYPES = {
    "int8": "std::int8_t",
    "uint8": "std::uint8_t",
    "int16": "std::int16_t",
    "int32": "std::int32_t",
    "int64": "std::int64_t",
    "float32": "float",
}
_PER_LINE = 16


def namespace(name: str) -> str:
    """A C++ namespace for the model ``name``: ``digits`` gives ``digits_model``.

    The suffix keeps it apart from keywords and from macros such as ``linux``; runs of other characters than letters
    and digits become one underscore, since names with two are reserved.
    """
    words = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    return f"{'m' if words[:1].isdigit() else ''}{words}_model".removeprefix("_")


def header(space: str, part: str, includes: Iterable[str], body: str) -> str:
    """A header with its guard; ``body`` stands in the namespace."""
    guard = f"EDGEEXPORT_{space}_{part}_H_".upper()
    lines = "".join(f"#include {include}\n" for include in includes)
    return f"#ifndef {guard}\n#define {guard}\n\n{lines}\n{in_namespace(space, body)}\n#endif  // {guard}\n"


def source(space: str, part: str, body: str) -> str:
    """A source file that begins with its own header."""
    return f'#include "{part}.h"\n\n{in_namespace(space, body)}'


def in_namespace(space: str, body: str) -> str:
    """``body`` in the namespace."""
    return f"namespace {space} {{\n\n{body}\n}}  // namespace {space}\n"


def rows(values: Iterable[str]) -> str:
    """Array elements, sixteen a line."""
    listed = list(values)
    return "".join(
        f"    {', '.join(listed[start : start + _PER_LINE])},\n" for start in range(0, len(listed), _PER_LINE)
    )


def elements(array: np.ndarray, where: str) -> Iterator[str]:
    """Every element of ``array`` in C order, as literals of its type.

    Raises:
        ConversionError: a float is NaN or infinite, which C++ has no literal for.
    """
    import numpy as np

    if array.dtype != np.float32:
        # The least of a wide type has no literal in C++: -9223372036854775808 negates a number that none holds.
        least = np.iinfo(array.dtype).min if array.dtype.itemsize >= 4 else None
        for value in array.ravel().tolist():
            yield f"{value + 1} - 1" if value == least else str(value)
        return
    for value in array.ravel():
        yield real(float(value), where)


def real(value: float, where: str) -> str:
    """The shortest ``float`` literal that gives ``value`` back, rounded to a float.

    Raises:
        ConversionError: it is NaN or infinite.
    """
    import numpy as np

    single = np.float32(value)
    if not np.isfinite(single):
        raise ConversionError(f"packing: {where} holds {single}, which a C++ source cannot")
    return f"{np.format_float_scientific(single, unique=True, trim='0')}f"


def text(value: str) -> str:
    """For a comment: one line of printable ASCII without a backslash, which would continue a comment on its end."""
    return "".join(c if c.isascii() and c.isprintable() and c != "\\" else "?" for c in value)
