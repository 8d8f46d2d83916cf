"""Quantization-aware training: the model learns with its target's rounding in the forward (arXiv:1712.05877).

The graph that ``torch.export`` gives is written as the target's format computes it, and torchao's PT2E puts rounding
where the export that follows will: the same operators, granularity and calibration, by the same settings. What is
trained are the model's own float weights. The result is a source like any other, whose ordinary static export is the
integer model that was rehearsed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace

from edgeexport.compress._calibrate import calibrate, shaped
from edgeexport.compress._encoded import Batch, Encoded, encode
from edgeexport.compress._objectives import Objective, objective_of
from edgeexport.compress._prepare import activations, set_mode
from edgeexport.compress._rounded import Rounded
from edgeexport.compress._training import History, Split, Trainer, split
from edgeexport.compress.distill import Pupil, check_labels
from edgeexport.compression import Materials
from edgeexport.errors import RecipeError, SamplesError
from edgeexport.fixed import check_lengths
from edgeexport.scheme import Scheme
from edgeexport.settings import Settings
from edgeexport.source import Editable, Source
from edgeexport.stages import Distill, Qat

_LOOKS = 4
"""Times an epoch that observed ranges are found anew, for they move with the weights."""
_EXAMPLES = 3
_COARSE_DB = 26.0
"""Activations below this signal to noise over their extremes have outliers that training takes down."""


class QuantizationAwareTraining:
    """See :class:`edgeexport.compression.Method`."""

    def compress(self, source: Source, stage: Qat, materials: Materials, folder: Path) -> dict[str, Any]:
        """Write the trained model to ``folder``; see :class:`edgeexport.compression.Method`."""
        settings, scheme = _target(materials)
        if stage.ranges == "learned":
            # What is trained with one range would be exported with another.
            raise RecipeError(
                "learned activation ranges do not reach the export yet, which would calibrate its own",
                'Choose ranges = "observed".',
            )
        train, calibration = _sets(source, materials)
        check_lengths(source, settings.interface.lengths)
        objective = objective_of(source)
        editable = source.editable()
        teacher = (materials.open(stage.teacher) if stage.teacher else source).editable()
        course = _Course(stage, teacher, objective, materials)
        with course.trainer.accelerator.main_process_first():
            data = encode(source, train, materials.work / "train", materials.progress, stage.training.longest)
            seen = encode(source, calibration, materials.work / "calibration", materials.progress, _longest(settings))
        check_labels(source, data, stage.alpha, objective, str(train.path))
        evaluation = None
        if materials.evaluation is not None:
            evaluation = encode(
                source, materials.evaluation, materials.work / "evaluation", materials.progress, _longest(settings)
            )
        device = course.trainer.device
        editable.model.to(device)
        calibration_set = seen.to(device)

        def rehearse() -> Rehearsal:
            return Rehearsal(
                source, editable, calibration_set, scheme=scheme, settings=settings, stage=stage, device=device
            )

        rehearsal = rehearse()
        parts = split(len(data), stage.training)
        facts: dict[str, Any] = {
            "format": materials.format,
            "folded": rehearsal.rounded.folded,
            "trained_on": len(parts.training),
            "before": rehearsal.score(evaluation, objective),
        }
        if stage.settle and rehearsal.pressed:
            facts["settling"] = course.settle(rehearsal, data, parts).facts()
            rehearsal.rounded.write_back()
            rehearsal = rehearse()
            facts["settled"] = rehearsal.score(evaluation, objective)
        facts["operators"] = rehearsal.counts()
        facts["training"] = course.round(rehearsal, data, parts).facts()
        facts["after"] = rehearsal.score(evaluation, objective)
        rehearsal.rounded.model.to("cpu")
        if course.trainer.leads:
            rehearsal.rounded.save(folder)
        facts = {key: value for key, value in facts.items() if value != {}}
        return {"summary": _summary(source.name, facts), **facts}


def open_method() -> QuantizationAwareTraining:
    """The method of this module."""
    return QuantizationAwareTraining()


class Rehearsal:
    """A rounded model with what calibrates it.

    Args:
        source: the model's.
        editable: trained; on the device.
        seen: calibration samples, on the device.
        scheme: the format's.
        settings: of the export that follows.
        stage: whether ranges are learned, and outliers pressed.
        device: where all of it is.

    Attributes:
        rounded: the model.
        pressed: activations in which outliers leave too few steps to the rest.
    """

    def __init__(
        self,
        source: Source,
        editable: Editable,
        seen: Encoded,
        *,
        scheme: Scheme,
        settings: Settings,
        stage: Qat,
        device: torch.device,
    ) -> None:
        self._seen, self._settings, self._device = seen, settings, device
        example = seen.batch(np.arange(min(_EXAMPLES, len(seen))), device)

        def rounded(*coarse: str) -> Rounded:
            learned = stage.ranges == "learned"
            return Rounded(
                editable,
                source.signature,
                example,
                scheme=scheme,
                settings=settings,
                learned=learned,
                coarse=coarse,
            )

        self.rounded = rounded()
        self.look()
        coarse = self.rounded.coarse()
        if coarse:
            self.rounded = rounded(*coarse)
            self.look()
        # Once for all: which they are decides what a recorded pass computes, and a resumed run must find the same.
        found = activations(self.rounded.model).values() if stage.pressure else ()
        self.pressed = [one for one in found if one.fixed is None and one.seen.count and one.seen.snr_db() < _COARSE_DB]
        for one in self.pressed:
            one.pressed = True

    def look(self) -> None:
        """Find the activations' ranges with the weights as they are now."""
        with torch.inference_mode(False):
            calibrate(
                self.rounded.model, self._seen, self._settings.calibration, self._settings.interface, self._device
            )

    def peaks(self) -> torch.Tensor | float:
        """Mean over the activations that stand out of how far they do, in the forward before; asked once."""
        found = []
        for one in self.pressed:
            if one.peak is not None:
                found.append(one.peak)
                one.peak = None  # else it would hold the step's whole graph of gradients until the next
        return torch.stack(found).mean() if found else 0.0

    def counts(self) -> dict[str, int]:
        """How many operators have each precision."""
        found = list(self.rounded.plan.precisions.values())
        return {precision: found.count(precision) for precision in sorted(set(found))}

    def outputs(self, data: Encoded) -> np.ndarray:
        """The first output of every sample, in the shapes that the artifact takes: [samples, ...]."""
        kept: np.ndarray | None = None
        with torch.inference_mode():
            for batch in shaped(data, self._settings.interface, self._device):
                output = next(iter(self.rounded.run(batch).values())).float().cpu().numpy()
                if kept is None:
                    kept = np.zeros((len(data), *output.shape[1:]), np.float32)
                kept[batch["sample"].cpu().numpy()] = output
        assert kept is not None
        return kept

    def score(self, data: Encoded | None, objective: Objective) -> dict[str, float]:
        """How the rounded model does on labelled samples that only score; empty where there are none."""
        if data is None or not data.labelled or objective.truth != "labels":
            return {}
        right = int((self.outputs(data).argmax(-1) == data.labels).sum())
        return {"accuracy": right / len(data), "samples": len(data)}


class _Course:
    """The two trainings of a model: in float32 until its outliers are gone, and with rounding."""

    def __init__(self, stage: Qat, teacher: Editable, objective: Objective, materials: Materials) -> None:
        self._stage, self._teacher, self._objective, self._materials = stage, teacher, objective, materials
        self.trainer = Trainer(stage.training, materials.work, materials.progress)

    def settle(self, rehearsal: Rehearsal, data: Encoded, parts: Split) -> History:
        """Train in float32. Nothing is held out to choose a pass by: the first would be best, outliers and all."""
        stage = self._stage
        training = replace(stage.training, epochs=stage.settle, learning_rate=stage.settle_rate, patience=0)
        trainer = Trainer(training, self._materials.work / "settling", self._materials.progress)
        self._materials.progress.say(f"taking down the outliers of {len(rehearsal.pressed)} activations, in float32")
        return self._fit(trainer, rehearsal, data, Split(parts.training, parts.held_out[:0]), rounding=False)

    def round(self, rehearsal: Rehearsal, data: Encoded, parts: Split) -> History:
        """Train with rounding."""
        return self._fit(self.trainer, rehearsal, data, parts, rounding=True)

    def _fit(self, trainer: Trainer, rehearsal: Rehearsal, data: Encoded, parts: Split, rounding: bool) -> History:
        learner = RoundedPupil(rehearsal, self._teacher, self._stage, self._objective, rounding)
        learner.attend(trainer, data, np.concatenate([parts.training, parts.held_out]))
        history = trainer.fit(learner, data, parts)
        learner.dismiss()
        learner.to(trainer.device)
        rehearsal.look()
        return history


class RoundedPupil(Pupil):
    """Learns while its forward rounds, or before; ranges that are observed are found anew now and then.

    Args:
        rehearsal: the rounded model.
        teacher: whose scores are learned.
        stage: with the weights.
        objective: the task's.
        rounding: whether its forward rounds.
    """

    def __init__(
        self, rehearsal: Rehearsal, teacher: Editable, stage: Qat, objective: Objective, rounding: bool = True
    ) -> None:
        taught = Distill(temperature=stage.temperature, alpha=stage.alpha, training=stage.training)
        super().__init__(rehearsal.rounded, teacher, taught, objective, ())
        self._rehearsal, self._stage_of_training, self._rounding = rehearsal, stage, rounding
        self._stale = False
        set_mode(rehearsal.rounded.model, "rounded" if rounding else "float")

    def begin(self, step: int, steps: int) -> None:
        """Look at the ranges again where that is due."""
        looks = _LOOKS * self._stage_of_training.training.epochs
        if self._rounding and self._stage_of_training.ranges == "observed":
            if step and step * looks // steps != (step - 1) * looks // steps:
                self._rehearsal.look()
            self._stale = True

    def forward(self, batch: Batch) -> torch.Tensor:
        """[batch]."""
        losses: torch.Tensor = super().forward(batch)
        pressure = self._stage_of_training.pressure
        return losses + pressure * self._rehearsal.peaks() if self.training and pressure else losses

    def measure(self, batch: Batch) -> dict[str, torch.Tensor]:
        """See :class:`~edgeexport.compress._training.Learner`."""
        if self._stale:
            self._rehearsal.look()
            self._stale = False
        return super().measure(batch)


def _target(materials: Materials) -> tuple[Settings, Scheme]:
    settings, scheme = materials.settings, materials.scheme
    if settings is None or scheme is None:
        raise RecipeError("quantization-aware training needs a target, whose rounding is learned", "Give --target.")
    if settings.precision != "w8a8":
        raise RecipeError(
            f"quantization-aware training is for static int8, and the export that follows has {settings.precision}",
            "Choose --precision w8a8.",
        )
    return settings, scheme


def _sets(source: Source, materials: Materials) -> tuple[Any, Any]:
    if materials.train is None:
        raise SamplesError(
            "quantization-aware training needs samples to train on, and none were given", "Give --train FILE."
        )
    if materials.calibration is None:
        raise SamplesError(
            f"the ranges of {source.name}'s activations need calibration samples, and none were given",
            "Give --calibration FILE, the one that the export takes.",
        )
    return materials.train, materials.calibration


def _longest(settings: Settings) -> int | None:
    return max(settings.interface.lengths, default=None)


def _summary(name: str, facts: dict[str, Any]) -> str:
    text = f"{name} trained on {facts['trained_on']:,} samples with the rounding of {facts['format']}"
    if facts.get("after"):
        before, after = facts["before"]["accuracy"], facts["after"]["accuracy"]
        text += f"; rounded, its accuracy went {before:.4f} → {after:.4f} on {facts['after']['samples']:,} others"
    return text
