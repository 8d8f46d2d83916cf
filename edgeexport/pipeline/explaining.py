"""Where outputs that failed parity part from float32: both artifacts once more, with inner values as outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from edgeexport.analysis import Divergence
from edgeexport.artifact import Bundle
from edgeexport.decoder import MASKED, Decoder, prefill_feeds
from edgeexport.errors import DeviceError, EdgeExportError, RunFailed
from edgeexport.interface import dequantize_inputs
from edgeexport.job import Device
from edgeexport.observation import Observed
from edgeexport.pipeline.opening import open_observing
from edgeexport.progress import Progress
from edgeexport.results import Check, Run
from edgeexport.runtime_names import module_of
from edgeexport.signature import Signature
from edgeexport.verify.divergence import compare
from edgeexport.verify.harness import Arrays, Plan, job_folder

_PARITY = {"agreement", "cosine_min", "accuracy_drop", "perplexity_ratio"}
_SAMPLES = 16
_LAYERS = 256
_ARTIFACT_IS_FLOAT32 = (
    "layers were not compared: the bundle's model is the float32 one of its format, so that what is lost was lost in "
    "the conversion, or by the runtime"
)
_NO_FLOAT32 = (
    "layers were not compared: the float32 model is not here; name it with --float32, or export again, which keeps it "
    "in the cache"
)


@dataclass
class Explanation:
    """What was found.

    Attributes:
        divergences: one for each run that was explained.
        notes: what the figures are of, and why there are none.
    """

    divergences: list[Divergence] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """One run to explain.

    Attributes:
        device, runtime: where it ran; the runtime by public name.
        run: what came of it.
        checks: on it.
    """

    device: Device
    runtime: str
    run: Run
    checks: Sequence[Check]

    @property
    def failed(self) -> list[str]:
        """Names of the parity checks that failed."""
        return [check.name for check in self.checks if check.name in _PARITY and check.verdict == "fail"]


class Explaining:
    """Compares the layers of a bundle's model with float32.

    Args:
        bundle: whose model.
        float32: of the same format; None where it is not at hand.
        plan: gives the cases, from the first again.
        progress: told of it.
        asked: True for every place, False for none, None for those where parity failed.
    """

    def __init__(
        self, bundle: Bundle, float32: Path | None, plan: Callable[[], Plan], progress: Progress, asked: bool | None
    ) -> None:
        self._bundle, self._float32 = bundle, float32
        self._plan, self._progress, self._asked = plan, progress, asked
        self._found = Explanation()

    def run(self, places: Sequence[Place]) -> Explanation:
        """Compare on each place that asks for it."""
        chosen = [] if self._asked is False else [place for place in places if place.run.error is None]
        chosen = [place for place in chosen if self._asked or place.failed]
        if not chosen:
            return self._found
        if self._bundle.manifest.precision == "fp32":
            self._found.notes.append(_ARTIFACT_IS_FLOAT32)
        elif self._float32 is None:
            self._found.notes.append(_NO_FLOAT32)
        else:
            self._compare(chosen, self._float32)
        return self._found

    def _compare(self, chosen: list[Place], float32: Path) -> None:
        name = self._bundle.manifest.format
        observe = open_observing(name)
        if observe is None:
            self._found.notes.append(f"layers were not compared: the format {name} shows no inner values")
            return
        with job_folder() as folder:
            try:
                observed = observe(float32, self._bundle.model_path, folder, _LAYERS)
            except Exception as error:  # whatever a model is like: the report must not be lost for want of reasons
                what = error.what if isinstance(error, EdgeExportError) else f"{type(error).__name__}: {error}"
                self._found.notes.append(f"layers were not compared: {what}")
                return
            if observed.left_out:
                count = len(observed.layers)
                self._found.notes.append(f"{count} of {count + observed.left_out} layers were compared with float32")
            for place in chosen:
                self._at(place, observed)

    def _at(self, place: Place, observed: Observed) -> None:
        if place.failed:
            names = " and ".join(place.failed)
            self._progress.say(f"{names} failed: comparing layers with float32 (--no-explain leaves this out)")
        where = f"{place.runtime} on {place.run.device}"
        try:
            with self._progress.stage(f"comparing {len(observed.layers)} layers with float32: {where}"):
                self._found.divergences.append(self._explain(place, observed))
        except (RunFailed, DeviceError) as failure:
            log = failure.log.splitlines()[-1:] if isinstance(failure, RunFailed) else []
            self._found.notes.append("; ".join([f"layers were not compared by {where}: {failure.what}", *log]))

    def _explain(self, place: Place, observed: Observed) -> Divergence:
        plan = self._plan()
        result = compare(
            place.device,
            observed,
            islice(_feeds(self._bundle, plan), _SAMPLES),
            runtime=module_of(place.runtime),
            model=self._bundle.model_path,
            threads=plan.timing.threads,
            timeout_s=plan.timeout_s,
        )
        evidence = place.run.evidence
        assert evidence != "estimated"  # a cost model has no place
        self._found.notes += [f"{place.run.place}: {note}" for note in result.notes]
        return Divergence(
            runtime=place.run.runtime,
            device=place.run.device,
            evidence=evidence,
            layers=result.layers,
            worst=result.worst,
        )


def _feeds(bundle: Bundle, plan: Plan) -> Iterator[tuple[Arrays, Arrays]]:
    """What the float32 model takes and what the quantized one takes, a pair a sample."""
    decoder, signature = bundle.manifest.decoder, bundle.signature
    for case in plan.cases:
        if decoder is None:
            yield dequantize_inputs(case.inputs, signature), case.inputs
        else:
            piece = _beginning(decoder, case.inputs["input_ids"], signature)
            yield piece, piece


def _beginning(decoder: Decoder, ids: np.ndarray, signature: Signature) -> Arrays:
    """The beginning of a text as the exported function takes it, with nothing in the cache."""
    if decoder.cache == "slots":
        return next(prefill_feeds(decoder, ids, signature))
    length = max(decoder.prefill, default=1)
    types = {spec.name: spec.dtype for spec in signature.inputs}
    piece = ids[:, :length]
    padded = np.zeros((1, length), types["input_ids"])
    padded[:, : piece.shape[1]] = piece
    mask = np.full((1, 1, length, decoder.context), MASKED, np.float32)
    mask[..., :length] = np.triu(np.full((length, length), MASKED, np.float32), 1)
    return {
        "input_ids": padded,
        "position_ids": np.arange(length, dtype=types["position_ids"])[None],
        "attention_mask": mask,
        "slot": np.zeros(1, types["slot"]),
    }
