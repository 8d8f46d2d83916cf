"""ONNX, for ONNX Runtime: float32, float16, weight-only, and int8 with dynamic or static activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeexport.artifact import Artifact
from edgeexport.conversion import Feeds, Gap, Layer, TensorBytes
from edgeexport.errors import ConversionError, EdgeExportError, RecipeError
from edgeexport.settings import Interface, Settings
from edgeexport.signature import Signature, TensorSpec
from edgeexport.source import Source

_LEAST_OPSET = 13  # per-channel QuantizeLinear
_ELSEWHERE = {
    "one_scale_snr": 0.0,
    "palette_bits": 0,
    "hybrid_per_channel": True,
    "embedding_bits": None,
    "minimum_snr": 0.0,
    "fallback": "w8a8-dynamic",
    "io_type": "float32",
}
"""Rules of other formats, with the value that leaves them off."""


class OnnxFormat:
    """See :class:`edgeexport.conversion.Format`."""

    file_name = "model.onnx"
    knobs: Mapping[str, tuple[Any, ...]] = {
        "calibration.method": ("mse", "minmax", "percentile"),
        "quantization.smoothing": (0.0, 0.5, 0.85),
    }

    def baseline(self, source: Source, interface: Interface, path: Path) -> Artifact:
        """Export the source as float32."""
        own = Interface(context=interface.context, prefill=interface.prefill)
        if interface != own:
            raise RecipeError(
                "ONNX keeps the model's own layout and dynamic shapes: 'interface' is for formats that fix them",
                "Leave interface.lengths and interface.channels_last out.",
            )
        source.write_onnx(path)
        signature, _ = self.inspect(path)
        if source.decoder is not None:
            return Artifact("onnx", path, "fp32", signature, decoder=source.decoder)
        return Artifact("onnx", path, "fp32", _with_known_lengths(signature, source.signature))

    def convert(self, baseline: Artifact, settings: Settings, feeds: Feeds | None, path: Path) -> Artifact:
        """Bring the float32 model to ``settings.precision``."""
        import onnx

        from edgeexport.formats.onnx.prepare import at_least_opset, strip

        _check_overrides(settings)
        model = at_least_opset(onnx.load(str(baseline.path)), _LEAST_OPSET)
        try:
            model, notes = _CONVERTERS[settings.precision](model, settings, feeds)
        except EdgeExportError:
            raise
        except Exception as error:
            raise ConversionError(
                f"quantizing to {settings.precision} failed: {type(error).__name__}: {error}"
            ) from error
        strip(model)
        onnx.save(model, str(path))
        return replace(baseline, path=path, precision=settings.precision, notes=tuple(notes))

    def inspect(self, path: Path) -> tuple[Signature, Iterable[TensorBytes]]:
        """Read an ONNX file."""
        from edgeexport.formats.onnx.inspect import stored_tensors
        from edgeexport.onnx_file import load_onnx, read_signature

        model = load_onnx(path)
        return read_signature(model), stored_tensors(model)

    def layers(self, baseline: Artifact, settings: Settings) -> Iterable[Layer]:
        """See :mod:`edgeexport.formats.onnx.layers`."""
        import onnx

        from edgeexport.formats.onnx.layers import find_layers
        from edgeexport.formats.onnx.prepare import at_least_opset

        return find_layers(at_least_opset(onnx.load(str(baseline.path)), _LEAST_OPSET), settings)

    def gaps(self, path: Path, runtime: str, version: str) -> Iterable[Gap]:
        """None: ONNX Runtime refuses to load what it lacks."""
        del path, runtime, version
        return ()


def open_format() -> OnnxFormat:
    """The format of this module."""
    return OnnxFormat()


def _with_known_lengths(written: Signature, known: Signature) -> Signature:
    """The written signature, with output lengths the exporter left open taken from the source."""
    lengths = {spec.name: spec.shape for spec in known.outputs}

    def refine(spec: TensorSpec) -> TensorSpec:
        shape = lengths.get(spec.name, spec.shape)
        if len(shape) != len(spec.shape):
            return spec
        pairs = zip(spec.shape, shape, strict=True)
        return replace(spec, shape=tuple(real if isinstance(real, int) else name for name, real in pairs))

    return replace(written, outputs=tuple(map(refine, written.outputs)))


def _check_overrides(settings: Settings) -> None:
    """Only ``w8a8`` and ``w8a8-dynamic`` mix integer activations into a graph, and some rules are other formats'."""
    for rule, off in _ELSEWHERE.items():
        if getattr(settings.quantization, rule) != off:
            raise RecipeError(f"the format onnx has no quantization.{rule}", "Leave it out.")
    if settings.quantization.block_size == 0:
        raise RecipeError("ONNX's weights in blocks need quantization.block_size 16, 32, 64 or 128", "Choose one.")
    if settings.precision == "w8a16" or any(override.precision == "w8" for override in settings.overrides):
        raise RecipeError("the format onnx has no w8a16, and mixes no w8 into other precisions", "Choose w8a8.")
    if settings.precision in {"w8a8", "w8a8-dynamic"}:
        return
    for override in settings.overrides:
        if override.precision != "fp32":
            raise RecipeError(
                f"{override} contradicts precision {settings.precision}, beside which nodes can only be left fp32",
                "Choose --precision w8a8 or w8a8-dynamic, or put the override under [when.w8a8].",
            )


def _as_it_is(model: Any, _settings: Settings, _feeds: Feeds | None) -> tuple[Any, list[str]]:
    return model, []


def _float16(model: Any, settings: Settings, _feeds: Feeds | None) -> tuple[Any, list[str]]:
    from edgeexport.formats.onnx.graph import Graph, constants_to_initializers, name_nodes
    from edgeexport.formats.onnx.half import to_float16
    from edgeexport.formats.onnx.integer import assign, left_float
    from edgeexport.formats.onnx.prepare import raise_masks

    constants_to_initializers(model)
    name_nodes(model)
    graph = Graph(model)
    assign(graph, settings, settings.precision)  # refuses an override that matches nothing
    left = left_float(graph, settings)
    count = raise_masks(graph, settings.quantization.mask_value)
    notes = [f"{count} attention mask constants raised to {settings.quantization.mask_value:g}"] if count else []
    return to_float16(model, left), notes


def _weights(bits: int) -> Callable[[Any, Settings, Feeds | None], tuple[Any, list[str]]]:
    def convert(model: Any, settings: Settings, _feeds: Feeds | None) -> tuple[Any, list[str]]:
        from edgeexport.formats.onnx.graph import Graph
        from edgeexport.formats.onnx.integer import assign, left_float
        from edgeexport.formats.onnx.prepare import prepare
        from edgeexport.formats.onnx.tied import quantize_tied_blocks, quantize_tied_tables
        from edgeexport.formats.onnx.weights import quantize_weights

        notes = prepare(model, 0.0)
        graph = Graph(model)
        names = set(assign(graph, settings, settings.precision))
        left, block_size = left_float(graph, settings), settings.quantization.block_size
        tied = quantize_tied_blocks(graph, bits, block_size, left)
        if tied:
            notes.append(f"{len(tied)} tables shared by embedding and output head stored once, in {bits}-bit blocks")
        uneven = quantize_tied_tables(graph, left)
        if uneven:
            notes.append(f"{len(uneven)} tables shared by embedding and output head stored once, in int8")
        model, more = quantize_weights(graph, bits, names, settings)
        return model, notes + more

    return convert


def _integer(model: Any, settings: Settings, feeds: Feeds | None) -> tuple[Any, list[str]]:
    """``w8a8`` and ``w8a8-dynamic``; overrides may mix both in one graph."""
    from edgeexport.formats.onnx.embeddings import quantize_embeddings
    from edgeexport.formats.onnx.graph import Graph, name_nodes
    from edgeexport.formats.onnx.integer import assign, left_float, quantize_dynamic, quantize_static, settle
    from edgeexport.formats.onnx.prepare import prepare
    from edgeexport.formats.onnx.smooth import smooth
    from edgeexport.formats.onnx.tied import quantize_tied_tables

    rules = settings.quantization
    notes = prepare(model, rules.mask_value)
    graph = Graph(model)
    asked = assign(graph, settings, settings.precision)
    if feeds is None and "w8a8" in (settings.precision, *asked.values()):
        raise RecipeError(
            "static precision w8a8 needs calibration samples, and none were given",
            "Give --calibration FILE, or choose --precision w8a8-dynamic.",
        )
    left = left_float(graph, settings)
    precisions = settle(graph, asked)
    if rules.smoothing and feeds is not None:
        smoothed = smooth(graph, rules.smoothing, rules.smoothing_ratio, feeds)
        notes.append(f"{len(smoothed)} activations with outlier channels smoothed (α {rules.smoothing:g})")
    elif rules.smoothing:
        notes.append("no calibration set was given, so activations with outlier channels were not smoothed")
    tied = quantize_tied_tables(graph, left)
    if tied:
        notes.append(f"{len(tied)} tables shared by embedding and output head stored once in int8")
    tables = quantize_embeddings(graph, left)
    if tables:
        notes.append(f"{len(tables)} embedding tables in int8, one scale a column")
    static = [name for name, precision in precisions.items() if precision == "w8a8"]
    dynamic = [name for name, precision in precisions.items() if precision == "w8a8-dynamic"]
    if static and feeds is not None:
        model = quantize_static(graph, static, settings, feeds)
    if dynamic:
        model = quantize_dynamic(graph.model if not static else model, dynamic, settings)
    notes.append(f"{len(static)} nodes with static int8 activations, {len(dynamic)} with dynamic ones")
    name_nodes(model)
    return model, notes


_CONVERTERS: dict[str, Callable[[Any, Settings, Feeds | None], tuple[Any, list[str]]]] = {
    "fp32": _as_it_is,
    "fp16": _float16,
    "w8": _weights(8),
    "w4": _weights(4),
    "w8a8-dynamic": _integer,
    "w8a8": _integer,
}
