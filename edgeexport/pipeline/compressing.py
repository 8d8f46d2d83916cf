"""What happens to a model before conversion: stages, each kept in the cache, resumed where it was interrupted."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from edgeexport import discover, tree
from edgeexport.artifact import file_digest
from edgeexport.cache import Cache, tool_versions
from edgeexport.compression import CHECKPOINT, RECORD, Materials, Method
from edgeexport.errors import EdgeExportError, ModelError, RecipeError
from edgeexport.pipeline.opening import open_scheme, open_source
from edgeexport.place import check_place, check_writable, written_whole
from edgeexport.progress import Progress
from edgeexport.samples import Samples
from edgeexport.settings import Settings
from edgeexport.source import Source, SourceOptions
from edgeexport.stages import STAGES, Stage, Training, name_of

_MODEL, _FACTS = "model", "facts.json"


@dataclass(frozen=True)
class Sets:
    """The samples that stages may use; see :class:`~edgeexport.compression.Materials`."""

    train: Samples | None = None
    calibration: Samples | None = None
    evaluation: Samples | None = None

    def digests(self) -> dict[str, str | None]:
        """Their contents."""
        sets = {"train": self.train, "calibration": self.calibration, "evaluation": self.evaluation}
        return {name: None if samples is None else samples.digest() for name, samples in sets.items()}


@dataclass(frozen=True)
class Record:
    """A stage that was run.

    Attributes:
        method: its name.
        settings: all of them, as plain values.
        facts: what its method says of it; ``summary`` is a sentence.
        folder: the model that it made, in the cache.
    """

    method: str
    settings: dict[str, Any]
    facts: dict[str, Any]
    folder: Path

    @property
    def note(self) -> str:
        """For a report."""
        return f"{self.method}: {self.facts['summary']}"

    def reproducible(self) -> dict[str, Any]:
        """As plain values that are the same each time: for a manifest."""
        return {"method": self.method, "settings": self.settings, "summary": self.facts["summary"]}

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with times."""
        return {"method": self.method, "settings": self.settings, "facts": self.facts}


@dataclass
class Compression:
    """Runs stages.

    Args:
        sets: samples.
        options: of sources that stages open.
        settings: of the export that follows, or None.
        format: its format, or "".
    """

    cache: Cache
    progress: Progress
    sets: Sets
    options: SourceOptions
    settings: Settings | None = None
    format: str = ""
    records: list[Record] = field(default_factory=list)

    def run(self, source: Source, stages: Sequence[Stage]) -> Source:
        """The source after all stages, under its first name."""
        for stage in stages:
            folder = self._made(source, stage)
            if folder is None:
                return source
            facts = json.loads((folder / _FACTS).read_text())
            self.records.append(Record(name_of(stage), msgspec.to_builtins(stage), facts, folder / _MODEL))
            self.progress.say(self.records[-1].note)
            source = _reopened(source, folder / _MODEL, self.options)
        return source

    def _made(self, source: Source, stage: Stage) -> Path | None:
        """The cache's folder of a stage; None in a process that only helps another one."""
        method, key = open_method(name_of(stage)), self._key(source, stage)
        materials = Materials(
            train=self.sets.train,
            calibration=self.sets.calibration,
            evaluation=self.sets.evaluation,
            settings=self.settings,
            format=self.format,
            open=lambda name: open_source(name, self.options),
            work=self.cache.unfinished("stages", key),
            progress=self.progress,
            kept=self.cache.kept,
            scheme=open_scheme(self.format) if self.format else None,
        )

        def fill(folder: Path) -> None:
            (folder / _MODEL).mkdir()
            facts = method.compress(source, stage, materials, folder / _MODEL)
            (folder / _FACTS).write_text(json.dumps(facts, indent=2))

        if helps():
            if self.cache.find("stages", key) is None:  # else the first process trains nothing, and waits for nobody
                with tempfile.TemporaryDirectory(prefix="edgeexport-helping-") as folder:
                    fill(Path(folder))
            return None
        try:
            made = self.cache.make("stages", key, fill)
        except EdgeExportError:
            if not (materials.work / CHECKPOINT).is_file():  # refused, and nothing goes on from here
                shutil.rmtree(materials.work, ignore_errors=True)
            raise
        shutil.rmtree(materials.work, ignore_errors=True)
        return made

    def _key(self, source: Source, stage: Stage) -> dict[str, Any]:
        named = [name for key in ("student", "teacher") if (name := getattr(stage, key, None)) is not None]
        return {
            "source": source.fingerprint(),
            "preprocess": msgspec.to_builtins(source.preprocess),
            "method": name_of(stage),
            "stage": msgspec.to_builtins(stage),
            "sets": {name: one for name, one in self.sets.digests().items() if name not in stage.unused},
            "opened": [self._opened(name) for name in named],
            "target": self._target_key(stage),
        }

    def _opened(self, name: str) -> str:
        """The fingerprint of another source; of a factory that initialises at random the same each time."""
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(0)
            return open_source(name, self.options).fingerprint()

    def _target_key(self, stage: Stage) -> Any:
        """The integer scheme, for a stage that trains for one."""
        if not stage.for_target or self.settings is None:
            return None
        values = msgspec.to_builtins(self.settings)
        return [self.format, {key: values[key] for key in ("precision", "quantization", "calibration", "overrides")}]


def open_method(name: str) -> Method[Any]:
    """The compression method of that name.

    Raises:
        RecipeError: there is none.
    """
    module = discover.load("edgeexport.compress", name)
    if module is None:
        raise RecipeError(
            f"there is no method '{name}'", f"Methods: {', '.join(discover.names('edgeexport.compress'))}."
        )
    method: Method[Any] = module.open_method()
    return method


def stage_from(method: str, table: Mapping[str, Any]) -> Stage:
    """A stage of plain values.

    Raises:
        RecipeError: an unknown key or a bad value.
    """
    try:
        stage: Stage = msgspec.convert({**table, "method": method}, Stage)
    except msgspec.ValidationError as error:
        kind = Training if "$.training" in str(error) else STAGES[method]
        known = ", ".join(kind.__struct_fields__)
        raise RecipeError(f"{method}: {error}", f"Keys: {known}.") from error
    return stage


@dataclass(frozen=True)
class StageRequest:
    """One stage, as the user asked for it.

    Attributes:
        model: see :func:`~edgeexport.pipeline.opening.open_source`.
        output: the new model's folder.
        options: about sources.
        settings: of the target that the stage is for, or None.
        format: its format, or "".
    """

    model: str
    stage: Stage
    sets: Sets
    output: Path
    options: SourceOptions = field(default_factory=SourceOptions)
    settings: Settings | None = None
    format: str = ""


def run_stage(request: StageRequest, cache: Cache, progress: Progress) -> Record | None:
    """Run one stage and write the new model, with what happened in ``compression.json``.

    Returns:
        The record; None in a process that only helps another one.

    Raises:
        EdgeExportError: nothing was written.
    """
    check_place(request.output, _foreign)
    check_writable(request.output)
    source = open_source(request.model, request.options)
    compression = Compression(
        cache, progress, request.sets, request.options, settings=request.settings, format=request.format
    )
    compression.run(source, [request.stage])
    if not compression.records:
        return None
    record = compression.records[0]
    with written_whole(request.output, _foreign) as folder:
        tree.copy(record.folder, folder)
        files = {path.relative_to(folder).as_posix(): file_digest(path) for path in tree.entries(folder)}
        about = {
            "schema_version": 1,
            "source": {"name": source.name, "fingerprint": source.fingerprint()},
            "stages": [record.to_dict()],
            "versions": tool_versions(),
            "files": files,
        }
        (folder / RECORD).write_text(json.dumps(about, indent=2) + "\n")
    return record


def accompanied() -> bool:
    """Whether ``accelerate launch`` or ``torchrun`` started several processes, of which this is one."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def helps() -> bool:
    """Whether ``accelerate launch`` or ``torchrun`` started this process beside a first one, which writes."""
    return os.environ.get("RANK", "0") != "0"


def _foreign(folder: Path) -> str | None:
    """The first file of a folder that no stage wrote."""
    try:
        known = {RECORD, *json.loads((folder / RECORD).read_text())["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        known = set()
    names = (path.relative_to(folder).as_posix() for path in tree.entries(folder))
    return min((name for name in names if name not in known), default=None)


def _reopened(source: Source, folder: Path, options: SourceOptions) -> Source:
    """The model in a stage's folder, by the name of the one it was made from."""
    made = open_source(str(folder), options)
    if not {spec.name for spec in made.signature.inputs} <= {spec.name for spec in source.signature.inputs}:
        raise ModelError(f"{source.name}: a stage changed what the model takes")
    made.name = source.name
    return made
