"""Keep what native libraries print off the user's terminal, and at hand for an error."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CHARACTERS = 2000


@contextmanager
def native_output() -> Iterator[Callable[[], str]]:
    """Send both standard streams of this process, also as native code sees them, to a file while in the context.

    Yields:
        A function that gives the end of what was printed so far.
    """
    with tempfile.TemporaryFile() as file:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(1), os.dup(2)]
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)

        def printed() -> str:
            sys.stdout.flush()
            sys.stderr.flush()
            size = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), _CHARACTERS, max(0, size - _CHARACTERS)).decode(errors="replace").strip()

        try:
            yield printed
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
