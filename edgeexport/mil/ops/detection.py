"""Boxes chosen by their scores and overlap."""

from __future__ import annotations

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.memory import claim
from edgeexport.mil.table import Tensor, op


@op("non_maximum_suppression")
def suppress(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    score_threshold: float,
    max_boxes: int,
    *,
    per_class_suppression: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes by falling score that overlap no better one by more than the threshold, and how many (iOS 15 and 16).

    Free places have 0, and the index -1. Where no score is enough, Core ML gives the best box all the same.
    """
    return _suppressed(
        boxes, scores, iou=iou_threshold, least=score_threshold, limit=max_boxes, by_class=per_class_suppression
    )


@op("non_maximum_suppression", since=17)
def suppress_columns(
    boxes: Tensor, scores: Tensor, iou_threshold: float, max_boxes: int, per_class_suppression: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """As before, of any score, boxes and scores [n, 4, B] and [n, K, B], without their number (since iOS 17)."""
    if boxes.dim() != 3 or scores.dim() != 3:
        raise ModelError(f"boxes of shape {list(boxes.shape)} with scores of shape {list(scores.shape)}")
    kept, their_scores, indices, _ = _suppressed(
        boxes.transpose(1, 2),
        scores.transpose(1, 2),
        iou=iou_threshold,
        least=-torch.inf,
        limit=max_boxes,
        by_class=per_class_suppression,
    )
    return kept.transpose(1, 2), their_scores.transpose(1, 2), indices


def _suppressed(
    boxes: Tensor, scores: Tensor, *, iou: float, least: float, limit: int, by_class: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if boxes.dim() != 3 or scores.dim() != 3 or boxes.shape[2] != 4 or boxes.shape[:2] != scores.shape[:2]:
        raise ModelError(f"boxes of shape {list(boxes.shape)} with scores of shape {list(scores.shape)}")
    batch, _, classes = scores.shape
    claim([batch, limit, max(4, classes)])
    kept = boxes.new_zeros(batch, limit, 4)
    their_scores = scores.new_zeros(batch, limit, classes)
    indices = torch.full((batch, limit), -1, dtype=torch.int32)
    counts = torch.zeros(batch, dtype=torch.int32)
    for number in range(batch):
        chosen = _chosen(boxes[number], scores[number], iou=iou, least=least, limit=limit, by_class=by_class)
        kept[number, : len(chosen)] = boxes[number, chosen]
        their_scores[number, : len(chosen)] = scores[number, chosen]
        indices[number, : len(chosen)] = torch.tensor(chosen, dtype=torch.int32)
        counts[number] = len(chosen)
    return kept, their_scores, indices, counts


def _chosen(boxes: Tensor, scores: Tensor, *, iou: float, least: float, limit: int, by_class: bool) -> list[int]:
    """The boxes of one image that are kept, best first."""
    if scores.numel() == 0 or limit < 1:
        return []
    best, classes = scores.max(1)
    order = best.argsort(descending=True, stable=True)
    left = order[best[order] >= least]
    if len(left) == 0:
        return [int(order[0])]
    half = boxes[:, 2:] / 2
    low, high = boxes[:, :2] - half, boxes[:, :2] + half
    area = boxes[:, 2] * boxes[:, 3]
    chosen: list[int] = []
    while len(left) and len(chosen) < limit:
        first, left = int(left[0]), left[1:]
        chosen.append(first)
        sides = (torch.minimum(high[left], high[first]) - torch.maximum(low[left], low[first])).clamp_(min=0)
        common = sides.prod(1)
        # The comparison holds for a union of nothing too.
        overlaps = common > iou * (area[left] + area[first] - common)
        if by_class:
            overlaps &= classes[left] == classes[first]
        left = left[~overlaps]
    return chosen
