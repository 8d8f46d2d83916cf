"""Comparing release numbers."""

from __future__ import annotations

import re


def older(version: str, minimum: str) -> bool:
    """Whether ``version`` is lower than ``minimum``, by their leading numbers: 1.9 is older than 1.22."""
    return _numbers(version) < _numbers(minimum)


def _numbers(version: str) -> tuple[int, ...]:
    leading = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in leading.group().split(".")) if leading else ()
