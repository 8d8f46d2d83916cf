"""Tables of the characters that BERT's normalizer and pre-tokenizer treat apart, found by asking ``tokenizers``.

An app that asked its own platform would follow another version of Unicode on every phone.
"""

from __future__ import annotations

from tokenizers import normalizers, pre_tokenizers

Ranges = list[tuple[int, int]]

_MEANING = {
    "removed": "Control and private characters, which cleaning removes.",
    "blank": "Characters that cleaning turns into a space.",
    "space": "Characters that words are split at, and that are no part of them.",
    "punctuation": "Characters that are words of their own.",
    "ideograph": "Characters that get a space on both sides.",
    "mark": "Marks that stripping accents removes once a text is decomposed.",
}
_PER_LINE = 8


def tables() -> dict[str, Ranges]:
    """Ranges of code points, both ends included, ascending."""
    found: dict[str, list[int]] = {name: [] for name in _MEANING}
    clean, ideographs, strip = (
        normalizers.BertNormalizer(
            clean_text=number == 0, handle_chinese_chars=number == 1, strip_accents=number == 2, lowercase=False
        )
        for number in range(3)
    )
    split = pre_tokenizers.BertPreTokenizer()
    for code in (*range(0xD800), *range(0xE000, 0x110000)):
        character = chr(code)
        cleaned = clean.normalize_str(character)
        pieces = len(split.pre_tokenize_str(f"a{character}b"))
        answers = {
            "removed": cleaned == "",
            "blank": cleaned == " ",
            "space": pieces == 2,
            "punctuation": pieces == 3,
            "ideograph": ideographs.normalize_str(character) != character,
            "mark": strip.normalize_str(character) == "",
        }
        for name, answer in answers.items():
            if answer:
                found[name].append(code)
    return {name: _ranges(codes) for name, codes in found.items()}


def written(found: dict[str, Ranges], suffix: str) -> str:
    """The source file in the language of ``suffix``."""
    head = "// Written by vectors/make.py; see there. Pairs of first and last code point, ascending.\n\n"
    if suffix == ".kt":
        begin = "package dev.edgeexport.sample\n\nobject BertCharacters {\n"
        table = "    /** {meaning} */\n    val {name}: IntArray = intArrayOf(\n{rows}    )\n"
    else:
        begin = "enum BertCharacters {\n"
        table = "    /// {meaning}\n    static let {name}: [UInt32] = [\n{rows}    ]\n"
    body = "\n".join(
        table.format(meaning=meaning, name=name, rows=_rows(found[name])) for name, meaning in _MEANING.items()
    )
    return f"{head}{begin}{body}}}\n"


def _ranges(codes: list[int]) -> Ranges:
    ranges: Ranges = []
    for code in codes:
        if ranges and ranges[-1][1] + 1 == code:
            ranges[-1] = (ranges[-1][0], code)
        else:
            ranges.append((code, code))
    return ranges


def _rows(ranges: Ranges) -> str:
    values = [f"{first:#x}, {last:#x}," for first, last in ranges]
    lines = (values[start : start + _PER_LINE] for start in range(0, len(values), _PER_LINE))
    return "".join(f"        {' '.join(line)}\n" for line in lines)
