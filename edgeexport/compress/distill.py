"""Distillation: a smaller model learns what a larger one gives (Hinton et al., arXiv:1503.02531)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeexport.compress._alike import check_alike
from edgeexport.compress._encoded import Batch, Encoded, encode
from edgeexport.compress._objectives import Objective, mean, objective_of
from edgeexport.compress._students import Cut, cut
from edgeexport.compress._training import Trainer, by_length, split
from edgeexport.compress._transfer import Transfer
from edgeexport.compression import Materials
from edgeexport.errors import RecipeError, SamplesError
from edgeexport.source import Editable, Source, float32_bytes
from edgeexport.stages import Distill


class Distillation:
    """See :class:`edgeexport.compression.Method`."""

    def compress(self, source: Source, stage: Distill, materials: Materials, folder: Path) -> dict[str, Any]:
        """Write the student to ``folder``; see :class:`edgeexport.compression.Method`."""
        if materials.train is None:
            raise SamplesError("distillation needs samples to train on, and none were given", "Give --train FILE.")
        objective = objective_of(source)
        inside = stage.hidden or stage.attention or stage.relations or stage.cosine
        if not stage.alpha and not inside and objective.truth == "nothing":
            raise RecipeError(
                f"{source.name} gives vectors, which have no labels: with alpha = 0 there is nothing to learn from",
                "Give alpha a weight, or hidden, attention, relations or cosine.",
            )
        training = stage.training
        torch.manual_seed(training.seed)  # for what a factory initialises, and the projections between widths
        teacher = source.editable()
        made = _student(source, teacher, stage, materials)
        learner = Pupil(made.student, teacher, stage, objective, made.layers)
        trainer = Trainer(training, materials.work, materials.progress, materials.kept)
        with trainer.accelerator.main_process_first():
            data = encode(source, materials.train, materials.work / "train", materials.progress, training.longest)
            scored = _encoded_evaluation(source, materials, objective)
        check_labels(source, data, stage.alpha, objective, str(materials.train.path))
        parts = split(len(data), training)
        with trainer.readable():
            learner.attend(trainer, data, np.concatenate([parts.training, parts.held_out]))
        history = trainer.fit(learner, data, parts)
        learner.dismiss()
        facts: dict[str, Any] = {
            "teacher": source.name,
            "layers": list(made.layers),
            "parameters": [float32_bytes(side.model) // 4 for side in (teacher, made.student)],
            "trained_on": len(parts.training),
            "training": history.facts(),
        }
        if trainer.leads:
            made.student.save(folder)
        if scored is not None:
            with trainer.readable():
                facts["evaluation"] = score(trainer, (teacher, made.student), objective, scored)
        return {"summary": _summary(facts), **facts}


def open_method() -> Distillation:
    """The method of this module."""
    return Distillation()


class Pupil(torch.nn.Module):
    """A student before its teacher: gives the loss of each sample of a batch.

    Args:
        student: learns.
        teacher: does not.
        stage: with the weights.
        objective: the task's.
        layers: for each of the student's layers the teacher's that it is compared with; empty where there is none.
    """

    def __init__(
        self, student: Editable, teacher: Editable, stage: Distill, objective: Objective, layers: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.student = student.model
        self._run, self._stage, self._objective = student.run, stage, objective
        inside = stage.hidden or stage.attention or stage.relations or stage.cosine
        self.transfer = Transfer(stage, student, teacher, layers) if inside else None
        # In a tuple, so that it is neither trained nor kept in checkpoints.
        self._teacher = (teacher,)
        self._answers: torch.Tensor | None = None
        self._labelled = False

    def attend(self, trainer: Trainer, data: Encoded, chosen: np.ndarray) -> None:
        """Bring the teacher to the trainer's device, and let it answer once for all where its answers are small."""
        self._labelled = data.labelled
        teacher = self._teacher[0]
        if not (self._stage.alpha or self.transfer is not None):
            return
        teacher.model.to(trainer.device).eval().requires_grad_(False)
        if self.transfer is None and self._objective.cached:
            self._answers = _answers(trainer, teacher, data, chosen)

    def dismiss(self) -> None:
        """Let go of the teacher."""
        self._teacher[0].model.to("cpu")
        self._answers = None

    def begin(self, step: int, steps: int) -> None:
        """See :class:`~edgeexport.compress._training.Learner`."""

    def forward(self, batch: Batch) -> torch.Tensor:
        """[batch]."""
        return self._losses(batch)[0]

    def measure(self, batch: Batch) -> dict[str, torch.Tensor]:
        """See :class:`~edgeexport.compress._training.Learner`."""
        losses, first = self._losses(batch)
        right = self._objective.right(first, batch) if self._labelled else None
        sums = {"loss": losses.double().sum()}
        return sums if right is None else {**sums, "right": right.double()}

    def _losses(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of each sample, and the student's first output."""
        asked = self.transfer.asks if self.transfer is not None else {}
        mine = self._run(batch, **{key: True for key, on in asked.items() if on})
        first = next(iter(mine.values()))
        theirs, inside = self._taught(batch, asked)
        losses = torch.zeros(len(first), device=first.device)
        if theirs is not None and self._stage.alpha:
            losses = losses + self._stage.alpha * self._objective.soft(first, theirs, batch, self._stage.temperature)
        if self._stage.alpha < 1 and self._objective.truth != "nothing":
            losses = losses + (1 - self._stage.alpha) * self._objective.hard(first, batch)
        if self.transfer is not None:
            losses = losses + self.transfer(mine, inside, batch)
        return losses, first

    def _taught(self, batch: Batch, asked: Mapping[str, bool]) -> tuple[torch.Tensor | None, Mapping[str, Any]]:
        if self._answers is not None:
            return self._answers[batch["sample"]], {}
        if not self._stage.alpha and self.transfer is None:
            return None, {}
        with torch.no_grad():
            inside = self._teacher[0].run(batch, **{key: True for key, on in asked.items() if on})
        return next(iter(inside.values())), inside


def _encoded_evaluation(source: Source, materials: Materials, objective: Objective) -> Encoded | None:
    """The evaluation set, before training: what is wrong with it must not cost a training."""
    samples = materials.evaluation
    if samples is None:
        return None
    if objective.truth == "labels" and not samples.labelled:
        raise SamplesError(
            f"{samples.path} has samples without a label, and scores need them", "Give every sample a 'label'."
        )
    return encode(source, samples, materials.work / "evaluation", materials.progress)


def _answers(trainer: Trainer, teacher: Editable, data: Encoded, chosen: np.ndarray) -> torch.Tensor:
    """The teacher's first output for the chosen samples, by sample number."""
    kept: torch.Tensor | None = None
    home = data.to(trainer.device)
    with torch.inference_mode(), trainer.accelerator.autocast():
        batches = list(by_length(data.lengths, chosen))
        with trainer.progress.stage(f"asking {teacher.name}", len(batches)) as stage:
            for batch in stage.follow(batches):
                given = home.batch(batch, trainer.device)
                answer = next(iter(teacher.run(given).values())).float()
                if kept is None:
                    kept = torch.zeros(len(data), *answer.shape[1:], device=answer.device)
                kept[given["sample"]] = answer
    assert kept is not None
    return kept.clone()


def _summary(facts: Mapping[str, Any]) -> str:
    large, small = facts["parameters"]
    text = f"{facts['teacher']} of {large / 1e6:.2f} M parameters taught one of {small / 1e6:.2f} M"
    if facts["layers"]:
        text += f" (layers {', '.join(map(str, facts['layers']))})"
    text += f" on {facts['trained_on']:,} samples"
    scores = facts.get("evaluation", {})
    if "student" in scores:
        metric = next(iter(scores["student"]))
        before, after = scores["teacher"][metric], scores["student"][metric]
        text += f"; {metric} {before:.4f} → {after:.4f} on {scores['samples']:,} others"
    return text


def _student(source: Source, teacher: Editable, stage: Distill, materials: Materials) -> Cut:
    if stage.student is None:
        if stage.layers is None and stage.width == 1:
            raise RecipeError(
                "what the student is to be was not said", "Give --layers N, --width SHARE, or --student FOLDER."
            )
        return cut(teacher, stage.layers, stage.width)
    if stage.layers is not None or stage.width != 1:
        raise RecipeError(
            "a student of its own cannot also be cut out of the teacher", "Leave --layers and --width out."
        )
    chosen = materials.open(stage.student)
    check_alike(source, chosen)
    student = chosen.editable()
    return Cut(student, _spread(student, teacher))


def _spread(student: Editable, teacher: Editable) -> tuple[int, ...]:
    """For each of the student's layers the teacher's as far along; the last for the last."""
    mine, theirs = (getattr(getattr(side.model, "config", None), "num_hidden_layers", 0) for side in (student, teacher))
    return tuple(max(0, (number + 1) * theirs // mine - 1) for number in range(mine))


def check_labels(source: Source, data: Encoded, alpha: float, objective: Objective, where: str) -> None:
    """Refuse a training set whose labels are missing where they have a weight, or are all the same.

    Raises:
        SamplesError: saying so.
    """
    if objective.truth != "labels":
        return
    if not data.labelled and alpha < 1:
        raise SamplesError(
            f"{where} has samples without a label, and labels have a weight of {1 - alpha:g}",
            "Give every sample a 'label', or set alpha to 1: then the teacher alone says what is right.",
        )
    if data.labelled and len(np.unique(data.labels)) == 1:
        only = int(data.labels[0])
        name = source.labels[only] if source.labels else only
        raise SamplesError(
            f"{where} has samples of one class only, '{name}'", "Give samples of every class that the model knows."
        )


def score(trainer: Trainer, sides: tuple[Editable, ...], objective: Objective, data: Encoded) -> dict[str, Any]:
    """How the teacher and the student do on a set that neither the training nor the choice of an epoch has seen."""
    found: dict[str, Any] = {"samples": len(data)}
    if objective.truth == "nothing":
        return {**found, **_nearness(trainer, sides, data)}
    home = data.to(trainer.device)
    for name, side in zip(("teacher", "student"), sides, strict=True):
        side.model.to(trainer.device).eval()
        right, lost, counted = 0.0, 0.0, 0.0
        with torch.inference_mode():
            for chosen in by_length(data.lengths, np.arange(len(data))):
                batch = home.batch(chosen, trainer.device)
                output = next(iter(side.run(batch).values())).float()
                count = objective.right(output, batch) if data.labelled else None
                right += 0.0 if count is None else float(count)
                if objective.truth == "text":
                    tokens = objective.count(batch).double()
                    lost += float((objective.hard(output, batch).double() * tokens).sum())
                    counted += float(tokens.sum())
        side.model.to("cpu")
        if data.labelled and objective.truth == "labels":
            found[name] = {"accuracy": right / len(data)}
        elif objective.truth == "text":
            found[name] = {"perplexity": float(np.exp(lost / counted))}
    return found


def _nearness(trainer: Trainer, sides: tuple[Editable, ...], data: Encoded) -> dict[str, Any]:
    """Mean cosine of the student's vectors to the teacher's; nothing where their sizes differ."""
    home, total = data.to(trainer.device), 0.0
    for side in sides:
        side.model.to(trainer.device).eval()
    with torch.inference_mode():
        for chosen in by_length(data.lengths, np.arange(len(data))):
            batch = home.batch(chosen, trainer.device)
            theirs, mine = (next(iter(side.run(batch).values())).float() for side in sides)
            if theirs.shape != mine.shape:
                return {}
            near = torch.nn.functional.cosine_similarity(theirs, mine, dim=-1)
            mask = batch["attention_mask"].float() if near.ndim == 2 and "attention_mask" in batch else None
            total += float((near if near.ndim == 1 else mean(near, mask)).double().sum())
    for side in sides:
        side.model.to("cpu")
    return {"teacher": {"cosine": 1.0}, "student": {"cosine": total / len(data)}}
