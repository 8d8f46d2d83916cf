"""Whether covered text is split as before, over many small random vocabularies: what the proofs say, by numbers."""

import itertools
import random

import pytest
from tokenizers import Tokenizer, models, normalizers

from edgeexport.compress._tokenizer_kinds import kind_of
from edgeexport.compress._tokenizer_merges import Derivations, merges_of
from edgeexport.errors import ModelError

LETTERS = "abc"


def strings(source, count, longest=6):
    return sorted({"".join(source.choices(LETTERS, k=source.randint(2, longest))) for _ in range(count)})


def word_level(source):
    tokens = ["?", *LETTERS, *strings(source, 30, 3)]
    return {"type": "WordLevel", "vocab": numbered(tokens), "unk_token": "?"}


def word_piece(source):
    pieces = [start + text for text in [*LETTERS, *strings(source, 25, 4)] for start in ("", "##")]
    common = {"unk_token": "?", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    return {"type": "WordPiece", "vocab": numbered(["?", *pieces]), **common}


def bpe(source, **more):
    """Merges in random order, most tokens having several."""
    prefix, suffix = more.get("continuing_subword_prefix") or "", more.get("end_of_word_suffix") or ""
    characters = [start + letter + end for letter in LETTERS for start in {"", prefix} for end in {"", suffix}]
    tokens, merges = sorted(set(characters)), []
    for _ in range(source.randint(5, 40)):
        left, right = source.choice(tokens), source.choice(tokens)
        fits = right.startswith(prefix) and not (suffix and left.endswith(suffix))
        if fits and (left, right) not in merges:
            merges.append((left, right))
            made = left + right[len(prefix) :]
            if made not in tokens:
                tokens.append(made)
    for _ in range(20):  # more ways to the same tokens
        token = source.choice(tokens)
        for place in range(1, len(token)):
            pair = (token[:place], prefix + token[place:])
            if pair[0] in tokens and pair[1] in tokens and pair not in merges:
                merges.insert(source.randrange(len(merges) + 1), pair)
    common = {"dropout": None, "fuse_unk": False, "byte_fallback": False, "unk_token": "?"}
    common |= {"continuing_subword_prefix": prefix or None, "end_of_word_suffix": suffix or None}
    return {
        "type": "BPE",
        "vocab": numbered(["?", *tokens]),
        "merges": [list(pair) for pair in merges],
        **common,
        **more,
    }


def bpe_ended(source):
    return bpe(source, end_of_word_suffix="</w>")


def bpe_continued(source):
    return bpe(source, continuing_subword_prefix="##")


def bpe_looked_up(source):
    model = bpe(source, ignore_merges=True)
    for word in strings(source, 5):
        model["vocab"].setdefault(word, len(model["vocab"]))
    return model


def unigram(source):
    """Few scores, so that many splits draw; some letters are no pieces."""
    pieces = [*source.sample(LETTERS, source.randint(1, 3)), *strings(source, 25, 4)]
    scores = [-float(source.choice((1, 2, 3, 4, 8, 16))) for _ in pieces]
    vocabulary = [["?", 0.0], *([piece, score] for piece, score in zip(pieces, scores, strict=True))]
    return {"type": "Unigram", "unk_id": 0, "vocab": vocabulary, "byte_fallback": False}


KINDS = (word_level, word_piece, bpe, bpe_ended, bpe_continued, bpe_looked_up, unigram)


def numbered(tokens):
    return {token: number for number, token in enumerate(tokens)}


def values(model):
    parts = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    return {"version": "1.0", "added_tokens": [], "model": model, **dict.fromkeys(parts)}


def loaded(model):
    import json

    return Tokenizer.from_str(json.dumps(values(model)))


@pytest.mark.parametrize("make", KINDS)
def test_covered_words_are_split_as_before(make):
    checked = removed = 0
    for seed in range(150):
        source = random.Random(seed)
        model = make(source)
        kind, before = kind_of(values(model), "here"), loaded(model)
        size = before.get_vocab_size()
        words = ["".join(source.choices(LETTERS + "d", (9, 9, 9, 1), k=source.randint(1, 9))) for _ in range(60)]
        chosen = {kind.unknown, *(number for word in words[:4] for number in before.encode(word).ids)}
        chosen |= set(source.sample(range(size), size // 5))
        kept = sorted(chosen | kind.needed(chosen))
        new = {old: number for number, old in enumerate(kept)}
        after = loaded(kind.rewritten(new))
        removed += size - len(kept)
        for word in words:
            old = before.encode(word).ids
            if all(number in new for number in old) and (kind.exact_unknown or kind.unknown not in old):
                checked += 1
                assert after.encode(word).ids == [new[number] for number in old], (seed, word)
    assert checked > 1500
    assert removed > 600


@pytest.mark.parametrize("make", [bpe, bpe_ended, bpe_continued])
def test_derivations_end_where_the_library_does(make):
    """A token has parts exactly if the library makes it of its characters."""
    made = 0
    for seed in range(100):
        model = make(random.Random(seed))
        prefix, suffix = model["continuing_subword_prefix"] or "", model["end_of_word_suffix"] or ""
        derivations = Derivations(model["vocab"], merges_of(model), prefix, suffix)
        tokenizer = loaded(model)
        for token in model["vocab"]:
            word = token.removesuffix(suffix) if suffix else token
            if (suffix and not token.endswith(suffix)) or (prefix and token.startswith(prefix)) or token == "?":
                continue  # no word by itself
            alone = tokenizer.encode(word).tokens == [token]
            assert (token in derivations.parts(token)) == alone, (seed, token)
            made += alone
    assert made > 500


def test_words_that_a_sound_vocabulary_does_not_know_stay_unknown():
    pieces = [start + text for text in (*LETTERS, "ab", "abc", "bc", "cab") for start in ("", "##")]
    common = {"unk_token": "?", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    kind = kind_of(values({"type": "WordPiece", "vocab": numbered(["?", *pieces]), **common}), "here")
    assert kind.exact_unknown
    assert not kind_of(
        values({"type": "WordPiece", "vocab": numbered(["?", *pieces, "dd"]), **common}), "x"
    ).exact_unknown
    new = {old: number for number, old in enumerate([0, *range(1, 7), kind.vocabulary["##bc"]])}
    after = loaded(kind.rewritten(new))
    for letters in itertools.product("abcd", repeat=4):
        word = "".join(letters)
        assert (after.encode(word).tokens == ["?"]) == ("d" in word)


def test_merges_as_text():
    """As tokenizer.json had them before version 0.20."""
    model = {"type": "BPE", "vocab": numbered(["a", "b", "c", "ab", "abc"]), "merges": ["a b", "ab c"]}
    kind = kind_of(values(model), "here")
    assert kind.needed({4}) == {0, 1, 2, 3, 4}
    assert kind.rewritten({0: 0, 1: 1, 3: 2})["merges"] == ["a b"]


def test_characters_without_anything_to_fall_back_on():
    """Where there is neither an unknown token nor bytes, a character that is removed would vanish."""
    model = {"type": "BPE", "vocab": numbered(["a", "b", "é", "ab"]), "merges": [["a", "b"]], "unk_token": None}
    assert kind_of(values(model), "here").alphabet() == {0, 1, 2}
    assert kind_of(values({**model, "vocab": {**model["vocab"], "?": 4}, "unk_token": "?"}), "here").alphabet() == set()


@pytest.mark.parametrize("part", ["normalizer", "pre_tokenizer"])
def test_bytes_stay(part):
    from tokenizers.pre_tokenizers import ByteLevel

    tokens = [*sorted(ByteLevel.alphabet()), "ab"]
    model = {"type": "BPE", "vocab": numbered(tokens), "merges": [["a", "b"]]}
    inside = {"type": "Sequence", f"{part}s": [{"type": "ByteLevel"}]}
    assert kind_of({**values(model), part: inside}, "here").alphabet() == set(range(256))


def test_byte_tokens_stay():
    tokens = ["?", "a", *(f"<0x{number:02X}>" for number in range(256))]
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": [[token, -1.0] for token in tokens], "byte_fallback": True}
    bpe = {"type": "BPE", "vocab": numbered(tokens), "merges": [], "byte_fallback": True, "unk_token": None}
    for model in (unigram, bpe):
        assert kind_of(values(model), "here").alphabet() == set(range(2, 258))


def test_kinds_of_files_that_do_not_say():
    common = {"unk_token": "?", "vocab": {"?": 0, "a": 1}}
    files = {
        "WordLevel": common,
        "WordPiece": {**common, "continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
        "Bpe": {**common, "merges": []},
        "Unigram": {"unk_id": 0, "vocab": [["?", 0.0], ["a", -1.0]]},
    }
    for name, model in files.items():
        assert type(kind_of(values(model), "here")).__name__ == name


def test_what_is_refused():
    with pytest.raises(ModelError, match="here is of the kind 'Other', whose vocabulary cannot be rewritten"):
        kind_of(values({"type": "Other", "vocab": {}}), "here")
    with pytest.raises(ModelError, match="here names no unknown token"):
        kind_of(values({"type": "Unigram", "unk_id": None, "vocab": [["a", -1.0]]}), "here")


def test_library_agrees_with_what_is_made_here():
    """The random models are those that the library's own classes make."""
    model = unigram(random.Random(0))
    made = Tokenizer(models.Unigram([tuple(piece) for piece in model["vocab"]], 0))
    made.normalizer = normalizers.Replace("x", "x")
    for word in strings(random.Random(1), 20):
        assert made.encode(word).ids == loaded(model).encode(word).ids
