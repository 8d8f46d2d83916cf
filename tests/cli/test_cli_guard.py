"""From an exception to an exit code and a sentence."""

import os
import subprocess
import sys

import pytest

from edgeexport.cli.guard import guarded
from edgeexport.errors import ConversionError, MissingRequirement, ModelError, RunFailed


def end(error_or_status, capsys):
    def command():
        if isinstance(error_or_status, BaseException):
            raise error_or_status
        return error_or_status

    with pytest.raises(SystemExit) as caught:
        guarded(command)()
    return caught.value.code, capsys.readouterr().err


@pytest.fixture(autouse=True)
def same_signals():
    import signal

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("status", [0, 1, 3, None])
def test_a_status_is_passed_on(status, capsys):
    assert end(status, capsys) == (status or 0, "")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ModelError("no model", "Give one."), 2, "error: no model\nGive one.\n"),
        (MissingRequirement("no qemu", "apt-get install"), 3, "error: no qemu\napt-get install\n"),
        (RunFailed("it crashed", "the log"), 2, "error: it crashed\nthe log\n"),
        (KeyboardInterrupt(), 2, "error: Interrupted; nothing was left half-written.\n"),
        (ModuleNotFoundError("x", name="torch"), 3, "error: The package 'torch' is missing."),
        (MemoryError(), 3, "error: There is not enough memory.\n"),
        (FileNotFoundError(2, "No such file", "x.bin"), 2, "error: x.bin: No such file\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors(error, status, said, capsys):
    code, err = end(error, capsys)
    assert code == status
    assert err.startswith(said)
    assert "Traceback" not in err


def test_memory_that_ran_out_in_a_converter(capsys):
    error = ConversionError("quantizing failed")
    error.__cause__ = MemoryError()
    assert end(error, capsys) == (
        3,
        "error: There is not enough memory.\nClose other programs, or export a smaller model.\n",
    )


@pytest.mark.parametrize("error", [ConversionError("failed: ImportError"), ImportError("initialization failed")])
def test_an_interruption_that_a_library_made_an_error_of(error, capsys):
    import signal

    def command():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise error from None

    with pytest.raises(SystemExit) as caught:
        guarded(command)()
    assert (caught.value.code, capsys.readouterr().err) == (2, "error: Interrupted; nothing was left half-written.\n")


def test_a_defect_is_never_taken_for_a_failed_check(capsys):
    code, err = end(ZeroDivisionError("oops"), capsys)
    assert code == 70
    assert "ZeroDivisionError: oops" in err
    assert err.splitlines()[-1].startswith("error: This is a defect in edgeexport")


def test_a_reader_that_has_seen_enough(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import time\nfrom edgeexport.cli.guard import guarded\n"
        "def command():\n    for n in range(100000):\n        print('line', n, flush=True)\nguarded(command)()\n"
    )
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"line 0\n"
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", 0)
    process.stderr.close()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_end_with_a_sentence_and_further_ones_do_not_interrupt_it(tmp_path, name):
    script = tmp_path / "script.py"
    script.write_text(
        "import time\nfrom edgeexport.cli.guard import guarded\n"
        "def command():\n    print('ready', flush=True)\n    time.sleep(60)\nguarded(command)()\n"
    )
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    import signal

    for _ in range(2):
        os.kill(process.pid, getattr(signal, name))
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "error: Interrupted; nothing was left half-written." in err
