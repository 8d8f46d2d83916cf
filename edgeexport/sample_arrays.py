"""Reader for arrays in NumPy's formats, a row at a time.

The formats are those of NumPy's enhancement proposal 1 (``.npy``) and ``numpy.savez`` (``.npz``: a ZIP
archive of ``.npy`` members). Arrays that lie uncompressed on the disk are memory-mapped; compressed ones are
inflated as they are read. Pickles are never loaded: a file with object arrays would execute code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgeexport.errors import SamplesError
from edgeexport.sample_files import Kind, Label, Sample

if TYPE_CHECKING:
    import numpy as np

_LABEL_NAMES = ("label", "labels")
_LOCAL_HEADER = 30  # bytes before the name in a ZIP local file header (APPNOTE 4.3.7)


@dataclass(frozen=True)
class _Array:
    """One array on the disk.

    Attributes:
        name: its input name; empty for the only array of an ``.npy``.
        path: the ``.npy`` or ``.npz``.
        member: its name in the archive; None in an ``.npy``.
        offset: where its values begin in ``path``; None where they are compressed.
    """

    name: str
    path: Path
    member: str | None
    offset: int | None
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool

    def rows(self) -> Iterator[np.ndarray]:
        """Each row as an array of its own, native byte order, with a leading axis of 1."""
        import numpy as np

        native = self.dtype.newbyteorder("=")
        for row in self._stored_rows():
            yield np.array(row, dtype=native, order="C")

    def _stored_rows(self) -> Iterator[np.ndarray]:
        import numpy as np

        size = self.dtype.itemsize * math.prod(self.shape[1:])
        if self.offset is not None and self.fortran:  # a row is scattered over the whole array
            mapped = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, "F")
            whole = np.asarray(mapped)
            for index in range(self.shape[0]):
                yield whole[index : index + 1]
            return
        if self.offset is not None:  # read, not mapped: mapped pages count as memory once they were touched
            with self.path.open("rb") as file:
                file.seek(self.offset)
                for _ in range(self.shape[0]):
                    data = file.read(size)
                    if len(data) < size:
                        raise _unreadable(self.path, f"'{self.name}' is cut off")
                    yield np.frombuffer(data, self.dtype).reshape(1, *self.shape[1:])
            return
        import zipfile
        import zlib

        assert self.member is not None
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                if self.fortran:  # a row is scattered over the whole array, so it cannot be streamed
                    whole = np.lib.format.read_array(stream, allow_pickle=False)
                    yield from (whole[index : index + 1] for index in range(self.shape[0]))
                    return
                _read_header(stream)
                for _ in range(self.shape[0]):
                    data = stream.read(size)
                    yield np.frombuffer(data, self.dtype).reshape(1, *self.shape[1:])
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise _unreadable(self.path, f"'{self.name}' is damaged ({error})") from error


class ArrayFile:
    """An ``.npz`` with one array an input, first axis samples, and optionally ``label`` or ``labels``, [samples] or
    [samples, numbers]; or an ``.npy`` with one array, which goes under the name "" and means the model's only input.

    Raises:
        SamplesError: not that format, object arrays, unequal or missing first axes, or no samples.
    """

    kind: Kind = "arrays"
    what = "an array file"

    def __init__(self, path: Path) -> None:
        self._path = path
        arrays = _open_npz(path) if path.suffix.lower() == ".npz" else [_open_npy(path)]
        for array in arrays:
            _check(array)
        self._labels = _take_labels(path, arrays)
        self._arrays = [array for array in arrays if array is not self._labels]
        self.labelled = self._labels is not None
        if not self._arrays:
            raise SamplesError(f"{path} holds no arrays", "Save one array for each input: numpy.savez(...).")
        lengths = {array.name or "array": array.shape[0] for array in arrays}
        if len(set(lengths.values())) > 1:
            raise SamplesError(
                f"{path}: first axes differ: {', '.join(f'{k} {n}' for k, n in lengths.items())}",
                "The first axis counts the samples and must be equal in every array.",
            )
        self._count = arrays[0].shape[0]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Sample]:
        names = [array.name for array in self._arrays]
        labels = self._labels.rows() if self._labels is not None else None
        rows = zip(*(array.rows() for array in self._arrays), strict=True)
        for index, row in enumerate(rows):
            label = _label(next(labels)) if labels is not None else None
            yield Sample(f"{self._path.name}[{index}]", dict(zip(names, row, strict=True)), label)

    def files(self) -> Iterable[tuple[str, Path]]:
        """The one file."""
        return [(self._path.name, self._path)]


def _open_npy(path: Path) -> _Array:
    try:
        with path.open("rb") as stream:
            dtype, shape, fortran = _read_header(stream)
            offset = stream.tell()
    except ValueError as error:
        raise _unreadable(path, f"not an .npy file ({error})") from error
    array = _Array("", path, None, offset, dtype, shape, fortran)
    if not dtype.hasobject and path.stat().st_size < offset + dtype.itemsize * math.prod(shape):
        raise _unreadable(path, "shorter than its header says")
    return array


def _open_npz(path: Path) -> list[_Array]:
    import zipfile
    import zlib

    arrays = []
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
            for info in archive.infolist():
                with archive.open(info) as stream:
                    dtype, shape, fortran = _read_header(stream)
                    header = stream.tell()
                if not dtype.hasobject and info.file_size < header + dtype.itemsize * math.prod(shape):
                    raise _unreadable(path, f"{info.filename} is shorter than its header says")
                offset = None
                if info.compress_type == zipfile.ZIP_STORED:
                    raw.seek(info.header_offset)
                    local = raw.read(_LOCAL_HEADER)
                    names = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
                    offset = info.header_offset + _LOCAL_HEADER + names + header
                name = info.filename.removesuffix(".npy")
                arrays.append(_Array(name, path, info.filename, offset, dtype, shape, fortran))
    except (ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, f"not an .npz file ({error})") from error
    return arrays


def _read_header(stream: IO[bytes]) -> tuple[np.dtype, tuple[int, ...], bool]:
    """dtype, shape and whether the order is Fortran's, leaving ``stream`` at the first value."""
    import numpy as np

    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"format version {version[0]}.{version[1]} is for structured arrays")
    return dtype, shape, fortran


def _check(array: _Array) -> None:
    where = f"{array.path}: '{array.name}'" if array.name else f"{array.path}: the array"
    if array.dtype.hasobject:
        raise SamplesError(
            f"{where} holds Python objects, which could execute code when loaded",
            "Convert it to numbers before saving; ragged rows must be padded to one length.",
        )
    if array.dtype.kind not in ("biufc" if array.name not in _LABEL_NAMES else "biufU"):
        raise SamplesError(f"{where} has dtype {array.dtype}, which is no number", "Convert it to numbers.")
    if not array.shape:
        raise SamplesError(f"{where} has no axis of samples", "The first axis must count the samples.")
    if math.prod(array.shape) == 0:
        raise SamplesError(f"{where} is empty (shape {list(array.shape)})", "Give at least one sample with values.")


def _take_labels(path: Path, arrays: list[_Array]) -> _Array | None:
    found = [array for array in arrays if array.name in _LABEL_NAMES]
    if len(found) > 1:
        raise SamplesError(f"{path} holds both 'label' and 'labels'", "Keep one of them.")
    if found and math.prod(found[0].shape[1:]) != 1:
        several = len(found[0].shape) == 2 and found[0].dtype.kind != "U"
        if not several:
            raise SamplesError(
                f"{path}: '{found[0].name}' has shape {list(found[0].shape)}",
                "Give one label for each sample, or one row of numbers for each.",
            )
    return found[0] if found else None


def _label(row: np.ndarray) -> Label:
    """A sample's label: its only value, or all of its numbers."""
    return row.item() if row.size == 1 else tuple(row.ravel().tolist())


def _unreadable(path: Path, problem: str) -> SamplesError:
    return SamplesError(f"{path}: {problem}", "Write it again with numpy.savez(...) or numpy.save(...).")
