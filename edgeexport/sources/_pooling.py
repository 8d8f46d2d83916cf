"""Sentence-transformers' pooling: from one vector a token to one a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeexport.errors import ModelError


def read_pooling(folder: Path) -> dict[str, Any] | None:
    """Sentence-transformers' pooling, or None where the folder has none.

    Raises:
        ModelError: a module or pooling mode that is not implemented; nothing is left out silently.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return None
    pooling: dict[str, Any] = {"normalize": False}
    for module in json.loads(path.read_text()):
        kind = module["type"].rpartition(".")[2]
        if kind == "Pooling":
            config = json.loads((folder / module["path"] / "config.json").read_text())
            modes = [key for key, on in config.items() if key.startswith("pooling_mode_") and on]
            pooling["mode"] = modes[0] if len(modes) == 1 else ", ".join(modes)
        elif kind == "Normalize":
            pooling["normalize"] = True
        elif kind != "Transformer":
            raise ModelError(f"{folder}: the sentence-transformers module '{kind}' is not supported")
    if pooling.get("mode") not in {"pooling_mode_mean_tokens", "pooling_mode_cls_token"}:
        raise ModelError(
            f"{folder}: pooling {pooling.get('mode')!r} is not supported",
            "Supported: mean of tokens, or the first (CLS) token.",
        )
    return pooling


def pool_in_forward(model: Any, pooling: Mapping[str, Any]) -> None:
    """Make the model's forward give one vector a sentence, as sentence-transformers' modules would."""
    import inspect

    import torch

    encode = model.forward
    signature = inspect.signature(encode)

    def forward(*arguments: Any, **named: Any) -> dict[str, torch.Tensor]:
        encoded = encode(*arguments, **named)
        hidden = encoded["last_hidden_state"]
        if pooling["mode"] == "pooling_mode_cls_token":
            vector = hidden[:, 0]
        else:
            given = signature.bind(*arguments, **named).arguments
            mask = given["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            vector = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        if pooling["normalize"]:
            vector = torch.nn.functional.normalize(vector, p=2.0, dim=1)
        asked = {key: encoded[key] for key in ("hidden_states", "attentions") if key in encoded}
        return {"sentence_embedding": vector, **asked}

    # The exporter matches inputs by the signature. functools.wraps would lose the first: encode is a bound method.
    forward.__signature__ = signature  # type: ignore[attr-defined]
    model.forward = forward
