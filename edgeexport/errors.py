"""What can go wrong, as one tree. The command line turns each into one sentence and an exit code.

    EdgeExportError                 exit 2
    ├── ModelError                  the model cannot be found, read, or is of a kind that is not supported
    ├── SamplesError                a calibration or evaluation set is missing, malformed or unfit
    │   └── LintError               a calibration set would spoil what is learnt from it; carries the findings
    ├── TargetError                 no such target, or its profile does not validate
    ├── RecipeError                 an unknown or contradictory setting
    ├── OutputError                 the output place is taken or cannot be written
    ├── BundleError                 a bundle is incomplete, altered, or not one
    ├── ConversionError             a converter failed; the message names the stage
    ├── DeviceError                 no such device, or it cannot be reached
    ├── RunFailed                   a runtime crashed, hung or ran out of memory on a device; carries its log.
    │                               Verification turns it into a failed check, so it seldom reaches a user
    └── MissingRequirement          exit 3: the machine lacks something; the message says what installs it

A message says what was wrong, where, and what to do.
"""

from __future__ import annotations

from typing import Any


class EdgeExportError(Exception):
    """Base of every error that edgeexport raises on purpose.

    Args:
        what: one sentence: what was wrong and where.
        hint: what to do about it; shown on its own line.
    """

    exit_code = 2

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return self.what if self.hint is None else f"{self.what}\n{self.hint}"


class ModelError(EdgeExportError):
    """The model cannot be found or read, or is of a kind that is not supported."""


class SamplesError(EdgeExportError):
    """A calibration or evaluation set is missing, malformed or unfit for its purpose."""


class LintError(SamplesError):
    """A calibration set would spoil what is learnt from it.

    Args:
        what: one sentence with every error that was found.
        hint: what to do, and how to overrule.
        findings: all of them, warnings too; see :class:`edgeexport.analysis.LintFinding`.
    """

    def __init__(self, what: str, hint: str | None = None, findings: tuple[Any, ...] = ()) -> None:
        super().__init__(what, hint)
        self.findings = findings


class TargetError(EdgeExportError):
    """There is no such target, or its profile does not validate."""


class RecipeError(EdgeExportError):
    """A setting is unknown, has a value out of range, or contradicts another."""


class OutputError(EdgeExportError):
    """The output place is taken by something else or cannot be written."""


class BundleError(EdgeExportError):
    """A bundle is incomplete, was altered since it was packed, or is not a bundle."""


class ConversionError(EdgeExportError):
    """A converter or quantizer failed; the message names the stage."""


class DeviceError(EdgeExportError):
    """There is no such device, or it cannot be reached."""


class MissingRequirement(EdgeExportError):
    """The machine lacks a program, package or file system; the hint says what provides it."""

    exit_code = 3


class RunFailed(EdgeExportError):
    """A runtime crashed, hung or ran out of memory while running a job.

    Args:
        what: one sentence with the exit status or the time limit.
        log: the end of what the runner printed.
    """

    def __init__(self, what: str, log: str = "") -> None:
        super().__init__(what)
        self.log = log
