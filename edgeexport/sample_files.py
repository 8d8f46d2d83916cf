"""Readers for files of text and folders of images or recordings.

A reader looks once over its files when it is made, which raises what is wrong with them, and streams them
each time it is iterated. Nothing is held but counts, and for folders the file names.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from edgeexport.errors import SamplesError

Kind = Literal["text", "image", "audio", "arrays"]
Label = int | str | float | tuple[int | float | str, ...] | None

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
AUDIO_SUFFIXES = frozenset({".wav"})
AUDIO_LABEL = r"^(?P<label>[^_]+)_"
"""The default label pattern of recordings: ``3_george_12.wav`` has label ``3``."""

_FORMS: dict[Kind, str] = {
    "text": "a .jsonl or .csv file",
    "image": "a folder of images",
    "audio": "a folder of .wav files",
    "arrays": "an .npz or .npy file",
}
_LABEL_COLUMN = re.compile(r"label_(0|[1-9][0-9]*)")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample, not yet encoded.

    Attributes:
        name: where it is, for messages, such as ``train.jsonl line 7`` or ``digits.npz[3]`` (counted from 0).
        record: columns by name (text), a file (image, audio), or arrays by input name, each with a leading
            batch axis of 1 (arrays).
        label: a JSON or array label as it is; a CSV column, folder name or pattern match as the text it is; a tuple
            where a sample has several numbers, which those of a CSV table are as text; None where there is none.
    """

    name: str
    record: Mapping[str, object] | Path
    label: Label = None


class Reader(Protocol):
    """One format. Iterating streams the samples in a fixed order, as often as asked."""

    kind: Kind
    what: str
    labelled: bool

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sample]: ...

    def files(self) -> Iterable[tuple[str, Path]]:
        """Every file with its name for the digest, in a fixed order."""


def wrong_kind(accepts: Kind, what: str) -> SamplesError:
    """The error for samples of another kind than is taken; ``what`` is such as ``X is an image folder``."""
    taken = {"image": "images", "audio": "recordings"}.get(accepts, accepts)
    return SamplesError(f"the model takes {taken}; {what}", f"Give it {_FORMS[accepts]}.")


class JsonLines:
    """``.jsonl`` (https://jsonlines.org): one JSON object a line in UTF-8; ``label`` is the label.

    Blank lines are passed over.

    Raises:
        SamplesError: a line is no JSON object, or its label is neither a number, a string nor a list of numbers.
    """

    kind: Kind = "text"
    what = "a text file"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count, self.labelled = _survey(self)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Sample]:
        import msgspec

        decode = msgspec.json.Decoder().decode
        with self._path.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                line = raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw
                if line.isspace():
                    continue
                try:
                    record = decode(line)
                except (ValueError, RecursionError) as error:
                    raise self._refuse(number, f"not JSON ({error})") from error
                if not isinstance(record, dict):
                    raise self._refuse(number, "not a JSON object")
                label = record.pop("label", None)
                if isinstance(label, list) and label and all(isinstance(value, int | float) for value in label):
                    label = tuple(label)
                if label is not None and not isinstance(label, int | float | str | tuple):
                    raise self._refuse(number, "'label' is neither a number, a string nor a list of numbers")
                yield Sample(f"{self._path.name} line {number}", record, label)

    def files(self) -> Iterable[tuple[str, Path]]:
        """The one file."""
        return [(self._path.name, self._path)]

    def _refuse(self, line: int, problem: str) -> SamplesError:
        return SamplesError(
            f"{self._path} line {line}: {problem}",
            'Each line must be one JSON object, such as {"text": "a fine film", "label": 1}.',
        )


class CsvTable:
    """``.csv`` (RFC 4180) in UTF-8 with a header line; the column ``label`` is the label, or the columns ``label_0``,
    ``label_1`` and so on are its numbers.

    Every value stays text; an empty label is none.

    Raises:
        SamplesError: the header is unusable, a row has another number of values, some of a label's but not all, or the
            quoting is broken.
    """

    kind: Kind = "text"
    what = "a text file"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count, self.labelled = _survey(self)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Sample]:
        try:
            yield from self._rows()
        except UnicodeDecodeError as error:
            raise SamplesError(f"{self._path}: not UTF-8 ({error.reason})", "Save it as UTF-8.") from error

    def _rows(self) -> Iterator[Sample]:
        with self._path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header: list[str] | None = None
            several: list[str] = []
            line = 1
            while True:
                try:
                    row = next(rows, None)
                except csv.Error as error:
                    raise self._refuse(line, f"not CSV ({error})") from error
                if row is None:
                    return
                if row and header is None:
                    header = self._check_header(row, line)
                    several = self._label_columns(header, line)
                elif row and header is not None:
                    if len(row) != len(header):
                        raise self._refuse(line, f"{len(row)} values under a header of {len(header)}")
                    record: dict[str, object] = dict(zip(header, row, strict=True))
                    label: Label = str(record.pop("label", "")) or None
                    if several:
                        label = self._several([str(record.pop(name)) for name in several], line)
                    yield Sample(f"{self._path.name} line {line}", record, label)
                line = rows.line_num + 1

    def files(self) -> Iterable[tuple[str, Path]]:
        """The one file."""
        return [(self._path.name, self._path)]

    def _label_columns(self, header: list[str], line: int) -> list[str]:
        """The columns of a label of several numbers, in order; none where there is no ``label_0``."""
        found = {name for name in header if _LABEL_COLUMN.fullmatch(name)}
        if "label_0" not in found:
            return []
        names = [f"label_{number}" for number in range(len(found))]
        if "label" in header or found != set(names):
            odd = "label" if "label" in header else min(found - set(names))
            raise self._refuse(line, f"the header has the column '{odd}' beside {', '.join(names)}")
        return names

    def _several(self, values: list[str], line: int) -> Label:
        if any(values) and not all(values):
            raise self._refuse(line, f"'label_{values.index('')}' is empty and other numbers of the label are not")
        return tuple(values) if any(values) else None

    def _check_header(self, header: list[str], line: int) -> list[str]:
        if "" in header or len(set(header)) != len(header):
            raise self._refuse(line, f"the header {header} has an empty or repeated name")
        return header

    def _refuse(self, line: int, problem: str) -> SamplesError:
        return SamplesError(
            f"{self._path} line {line}: {problem}",
            "The first line must name the columns; quote values that hold commas, quotes or line breaks.",
        )


class MediaFolder:
    """A folder of images or of ``.wav`` files, flat or with one subfolder a class, whose name is the label.

    In a flat folder ``label_pattern``, a regular expression with a group ``label``, is searched in the file
    names; for recordings it is :data:`AUDIO_LABEL` unless given. Order is by subfolder, then file name, in
    code points. Names that begin with a dot are passed over. Whoever encodes a sample decodes its file.

    Raises:
        SamplesError: the folder mixes things, or a file name does not match the pattern that was given.
    """

    def __init__(self, path: Path, label_pattern: str | None) -> None:
        self._path = path
        files, folders = _listing(path)
        if files and folders:
            raise SamplesError(
                f"{path} holds both files ({files[0]}) and folders ({folders[0]})",
                "Keep either files only, or one subfolder for each class.",
            )
        self._groups: list[tuple[str, list[str]]] = [("", files)] if files else []
        for folder in folders:
            names, nested = _listing(path / folder)
            if nested or not names:
                problem = f"holds a folder ({nested[0]})" if nested else "is empty"
                raise SamplesError(f"{path / folder} {problem}", "A class's subfolder must hold its files only.")
            self._groups.append((folder, names))
        self.kind: Kind = self._find_kind()
        self.what = f"{'an image' if self.kind == 'image' else 'an audio'} folder"
        self._pattern = self._compile(label_pattern, bool(folders))
        self.labelled = all(self._label(group, name) is not None for group, name in self._names())
        if label_pattern is not None and not self.labelled:
            name = next(name for group, name in self._names() if self._label(group, name) is None)
            raise SamplesError(
                f"{path / name} does not match the label pattern {label_pattern!r}",
                "Correct the pattern, or move files without a label elsewhere.",
            )

    def __len__(self) -> int:
        return sum(len(names) for _, names in self._groups)

    def __iter__(self) -> Iterator[Sample]:
        for group, name in self._names():
            inside = f"{group}/{name}" if group else name
            yield Sample(f"{self._path.name}/{inside}", self._path / inside, self._label(group, name))

    def files(self) -> Iterable[tuple[str, Path]]:
        """Every image or recording, named relative to the folder."""
        for group, name in self._names():
            inside = f"{group}/{name}" if group else name
            yield inside, self._path / inside

    def _names(self) -> Iterator[tuple[str, str]]:
        for group, names in self._groups:
            for name in names:
                yield group, name

    def _label(self, group: str, name: str) -> str | None:
        if group or self._pattern is None:
            return group or None
        match = self._pattern.search(name)
        return match["label"] if match else None

    def _find_kind(self) -> Kind:
        kinds: dict[Kind, Path] = {}
        for group, name in self._names():
            suffix, file = Path(name).suffix.lower(), self._path / group / name
            if suffix in IMAGE_SUFFIXES:
                kinds.setdefault("image", file)
            elif suffix in AUDIO_SUFFIXES:
                kinds.setdefault("audio", file)
            else:
                raise SamplesError(f"{file} is neither an image nor a .wav file", "Move it elsewhere.")
        if len(kinds) > 1:
            both = " and ".join(str(file) for file in kinds.values())
            raise SamplesError(f"{self._path} mixes images and recordings: {both}", "Give each its own folder.")
        return next(iter(kinds), "image")

    def _compile(self, given: str | None, classes: bool) -> re.Pattern[str] | None:
        if given is not None and classes:
            raise SamplesError(
                f"{self._path}: subfolders give the labels, so a label pattern contradicts them",
                "Leave the pattern out, or use a flat folder.",
            )
        source = AUDIO_LABEL if given is None and self.kind == "audio" else given
        if source is None:
            return None
        try:
            pattern = re.compile(source)
        except re.error as error:
            raise SamplesError(
                f"the label pattern {source!r} is no regular expression: {error}",
                f"For example: {AUDIO_LABEL}",
            ) from error
        if "label" not in pattern.groupindex:
            raise SamplesError(
                f"the label pattern {source!r} has no group named 'label'", f"For example: {AUDIO_LABEL}"
            )
        return pattern


def _listing(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders in ``folder``, each sorted, without dot files."""
    with os.scandir(folder) as entries:
        seen = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    files = [name for name, is_folder in seen if not is_folder]
    return files, [name for name, is_folder in seen if is_folder]


def _survey(samples: Iterable[Sample]) -> tuple[int, bool]:
    """Count the samples, and say whether every one has a label."""
    count, labelled = 0, True
    for sample in samples:
        count += 1
        labelled = labelled and sample.label is not None
    return count, labelled
