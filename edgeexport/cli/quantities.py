"""Amounts as people write them: ``25MB``, ``1%``, ``.27``."""

from __future__ import annotations

import re

import typer

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_AMOUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)")


def parse_bytes(text: str) -> int:
    """A number of bytes: ``25MB`` is 25,000,000, as reports count, and ``25MiB`` 26,214,400."""
    found = _AMOUNT.fullmatch(text.strip().lower())
    count = int(float(found[1]) * _UNITS[found[2]]) if found and found[2] in _UNITS else 0
    if not count:
        raise typer.BadParameter(f"'{text}' is no number of bytes, such as 25MB, 800kB or 25MiB")
    return count


def parse_share(text: str) -> float:
    """A share of something: ``1%`` or ``0.01``; 0 is one."""
    stripped = text.strip()
    found = _AMOUNT.fullmatch(stripped.removesuffix("%").strip())
    if found is None or found[2]:
        raise typer.BadParameter(f"'{text}' is no share, such as 1% or 0.01")
    return float(found[1]) / (100 if stripped.endswith("%") else 1)
