"""Peak memory of a static int8 export on 500 and on 50,000 calibration samples, by method of calibration.

A two-layer BERT with seeded random weights and sst2-minilm's tokenizer, so that it takes minutes: once from its folder
on sentences of SST-2, once from its .onnx file on arrays, where no torch is loaded whose memory would hide a growth.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bench import EDGEEXPORT, Figure, arguments, finish, note, run, workspace

BUILD = """
import sys, torch
from transformers import BertConfig, BertForSequenceClassification
torch.manual_seed(0)
config = BertConfig(
    vocab_size=30522, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256
)
BertForSequenceClassification(config).save_pretrained(sys.argv[1])
"""
ARRAYS = """
import sys, numpy
count, path = int(sys.argv[1]), sys.argv[2]
shape = (count, 64)
ids = numpy.random.default_rng(0).integers(1000, 30000, shape)
numpy.savez(path, input_ids=ids, attention_mask=numpy.ones(shape, int), token_type_ids=numpy.zeros(shape, int))
"""
TARGET = "desktop-x86"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
LIMIT = 1.2


def main() -> None:
    options = arguments(
        __doc__,
        ("--few", {"type": int, "default": 500, "help": "samples of the small set"}),
        ("--many", {"type": int, "default": 50_000, "help": "samples of the large set"}),
        ("--methods", {"nargs": "+", "default": ["minmax", "mse"], "help": "calibration methods"}),
        ("--kinds", {"nargs": "+", "default": ["sentences", "arrays"], "help": "kinds of samples"}),
    )
    counts = (options.few, options.many)
    with workspace() as folder:
        model = folder / "model"
        run([sys.executable, "-c", BUILD, model])
        for name in TOKENIZER:
            shutil.copyfile(options.shared / "models" / "sst2-minilm" / name, model / name)
        cases: dict[str, tuple[Path, list[Path]]] = {}
        if "sentences" in options.kinds:
            source = options.shared / "data" / "sst2" / "train.jsonl"
            cases["sentences"] = model, [write_sentences(source, count, folder) for count in counts]
        if "arrays" in options.kinds:
            cases["arrays"] = write_onnx(model, folder), [write_arrays(count, folder) for count in counts]
        figures = [
            figure
            for kind, (source, sets) in cases.items()
            for method in options.methods
            for figure in compare(f"{kind}, {method}", source, sets, method, folder)
        ]
    finish(figures, options.json)


def compare(title: str, model: Path, sets: list[Path], method: str, folder: Path) -> Iterator[Figure]:
    peaks = []
    for samples in sets:
        usage = run(
            [
                *(EDGEEXPORT, "export", model, "--target", TARGET, "--precision", "w8a8"),
                *("--calibration", samples, "--set", f"calibration.method={method}"),
                *("--no-verify", "--no-cache", "--output", folder / "bundle"),
            ],
            folder / "cache",
        )
        note(f"{title}, {samples.name}: {usage.seconds:.0f} s, {usage.peak_bytes / 1e6:.0f} MB")
        peaks.append(usage.peak_bytes)
    yield Figure(f"{title}: few samples, MB", peaks[0] / 1e6)
    yield Figure(f"{title}: many samples, MB", peaks[1] / 1e6)
    yield Figure(f"{title}: peak memory, many over few", peaks[1] / peaks[0], LIMIT)


def write_onnx(model: Path, folder: Path) -> Path:
    """The model as float32 ONNX, out of a bundle."""
    bundle = folder / "float32"
    command = (EDGEEXPORT, "export", model, "--target", TARGET, "--precision", "fp32", "--no-verify")
    run((*command, "--output", bundle), folder / "cache")
    return bundle / "model.onnx"


def write_arrays(count: int, folder: Path) -> Path:
    path = folder / f"arrays-{count}.npz"
    run([sys.executable, "-c", ARRAYS, str(count), path])
    return path


def write_sentences(source: Path, count: int, folder: Path) -> Path:
    """The first ``count`` lines of ``source``, from the start again where it has fewer."""
    path = folder / f"sentences-{count}.jsonl"
    written = 0
    with path.open("w", encoding="utf-8") as output:
        while written < count:
            with source.open(encoding="utf-8") as lines:
                for line in islice(lines, count - written):
                    output.write(line)
                    written += 1
    return path


if __name__ == "__main__":
    main()
