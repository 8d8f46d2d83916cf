"""What is seen in raw texts, images and recordings."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from edgeexport.errors import SamplesError
from edgeexport.lint import _measures
from edgeexport.lint._media import Seen, looker, no_text, sample_rate
from edgeexport.preprocess import ArraysPreprocess, ImagePreprocess, TokenizerPreprocess
from edgeexport.sample_files import Sample

TEXTS = TokenizerPreprocess(max_length=4, fields=("a", "b"))
MODELS = {
    "word": models.WordLevel({"[CLS]": 0, "[UNK]": 1, "ab": 2, "c": 3}, unk_token="[UNK]"),
    "unigram": models.Unigram([("[CLS]", 0.0), ("[UNK]", -9.0), ("ab", -1.0), ("c", -1.0)], 1),
    "bytes": models.BPE({"[CLS]": 0, "?": 1, "ab": 2, "c": 3, "a": 4, "b": 5}, [("a", "b")]),
}


@pytest.mark.parametrize(("kind", "tokens", "unknown"), [("word", 5, 1), ("unigram", 5, 1), ("bytes", 4, 0)])
def test_a_text(tmp_path, kind, tokens, unknown):
    tokenizer = Tokenizer(MODELS[kind])
    tokenizer.add_special_tokens(["[CLS]"])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    look = looker(TEXTS, tmp_path, 1)
    seen = look(Sample("", {"a": "[CLS] ab c ab", "b": "ab é"}), 0)
    assert (len(seen.tokens), seen.unknown) == (tokens, unknown), "uncut, of both columns, without special tokens"
    assert (seen.characters, seen.letters, seen.empty) == (13, 10, False)
    assert look(Sample("", {"a": " ", "b": "\n"}), 0).empty
    assert look(Sample("", {"input_ids": np.ones((1, 3), int)}), 0) == Seen()


def test_an_image_before_it_is_resized(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 200, (40, 30, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    look = looker(ImagePreprocess(resize=(200, 200)), None, 2)
    seen = look(Sample("", tmp_path / "noise.png"), 4)
    assert seen.brightest == pixels.max()
    assert seen.neighbours == pytest.approx(np.mean(_measures.neighbours(pixels)[:2]))
    assert look(Sample("", tmp_path / "noise.png"), 5) == Seen(), "each second one only"


def test_a_recording(tmp_path):
    import tones

    look = looker(tones.PREPROCESS, None, 1)
    loud = tones.recording(0, np.random.default_rng(0))
    for name, samples in (("loud", loud), ("silent", np.full(4000, 32, "<i2"))):
        tones.write(tmp_path / f"{name}.wav", samples)
    seen = look(Sample("", tmp_path / "loud.wav"), 0)
    assert not seen.silent
    assert seen.flatness == pytest.approx(_measures.flatness(loud / 32768))
    assert look(Sample("", tmp_path / "silent.wav"), 0) == Seen(silent=True), "32 of 32768 is -60.2 dB"
    assert sample_rate(Sample("", tmp_path / "loud.wav")) == 4000
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    assert sample_rate(Sample("", tmp_path / "broken.wav")) is None
    with pytest.raises(SamplesError, match="cannot be read"):
        look(Sample("", tmp_path / "broken.wav"), 0)


def test_arrays_have_nothing_beside():
    assert looker(ArraysPreprocess(), None, 1)(Sample("", {"x": np.ones((1, 2))}), 0) == Seen()
    assert sample_rate(Sample("", {"x": np.ones((1, 2))})) is None
    assert not no_text(Sample("", {"x": np.ones((1, 2))}))
    assert no_text(Sample("", {"a": " ", "b": ""}))
