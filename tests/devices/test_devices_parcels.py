"""Tar streams there, and what is taken of those that come back."""

import io
import tarfile

import pytest

from edgeexport.devices import _parcels
from edgeexport.errors import RunFailed


def archive(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, data, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            info.linkname = "/etc/passwd"
            made.addfile(info, io.BytesIO(data))
    buffer.seek(0)
    return buffer


def test_files_arrive_as_they_were(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(256)) * 5)
    (tmp_path / "b").write_bytes(b"")
    stream = io.BytesIO(b"".join(_parcels.packed({"x/a": tmp_path / "a", "b": tmp_path / "b"})))
    with tarfile.open(fileobj=stream) as made:
        assert made.getnames() == ["x/a", "b"]
        assert made.extractfile("x/a").read() == (tmp_path / "a").read_bytes()
        assert made.extractfile("b").read() == b""


def test_a_result_is_taken(tmp_path):
    stream = archive(
        ("result.json", b"{}", tarfile.REGTYPE),
        ("outputs", b"", tarfile.DIRTYPE),
        ("outputs/index.json", b"[]", tarfile.REGTYPE),
        ("outputs/0.bin", b"12345678", tarfile.REGTYPE),
    )
    _parcels.unpack(stream, tmp_path, "board")
    assert (tmp_path / "outputs" / "0.bin").read_bytes() == b"12345678"
    assert (tmp_path / "result.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../evil", tarfile.REGTYPE),
        ("/tmp/evil", tarfile.REGTYPE),
        ("outputs/../../evil", tarfile.REGTYPE),
        ("outputs/0.bin", tarfile.SYMTYPE),
        ("outputs/0.bin", tarfile.LNKTYPE),
        ("outputs/0.bin", tarfile.CHRTYPE),
        ("outputs/0.bin", tarfile.FIFOTYPE),
        ("job.json", tarfile.REGTYPE),
        ("log.txt", tarfile.REGTYPE),
        ("inputs/0.bin", tarfile.REGTYPE),
        ("outputs/9999999.bin", tarfile.REGTYPE),
    ],
)
def test_anything_else_is_refused(tmp_path, name, kind):
    place = tmp_path / "run"
    place.mkdir()
    with pytest.raises(RunFailed, match="board sent something that is no result"):
        _parcels.unpack(archive((name, b"evil", kind)), place, "board")
    assert [path for path in tmp_path.rglob("*") if path != place] == []


def test_a_file_that_comes_twice_is_refused(tmp_path):
    twice = [("result.json", b"{}", tarfile.REGTYPE)] * 2
    with pytest.raises(RunFailed, match=r"result\.json twice"):
        _parcels.unpack(archive(*twice), tmp_path, "board")


@pytest.mark.parametrize(("name", "size"), [("outputs/0.bin", 1 << 60), ("result.json", 65 << 20)])
def test_more_than_there_is_room_for_is_refused_before_it_is_written(tmp_path, name, size):
    info = tarfile.TarInfo(name)
    info.size = size
    with pytest.raises(RunFailed, match="more than this machine takes"):
        _parcels.unpack(io.BytesIO(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)), tmp_path, "board")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"no archive at all", b"\xff" * 4096])
def test_what_is_no_archive_is_refused_or_empty(tmp_path, data):
    with pytest.raises(RunFailed, match="board sent no archive"):
        _parcels.unpack(io.BytesIO(data), tmp_path, "board")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE])
def test_an_extended_header_is_refused_before_it_is_read(tmp_path, kind):
    info = tarfile.TarInfo("result.json")
    info.type, info.size = kind, 1 << 40
    stream = io.BytesIO(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(RunFailed, match="sent no archive: a header of type"):
        _parcels.unpack(stream, tmp_path, "board")
