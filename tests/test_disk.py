"""Temporary folders, whoever dies, and write errors as sentences."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgeexport.disk import readable_disk_errors, temporary_folder, uninterrupted, write_whole
from edgeexport.errors import ConversionError, MissingRequirement, ModelError, OutputError

HOLD = """
import sys, time
from pathlib import Path
from edgeexport.disk import temporary_folder
with temporary_folder(Path(sys.argv[1]), ".partial-") as folder:
    (folder / "half").write_text("half")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds a temporary folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    process.folder = Path(process.stdout.readline().strip())
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_it_is_gone_afterwards(tmp_path):
    with temporary_folder(tmp_path / "new", ".partial-") as folder:
        (folder / "file").write_text("x")
        assert folder.parent == tmp_path / "new"
    assert names(tmp_path / "new") == []
    with pytest.raises(KeyError), temporary_folder(tmp_path / "new", ".partial-"):
        raise KeyError
    assert names(tmp_path / "new") == []


def test_a_folder_that_was_renamed_stays(tmp_path):
    with temporary_folder(tmp_path, ".partial-") as folder:
        (folder / "file").write_text("x")
        folder.rename(tmp_path / "done")
    assert names(tmp_path) == ["done"]
    assert (tmp_path / "done" / "file").read_text() == "x"


def test_one_in_use_is_left_alone_and_one_of_a_killed_process_is_removed(tmp_path, holder):
    with temporary_folder(tmp_path, ".partial-"):
        assert (holder.folder / "half").exists()
        with temporary_folder(tmp_path, ".partial-"):  # nor is one of this very process
            assert len(names(tmp_path)) == 3
    holder.kill()
    holder.wait()
    assert (holder.folder / "half").exists()
    with temporary_folder(tmp_path, ".other-"):
        assert (holder.folder / "half").exists()
    with temporary_folder(tmp_path, ".partial-") as folder:
        assert names(tmp_path) == [folder.name]


def test_links_are_not_followed_when_sweeping(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    (tmp_path / ".partial-link").symlink_to(precious)
    with temporary_folder(tmp_path, ".partial-"):
        pass
    assert (precious / "file").read_text() == "x"


def test_signals_wait_until_the_block_has_ended():
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("whole")
    assert done == ["whole"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_may_use_it():
    failed = []

    def work():
        try:
            with uninterrupted():
                pass
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failed == []


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "report.json"
    write_whole(path, b"first")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    with pytest.raises(TypeError):
        write_whole(path, "text")
    assert path.read_bytes() == b"second"
    assert names(tmp_path) == ["report.json"]


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (errno.ENOSPC, MissingRequirement, "the disk is full: there could not be written"),
        (errno.EDQUOT, MissingRequirement, "the disk is full"),
        (errno.EFBIG, MissingRequirement, "a limit on file sizes was met"),
        (errno.EACCES, OutputError, "there cannot be written: Permission denied"),
        (errno.EROFS, OutputError, "there cannot be written: Read-only file system"),
        (errno.ENOTDIR, OutputError, "there cannot be written: Not a directory"),
    ],
)
def test_write_errors_are_sentences(tmp_path, code, kind, said):
    with pytest.raises(kind, match=said), readable_disk_errors("there"):
        raise OSError(code, os.strerror(code))
    with pytest.raises(kind, match="/some/file"), readable_disk_errors("there"):
        raise OSError(code, os.strerror(code), "/some/file")


def test_a_full_disk_behind_a_converters_error_is_found():
    with pytest.raises(MissingRequirement, match="the disk is full"), readable_disk_errors("there"):
        try:
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            except OSError as error:
                raise RuntimeError("write failed") from error
        except RuntimeError as error:
            raise ConversionError("exporting failed") from error


@pytest.mark.parametrize("error", [ModelError("x"), OSError(errno.ECONNRESET, "reset"), ValueError("x"), KeyError()])
def test_everything_else_passes(error):
    with pytest.raises(type(error)) as caught, readable_disk_errors("there"):
        raise error
    assert caught.value is error


def test_a_sentence_that_was_found_already_is_kept():
    first = MissingRequirement("the disk is full: first")
    with pytest.raises(MissingRequirement) as caught, readable_disk_errors("there"):
        raise first from OSError(errno.ENOSPC, "x")
    assert caught.value is first


def test_a_really_full_disk(small_disk):
    disk = small_disk(64 * 1024)
    with (
        pytest.raises(MissingRequirement, match="the disk is full"),
        readable_disk_errors(disk),
        temporary_folder(disk, ".partial-") as folder,
    ):
        (folder / "file").write_bytes(b"x" * 1_000_000)
    assert names(disk) == []
