"""What raw texts, images and recordings have that their arrays no longer show."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.errors import SamplesError
from edgeexport.lint import _measures
from edgeexport.preprocess import ImagePreprocess, LogMelPreprocess, Preprocess, TokenizerPreprocess
from edgeexport.sample_files import AUDIO_SUFFIXES
from edgeexport.samples import Sample
from edgeexport.text_features import open_tokenizer


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in one raw sample; fields that do not apply keep their defaults.

    Attributes:
        tokens: of a text before it is cut, special ones left out; None where the sample is no text.
        characters: of the text, white space left out.
        letters: those of them that are ASCII letters.
        unknown: tokens that stand for what the tokenizer does not know.
        empty: the text has no token.
        brightest: of an image's bytes.
        neighbours: mean correlation of an image's pixels with the next, before resizing; NaN where it is flat.
        silent: nothing in the recording is louder than -60 dB of full scale.
        flatness: of the recording's spectrum.
    """

    tokens: tuple[int, ...] | None = None
    characters: int = 0
    letters: int = 0
    unknown: int = 0
    empty: bool = False
    brightest: int | None = None
    neighbours: float | None = None
    silent: bool = False
    flatness: float | None = None


Look = Callable[[Sample, int], Seen]
_SILENCE = 1e-3
_PLAIN = Seen()


def looker(preprocess: Preprocess, assets: Path | None, every: int) -> Look:
    """What looks at raw samples of the preprocessing's kind; into each ``every``-th image only, decoding being slow."""
    if isinstance(preprocess, TokenizerPreprocess):
        return _texts(preprocess, assets)
    if isinstance(preprocess, ImagePreprocess):
        return lambda sample, number: _image(sample) if number % every == 0 else _PLAIN
    if isinstance(preprocess, LogMelPreprocess):
        return lambda sample, _: _recording(sample)
    return lambda _sample, _number: _PLAIN


def _texts(preprocess: TokenizerPreprocess, assets: Path | None) -> Look:
    tokenizer: Any = open_tokenizer(assets)
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    strange = _unknown(tokenizer)

    def look(sample: Sample, number: int) -> Seen:
        del number
        record = sample.record
        assert isinstance(record, Mapping)
        if "input_ids" in record:
            return _PLAIN
        texts = [str(record[field]) for field in _columns(preprocess, record)]
        tokens = [token for text in texts for token in tokenizer.encode(text, add_special_tokens=False).ids]
        content = tuple(token for token in tokens if token == strange or token not in special)
        characters = [one for text in texts for one in text if not one.isspace()]
        return Seen(
            tokens=content,
            characters=len(characters),
            letters=sum(one.isascii() and one.isalpha() for one in characters),
            unknown=sum(token == strange for token in content),
            empty=not characters or not content,
        )

    return look


def _unknown(tokenizer: Any) -> int | None:
    """The token that stands for what the tokenizer does not know; None where it knows everything, as bytes do."""
    name = getattr(tokenizer.model, "unk_token", None)
    if name is not None:
        number = tokenizer.token_to_id(str(name))
    elif type(tokenizer.model).__name__ == "Unigram":  # which tells only in its file
        number = json.loads(tokenizer.to_str())["model"].get("unk_id")
    else:
        number = None
    return None if number is None else int(number)


def _columns(preprocess: TokenizerPreprocess, record: Mapping[str, object]) -> Sequence[str]:
    return preprocess.fields or [name for name, value in record.items() if isinstance(value, str)]


def _image(sample: Sample) -> Seen:
    import numpy as np
    from PIL import Image

    assert isinstance(sample.record, Path)
    with Image.open(sample.record) as image:  # which the encoder has just read
        pixels = np.asarray(image.convert("RGB"))
    along = [value for value in _measures.neighbours(pixels) if value == value]  # noqa: PLR0124  not NaN
    return Seen(brightest=int(pixels.max()), neighbours=sum(along) / len(along) if along else None)


def _recording(sample: Sample) -> Seen:
    import numpy as np
    import soundfile

    assert isinstance(sample.record, Path)
    try:
        waveform, _ = soundfile.read(sample.record, dtype="float64", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise SamplesError(f"{sample.record} cannot be read as a recording: {error}") from error
    silent = not len(waveform) or float(np.abs(waveform).max()) < _SILENCE
    return Seen(silent=silent, flatness=None if silent else _measures.flatness(waveform[:, 0]))


def sample_rate(sample: Sample) -> int | None:
    """What a recording's file says; None of what is no recording."""
    if not isinstance(sample.record, Path) or sample.record.suffix.lower() not in AUDIO_SUFFIXES:
        return None
    import soundfile

    try:
        return int(soundfile.info(sample.record).samplerate)
    except (soundfile.SoundFileError, OSError):
        return None


def no_text(sample: Sample) -> bool:
    """Whether all that a record has for columns of text is white space."""
    if isinstance(sample.record, Path):
        return False
    texts = [value for value in sample.record.values() if isinstance(value, str)]
    return bool(texts) and not "".join(texts).strip()
