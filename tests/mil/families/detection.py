"""Boxes chosen by scores and overlap: a plain loop."""

import numpy as np

from tests.mil.harness import case, seeded

_random = seeded("detection")
_boxes = np.concatenate([_random.uniform(0, 4, (2, 12, 2)), _random.uniform(1, 3, (2, 12, 2))], 2).astype(np.float32)
_scores = _random.permutation(72).reshape(2, 12, 3).astype(np.float32) / 72


def _overlap(a, b):
    sides = [
        min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2) for i in (0, 1)
    ]
    common = max(sides[0], 0) * max(sides[1], 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def _suppressed(boxes, scores, iou, least, limit, by_class):
    batch, _, classes = scores.shape
    kept, their, indices = np.zeros((batch, limit, 4)), np.zeros((batch, limit, classes)), np.full((batch, limit), -1)
    counts = np.zeros(batch, np.int64)
    for n in range(batch):
        chosen = []
        for i in sorted(range(scores.shape[1]), key=lambda i: -scores[n, i].max()):
            rivals = [j for j in chosen if not by_class or scores[n, i].argmax() == scores[n, j].argmax()]
            if scores[n, i].max() >= least and all(_overlap(boxes[n, i], boxes[n, j]) <= iou for j in rivals):
                chosen.append(i)
        chosen = chosen[:limit] or [int(scores[n].max(1).argmax())]
        kept[n, : len(chosen)], their[n, : len(chosen)] = boxes[n, chosen], scores[n, chosen]
        indices[n, : len(chosen)], counts[n] = chosen, len(chosen)
    return kept.astype(np.float32), their.astype(np.float32), indices.astype(np.int32), counts.astype(np.int32)


for _label, _iou, _least, _limit, _by_class in (
    ("all classes", 0.2, 0.3, 5, False),
    ("by class", 0.2, 0.3, 7, True),
    ("places left", 0.3, 0.6, 12, False),
    ("fewer wanted", 0.9, 0.1, 3, True),
    ("no score is enough", 0.2, 2.0, 3, False),
):
    case(
        "non_maximum_suppression",
        f"{_label}, iOS 15",
        lambda mb, boxes, scores, iou=_iou, least=_least, limit=_limit, by_class=_by_class: mb.non_maximum_suppression(
            boxes=boxes,
            scores=scores,
            iou_threshold=np.float32(iou),
            score_threshold=np.float32(least),
            max_boxes=limit,
            per_class_suppression=by_class,
        ),
        {"boxes": _boxes, "scores": _scores},
        _suppressed(_boxes, _scores, _iou, _least, _limit, _by_class),
        ios=15,
    )
    _expected = _suppressed(_boxes, _scores, _iou, -1, _limit, _by_class)
    case(
        "non_maximum_suppression",
        f"{_label}, iOS 17",
        lambda mb, boxes, scores, iou=_iou, limit=_limit, by_class=_by_class: mb.non_maximum_suppression(
            boxes=boxes,
            scores=scores,
            iou_threshold=np.float32(iou),
            max_boxes=limit,
            per_class_suppression=by_class,
        ),
        {"boxes": _boxes.transpose(0, 2, 1).copy(), "scores": _scores.transpose(0, 2, 1).copy()},
        (_expected[0].transpose(0, 2, 1), _expected[1].transpose(0, 2, 1), _expected[2]),
    )
case(
    "non_maximum_suppression",
    "as coremltools has it",
    lambda mb, boxes, scores: mb.non_maximum_suppression(
        boxes=boxes,
        scores=scores,
        iou_threshold=np.float32(0.2),
        score_threshold=np.float32(0.4),
        max_boxes=2,
        per_class_suppression=True,
    ),
    {
        "boxes": np.repeat(np.arange(4, dtype=np.float32), 4).reshape(1, 4, 4),
        "scores": np.float32([[[-3.5], [9.4], [2.3], [0.7]]]),
    },
    (
        np.float32([[[1] * 4, [2] * 4]]),
        np.float32([[[9.4], [2.3]]]),
        np.int32([[1, 2]]),
        np.int32([2]),
    ),
    ios=15,
)
