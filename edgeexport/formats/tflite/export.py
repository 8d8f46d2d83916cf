"""From a torch module to float32 TFLite, by litert-torch: fixed shapes, one signature for each length."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexport.errors import ConversionError, MissingRequirement, ModelError
from edgeexport.fixed import fixed_dimensions
from edgeexport.formats.tflite.compact import share_quantization
from edgeexport.formats.tflite.flatbuffer import read_model, signatures, write_model
from edgeexport.formats.tflite.names import digest, shorten, source_paths
from edgeexport.interface import is_image
from edgeexport.module_paths import unwrapped
from edgeexport.quiet import native_output
from edgeexport.settings import Interface
from edgeexport.signature import Signature, TensorSpec
from edgeexport.source import Source

if TYPE_CHECKING:
    import torch

Lengths = Mapping[str, int]
NARROWED = {"int64": "int32", "float64": "float32"}
_SMALL_PARAMETER = 1 << 22
_LACKING = re.compile(r"Lowering not found: (\S+)")


def write_float32(source: Source, interface: Interface, path: Path) -> Signature:
    """Convert ``source`` and write it to ``path``; gives the signature.

    Raises:
        MissingRequirement: litert-torch is not installed.
        ModelError: the source is no torch model, or has a dtype that TFLite lacks.
        RecipeError: the interface does not fit the model.
        ConversionError: the converter failed.
    """
    module = trained = _module(source)
    dimensions = fixed_dimensions(source, interface, "TFLite")
    fixed, dimension = dimensions.fixed, dimensions.free
    lengths = dimensions.lengths or (0,)
    litert_torch = import_converter()
    moved = [
        number
        for number, spec in enumerate(source.signature.inputs)
        if interface.channels_last and is_image(spec, source.preprocess)
    ]
    if moved:
        module = litert_torch.to_channel_last_io(module, args=moved).eval()
    converter: Any = None

    def example(length: int) -> tuple[torch.Tensor, ...]:
        known = {**fixed, **({dimension: length} if dimension else {})}
        return tuple(_example(spec, known, number in moved) for number, spec in enumerate(source.signature.inputs))

    with (
        readable_errors(source.name, module, lambda: example(lengths[0])),
        native_output(),
        source_paths(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        for length in lengths:
            name = f"{dimension}_{length}" if dimension else "main"
            converter = (converter or litert_torch).signature(name, module, example(length))
        converter.convert(quant_config=_quant_config(trained)).export(str(path))
    return _finish(source, interface, path, fixed, dimension)


def _quant_config(module: torch.nn.Module) -> Any:
    """For a module that torchao's PT2E has quantized: its attribute ``pt2e_quantizer`` says by which scheme.

    The converter then writes integer operators for its quantize and dequantize pairs. It is the route of
    quantization-aware training, whose ranges are in the module already; ``fp32`` leaves such a model as it is.
    """
    quantizer = getattr(module, "pt2e_quantizer", None)
    if quantizer is None:
        return None
    from litert_torch.quantize.quant_config import QuantConfig

    return QuantConfig(pt2e_quantizer=quantizer)


def _module(source: Source) -> torch.nn.Module:
    try:
        return source.module()
    except ModelError as error:
        raise ModelError(
            f"{source.name}: TFLite is converted from torch modules, and this model is none",
            "Export the torch or Transformers model that it came from. There is no route from .onnx to TFLite here: "
            "onnx2tf (https://github.com/PINTO0309/onnx2tf) is one, outside of this program's checks.",
        ) from error


def import_converter() -> Any:
    """litert-torch, silenced.

    Raises:
        MissingRequirement: it is not installed.
    """
    try:
        with native_output(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import litert_torch
            from litert_torch import progress
    except ImportError as error:
        raise MissingRequirement(
            f"converting to TFLite needs litert-torch ({error})", "pip install 'edgeexport[litert]'"
        ) from error
    progress.config.show_progress = False
    return litert_torch


def _finish(source: Source, interface: Interface, path: Path, fixed: Lengths, dimension: str | None) -> Signature:
    """Give inputs, outputs and tensors their names, and say what the file takes."""
    finish_names(source, source.signature, path)

    def as_converted(spec: TensorSpec, image: bool = False) -> TensorSpec:
        shape = tuple(length if isinstance(length, int) else fixed.get(length, length) for length in spec.shape)
        if image:
            shape = (shape[0], *shape[2:], shape[1])
        return replace(spec, dtype=NARROWED.get(spec.dtype, spec.dtype), shape=shape)

    return Signature(
        tuple(
            as_converted(spec, interface.channels_last and is_image(spec, source.preprocess))
            for spec in source.signature.inputs
        ),
        tuple(as_converted(spec) for spec in source.signature.outputs),
        {dimension: tuple(sorted(set(interface.lengths)))} if dimension else {},
    )


def finish_names(source: Source, signature: Signature, path: Path) -> None:
    """Name a converted file's inputs and outputs as ``signature`` does, and in its order; and its tensors shortly.

    Raises:
        ConversionError: the model does not use an input.
    """
    model = read_model(path)
    for definition in model.signatureDefs:
        for items, specs in ((definition.inputs, signature.inputs), (definition.outputs, signature.outputs)):
            items.sort(key=_number)
            for item in items:
                item.name = specs[_number(item)].name.encode()
    missing = {spec.name for spec in signature.inputs} - set(signatures(model)[0].inputs)
    if missing:
        raise ConversionError(
            f"{source.name}: the model does not use its input '{sorted(missing)[0]}', and TFLite leaves it out",
            "Leave it out of the module's example_inputs.",
        )
    shorten(model, _last_parameters(source))
    share_quantization(model)
    write_model(model, path)


def _last_parameters(source: Source) -> dict[bytes, str]:
    """The path of the module of each of the source's small parameters, by the digest of its float32 bytes.

    They name the layer that gives an output of the model, whose own name in the file is the output's. What a table as
    large as a vocabulary's belongs to shows from elsewhere, and reading it once more costs time.
    """
    found: dict[bytes, str] = {}
    for name, parameter in unwrapped(source.module()).named_parameters():
        if parameter.numel() <= _SMALL_PARAMETER:
            content = parameter.detach().float().contiguous().numpy().tobytes()
            found.setdefault(digest(content), name.rpartition(".")[0])
    return found


def _number(item: Any) -> int:
    """The converter numbers inputs and outputs: ``args_0``, ``output_0``."""
    return int(item.name.rpartition(b"_")[2])


def _example(spec: TensorSpec, lengths: Lengths, channels_last: bool) -> torch.Tensor:
    import torch

    shape = tuple(length if isinstance(length, int) else lengths[length] for length in spec.shape)
    if channels_last:
        shape = (shape[0], *shape[2:], shape[1])
    dtype = getattr(torch, spec.dtype)
    return torch.ones(shape, dtype=dtype) if not dtype.is_floating_point else torch.zeros(shape, dtype=dtype)


@contextmanager
def readable_errors(name: str, module: torch.nn.Module, example: Callable[[], tuple[Any, ...]]) -> Iterator[None]:
    """Turn what the converter raises into a :class:`ConversionError` that says what to do."""
    try:
        yield
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        what = lines[0] if lines else repr(error)
        missing = _LACKING.search(str(error))
        if missing is not None:
            raise ConversionError(
                f"{name}: TFLite has no form of the operator {missing.group(1)}"
                f"{_module_of(missing.group(1), module, example())}",
                "Write that part of the model with other operators.",
            ) from error
        raise ConversionError(
            f"converting {name} to TFLite failed: {type(error).__name__}: {what[:400]}",
            "Check that the module is exportable: torch.export.export(module, inputs).",
        ) from error


def _module_of(operator: str, module: torch.nn.Module, example: tuple[Any, ...]) -> str:
    """Where in the model an ATen operator comes from, for a message."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, example).run_decompositions()
    except Exception:  # there is an error to report already
        return ""
    for node in program.graph.nodes:
        if str(node.target) == operator:
            stack = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
            return f", which module '{stack[-1] or 'the model itself'}' uses" if stack else ""
    return ""
