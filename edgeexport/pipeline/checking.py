"""What shows of the sets that were given before anything is converted."""

from __future__ import annotations

from edgeexport.errors import ModelError, SamplesError
from edgeexport.labels import class_index
from edgeexport.pipeline.compressing import Sets
from edgeexport.samples import Samples, check_count
from edgeexport.settings import STATIC, Settings
from edgeexport.source import Source
from edgeexport.target import Target
from edgeexport.text_features import TokenizerPreprocess, open_tokenizer


def check_sets(sets: Sets, source: Source, settings: Settings, target: Target) -> None:
    """Hold the sets to what the model and the precision take.

    Raises:
        SamplesError: samples of another kind, too few, none where some are needed, without labels or with strange ones.
    """
    for samples in (sets.calibration, sets.evaluation, sets.train):
        if samples is not None and samples.kind != source.preprocess.accepts:
            raise SamplesError(
                f"{source.name} takes {source.preprocess.accepts}; {samples.path} is {samples.what}",
                "Give samples of the model's kind.",
            )
    if sets.calibration is None and settings.precision in STATIC:
        others = [name for name in ("w8a8-dynamic", "w8", "fp32") if name in target.precisions]
        raise SamplesError(
            f"static precision {settings.precision} needs calibration samples, and none were given",
            "Give --calibration FILE" + (f", or choose --precision {others[0]}." if others else "."),
        )
    if sets.calibration is not None and settings.precision in {*STATIC, "w8a8-dynamic"}:
        check_count(sets.calibration, len(sets.calibration), settings.calibration.minimum_samples)
    if source.task == "classification" and sets.evaluation is not None and not sets.evaluation.labelled:
        raise SamplesError(
            f"the evaluation set {sets.evaluation.path} has samples without a label",
            "Give every sample a 'label', or leave --evaluation out.",
        )
    check_labels(sets.evaluation, source, source.labels and len(source.labels))


def check_tokens(source: Source) -> None:
    """Refuse a language model whose tokenizer gives ids that it has not, or whose text would end with such a one.

    Raises:
        ModelError: with both numbers.
    """
    if source.decoder is None:
        return
    known = source.decoder.vocabulary
    strange = [token for token in source.decoder.stop_ids if not 0 <= token < known]
    if strange:
        raise ModelError(
            f"{source.name}: a text ends with token {strange[0]}, and the model knows {known}, from 0",
            "Correct eos_token_id in generation_config.json and config.json.",
        )
    if isinstance(source.preprocess, TokenizerPreprocess):
        size = int(open_tokenizer(source.assets).get_vocab_size())
        if size > known:
            raise ModelError(
                f"{source.name}: its tokenizer has {size} tokens, and the model knows {known}",
                "Take the tokenizer that it was trained with, or resize its embeddings and train on.",
            )


def check_labels(evaluation: Samples | None, source: Source, classes: object) -> None:
    """Refuse an evaluation set with a class that the model lacks, before anything is written.

    Args:
        evaluation: the set, or None.
        source: whose classes they are.
        classes: how many the model has; anything but a number where that is not known yet.

    Raises:
        SamplesError: naming the sample.
    """
    if evaluation is None or source.task != "classification" or not isinstance(classes, int):
        return
    names = {name: number for number, name in enumerate(source.labels or ())}
    for sample in evaluation:
        class_index(sample, names, classes)
