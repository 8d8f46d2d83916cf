"""From an exception to one sentence and an exit code."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec

from edgeexport.errors import EdgeExportError, RunFailed

P = ParamSpec("P")
CHECK_FAILED = 1
BAD_INPUT = 2
MACHINE_LACKS = 3


def guarded(command: Callable[P, int | None]) -> Callable[P, None]:
    """Make a command end with an exit code: its own result, or that of the error it raised."""

    @functools.wraps(command)
    def run(*arguments: P.args, **named: P.kwargs) -> None:
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            status = command(*arguments, **named)
        except EdgeExportError as error:
            fail(
                error.what,
                error.hint or (error.log if isinstance(error, RunFailed) else None),
                error.exit_code,
            )
        except KeyboardInterrupt:
            fail("Interrupted; nothing was left half-written.", None, BAD_INPUT)
        except MemoryError:
            fail(
                "There is not enough memory.",
                "Close other programs, or export a smaller model.",
                MACHINE_LACKS,
            )
        except ModuleNotFoundError as error:
            fail(f"The package '{error.name}' is missing.", "pip install 'edgeexport[all]'", MACHINE_LACKS)
        except BrokenPipeError:
            sys.stderr.close()
            raise SystemExit(0) from None
        raise SystemExit(status or 0)

    return run


def fail(what: str, hint: str | None, status: int) -> NoReturn:
    """Print an error on standard error and exit."""
    print(f"error: {what}", file=sys.stderr)  # noqa: T201  no rich: an error answers at once
    if hint:
        print(hint, file=sys.stderr)  # noqa: T201
    raise SystemExit(status)


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt
