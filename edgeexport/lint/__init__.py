"""Calibration lint: what is odd about a calibration set, found before anything is quantized by it.

Each module holds one family of rules. A rule is a function that :func:`edgeexport.lint._rule.rule` names; it looks at a
:class:`edgeexport.lint._view.View`, which holds what one pass over the sets saw, and yields what it found. Modules are
found by file name, or by an entry point of the group ``edgeexport.lint``: a new rule changes no list.

``docs/calibration-lint.md`` says of every rule what it looks at, its threshold, why, and the remedy.
"""
