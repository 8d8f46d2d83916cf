"""Files to another machine and back as tar streams. What comes back is not trusted."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from edgeexport.errors import RunFailed

_CHUNK = 1 << 20
_NAME = re.compile(r"(\./)?(result\.json|outputs/(index\.json|[0-9]{1,6}\.bin))")
_SMALL = 64 << 20
"""Most bytes of an index or a result, which are read whole."""
_LEAVE_FREE = 256 << 20
_HEADERS = frozenset((b"\0", b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7"))


class _Plain(tarfile.TarInfo):
    """A member with a plain header: an extended one of any stated size would be read into memory."""

    def _proc_member(self, archive: Any) -> Any:
        if self.type not in _HEADERS:
            raise tarfile.ReadError(f"a header of type {self.type!r}")
        return super()._proc_member(archive)  # type: ignore[misc]


def packed(files: Mapping[str, Path]) -> Iterator[bytes]:
    """A tar stream of files by the names that they have there, a chunk at a time."""
    for name, path in files.items():
        info = tarfile.TarInfo(name)
        info.size = path.stat().st_size
        yield info.tobuf(tarfile.USTAR_FORMAT)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
        yield bytes(-info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def packed_size(files: Mapping[str, Path]) -> int:
    """Bytes of that stream."""
    sizes = (path.stat().st_size for path in files.values())
    return sum(tarfile.BLOCKSIZE + size + -size % tarfile.BLOCKSIZE for size in sizes) + 2 * tarfile.BLOCKSIZE


def unpack(stream: IO[bytes], folder: Path, device: str) -> None:
    """Write a job's result and outputs, and nothing else, into ``folder``.

    Args:
        stream: a tar archive; only plain files of the runner's own names are taken from it.
        folder: the job's.
        device: for the message.

    Raises:
        RunFailed: there is anything else in it, more than this machine's disk should take, or no archive at all.
    """
    room = shutil.disk_usage(folder).free - _LEAVE_FREE
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK, tarinfo=_Plain) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.isdir() and name in ("outputs", "."):
                    continue
                if not member.isreg() or not _NAME.fullmatch(member.name):
                    raise RunFailed(f"{device} sent something that is no result: {member.name[:80]!r}")
                room -= member.size
                if room < 0 or (name.endswith(".json") and member.size > _SMALL):
                    raise RunFailed(f"{device} sent more than this machine takes: {name} of {member.size} bytes")
                if (folder / name).exists():
                    raise RunFailed(f"{device} sent {name} twice")
                _write(archive, member, folder / name)
    except (tarfile.TarError, EOFError) as error:
        raise RunFailed(f"{device} sent no archive: {error}") from error


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    source = archive.extractfile(member) or io.BytesIO()
    with path.open("xb") as file:
        shutil.copyfileobj(source, file, _CHUNK)
