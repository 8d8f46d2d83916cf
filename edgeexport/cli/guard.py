"""From an exception to one sentence and an exit code.

0, 1, 2 and 3 are documented in the help; 70 (``EX_SOFTWARE``) is a defect of edgeexport's own, with a traceback, so
that it is never taken for a failed check.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec

import typer

from edgeexport.errors import EdgeExportError, RunFailed

P = ParamSpec("P")
CHECK_FAILED = 1
BAD_INPUT = 2
MACHINE_LACKS = 3
DEFECT = 70
_NO_MEMORY = ("There is not enough memory.", "Close other programs, or export a smaller model.", MACHINE_LACKS)


def guarded(command: Callable[P, int | None]) -> Callable[P, None]:
    """Make a command end with an exit code: its own result, or that of the error it raised."""

    @functools.wraps(command)
    def run(*arguments: P.args, **named: P.kwargs) -> None:
        interruption = _Interruption()
        try:
            status = command(*arguments, **named)
        except EdgeExportError as error:
            if interruption.came:
                interruption.fail()
            if isinstance(error.__cause__, MemoryError):
                fail(*_NO_MEMORY)
            fail(
                error.what,
                error.hint or (error.log if isinstance(error, RunFailed) else None),
                error.exit_code,
            )
        except KeyboardInterrupt:
            interruption.fail()
        except MemoryError:
            fail(*_NO_MEMORY)
        except ModuleNotFoundError as error:
            fail(f"The package '{error.name}' is missing.", "pip install 'edgeexport[all]'", MACHINE_LACKS)
        except BrokenPipeError:  # `| head` has seen enough; Python's own last flush must not complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        except OSError as error:
            fail(f"{error.filename or 'the system'}: {error.strerror or error}", None, BAD_INPUT)
        except (typer.Exit, typer.Abort):
            raise
        except Exception:
            if interruption.came:
                interruption.fail()
            traceback.print_exc()
            fail("This is a defect in edgeexport, not in your input; please report it with the above.", None, DEFECT)
        raise SystemExit(status or 0)

    return run


def fail(what: str, hint: str | None, status: int) -> NoReturn:
    """Print an error on standard error and exit."""
    print(f"error: {what}", file=sys.stderr)  # noqa: T201  no rich: an error answers at once
    if hint:
        print(hint, file=sys.stderr)  # noqa: T201
    raise SystemExit(status)


class _Interruption:
    """Turns Ctrl-C, a request to terminate and a closed terminal into KeyboardInterrupt, and remembers that one came:
    a library that is interrupted in native code may raise an error of its own instead."""

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.came = False
        for number in self.signals:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
                signal.signal(number, self._interrupt)

    def fail(self) -> NoReturn:
        """Say so and exit; whoever is impatient by now is not listened to."""
        for number in self.signals:
            signal.signal(number, signal.SIG_IGN)
        fail("Interrupted; nothing was left half-written.", None, BAD_INPUT)

    def _interrupt(self, *_: Any) -> NoReturn:
        self.came = True
        raise KeyboardInterrupt
