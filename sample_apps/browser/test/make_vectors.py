"""Write ``vectors.json``: what edgeexport's own preprocessing makes of texts, for the tests of the app's.

    python sample_apps/browser/test/make_vectors.py

Tokenizers of each common kind are trained on a few sentences, so that the file is small; the tests of edgeexport
compare with full ones.
"""

import itertools
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from edgeexport.preprocess import TokenizerPreprocess, to_dict
from edgeexport.samples import Sample

PLACE = Path(__file__).parent / "vectors.json"
CORPUS = (
    "it 's a charming and often affecting journey .",
    "unflinchingly bleak and desperate",
    "allows us to hope that nolan is poised to embark a major career as a commercial yet inventive filmmaker .",
    "the acting , costumes , music , cinematography and sound are all astounding given the production 's locales",
    "A quietly moving film that earns every one of its tears.",
    "Don't go: it's 2 hours of nothing, and they'll charge you $12.50!",
)
# What a phone's keyboard, a paste or a prank may bring.
ODD = (
    "",
    " ",
    "\t\n  \u00a0two\u2003wide  spaces\r\n",
    "CAPITALS and İstanbul, STRASSE/straße",
    "café cafe\u0301 naïve Ångström",
    "電影很好看 まあまあ 재미있다",
    "👍🏽 so good 👩‍👩‍👧‍👦 ❤️",
    "zero\u200bwidth soft\u00adhyphen \u202eright-to-left\u202c bell\x07 null\x00 replacement\ufffd",
    "[CLS] specials [SEP] in </s> the <mask> text [UNK]",
    "a" * 300,
    "«quotes» – dashes — ellipsis… “curly” ‘single’ `tick` ^caret~ <tag/>",
    "٣ ½ ² ⅷ 1,000.5e-3",
    "word " * 60,
    "ΟΔΟΣ ΣΑΣ.",
)


def tokenizers(folder: Path) -> dict[str, Path]:
    """A tokenizer of each kind, by name, as a folder with its ``tokenizer.json``."""
    word_piece = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    word_piece.normalizer = normalizers.BertNormalizer()
    word_piece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    word_piece.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special))
    word_piece.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    old = Tokenizer.from_str(word_piece.to_str())
    old.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    byte_pairs = Tokenizer(models.BPE())
    byte_pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    byte_pairs.train_from_iterator(CORPUS, trainer)
    bare = Tokenizer.from_str(byte_pairs.to_str())
    bare.post_processor = processors.ByteLevel(trim_offsets=False)
    byte_pairs.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.train_from_iterator((*CORPUS, *ODD), trainers.WordLevelTrainer(special_tokens=special))
    words.post_processor = word_piece.post_processor
    pieces = Tokenizer(models.Unigram())
    pieces.normalizer = normalizers.Sequence([normalizers.Replace("``", '"'), normalizers.NFKC()])
    pieces.pre_tokenizer = pre_tokenizers.Metaspace()
    pieces.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="[UNK]", show_progress=False)
    )
    pieces.post_processor = word_piece.post_processor
    made = {
        "bert": word_piece,
        "bert-old": old,
        "roberta": byte_pairs,
        "gpt2": bare,
        "words": words,
        "sentencepiece": pieces,
    }
    for name, tokenizer in made.items():
        (folder / name).mkdir()
        tokenizer.save(str(folder / name / "tokenizer.json"))
    return {name: folder / name for name in made}


def unpacked(known: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Write tokenizers as :func:`tokenizers` does."""
    for name, file in known.items():
        (folder / name).mkdir()
        (folder / name / "tokenizer.json").write_text(json.dumps(file))
    return {name: folder / name for name in known}


def rules() -> dict[str, TokenizerPreprocess]:
    """Different lengths, sides, paddings, types and numbers of texts."""
    everything = ("input_ids", "token_type_ids", "attention_mask", "position_ids")
    return {
        "plain": TokenizerPreprocess(max_length=64, fields=("text",)),
        "short": TokenizerPreprocess(max_length=9, fields=("text",), inputs=everything, dtype="int32"),
        "padded": TokenizerPreprocess(
            max_length=30, fields=("text",), lengths=(8, 16, 32), pad_id=1, pad_type_id=1, truncation_side="left"
        ),
        "pair": TokenizerPreprocess(max_length=40, fields=("one", "two")),
        "short-pair": TokenizerPreprocess(max_length=13, fields=("one", "two"), truncation_side="left"),
        "padded-pair": TokenizerPreprocess(max_length=16, fields=("one", "two"), lengths=(16,), inputs=everything),
    }


def vectors(name: str, assets: Path, rule: TokenizerPreprocess, texts: Iterable[Sequence[str]]) -> dict[str, Any]:
    """One group of cases: the texts, and each array's values as edgeexport makes them; None where it makes none."""
    from edgeexport.errors import SamplesError

    encode = rule.prepare(assets)
    cases = []
    for text in texts:
        try:
            arrays = encode(Sample("a text", dict(zip(rule.fields, text, strict=True))))
        except SamplesError:
            arrays = None
        values = None if arrays is None else {key: array[0].tolist() for key, array in arrays.items()}
        cases.append({"texts": list(text), "arrays": values})
    return {"name": name, "preprocess": to_dict(rule), "cases": cases}


def main_vectors(known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All that ``vectors.json`` holds.

    Args:
        known: ``tokenizer.json`` by name; None trains them, which comes out differently each time.
    """
    texts = (*CORPUS, *ODD)
    pairs = list(itertools.islice(itertools.product(texts, reversed(texts)), 0, None, 17))
    with tempfile.TemporaryDirectory() as folder:
        found = tokenizers(Path(folder)) if known is None else unpacked(known, Path(folder))
        groups = []
        for kind, (name, rule) in itertools.product(found, rules().items()):
            given = pairs if len(rule.fields) == 2 else [(text,) for text in texts]
            groups.append({"tokenizer": kind, **vectors(name, found[kind], rule, given)})
        files = {kind: json.loads((path / "tokenizer.json").read_text()) for kind, path in found.items()}
    return {"tokenizers": files, "groups": groups}


if __name__ == "__main__":
    PLACE.write_text(json.dumps(main_vectors(), separators=(",", ":")) + "\n")
