"""What shows of the sets that were given before anything is converted."""

from __future__ import annotations

import math

import numpy as np

from edgeexport.errors import ModelError, SamplesError
from edgeexport.labels import class_index, real_values
from edgeexport.pipeline.compressing import Sets
from edgeexport.samples import Samples, check_count
from edgeexport.settings import STATIC, Settings
from edgeexport.signature import TensorSpec
from edgeexport.source import LABELLED, Source
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
    if source.task in LABELLED and sets.evaluation is not None and not sets.evaluation.labelled:
        raise SamplesError(
            f"the evaluation set {sets.evaluation.path} has samples without a label",
            "Give every sample a 'label', or leave --evaluation out.",
        )
    check_labels(sets.evaluation, source, None)


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


def check_labels(evaluation: Samples | None, source: Source, output: TensorSpec | None) -> None:
    """Refuse an evaluation set with a label that the model cannot answer, before anything is written.

    Args:
        evaluation: the set, or None.
        source: whose task and classes they are for.
        output: the model's first output; None where that is not known yet.

    Raises:
        SamplesError: naming the sample, or the set where no number of a regression's labels varies.
    """
    if evaluation is None:
        return
    if source.task == "classification":
        _check_classes(evaluation, source, output)
    elif source.task == "regression":
        _check_numbers(evaluation, output)


def _check_classes(evaluation: Samples, source: Source, output: TensorSpec | None) -> None:
    classes = output.shape[-1] if output is not None else source.labels and len(source.labels)
    if not isinstance(classes, int):
        return
    names = {name: number for number, name in enumerate(source.labels or ())}
    for sample in evaluation:
        class_index(sample, names, classes)


def _check_numbers(evaluation: Samples, output: TensorSpec | None) -> None:
    """As many numbers a sample as the output has, or as the first sample where that is not known."""
    columns = None if output is None else _columns(output)
    lowest = highest = None
    for sample in evaluation:
        values = real_values(sample, columns)
        if lowest is None or highest is None:
            lowest, highest = values, values
        elif values.size != lowest.size:
            raise SamplesError(
                f"{sample.name}: its label is of length {values.size}, and the first sample's of length {lowest.size}",
                "Give one number for each that the model's first output holds.",
            )
        else:
            lowest, highest = np.minimum(lowest, values), np.maximum(highest, values)
    if lowest is None or highest is None or not (highest > lowest).any():
        raise SamplesError(
            f"the evaluation set {evaluation.path} has the same label throughout",
            "R² compares errors with how much labels vary: give samples whose labels differ.",
        )


def _columns(output: TensorSpec) -> int | None:
    """How many numbers the output holds for one sample; None where an axis beside the batch has any length."""
    sizes = output.shape[1:]
    return (
        math.prod(size for size in sizes if isinstance(size, int)) if all(isinstance(s, int) for s in sizes) else None
    )
