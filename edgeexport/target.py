"""Device profiles: what a target runs, the integer rules it needs, and its limits. Data, never code.

A profile is a TOML file. Those in ``targets/`` ship with the package; ``--target ./my-board.toml`` uses any other.
Its ``[settings]`` table is a part of :class:`edgeexport.settings.Settings`; ``[settings.when.PRECISION]`` holds what
changes with the precision. ``extends = "NAME"`` starts from a shipped profile.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edgeexport.errors import TargetError
from edgeexport.merge import flatten, merge
from edgeexport.settings import Precision

SCHEMA_VERSION = 1


class RuntimeNeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A runtime that must run the bundle, and the lowest version of it that devices carry."""

    name: str
    minimum: str


class Emulation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How qemu stands in for the board.

    Attributes:
        architecture: Debian's name, such as ``arm64``.
        cpu: qemu's ``-cpu``.
    """

    architecture: Literal["arm64", "armhf"]
    cpu: str


class Estimation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cost model that estimates what hardware not at hand would do.

    Attributes:
        tool: a module name in :mod:`edgeexport.estimators`.
        options: its own.
    """

    tool: str
    options: dict[str, str] = {}


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One device profile.

    Attributes:
        name: letters, digits, ``.``, ``_`` and ``-``: it becomes part of file names.
        format: the artifact format, a module name in :mod:`edgeexport.formats`.
        machine: what ``uname -m`` prints on the device.
        precisions: what the target can execute; ``precision`` in ``settings`` is its default.
        runtimes: all of them must run the bundle right.
        packaging: what a bundle holds beside the model, module names in :mod:`edgeexport.packers`.
        estimation: a cost model for what cannot be run.
        settings: a partial :class:`~edgeexport.settings.Settings`, as plain values.
        documentation: for each rule, by its dotted key, where it comes from.
    """

    schema_version: Literal[1]
    name: Annotated[str, msgspec.Meta(pattern=r"^\w[\w.-]*\Z")]
    title: str
    format: str
    machine: str
    precisions: tuple[Precision, ...]
    runtimes: tuple[RuntimeNeed, ...]
    emulation: Emulation | None = None
    packaging: tuple[str, ...] = ()
    estimation: Estimation | None = None
    settings: dict[str, Any]
    documentation: dict[str, str] = {}

    def rules(self) -> dict[str, tuple[str, str]]:
        """Every rule by dotted key: its value, and where it is documented (empty where the profile is silent)."""
        values = {**flatten(self.settings), "precisions": ", ".join(self.precisions)}
        for need in self.runtimes:
            values[f"runtimes.{need.name}"] = f">= {need.minimum}"
        if self.emulation is not None:
            values["emulation.cpu"] = f"{self.emulation.cpu} ({self.emulation.architecture})"
        if self.packaging:
            values["packaging"] = ", ".join(self.packaging)
        if self.estimation is not None:
            options = ", ".join(f"{key} {value}" for key, value in self.estimation.options.items())
            values["estimation"] = f"{self.estimation.tool} ({options})"
        return {key: (str(value), self._documented(key)) for key, value in values.items()}

    def _documented(self, key: str) -> str:
        """The note for a key, or for its nearest table: limits may share one note."""
        while key:
            if key in self.documentation:
                return self.documentation[key]
            key = key.rpartition(".")[0]
        return ""


def targets_folder() -> Path:
    """The folder of shipped profiles: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).parent
    installed = package / "_targets"
    return installed if installed.is_dir() else package.parent / "targets"


def shipped_targets() -> dict[str, str]:
    """Name and title of every shipped profile, in name order, read without validating."""
    titles = {}
    for path in sorted(targets_folder().glob("*.toml"), key=lambda path: path.stem):
        titles[path.stem] = str(_read(path).get("title", ""))
    return titles


def load_target(name: str) -> Target:
    """Load a shipped profile by name, or a user's by path.

    Raises:
        TargetError: there is none, or it does not validate; the message has the file and the key.
    """
    return _validate(_load_raw(name, seen=()), name)


def _load_raw(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    if name in seen:
        raise TargetError(f"target '{name}' extends itself: {' → '.join([*seen, name])}")
    data = _read(_locate(name))
    base = data.pop("extends", None)
    if base is None:
        return data
    return merge(_load_raw(str(base), (*seen, name)), data)


def _locate(name: str) -> Path:
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise TargetError(f"no target file at {path}", "`edgeexport targets` lists the shipped ones.")
        return path
    path = targets_folder() / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in targets_folder().glob("*.toml")))
        raise TargetError(f"unknown target '{name}'", f"Known: {known}; or give the path of a .toml file.")
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TargetError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TargetError(f"{path} is not valid TOML: {error}") from error


def _validate(data: Mapping[str, Any], name: str) -> Target:
    try:
        target = msgspec.convert(data, Target)
    except msgspec.ValidationError as error:
        raise TargetError(
            f"target '{name}': {error}",
            "`edgeexport targets raspberry-pi-4` shows a complete profile; start yours with `extends`.",
        ) from error
    default = target.settings.get("precision")
    if default not in target.precisions:
        raise TargetError(
            f"target '{name}': settings.precision is {default!r}, not one of its precisions {list(target.precisions)}"
        )
    return target
