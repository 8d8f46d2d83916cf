"""A text model with fewer rows in its tables of tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from edgeexport.compress._tokenizer_companions import renumbered
from edgeexport.errors import ModelError
from edgeexport.source import Editable

_GENERATION = "generation_config.json"


def table_of(editable: Editable) -> torch.nn.Embedding:
    """The input embedding of a Transformers text model.

    Raises:
        ModelError: the model is of another kind.
    """
    model: Any = editable.model
    config = getattr(model, "config", None)
    if config is None or not hasattr(model, "resize_token_embeddings"):
        raise ModelError(
            f"{editable.name} is no Transformers model, so where it keeps its tokens is not known",
            "Prune the vocabulary of a Transformers folder.",
        )
    table = model.get_input_embeddings() if config.get_text_config() is config else None
    if not isinstance(table, torch.nn.Embedding):
        raise ModelError(
            f"{editable.name} has no single table of token embeddings whose rows could be removed",
            "Leave its vocabulary as it is.",
        )
    return table


def keep_rows(editable: Editable, kept: Sequence[int]) -> None:
    """Keep these rows of the embedding, in this order, and of a language model's head and its bias.

    A head that is tied to the embedding stays so. The configuration's vocabulary size and token ids follow.

    Args:
        editable: is changed.
        kept: old ids by new ones, ascending.

    Raises:
        ModelError: a setting of generation names tokens in a way that cannot be translated.
    """
    model: Any = editable.model
    table, head, index = table_of(editable), model.get_output_embeddings(), torch.tensor(kept)
    tensors = {id(table.weight): table.weight}
    if head is not None:
        for tensor in (head.weight, getattr(head, "bias", None)):
            if tensor is not None:
                tensors[id(tensor)] = tensor  # a tied one is there already
    with torch.no_grad():
        for tensor in tensors.values():
            tensor[: len(kept)] = tensor[index]
    new = {old: number for number, old in enumerate(kept)}
    if table.padding_idx is not None:
        table.padding_idx = new.get(table.padding_idx)
    # Cuts off what comes after the rows that were moved to the front, whatever hangs on it in this architecture.
    model.resize_token_embeddings(len(kept))
    for config in (model.config, getattr(model, "generation_config", None)):
        if config is not None:
            for key, value in renumbered(config.to_dict(), new, editable.name).items():
                setattr(config, key, value)


def renumber_generation(editable: Editable, folder: Path, new: Mapping[int, int]) -> None:
    """Rewrite a ``generation_config.json`` that a model which generates nothing came with.

    Others have saved theirs already.
    """
    model: Any = editable.model
    path = folder / _GENERATION
    if path.is_file() and not model.can_generate():
        values = json.loads(path.read_text(encoding="utf-8"))
        values |= renumbered(values, new, str(path))
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
