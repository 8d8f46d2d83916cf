"""Which of a module's parameters are trained, and how."""

from __future__ import annotations

from typing import Any

import torch

from edgeexport.compress._encoded import Batch
from edgeexport.stages import Training


def freeze_unused(learner: torch.nn.Module, batch: Batch) -> None:
    """Take parameters that the loss does not depend on out of the training."""
    learner.eval()
    learner(batch).sum().backward()
    for parameter in learner.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None


def groups(learner: torch.nn.Module, training: Training) -> list[dict[str, Any]]:
    """Weight decay for matrices only, as usual with AdamW: biases and norms have no scale to lose."""
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    return [
        {"params": [one for one in trained if one.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [one for one in trained if one.ndim <= 1], "weight_decay": 0.0},
    ]
