"""Samples: calibration and evaluation sets, streamed from the files users have.

    .npz            arrays by input name, first axis samples, optional ``label``: [samples] or [samples, numbers]
    .npy            one array: the model's only input
    .jsonl          text columns, optional ``label``: a class, a number or a list of numbers
    .csv            text columns, optional ``label``, or ``label_0``, ``label_1``... for several numbers
    a folder        of images or ``.wav`` files, flat or one subfolder a class

:func:`feeds` turns them into what the model takes, and :class:`CheckedFeeds` holds a calibration set to its
standard in the same pass.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgeexport.errors import SamplesError
from edgeexport.sample_arrays import ArrayFile
from edgeexport.sample_files import CsvTable, JsonLines, Kind, Label, MediaFolder, Reader, Sample, wrong_kind
from edgeexport.signature import Signature

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "CheckedFeeds",
    "Kind",
    "Label",
    "Preparer",
    "Sample",
    "Samples",
    "check_calibration",
    "check_count",
    "check_finite",
    "encoder",
    "feeds",
    "open_samples",
]

_READERS: dict[str, Callable[[Path], Reader]] = {
    ".csv": CsvTable,
    ".jsonl": JsonLines,
    ".npy": ArrayFile,
    ".npz": ArrayFile,
}
_CHUNK = 1 << 20
_VARIES = object()


class Preparer(Protocol):
    """What :func:`feeds` needs of a :data:`edgeexport.preprocess.Preprocess`."""

    @property
    def accepts(self) -> Kind:
        """The kind of samples it encodes."""

    def prepare(self, assets: Path | None) -> Callable[[Sample], dict[str, np.ndarray]]:
        """Load what it needs once; the result encodes a sample."""


class Samples:
    """A set of samples that can be iterated again and again; its files are read as it is.

    Attributes:
        path: the file or folder.
        kind: what the records are.
        what: the same for people, with an article, such as ``an image folder``.
        labelled: whether every sample has a label.
    """

    def __init__(self, path: Path, reader: Reader, label_pattern: str | None = None) -> None:
        self.path = path
        self.kind: Kind = reader.kind
        self.what = reader.what
        self.labelled = reader.labelled
        self._reader = reader
        self._label_pattern = label_pattern
        self._digest: str | None = None

    def __len__(self) -> int:
        return len(self._reader)

    def __iter__(self) -> Iterator[Sample]:
        try:
            yield from self._reader
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def head(self, count: int) -> list[Sample]:
        """The first ``count`` samples, fewer where there are fewer."""
        return list(itertools.islice(self, count))

    def digest(self) -> str:
        """SHA-256, in hexadecimal, over the label pattern and each file's name and content. Taken once.

        Names are those inside a folder, or the file's own: moving the set elsewhere does not change it.
        """
        if self._digest is None:
            digest = hashlib.sha256()
            _hash_text(digest, self._label_pattern or "")
            for name, path in self._reader.files():
                _hash_text(digest, name)
                try:
                    _hash_file(digest, path)
                except OSError as error:
                    raise _unreadable(path, error) from error
            self._digest = digest.hexdigest()
        return self._digest


def open_samples(path: Path, label_pattern: str | None = None) -> Samples:
    """Open a file or folder of samples.

    Text is read through once, to find bad lines now and not half-way; images and recordings are not decoded.

    Args:
        path: see the module's table.
        label_pattern: a regular expression with a group ``label``, searched in the file names of a flat
            folder; recordings have ``^(?P<label>[^_]+)_`` unless given.

    Raises:
        SamplesError: missing, empty, malformed, mixed, or of no known form; it names the file and the line.
    """
    try:
        if path.is_dir():
            reader: Reader = MediaFolder(path, label_pattern)
        elif not path.exists():
            raise SamplesError(f"{path}: no such file or folder", "Check the path.")
        elif path.suffix.lower() not in _READERS:
            raise SamplesError(
                f"{path}: samples cannot be read from '{path.suffix}' files",
                "Give an .npz, .npy, .jsonl or .csv file, or a folder of images or of .wav files.",
            )
        elif label_pattern is not None:
            raise SamplesError(
                f"{path}: a label pattern is for folders of files", "Leave it out; labels come from the file."
            )
        else:
            reader = _READERS[path.suffix.lower()](path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(reader) == 0:
        raise SamplesError(f"{path} holds no samples", "Give at least one.")
    return Samples(path, reader, label_pattern)


def feeds(
    samples: Iterable[Sample], preprocess: Preparer, signature: Signature, assets: Path | None = None
) -> Iterator[tuple[Sample, dict[str, np.ndarray]]]:
    """Encode samples one by one into what the model takes.

    Arrays that a text model does not take, such as ``token_type_ids``, are left out; the array of an ``.npy``
    gets the name of the model's only input.

    Args:
        samples: a :class:`Samples` or some of its samples.
        preprocess: the model's preprocessing.
        signature: the model's inputs.
        assets: the folder that holds the files the preprocessing names.

    Yields:
        Each sample with its arrays by input name, with a leading batch axis of 1.

    Raises:
        SamplesError: samples of another kind, arrays that do not fit the signature, NaN or infinity.
        ModelError: a file that the preprocessing needs is missing or broken.
    """
    if isinstance(samples, Samples) and samples.kind != preprocess.accepts:
        raise wrong_kind(preprocess.accepts, f"{samples.path} is {samples.what}")
    encode = encoder(preprocess, signature, assets)
    for sample in samples:
        arrays = encode(sample)
        signature.check(arrays, sample.name)
        check_finite(arrays, sample)
        yield sample, arrays


def encoder(
    preprocess: Preparer, signature: Signature, assets: Path | None = None
) -> Callable[[Sample], dict[str, np.ndarray]]:
    """What :func:`feeds` makes of each sample, before it is held to the signature.

    Raises:
        SamplesError: by the result: a sample of another kind, or one that the preprocessing refuses.
        ModelError: a file that the preprocessing needs is missing or broken.
    """
    encode = preprocess.prepare(assets)
    names = [spec.name for spec in signature.inputs]

    def named(sample: Sample) -> dict[str, np.ndarray]:
        arrays = encode(sample)
        if preprocess.accepts == "text":
            arrays = {name: array for name, array in arrays.items() if name in names}
        elif list(arrays) == [""]:
            arrays = {_only_input(names, sample): arrays[""]}
        if preprocess.accepts == "arrays":
            arrays = {name: _as_wanted(name, array, signature) for name, array in arrays.items()}
        return arrays

    return named


class CheckedFeeds:
    """The feeds of a calibration set, watched as they pass, so that checking costs no second encoding.

    Iterate, any number of times, then call :meth:`finish`. Too small a set is refused before any encoding.

    Args:
        samples: the calibration set.
        preprocess: the model's preprocessing.
        signature: the model's inputs.
        assets: the folder that holds the files the preprocessing names.
        minimum: the least number of samples.
    """

    def __init__(
        self, samples: Samples, preprocess: Preparer, signature: Signature, assets: Path | None, minimum: int
    ) -> None:
        self._samples = samples
        self._preprocess = preprocess
        self._signature = signature
        self._assets = assets
        self._minimum = minimum
        self._values: dict[str, object] = {}
        self._seen = 0

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        check_count(self._samples, len(self._samples), self._minimum)
        self._values, self._seen = {}, 0
        for _, arrays in feeds(self._samples, self._preprocess, self._signature, self._assets):
            self._watch(arrays)
            yield arrays

    def finish(self) -> None:
        """Judge what the latest iteration saw.

        Raises:
            SamplesError: it saw fewer samples than the minimum, or every input held one value throughout. One
                constant input among others, such as an attention mask, is normal.
        """
        check_count(self._samples, self._seen, self._minimum)
        if self._values and all(value is not _VARIES for value in self._values.values()):
            values = ", ".join(f"'{name}' is {value} throughout" for name, value in self._values.items())
            raise SamplesError(
                f"{self._samples.path}: the samples do not vary: {values}",
                "Ranges found on such a set mean nothing: give samples like those the model will meet.",
            )

    def _watch(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._seen += 1
        for name, array in arrays.items():
            if array.size and self._values.get(name) is not _VARIES:
                value = self._values.setdefault(name, array.flat[0])
                if not bool((array == value).all()):
                    self._values[name] = _VARIES


def check_count(samples: Samples, count: int, minimum: int) -> None:
    """Hold a calibration set to the least number of samples.

    Raises:
        SamplesError: ``count`` is none, or below ``minimum``.
    """
    if count == 0:
        raise SamplesError(f"{samples.path}: no sample was read", "Give at least one.")
    if count < minimum:
        raise SamplesError(
            f"{samples.path}: calibration needs at least {minimum} samples, and got {count}",
            f"Add samples, or lower the bar knowingly with `--set calibration.minimum_samples={count}`.",
        )


def check_calibration(
    samples: Samples, preprocess: Preparer, signature: Signature, assets: Path | None, minimum: int
) -> int:
    """Hold a calibration set to its standard in a pass of its own; give the number of samples.

    Raises:
        SamplesError: see :func:`feeds` and :meth:`CheckedFeeds.finish`.
    """
    checked = CheckedFeeds(samples, preprocess, signature, assets, minimum)
    count = sum(1 for _ in checked)
    checked.finish()
    return count


def _only_input(names: list[str], sample: Sample) -> str:
    if len(names) != 1:
        raise SamplesError(
            f"{sample.name}: an .npy holds one array, the model takes {len(names)}: {', '.join(names)}",
            "Save them by name: numpy.savez(FILE, name=array, ...).",
        )
    return names[0]


def _as_wanted(name: str, array: np.ndarray, signature: Signature) -> np.ndarray:
    """Integers in the model's own width where every value fits."""
    wanted = next((spec.dtype for spec in signature.inputs if spec.name == name), str(array.dtype))
    if array.dtype.kind in "iu" and wanted != str(array.dtype):
        narrowed = array.astype(wanted)
        return narrowed if narrowed.dtype.kind in "iu" and bool((narrowed == array).all()) else array
    return array


def check_finite(arrays: Mapping[str, np.ndarray], sample: Sample) -> None:
    """Refuse NaN and infinity.

    Raises:
        SamplesError: naming the sample and the array.
    """
    import numpy as np

    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            value = "NaN" if np.isnan(array).any() else "infinity"
            raise SamplesError(
                f"sample {sample.name}: '{name}' holds {value}", "Remove the sample, or repair its values."
            )


def _unreadable(path: Path, error: OSError) -> SamplesError:
    return SamplesError(
        f"{path} cannot be read: {error.strerror or error}", "Check that it is still there and readable."
    )


def _hash_file(digest: hashlib._Hash, path: Path) -> None:
    digest.update(path.stat().st_size.to_bytes(8, "little"))
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)


def _hash_text(digest: hashlib._Hash, text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    digest.update(len(data).to_bytes(8, "little"))
    digest.update(data)
