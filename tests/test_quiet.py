"""What native code prints, kept off both streams of this process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeexport.quiet import native_output


def write(text, descriptor):
    os.write(descriptor, text.encode())


def outside(code):
    """What a process of its own prints: pytest puts streams of its own in the place of Python's."""
    lines = f"import os, sys\nfrom edgeexport.quiet import native_output\n{code}"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_native_output_is_caught_in_order(capfd):
    with native_output() as printed:
        assert printed() == ""
        write("one\n", 1)
        write("two\n", 2)
        write("three\n", 1)
        assert printed() == "one\ntwo\nthree"
    assert capfd.readouterr() == ("", "")


def test_output_before_and_after_is_left(capfd):
    write("before\n", 1)
    with native_output():
        write("within", 1)
        write("within", 2)
    write("after", 1)
    write("error", 2)
    assert capfd.readouterr() == ("before\nafter", "error")


def test_what_is_buffered_in_python_belongs_to_its_side():
    code = """
sys.stdout.write("before ")
with native_output() as printed:
    sys.stdout.write("inside")
    first = printed()
    sys.stderr.write(" error")
    second = printed()
    sys.stdout.write("to the end")
sys.stdout.write(f"after: {first}, {second}")
"""
    assert outside(code) == ("before after: inside, inside error", "")


def test_subprocesses_are_caught_too(capfd):
    with native_output() as printed:
        subprocess.run([sys.executable, "-c", "import os; os.write(1, b'child'); os.write(2, b'ren')"], check=True)
        assert printed() == "children"
    assert capfd.readouterr() == ("", "")


def test_contexts_nest(capfd):
    with native_output() as outer:
        write("a", 1)
        with native_output() as inner:
            write("b", 1)
            assert inner() == "b"
        write("c", 2)
        assert outer() == "ac"
    write("d", 1)
    assert capfd.readouterr() == ("d", "")


@pytest.mark.parametrize("error", [ValueError("told"), KeyboardInterrupt(), SystemExit(2)])
def test_an_exception_passes_and_restores_both_streams(capfd, error):
    with pytest.raises(type(error)) as caught, native_output():
        write("lost", 1)
        raise error
    assert caught.value is error
    write("out", 1)
    write("err", 2)
    assert capfd.readouterr() == ("out", "err")


def test_only_the_end_of_much_output_is_given():
    with native_output() as printed:
        write("x" * 5000 + "y" * 1999 + "\n", 1)
        assert printed() == "y" * 1999


def test_bytes_that_are_no_text_are_replaced():
    with native_output() as printed:
        os.write(1, b"a\xff\xfeb")
        assert printed() == "a\ufffd\ufffdb"


def test_no_file_is_left_open():
    def opened():
        return len(list(Path("/proc/self/fd").iterdir()))

    def use():
        with native_output() as printed:
            write("x", 1)
            printed()
        with pytest.raises(ValueError, match="x"), native_output():
            raise ValueError("x")

    use()
    before = opened()
    for _ in range(20):
        use()
    assert opened() == before
