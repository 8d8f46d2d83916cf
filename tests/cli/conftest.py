"""Commands run in the tests' own process: what they do to it is undone."""

import signal

import pytest


@pytest.fixture(autouse=True)
def signals():
    """A command that catches signals leaves them caught, which the next test would meet."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
