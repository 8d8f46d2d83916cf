"""Commands through a shell here, as through any other program that takes them."""

import threading
import time

import pytest

from edgeexport.devices._transport import Limit, LinkLost, TimedOut, Transport, lines, never_lost
from edgeexport.errors import DeviceError

SHELL = Transport(("sh", "-c"), never_lost)


def test_status_output_and_log():
    answer = SHELL.run("echo out; echo err >&2; exit 3", timeout_s=10)
    assert (answer.status, answer.output, answer.log) == (3, b"out\n", "err")


def test_input_is_given_whole():
    chunks = (bytes([number]) * 100_000 for number in range(10))
    answer = SHELL.run("cat | wc -c", timeout_s=10, source=chunks)
    assert int(answer.output) == 1_000_000


def test_input_that_is_not_read_is_no_error():
    assert SHELL.run("exit 0", timeout_s=10, source=[bytes(1 << 22)]).status == 0


def test_a_limit_is_kept():
    began = time.monotonic()
    with pytest.raises(TimedOut):
        SHELL.run("sleep 60", timeout_s=0.3)
    assert time.monotonic() - began < 30


def test_held_input_stays_open_until_the_end():
    assert SHELL.run("cat & sleep 0.2; kill $!; echo done", timeout_s=10, hold=True).output == b"done\n"


def test_endless_output_is_cut():
    assert len(SHELL.run("cat /dev/zero", timeout_s=10).output) == 1 << 20


def test_an_endless_log_keeps_its_end():
    answer = SHELL.run("yes no | head -n 100000 >&2; echo last >&2", timeout_s=10)
    assert answer.log.endswith("last") and len(answer.log) <= 4000


def test_lines():
    seen = []
    SHELL.run("printf 'a\\nb\\nc'", timeout_s=10, sink=lines(seen.append))
    assert seen == [b"a\n", b"b\n", b"c"]


def test_a_lost_connection_is_told_apart():
    transport = Transport(("sh", "-c"), lambda status, log: status == 255 or "offline" in log)
    with pytest.raises(LinkLost, match="gone"):
        transport.run("echo gone >&2; exit 255", timeout_s=10)
    with pytest.raises(LinkLost, match="device offline"):
        transport.run("echo device offline >&2; exit 1", timeout_s=10)
    assert transport.run("exit 1", timeout_s=10).status == 1


def test_a_limit_is_set_anew_by_the_sink():
    limit, began = Limit(0.5), time.monotonic()

    def read(stream):
        limit.set(30)
        stream.read()

    assert SHELL.run("sleep 1.5", timeout_s=limit, sink=read).status == 0
    limit = Limit(30)

    def shorter(stream):
        limit.set(0.2)
        stream.read()

    with pytest.raises(TimedOut):
        SHELL.run("sleep 60", timeout_s=limit, sink=shorter)
    assert time.monotonic() - began < 25


def test_it_is_stopped_from_another_thread_and_starts_nothing_more():
    transport = Transport(("sh", "-c"), never_lost)
    threading.Timer(0.3, transport.stop).start()
    began = time.monotonic()
    with pytest.raises(DeviceError, match="was closed"):
        transport.run("sleep 60", timeout_s=50)
    assert time.monotonic() - began < 30
    with pytest.raises(DeviceError, match="was closed"):
        transport.run("exit 0", timeout_s=50)
