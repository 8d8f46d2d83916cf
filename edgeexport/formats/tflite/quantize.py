"""Integer weights and activations, by ai-edge-quantizer, for a plan that names each operator's precision."""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgeexport.errors import ConversionError, MissingRequirement
from edgeexport.formats.tflite.blocks import refine_blocks
from edgeexport.formats.tflite.compact import share_quantization
from edgeexport.formats.tflite.flatbuffer import read_model, tensor_name, write_model
from edgeexport.formats.tflite.granularity import merge_scales
from edgeexport.quiet import native_output
from edgeexport.ranges import Interval, spanning_zero
from edgeexport.settings import Settings

_BLOCKS = (32, 64, 128)
_MARK = "@"


def quantize(
    model: Any,
    precisions: Mapping[str, str],
    intervals: Mapping[str, Interval],
    settings: Settings,
    path: Path,
) -> None:
    """Quantize ``model`` and write it to ``path``.

    Args:
        model: float32, with unique tensor names; not changed.
        precisions: by operator name: ``w8a8``, ``w8a16``, ``w8a8-dynamic``, ``w8``, ``w4``, ``fp16``,
            ``embedding-8`` or ``embedding-4``.
        intervals: of activations by tensor name, where an operator is static.
        settings: granularity, block size and the type of inputs and outputs.
        path: the file to write.

    Raises:
        MissingRequirement: ai-edge-quantizer is not installed.
        ConversionError: it failed.
    """
    aeq = _import_quantizer()
    marked, names = _marked(model, precisions)
    content = path.with_suffix(".float32")
    write_model(marked, content)
    try:
        with _silent(), native_output():
            quantizer = aeq.quantizer.Quantizer(str(content))
            quantizer.load_quantization_recipe(_recipe(aeq, set(precisions.values()), settings))
            statistics = {
                names.get(name, name): {
                    "min": np.array([[low]], np.float32),
                    "max": np.array([[high]], np.float32),
                }
                for name, (low, high) in ((name, spanning_zero(interval)) for name, interval in intervals.items())
            }
            result = quantizer.quantize(
                statistics or None, enable_progress_bar=False, enable_progress_report=False
            ).quantized_model
    except Exception as error:
        raise ConversionError(
            f"quantizing to {settings.precision} failed: {type(error).__name__}: {(str(error) or 'no message')[:300]}"
        ) from error
    finally:
        content.unlink()
    path.write_bytes(result)
    _finish(path, model, settings)


def _marked(model: Any, precisions: Mapping[str, str]) -> tuple[Any, dict[str, str]]:
    """A copy whose operators' outputs begin with their precision, which the recipe's patterns match.

    Patterns on the names themselves would match each other, and hundreds of them take minutes.
    """
    marked = copy.copy(model)
    marked.subgraphs = [copy.copy(graph) for graph in model.subgraphs]
    names: dict[str, str] = {}
    for graph in marked.subgraphs:
        graph.tensors = [copy.copy(tensor) for tensor in graph.tensors]
        for operator in graph.operators:
            first = tensor_name(graph.tensors[operator.outputs[0]]) if operator.outputs else ""
            precision = precisions.get(first)
            if precision is not None:
                for index in operator.outputs:
                    name = tensor_name(graph.tensors[index])
                    names[name] = f"{precision}{_MARK}{name}"
                    graph.tensors[index].name = names[name].encode()
    return marked, names


def _finish(path: Path, original: Any, settings: Settings) -> None:
    """Take the marks off again, give blocks their best scales, and store what is needed once."""
    model = read_model(path)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.name = re.sub(rf"^[\w-]+{_MARK}", "", tensor_name(tensor)).encode()
    refine_blocks(model, original)
    merge_scales(model, original, settings.quantization.one_scale_snr)
    share_quantization(model)
    write_model(model, path)


def _recipe(aeq: Any, used: set[str], settings: Settings) -> Any:
    """One rule a precision, and one for inputs and outputs."""
    rules = settings.quantization
    granularity = aeq.qtyping.QuantGranularity
    channels = granularity.CHANNELWISE if rules.per_channel else granularity.TENSORWISE
    hybrid = granularity.CHANNELWISE if rules.hybrid_per_channel else granularity.TENSORWISE
    blocks = getattr(granularity, f"BLOCKWISE_{rules.block_size}") if rules.block_size in _BLOCKS else hybrid
    every = aeq.qtyping.TFLOperationName.ALL_SUPPORTED
    manager = aeq.recipe_manager.RecipeManager()

    half = aeq.algorithm_manager.AlgorithmName.FLOAT_CASTING
    rules_of: dict[str, Callable[[str], None]] = {
        "w8a8": lambda scope: manager.add_static_config(scope, every, 8, 8, channels),
        "w8a16": lambda scope: manager.add_static_config(scope, every, 16, 8, channels),
        "w8a8-dynamic": lambda scope: manager.add_dynamic_config(scope, every, 8, hybrid),
        "w8": lambda scope: manager.add_weight_only_config(scope, every, 8, channels),
        # Float kernels unpack 4-bit weights at every inference; those that quantize activations by row do not.
        "w4": lambda scope: manager.add_dynamic_config(scope, every, 4, blocks),
        "fp16": lambda scope: manager.add_weight_only_config(scope, every, 16, algorithm_key=half),
        "embedding-8": lambda scope: manager.add_dynamic_config(scope, every, 8, hybrid),
        # As in a product with the same table, which is stored once then.
        "embedding-4": lambda scope: manager.add_dynamic_config(scope, every, 4, blocks),
    }
    for precision in sorted(used):
        rules_of[precision](f"^{precision}{_MARK}")
    _add_ends(aeq, manager, settings)
    return manager.get_quantization_recipe()


def _add_ends(aeq: Any, manager: Any, settings: Settings) -> None:
    """Inputs and outputs as the target asks."""
    operations = aeq.qtyping.TFLOperationName
    bits = {"float32": None, "int8": 8, "int16": 16}[settings.quantization.io_type]
    for pattern, operation in ((".*", operations.INPUT), (".*", operations.OUTPUT)):
        if bits is None:
            manager.add_quantization_config(
                pattern, operation, algorithm_key=aeq.algorithm_manager.AlgorithmName.NO_QUANTIZE
            )
        else:
            manager.add_static_config(pattern, operation, bits, 8)


def _import_quantizer() -> Any:
    try:
        with native_output(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ai_edge_quantizer
            from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe_manager
    except ImportError as error:
        raise MissingRequirement(
            f"quantizing TFLite models needs ai-edge-quantizer ({error})", "pip install 'edgeexport[litert]'"
        ) from error
    del algorithm_manager, qtyping, quantizer, recipe_manager
    return ai_edge_quantizer


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the quantizer's warnings about rules that do not fit an operator off the user's terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
