"""A training set encoded once: flat on disk, then on the device that trains, where batches are gathered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from edgeexport.errors import SamplesError
from edgeexport.labels import class_index
from edgeexport.preprocess import TokenizerPreprocess
from edgeexport.progress import Progress
from edgeexport.sample_files import wrong_kind
from edgeexport.samples import Samples, feeds
from edgeexport.signature import TensorSpec
from edgeexport.source import Source

_INDEX = "index.json"
_NO_LABEL = -1
_MEGABATCH = 64
"""Batches whose samples are sorted by length together: padding all but vanishes, and the order stays random."""

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Column:
    """One input of all samples.

    Attributes:
        flat: all samples end to end, one axis.
        shape: of one sample; (-1,) where lengths differ.
        dtype: what the model takes.
        padding: what fills shorter samples.
    """

    flat: torch.Tensor
    shape: tuple[int, ...]
    dtype: torch.dtype
    padding: int


@dataclass(frozen=True)
class Encoded:
    """Samples as a model takes them.

    Attributes:
        columns: by input name.
        lengths: of each sample, along the axis whose length varies; where none does, its tokens, or 1. On the CPU.
        labels: class indices, or -1. On the CPU.
        places: lengths, and where each sample begins along that axis, on the columns' device: int64 [2, samples].
    """

    columns: dict[str, Column]
    lengths: np.ndarray
    labels: np.ndarray
    places: torch.Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def labelled(self) -> bool:
        """Whether every sample has a class."""
        return bool((self.labels != _NO_LABEL).all())

    def to(self, device: torch.device) -> Encoded:
        """The same on a device, or as it is where it would take over half of the device's free memory."""
        size = sum(column.flat.nbytes for column in self.columns.values())
        if device.type == "cuda" and size > torch.cuda.mem_get_info(device)[0] // 2:
            return self
        columns = {name: replace(column, flat=column.flat.to(device)) for name, column in self.columns.items()}
        return replace(self, columns=columns, places=self.places.to(device))

    def batch(self, chosen: np.ndarray, device: torch.device, multiple: int = 1) -> Batch:
        """The chosen samples by input name, padded to the longest, with ``label`` and their ``sample`` numbers.

        Lengths are a ``multiple`` of something, where the longest sample of all leaves room for it.

        The host never waits for the device: lengths are known here.
        """
        numbers = torch.from_numpy(chosen).to(self.places.device, non_blocking=True)
        lengths, starts = self.places[:, numbers]
        longest = -(-int(self.lengths[chosen].max()) // multiple) * multiple
        steps = torch.arange(min(longest, int(self.lengths.max())), device=numbers.device)
        within = steps < lengths[:, None]
        found: Batch = {}
        for name, column in self.columns.items():
            if column.shape == (-1,):
                values = column.flat[torch.where(within, starts[:, None] + steps, 0)]
                values = torch.where(within, values, column.padding)
            else:
                values = column.flat.view(len(self), *column.shape)[numbers]
            found[name] = values.to(device, column.dtype, non_blocking=True)
        found["label"] = torch.from_numpy(self.labels[chosen]).to(device, non_blocking=True)
        found["sample"] = numbers.to(device, non_blocking=True)
        return found


def order(lengths: np.ndarray, size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The sample numbers of each batch of an epoch: shuffled, samples of like lengths together.

    The same for the same arguments, whatever ran before.
    """
    random = np.random.default_rng((seed, epoch))
    shuffled = random.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for start in range(0, len(shuffled), size * _MEGABATCH):
        part = shuffled[start : start + size * _MEGABATCH]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[at : at + size] for at in range(0, len(part), size)]
    return [batches[number] for number in random.permutation(len(batches))]


def encode(source: Source, samples: Samples, folder: Path, progress: Progress, longest: int | None = None) -> Encoded:
    """Encode a set into ``folder``, or read what an earlier run left there complete.

    Args:
        source: whose preprocessing, signature and labels count.
        samples: text, images, recordings or arrays; never held in memory.
        folder: for this set and source alone.
        progress: told of it.
        longest: cut texts after so many tokens.

    Raises:
        SamplesError: samples of another kind, a label that is no class, or shapes that differ in more than a length.
    """
    if samples.kind != source.preprocess.accepts:
        raise wrong_kind(source.preprocess.accepts, f"{samples.path} is {samples.what}")
    if not (folder / _INDEX).is_file():
        _write(source, samples, folder, progress, longest)
    return _read(folder)


def _write(source: Source, samples: Samples, folder: Path, progress: Progress, longest: int | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    specs = {spec.name: spec for spec in source.signature.inputs}
    files = {name: (folder / f"{number}.bin").open("wb") for number, name in enumerate(specs)}
    shapes: dict[str, set[tuple[int, ...]]] = {name: set() for name in specs}
    lengths: dict[str, list[int]] = {name: [] for name in specs}
    labels: list[int] = []
    try:
        with progress.stage(f"encoding {samples.path.name}", len(samples)) as stage:
            for sample, arrays in stage.follow(_encoded(source, samples, longest)):
                for name, file in files.items():
                    shapes[name].add(arrays[name].shape[1:])
                    lengths[name].append(arrays[name].shape[1] if arrays[name].ndim == 2 else 1)
                    file.write(np.ascontiguousarray(arrays[name][0], dtype=_stored(specs[name])).tobytes())
                labels.append(_label(source, sample) if samples.labelled else _NO_LABEL)
    finally:
        for file in files.values():
            file.close()
    varying = [name for name, found in shapes.items() if len(found) > 1]
    columns = {}
    for number, (name, found) in enumerate(shapes.items()):
        if len(found) > 1 and any(len(shape) != 1 for shape in found):
            raise SamplesError(
                f"{samples.path}: '{name}' has samples of several shapes, such as {sorted(found)[:2]}",
                "Train on samples of one shape.",
            )
        columns[name] = {
            "file": f"{number}.bin",
            "shape": [-1] if name in varying else list(next(iter(found))),
            "stored": _stored(specs[name]),
            "dtype": specs[name].dtype,
            "padding": _padding(source, name),
        }
    if any(lengths[name] != lengths[varying[0]] for name in varying):
        raise SamplesError(
            f"{samples.path}: {' and '.join(repr(name) for name in varying)} have samples of different lengths",
            "Give the inputs of a sample one length.",
        )
    counted = lengths[varying[0]] if varying else lengths.get("input_ids", [1] * len(labels))
    np.save(folder / "lengths.npy", np.asarray(counted, np.int64))
    np.save(folder / "labels.npy", np.asarray(labels, np.int64))
    partial = folder / f"{_INDEX}.partial"
    partial.write_text(json.dumps(columns))
    partial.replace(folder / _INDEX)


def _encoded(source: Source, samples: Samples, longest: int | None) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
    preprocess: Any = source.preprocess
    if isinstance(preprocess, TokenizerPreprocess):
        preprocess = preprocess.bind(next(iter(samples)))
        if longest is not None and longest < preprocess.max_length:
            preprocess = msgspec.structs.replace(preprocess, max_length=longest)
    return feeds(samples, preprocess, source.signature, source.assets)


def _label(source: Source, sample: Any) -> int:
    if source.task != "classification":
        return _NO_LABEL
    classes = source.signature.outputs[0].shape[-1]
    names = {name: number for number, name in enumerate(source.labels or ())}
    return class_index(sample, names, int(classes) if isinstance(classes, int) else len(names))


def _stored(spec: TensorSpec) -> str:
    """Token ids in half their width: they are most of what a set of texts takes."""
    return "int32" if spec.dtype == "int64" else spec.dtype


def _padding(source: Source, name: str) -> int:
    if not isinstance(source.preprocess, TokenizerPreprocess):
        return 0
    return {"input_ids": source.preprocess.pad_id, "token_type_ids": source.preprocess.pad_type_id}.get(name, 0)


def _read(folder: Path) -> Encoded:
    described = json.loads((folder / _INDEX).read_text())
    lengths, labels = np.load(folder / "lengths.npy"), np.load(folder / "labels.npy")
    columns = {}
    for name, about in described.items():
        # Copy-on-write: torch wants memory that may be written.
        flat = torch.from_numpy(np.memmap(folder / about["file"], about["stored"], mode="c"))
        columns[name] = Column(flat, tuple(about["shape"]), getattr(torch, about["dtype"]), int(about["padding"]))
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else lengths
    return Encoded(columns, lengths, labels, torch.from_numpy(np.stack([lengths, starts])))
