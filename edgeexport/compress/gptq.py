"""GPTQ: weights rounded to integers before the export, on calibration text (Frantar et al., arXiv:2210.17323).

Layers of the model's longest list of blocks are rounded block by block, each on what the rounded ones before it give;
then the layers outside of it. A table that embedding and head share is left to the export's own rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeexport.compress._feeds import Arrays, Feeds
from edgeexport.compress._steps import Grid, compensated
from edgeexport.compression import Materials
from edgeexport.errors import ModelError, RecipeError
from edgeexport.source import Editable, Source
from edgeexport.stages import Gptq

_BLOCK = 32


class Compensation:
    """See :class:`edgeexport.compression.Method`."""

    def compress(self, source: Source, stage: Gptq, materials: Materials, folder: Path) -> dict[str, Any]:
        """Write the rounded model to ``folder``; see :class:`edgeexport.compression.Method`."""
        if materials.calibration is None:
            raise RecipeError("gptq needs samples to see what rounding does to outputs", "Give --calibration FILE.")
        block = _block_size(stage, materials)
        grid = Grid(stage.bits, materials.scheme is not None and materials.scheme.signed_ends)
        editable = source.editable()
        editable.model.requires_grad_(False)
        layers = _layers(editable.model)
        if not layers:
            raise ModelError(f"{source.name} has no linear layers", "Leave the stage gptq out.")
        feeds = Feeds(source, editable, materials)
        errors: dict[str, float] = {}

        def round_layer(name: str, hessian: torch.Tensor) -> None:
            errors[name] = _round(layers[name], hessian, grid, block, stage)

        with torch.inference_mode(), _one_thread():
            inside, samples = _round_blocks(editable, feeds, layers, round_layer, materials)
            outside = {name: layer for name, layer in layers.items() if name not in inside}
            if outside:
                with _hessians(outside) as found:
                    for inputs in feeds:
                        editable.run(inputs)
                for name, hessian in found.items():
                    round_layer(name, hessian)
        editable.save(folder)
        mean = sum(errors.values()) / len(errors)
        summary = (
            f"{len(errors)} linear layers rounded to {stage.bits} bits in blocks of {block or 'a channel'} on "
            f"{samples} samples; squared error of their outputs {mean:.0%} of plain rounding's, on average"
        )
        return {"summary": summary, "layers": errors, "block_size": block, "bits": stage.bits, "samples": samples}


def open_method() -> Compensation:
    """The method of this module."""
    return Compensation()


def _block_size(stage: Gptq, materials: Materials) -> int:
    """Of the stage, or else of the target.

    Raises:
        RecipeError: they contradict each other.
    """
    if materials.settings is None:
        return _BLOCK if stage.block_size is None else stage.block_size
    wanted = materials.settings.quantization.block_size
    if stage.block_size not in (None, wanted):
        raise RecipeError(
            f"gptq rounds in blocks of {stage.block_size}, and the export quantizes in blocks of {wanted}",
            "Leave gptq's block_size out, or set quantization.block_size to the same.",
        )
    if materials.settings.precision != f"w{stage.bits}":
        raise RecipeError(
            f"gptq rounds to {stage.bits} bits, and the export's precision is {materials.settings.precision}",
            f"Choose --precision w{stage.bits}.",
        )
    return wanted


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """Linear layers by name, but for those whose weight an embedding has as well."""
    from transformers.pytorch_utils import Conv1D

    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and id(module.weight) not in tables
    }


def _round(layer: nn.Module, hessian: torch.Tensor, grid: Grid, block: int, stage: Gptq) -> float:
    """Round a layer; gives the squared error of its outputs over that of rounding to the nearest."""
    stored: Any = layer.weight
    weight = stored.data if isinstance(layer, nn.Linear) else stored.data.T.contiguous()
    try:
        rounded = compensated(weight, hessian, grid, block, damping=stage.damping, clips=stage.clips)
    except RuntimeError as error:
        raise ModelError(
            f"gptq: a layer's inputs give no Hessian that can be inverted: {error}", "Set a larger damping."
        ) from error
    whole = block or weight.shape[1]
    nearest = grid.round(weight, grid.scales(weight, whole, hessian.diagonal(), 0))
    stored.data.copy_(rounded if isinstance(layer, nn.Linear) else rounded.T)
    before, after = (float((((one - weight) @ hessian) * (one - weight)).sum()) for one in (nearest, rounded))
    return after / before if before > 0 else 1.0


def _round_blocks(
    editable: Editable,
    feeds: Feeds,
    layers: dict[str, nn.Module],
    round_layer: Callable[[str, torch.Tensor], None],
    materials: Materials,
) -> tuple[set[str], int]:
    """Round the layers of the blocks; gives their names, and the number of samples."""
    found = _blocks(editable.model, layers)
    if found is None:
        return set(), len(feeds)
    prefix, blocks = found
    calls = [_call(editable, blocks[0], inputs) for inputs in feeds]
    hidden = [call[0][0] for call in calls]
    done: set[str] = set()
    with materials.progress.stage("rounding weights", len(blocks)) as progress:
        for number, block in progress.follow(enumerate(blocks)):
            start = f"{prefix}.{number}."
            inside = {name: layer for name, layer in layers.items() if name.startswith(start)}
            with _hessians(inside) as hessians:
                for state, (positional, named) in zip(hidden, calls, strict=True):
                    block(state, *positional[1:], **named)
            for name, hessian in hessians.items():
                round_layer(name, hessian)
            done |= set(hessians)
            hidden = [
                _first(block(state, *positional[1:], **named))
                for state, (positional, named) in zip(hidden, calls, strict=True)
            ]
    return done, len(calls)


def _blocks(model: nn.Module, layers: Iterable[str]) -> tuple[str, list[nn.Module]] | None:
    """The list of modules that holds most linear layers, and its name."""
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    counts = {name: sum(layer.startswith(f"{name}.") for layer in layers) for name in lists}
    best = max(counts, key=lambda name: counts[name], default=None)
    return None if best is None or not counts[best] else (best, list(lists[best]))


class _Reached(Exception):
    """No error: it ends a pass that has given what was wanted."""


def _call(editable: Editable, block: nn.Module, inputs: Arrays) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How the model calls its first block for a sample."""
    caught: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def catch(_module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        caches = {"past_key_values", "past_key_value", "layer_past"}
        plain = {name: None if name in caches else value for name, value in named.items()}
        caught.append((tuple(positional), {**plain, **({"use_cache": False} if "use_cache" in named else {})}))
        raise _Reached

    handle = block.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        editable.run(inputs)
    except _Reached:
        pass
    finally:
        handle.remove()
    (found,) = caught
    positional, named = found
    if not positional:  # called by keyword
        positional, named = (named["hidden_states"],), {k: v for k, v in named.items() if k != "hidden_states"}
    # A cache in a positional place would go on growing from block to block.
    return tuple(None if _is_cache(one) else one for one in positional), named


def _is_cache(value: object) -> bool:
    from transformers import Cache

    return isinstance(value, Cache)


def _first(output: Any) -> torch.Tensor:
    found: torch.Tensor = output if isinstance(output, torch.Tensor) else output[0]
    return found


@contextmanager
def _hessians(layers: dict[str, nn.Module]) -> Iterator[dict[str, torch.Tensor]]:
    """The sum of x xᵀ over the inputs of each layer that is called."""
    found: dict[str, torch.Tensor] = {}
    handles = []
    for name, layer in layers.items():

        def note(_module: nn.Module, given: tuple[Any, ...], name: str = name) -> None:
            x = given[0].reshape(-1, given[0].shape[-1]).float()
            found[name] = found[name].addmm_(x.T, x) if name in found else x.T @ x

        handles.append(layer.register_forward_pre_hook(note))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Where another process has a core, more threads lose much."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
