"""TFLite, for LiteRT, tflite-runtime and TFLite Micro."""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeexport.artifact import Artifact
from edgeexport.calibration import find_intervals, recalled
from edgeexport.conversion import Feeds, Gap, Layer, TensorBytes
from edgeexport.errors import ConversionError, RecipeError
from edgeexport.ranges import Interval
from edgeexport.settings import STATIC, Interface, Settings
from edgeexport.signature import Signature, TensorSpec
from edgeexport.source import Source

_ELSEWHERE = {
    "palette_bits": 0,
    "smoothing": 0.0,
    "reduce_range": False,
    "bias_correction": False,
    "float_outputs": (),
}
"""Rules of other formats, with the value that leaves them off."""


class TfliteFormat:
    """See :class:`edgeexport.conversion.Format`."""

    file_name = "model.tflite"
    knobs: Mapping[str, tuple[Any, ...]] = {
        "calibration.method": ("mse", "minmax", "percentile"),
        "quantization.minimum_snr": (22.0, 30.0),
        "compress": ([{"method": "equalize"}],),
    }

    def baseline(self, source: Source, interface: Interface, path: Path) -> Artifact:
        """Export the source as float32."""
        from edgeexport.formats.tflite.export import write_float32
        from edgeexport.formats.tflite.flatbuffer import read_model
        from edgeexport.formats.tflite.inspect import read_signature

        if interface.images or interface.classifier or interface.longest:
            raise RecipeError(
                "TFLite has neither image inputs nor class labels in the model, and fixed lengths",
                "Leave interface.images, interface.classifier and interface.longest out.",
            )
        if source.decoder is not None:
            from edgeexport.formats.tflite.decoding import write_decoder

            signature, decoder = write_decoder(source, interface, path)
            return Artifact("tflite", path, "fp32", signature, decoder=decoder)
        known = write_float32(source, interface, path)
        written = read_signature(read_model(path), path.name)  # integers where the source was quantized already
        return Artifact("tflite", path, "fp32", _with_integers(known, written))

    def convert(self, baseline: Artifact, settings: Settings, feeds: Feeds | None, path: Path) -> Artifact:
        """Bring the float32 model to ``settings.precision``."""
        from edgeexport.formats.tflite.compact import drop_constant_names
        from edgeexport.formats.tflite.flatbuffer import read_model, write_model
        from edgeexport.formats.tflite.inspect import read_signature
        from edgeexport.formats.tflite.masks import raise_masks
        from edgeexport.formats.tflite.quantize import quantize

        _check_rules(settings)
        if settings.precision == "fp32":
            shutil.copyfile(baseline.path, path)
            return replace(baseline, path=path)
        model = read_model(baseline.path)
        content = baseline.path.read_bytes()
        masks = raise_masks(model, settings.quantization.mask_value)
        if masks:
            write_model(model, path)
            content = path.read_bytes()
        precisions, intervals, notes = _decide(model, content, settings, feeds)
        if masks:
            notes.append(f"{masks} attention mask constants raised to {settings.quantization.mask_value:g}")
        quantize(model, precisions, intervals, settings, path)
        drop_constant_names(path)
        written = read_signature(read_model(path), path.name)
        signature = _with_integers(baseline.signature, written)
        _check_io(signature, settings)
        return replace(
            baseline, path=path, precision=settings.precision, signature=signature, notes=(*baseline.notes, *notes)
        )

    def inspect(self, path: Path) -> tuple[Signature, Iterable[TensorBytes]]:
        """Read a TFLite file."""
        from edgeexport.formats.tflite.flatbuffer import read_model
        from edgeexport.formats.tflite.inspect import read_signature, stored_tensors

        model = read_model(path)
        return read_signature(model, str(path)), stored_tensors(path, model)

    def layers(self, baseline: Artifact, settings: Settings) -> Iterable[Layer]:
        """See :mod:`edgeexport.formats.tflite.layers`."""
        from edgeexport.formats.tflite.flatbuffer import read_model
        from edgeexport.formats.tflite.layers import find_layers

        return find_layers(read_model(baseline.path), settings)

    def gaps(self, path: Path, runtime: str, version: str) -> Iterable[Gap]:
        """See :mod:`edgeexport.formats.tflite.runtime_ops`."""
        from edgeexport.formats.tflite.flatbuffer import read_model
        from edgeexport.formats.tflite.runtime_ops import problems

        return [Gap(found.op, found.where, found.what) for found in problems(read_model(path), runtime, version)]


def open_format() -> TfliteFormat:
    """The format of this module."""
    return TfliteFormat()


def _decide(
    model: Any, content: bytes, settings: Settings, feeds: Feeds | None
) -> tuple[dict[str, str], dict[str, Interval], list[str]]:
    """The precision of each operator, the interval of each activation that needs one, and notes for the report."""
    from edgeexport.formats.tflite.observe import Observer, common_name
    from edgeexport.formats.tflite.plan import Graph, assign, carry, fall_back

    graph = Graph(model)
    assigned = assign(graph, settings)
    precisions = carry(graph, assigned, settings)
    notes = []
    static = {name for name, precision in precisions.items() if precision in STATIC}
    intervals: dict[str, Interval] = {}
    if static:
        if feeds is None:
            raise RecipeError(
                f"static precision {settings.precision} needs calibration samples, and none were given",
                "Give --calibration FILE, or choose --precision w8a8-dynamic.",
            )
        tensors = [name for node in graph.nodes if node.name in static for name in graph.activations(node)]
        if settings.quantization.io_type != "float32":
            tensors += graph.ends()
        observer = functools.cache(lambda: Observer(model, content, tensors))
        key = hashlib.sha256(content).digest()
        ranges = recalled(
            feeds,
            ("ranges", key),
            map(common_name, tensors),
            lambda _: observer().ranges(feeds("activation ranges")),
        )
        coarse = fall_back(graph, precisions, ranges, settings)
        precisions = carry(graph, {**assigned, **dict.fromkeys(coarse, settings.quantization.fallback)}, settings)
        bins = settings.calibration.bins
        found = find_intervals(
            ranges,
            settings.calibration,
            feeds,
            key,
            lambda wanted: observer().histograms(wanted, bins, feeds("activation histograms")),
        )
        intervals = {name: found[common_name(name)] for name in dict.fromkeys(tensors) if common_name(name) in found}
        if coarse:
            layers = sorted({common_name(name) for name in coarse})
            notes.append(
                f"{len(layers)} layers have {settings.quantization.fallback} instead of {settings.precision}: below "
                f"{settings.quantization.minimum_snr:g} dB in int8 steps ({', '.join(layers)})"
            )
    counts: dict[str, int] = {}
    for name, precision in precisions.items():
        if name == common_name(name):
            counts[precision] = counts.get(precision, 0) + 1
    notes.append("operators by precision: " + ", ".join(f"{counts[key]} {key}" for key in sorted(counts)))
    return precisions, intervals, notes


def _check_rules(settings: Settings) -> None:
    for rule, off in _ELSEWHERE.items():
        if getattr(settings.quantization, rule) != off:
            raise RecipeError(f"the format tflite has no quantization.{rule}", "Leave it out.")
    if settings.quantization.activation_type != "int8" or settings.quantization.weight_type != "int8":
        raise RecipeError("TFLite's integer kernels take int8 activations and weights", "Leave the types at int8.")
    blocks = settings.quantization.block_size
    if (settings.precision == "w4" and blocks == 16) or (settings.precision == "w8" and blocks != 0):
        allowed = "0, 32, 64 or 128" if settings.precision == "w4" else "0, one scale an output channel"
        raise RecipeError(f"TFLite's {settings.precision} has no blocks of {blocks}", f"Choose {allowed}.")
    if settings.precision == "fp32" and any(override.precision != "fp32" for override in settings.overrides):
        raise RecipeError("an override contradicts precision fp32, which leaves every operator float", "Choose w8a8.")
    if settings.precision not in STATIC and settings.quantization.io_type != "float32":
        raise RecipeError(
            f"integer inputs and outputs need a static precision, not {settings.precision}",
            "Choose --precision w8a8, or --set quantization.io_type=float32.",
        )


def _with_integers(known: Signature, written: Signature) -> Signature:
    """The known signature, with the types and scales that the file has."""
    specs = {spec.name: spec for spec in (*written.inputs, *written.outputs)}

    def update(spec: TensorSpec) -> TensorSpec:
        found = specs[spec.name]
        return replace(spec, dtype=found.dtype, scale=found.scale, zero_point=found.zero_point)

    return replace(known, inputs=tuple(map(update, known.inputs)), outputs=tuple(map(update, known.outputs)))


def _check_io(signature: Signature, settings: Settings) -> None:
    """The inputs and outputs have the type that was asked for."""
    asked = settings.quantization.io_type
    for spec in (*signature.inputs, *signature.outputs):
        if spec.dtype in {"float32", "int8", "int16"} and spec.dtype != asked:
            raise ConversionError(
                f"'{spec.name}' is {spec.dtype}, and the target asks for {asked}: the operator beside it has no "
                "integer form",
                "Choose float32 with --set quantization.io_type=float32, where the target's runtime takes it.",
            )
