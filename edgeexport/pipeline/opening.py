"""Open what a user names: a source, a format, a device."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from edgeexport import discover
from edgeexport.conversion import Format
from edgeexport.errors import BundleError, DeviceError, ModelError, RecipeError, TargetError
from edgeexport.job import Device
from edgeexport.observation import Observing
from edgeexport.preprocess import from_dict
from edgeexport.scheme import Scheme
from edgeexport.settings import ModelFacts
from edgeexport.source import Source, SourceOptions
from edgeexport.target import Estimation


def open_source(model: str, options: SourceOptions) -> Source:
    """Open a Transformers folder or hub id, ``package.module:factory``, a ``.pt2`` or an ``.onnx`` file.

    Raises:
        ModelError: no kind of source takes it.
    """
    if Path(model).suffix in {".tflite", ".mlmodel", ".mlpackage"} and Path(model).exists():
        raise ModelError(
            f"{model} is a converted model, and an export starts from the float32 one",
            "Give the Transformers folder, the torch factory or the .onnx file that it was made from.",
        )
    for name in discover.names("edgeexport.sources"):
        module = discover.load("edgeexport.sources", name)
        if module is not None and module.accepts(model):
            source: Source = module.open_source(model, options)
            return source
    raise ModelError(
        f"no model at '{model}'",
        "Give a Transformers folder or hub id, package.module:factory, a .pt2 or an .onnx file.",
    )


def open_format(name: str) -> Format:
    """The format of that name.

    Raises:
        ModelError: there is none.
    """
    module = discover.load("edgeexport.formats", name)
    if module is None:
        known = ", ".join(discover.names("edgeexport.formats"))
        raise ModelError(f"there is no format '{name}'", f"Formats: {known}.")
    opened: Format = module.open_format()
    return opened


def open_scheme(name: str) -> Scheme | None:
    """How the format of that name computes with integers, or None where it does not say."""
    module = discover.load("edgeexport.formats", name)
    if module is None or importlib.util.find_spec(f"{module.__name__}.scheme") is None:
        return None
    scheme: Scheme = importlib.import_module(f"{module.__name__}.scheme").open_scheme()
    return scheme


def open_observing(name: str) -> Observing | None:
    """What shows inner values of a format's models, or None where nothing does."""
    module = discover.load("edgeexport.formats", name)
    if module is None or importlib.util.find_spec(f"{module.__name__}.observed") is None:
        return None
    observing: Observing = importlib.import_module(f"{module.__name__}.observed").observe
    return observing


def add_facts(source: Source, facts: ModelFacts) -> None:
    """Tell a freshly opened source what the user says of it.

    Raises:
        RecipeError: the preprocessing does not validate, or its files are not there.
    """
    if facts.task is not None:
        source.task = facts.task
    if facts.labels is not None:
        source.labels = facts.labels
    if facts.assets is not None:
        source.assets = Path(facts.assets)
    if facts.preprocess is not None:
        try:
            source.preprocess = from_dict(facts.preprocess, "settings")
        except BundleError as error:
            raise RecipeError(error.what, "See edgeexport.preprocess for the kinds and their keys.") from error
    for name in source.preprocess.assets:
        if source.assets is None or not (source.assets / name).is_file():
            raise RecipeError(
                f"the preprocessing needs {name}, which is not in {source.assets or 'any folder given'}",
                "Name its folder with --set model.assets=DIR.",
            )


def open_estimator(estimation: Estimation) -> Any:
    """The cost model of a target.

    Raises:
        TargetError: there is none of that name.
        MissingRequirement: it is not installed.
    """
    module = discover.load("edgeexport.estimators", estimation.tool)
    if module is None:
        known = ", ".join(discover.names("edgeexport.estimators"))
        raise TargetError(f"there is no cost model '{estimation.tool}'", f"Known: {known}.")
    return module.open_estimator(estimation.options)


def open_device(name: str) -> Device:
    """Open ``NAME`` or ``NAME:ARGUMENT``.

    Raises:
        DeviceError: there is no such kind of device.
    """
    kind, _, argument = name.partition(":")
    module = discover.load("edgeexport.devices", kind)
    if module is None:
        known = ", ".join(discover.names("edgeexport.devices"))
        raise DeviceError(f"there is no device '{name}'", f"Kinds: {known}; `edgeexport devices` lists what is ready.")
    device: Device = module.open_device(argument)
    return device
