"""Core ML: ML Programs for iPhones, iPads and Macs, made and checked anywhere."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeexport.artifact import Artifact
from edgeexport.conversion import Feeds, Gap, Layer, TensorBytes
from edgeexport.errors import RecipeError
from edgeexport.settings import STATIC, Interface, Settings
from edgeexport.signature import Signature
from edgeexport.source import Source

_ELSEWHERE = {
    "one_scale_snr": 0.0,
    "smoothing": 0.0,
    "reduce_range": False,
    "bias_correction": False,
    "float_outputs": (),
    "embedding_bits": None,
    "io_type": "float32",
    "least_channels": 1,
}
"""Rules of other formats, with the value that leaves them off."""
_FLOAT16_MAX = 65504.0
_PRECISIONS = ("fp32", "fp16", "w8", "w4", "w8a8")


class CoremlFormat:
    """See :class:`edgeexport.conversion.Format`."""

    file_name = "model.mlpackage"
    knobs: Mapping[str, tuple[Any, ...]] = {
        "calibration.method": ("mse", "minmax", "percentile"),
        "quantization.minimum_snr": (22.0, 30.0),
        "compress": ([{"method": "equalize"}],),
    }

    def baseline(self, source: Source, interface: Interface, path: Path) -> Artifact:
        """Export the source as float32."""
        from edgeexport.formats.coreml.decoding import write_decoder
        from edgeexport.formats.coreml.export import write_float32

        if source.decoder is not None:
            signature, decoder = write_decoder(source, interface, path)
            return Artifact("coreml", path, "fp32", signature, decoder=decoder)
        return Artifact("coreml", path, "fp32", write_float32(source, interface, path))

    def convert(self, baseline: Artifact, settings: Settings, feeds: Feeds | None, path: Path) -> Artifact:
        """Bring the float32 program to ``settings.precision``; everything but fp32 computes in float16."""
        from edgeexport import tree

        _check_rules(settings)
        if settings.precision == "fp32":
            tree.copy(baseline.path, path)
            return replace(baseline, path=path)
        if baseline.decoder is not None:
            _check_decoder(settings)
        notes = _compress(baseline, settings, feeds, path)
        return replace(baseline, path=path, precision=settings.precision, notes=(*baseline.notes, *notes))

    def inspect(self, path: Path) -> tuple[Signature, Iterable[TensorBytes]]:
        """Read a package."""
        from edgeexport.formats.coreml.inspect import read_signature, stored_tensors

        return read_signature(path), stored_tensors(path)

    def layers(self, baseline: Artifact, settings: Settings) -> Iterable[Layer]:
        """See :mod:`edgeexport.formats.coreml.layers`."""
        from edgeexport.formats.coreml import layers, library

        library.coremltools()
        with library.quietly():
            model = _half(baseline, settings)
            return list(layers.find_layers(library.operations(library.program_of(model)), settings))

    def gaps(self, path: Path, runtime: str, version: str) -> Iterable[Gap]:
        """See :mod:`edgeexport.formats.coreml.inspect`."""
        from edgeexport.formats.coreml import inspect

        return list(inspect.gaps(path, runtime, version))


def open_format() -> CoremlFormat:
    """The format of this module."""
    return CoremlFormat()


def _compress(artifact: Artifact, settings: Settings, feeds: Feeds | None, path: Path) -> list[str]:
    """Write the compressed package; gives notes for the report."""
    from edgeexport.formats.coreml import activations, library, plan, weights

    library.coremltools()
    baseline = artifact.path
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder) / "half.mlpackage"
        with library.quietly():
            model = _half(artifact, settings)
            library.save(model, half, baseline)
            operations = library.operations(library.program_of(model))
        plan.check_overrides(operations, settings)
        precisions = plan.assign(operations, settings)
        if settings.precision in STATIC or "w8a8" in precisions.values():
            if feeds is None:
                raise RecipeError(
                    f"static precision {settings.precision} needs calibration samples, and none were given",
                    "Give --calibration FILE, or choose --precision w8.",
                )
            model, precisions, notes = activations.quantize(model, half, precisions, settings, feeds)
        if set(precisions.values()) & weights.COMPRESSED:
            with library.quietly():
                chosen, left = weights.choose(library.operations(library.program_of(model)), precisions, settings)
                if chosen or "w8a8" not in precisions.values():  # small layers have integers between them all the same
                    model = weights.compress(model, chosen, settings)
            notes += left
        elif settings.precision != "fp16":
            raise weights.nothing_to_compress()
        with library.quietly():
            library.save(model, path, baseline)
    return notes


def _half(artifact: Artifact, settings: Settings) -> Any:
    """The program in float16, but for what overrides or a decoder keep in float32."""
    from edgeexport.formats.coreml import decoding, library, plan

    def stays(operation: Any) -> bool:
        wide = artifact.decoder is not None and decoding.keeps_float32(operation)
        return wide or plan.keeps_float32(operation, settings)

    return library.half(artifact.path, settings, stays)


def _check_rules(settings: Settings) -> None:
    rules = settings.quantization
    if settings.precision not in _PRECISIONS:
        raise RecipeError(
            f"the format coreml has no precision {settings.precision}", f"Choose one of {', '.join(_PRECISIONS)}."
        )
    for rule, off in _ELSEWHERE.items():
        if getattr(rules, rule) != off:
            raise RecipeError(f"the format coreml has no quantization.{rule}", "Leave it out.")
    if settings.precision != "fp32" and rules.mask_value < -_FLOAT16_MAX:
        raise RecipeError(
            f"float16 does not hold quantization.mask_value {rules.mask_value:g}",
            "Give -30000 or more, or 0 for Core ML's own.",
        )
    if rules.weight_type != "int8":
        raise RecipeError("Core ML's weights are symmetric: int8", "Leave quantization.weight_type at int8.")
    if rules.minimum_snr and rules.fallback != "w8":
        raise RecipeError(
            f"Core ML has no {rules.fallback} for layers below quantization.minimum_snr",
            "Set quantization.fallback to w8: their weights stay integers.",
        )
    if rules.palette_bits and settings.precision not in ("w8", "w4"):
        raise RecipeError(
            f"a palette of weights contradicts precision {settings.precision}", "Choose w8 or w4 for weights only."
        )
    if rules.block_size and settings.precision == "w8a8":
        raise RecipeError(
            "int8 activations meet weights with one scale a channel, and no blocks", "Set quantization.block_size to 0."
        )
    if settings.precision == "fp32" and settings.overrides:
        raise RecipeError("an override contradicts precision fp32, which leaves every operator float", "Choose w8.")
    _check_release(settings)


def _check_decoder(settings: Settings) -> None:
    """Refuse what a language model with a cache cannot have."""
    static = settings.precision in STATIC or any(override.precision in STATIC for override in settings.overrides)
    if static:
        raise RecipeError(
            "int8 activations of a language model with a cache are not calibrated for Core ML",
            "Choose w8 or w4: a token's time is that of reading its weights.",
        )


def _check_release(settings: Settings) -> None:
    """Whether the least iOS that the program is for has what is asked for."""
    rules, release = settings.quantization, settings.interface.deployment_target
    if release != "iOS18" and settings.precision == "w4" and not rules.palette_bits:
        raise RecipeError("int4 weights need iOS 18", "Choose w8, or a target for iOS 18, such as iphone-ios18.")
    if rules.block_size and release != "iOS18" and (settings.precision in ("w8", "w4", "w8a8") or rules.palette_bits):
        raise RecipeError(
            "blocks of weights that share a scale or a palette need iOS 18", "Set quantization.block_size to 0."
        )
    if release != "iOS18" and rules.palette_bits == 3:
        raise RecipeError("palettes of 3 bits need iOS 18", "Set quantization.palette_bits to 2, 4 or 6.")
    if release == "iOS16" and settings.precision in STATIC:
        raise RecipeError("int8 activations need iOS 17", "Choose w8, or --set interface.deployment_target=iOS17.")
