"""Classify with a bundle that edgeexport wrote, on a Raspberry Pi or any Linux board, without torch or edgeexport.

python classify.py BUNDLE "a sentence"
python classify.py BUNDLE picture.jpg
python classify.py BUNDLE --lines sentences.txt     one sample a line, the texts of a pair apart by a tab
python classify.py BUNDLE --self-test               exit status 1 where the golden data disagree
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bundle import Bundle, BundleError, open_bundle
from engine import Engine
from preprocess import encoder
from selftest import self_test

SHOWN = 5


def main() -> int:
    """Parse, run, print; 0, or 1 where a self-test fails, or 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("sample", nargs="*", metavar="SAMPLE", help="a text, two of a pair, a picture, or a recording")
    parser.add_argument("--lines", type=Path, metavar="FILE", help="samples, one a line")
    parser.add_argument("--self-test", action="store_true", help="compare with the bundle's golden data")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="one JSON object a sample")
    options = parser.parse_args()
    if [bool(options.sample), options.lines is not None, options.self_test].count(True) != 1:
        parser.error("give a sample, --lines FILE or --self-test")
    try:
        bundle = open_bundle(options.bundle)
        engine = Engine(bundle, options.threads)
        if options.self_test:
            result = self_test(bundle, engine)
            print(result)
            return 0 if result.passed else 1
        encode = encoder(bundle)
        for sample in samples(options.sample, options.lines):
            scores = next(iter(engine(encode(sample)).values()))[0]
            print(shown(bundle, scores, options.json), flush=True)
    except BundleError as error:
        print(f"classify.py: {error}", file=sys.stderr)
        return 2
    return 0


def samples(words: list[str], lines: Path | None) -> Iterator[list[str]]:
    """The sample of the command line, or those of a file."""
    if lines is None:
        yield words
        return
    try:
        with lines.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.rstrip("\n").split("\t")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{lines} cannot be read as text: {error}") from error


def shown(bundle: Bundle, scores: np.ndarray, as_json: bool) -> str:
    """A line for people, classes by falling probability, or a JSON object with all values of the first output."""
    if bundle.manifest["task"] != "classification":
        values = [float(value) for value in scores.ravel()]
        return json.dumps({"output": values}) if as_json else " ".join(f"{value:.4g}" for value in values)
    logits = scores.astype(np.float64)
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    names = bundle.labels or [str(number) for number in range(len(logits))]
    best = [int(index) for index in np.argsort(-logits, kind="stable")]
    if as_json:
        chosen = {"label": names[best[0]], "probability": float(shares[best[0]])}
        return json.dumps({**chosen, "output": [float(value) for value in logits]}, ensure_ascii=False)
    return "  ".join(f"{names[index]} {shares[index]:.1%}" for index in best[:SHOWN])


if __name__ == "__main__":
    sys.exit(main())
