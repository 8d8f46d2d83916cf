"""Go on with a text by a language model's bundle, on a Raspberry Pi or any Linux board, without torch or edgeexport.

python generate.py BUNDLE "def main("
python generate.py BUNDLE "Once upon" --count 100 --temperature 0.8 --top-p 0.95
python generate.py BUNDLE --self-test               exit status 1 where the golden data disagree
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from bundle import Arrays, Bundle, BundleError, open_bundle
from decoder import Decoder, Sampler, generate, score
from engine import Engine

MASKED = -1e4
"""What the attention mask has where a token may not look."""
RISE = 1.1
"""Of the perplexity of the golden texts, up or down, at most."""


class Model:
    """A loaded model as the loop calls it."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self._engine = Engine(bundle, threads)

    def run(self, inputs: Arrays) -> Arrays:
        """One pass."""
        return self._engine.run_raw(inputs)


def main() -> int:
    """Parse, run, print; 0, or 1 where a self-test fails, or 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("prompt", nargs="?", metavar="TEXT", help="what to go on from")
    parser.add_argument("--self-test", action="store_true", help="compare with the bundle's golden data")
    parser.add_argument("--count", type=int, default=64, help="new tokens at most; default: %(default)s")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token")
    parser.add_argument("--top-k", type=int, default=0, help="draw from the likeliest so many; 0 is all")
    parser.add_argument("--top-p", type=float, default=1.0, help="draw from the likeliest of this share together")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    options = parser.parse_args()
    if (options.prompt is not None) == options.self_test:
        parser.error("give a text or --self-test")
    if options.count < 1 or options.temperature < 0 or options.top_k < 0 or not 0 < options.top_p <= 1:
        parser.error("counts are positive, a temperature is not negative, and top-p lies in (0, 1]")
    try:
        bundle = open_bundle(options.bundle)
        text = Decoder(Model(bundle, options.threads), driver(bundle))
        if options.self_test:
            return self_test(bundle, text)
        how = {name: getattr(options, name) for name in ("temperature", "top_k", "top_p", "seed")}
        go_on(bundle, text, options.prompt, options.count, Sampler(**how))
    except (BundleError, ValueError) as error:
        print(f"generate.py: {error}", file=sys.stderr)
        return 2
    return 0


def driver(bundle: Bundle) -> dict[str, Any]:
    """What the loop must know of the model.

    Raises:
        BundleError: it is no language model, or has its cache in a state.
    """
    about = bundle.manifest.get("decoder")
    if about is None:
        raise BundleError(f"{bundle.path} holds no language model that generates: classify.py is for it")
    if about["cache"] != "slots":
        raise BundleError(f"{bundle.path} has a cache of the kind {about['cache']}, which is Core ML's")
    return {**about, "ids": bundle.specs("inputs")["input_ids"]["dtype"], "masked": MASKED}


def go_on(bundle: Bundle, text: Decoder, prompt: str, count: int, sampler: Sampler) -> None:
    """Print the text as it is made, and the time a token on standard error."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BundleError("tokenizers is not installed: pip install -r requirements.txt") from error
    path = bundle.path / "tokenizer.json"
    if not path.is_file():
        raise BundleError(f"{bundle.path} has no tokenizer: only --self-test is for it")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids, told = [], prompt
    print(prompt, end="", flush=True)

    def tell(token: int) -> None:
        nonlocal told
        ids.append(token)
        whole = prompt + tokenizer.decode(ids, skip_special_tokens=False)
        if not whole.endswith("\ufffd") and whole.startswith(told):  # a letter of several tokens waits for the last
            print(whole[len(told) :], end="", flush=True)
            told = whole

    _, times = generate(
        text,
        tokenizer.encode(prompt).ids,
        count=count,
        sampler=sampler,
        stop_ids=bundle.manifest["decoder"]["stop_ids"],
        clock=time.perf_counter,
        tell=tell,
    )
    print()
    later = f", {1e3 * statistics.median(times[1:]):.1f} ms a token" if times[1:] else ""
    print(f"{len(ids)} tokens: {1e3 * times[0]:.1f} ms to the first{later}", file=sys.stderr)


def self_test(bundle: Bundle, text: Decoder) -> int:
    """The golden texts through the model here, against the float32 source's likelihoods."""
    samples = tokens = unlike = 0
    losses: list[float] = []
    cosines = []
    for inputs, wanted in zip(bundle.golden("inputs"), bundle.golden("outputs"), strict=True):
        found = score(text, inputs["input_ids"])
        samples += 1
        tokens += wanted["token"].size
        unlike += int((found["token"] != wanted["token"]).sum())
        losses += (found["nll"].astype(np.float64) - wanted["nll"]).tolist()
        norms = float(np.linalg.norm(found["logits"]) * np.linalg.norm(wanted["logits"]))
        cosines.append(float(found["logits"] @ wanted["logits"]) / norms)
    rise = float(np.exp(np.mean(losses))) if losses else 1.0
    nearest = float(np.min(cosines)) if cosines else 0.0  # NaN where one is
    passed = 1 / RISE <= rise <= RISE and nearest >= 0.95
    print(
        f"{'PASS' if passed else 'FAIL'}: {samples} golden texts, {unlike} of {tokens} likeliest tokens unlike "
        f"float32, perplexity over float32's {rise:.4f}, cosine {nearest:.4f}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
