"""BERT-base and GPT-2 at full size in w8a8-dynamic: bytes and latency against float32.

Built from their default configurations with seeded random weights: right for size and speed, meaningless for
accuracy.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench import Figure, arguments, export, finish, latency_ratio, note, run, workspace

MODELS = {
    "BERT-base": "BertModel(BertConfig())",
    "GPT-2": "GPT2LMHeadModel(GPT2Config())",
}
LIMIT = 0.2525
BUILD = """
import sys, torch
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel
torch.manual_seed(0)
{model}.save_pretrained(sys.argv[1])
"""


def main() -> None:
    options = arguments(
        __doc__,
        ("--target", {"default": "raspberry-pi-4", "help": "a target's name"}),
        ("--pairs", {"type": int, "default": 30, "help": "timed pairs of int8 and float32"}),
    )
    figures: list[Figure] = []
    for name, model in MODELS.items():
        note(f"exporting {name}")
        with workspace() as folder:
            run([sys.executable, "-c", BUILD.format(model=model), folder / name])
            report = export(
                folder / name,
                options.target,
                folder / "bundle",
                folder / "cache",
                *("--precision", "w8a8-dynamic", "--set", f"timing.pairs={options.pairs}"),
            )
            size, baseline = report["size"], float32_file(folder / "cache")
        figures += [
            Figure(f"{name}: bytes, share of the float32 parameters", size["ratio"], LIMIT),
            Figure(f"{name}: bytes, share of the float32 .onnx file", size["artifact_bytes"] / baseline, LIMIT),
            Figure(f"{name}: latency, share of float32", latency_ratio(report)),
            Figure(f"{name}: least cosine to float32", report["runs"][0]["parity"]["cosine_min"]),
        ]
    finish(figures, options.json)


def float32_file(cache: Path) -> int:
    """Bytes of the one float32 model in a cache that held nothing before."""
    (path,) = (cache / "float32").glob("*/model.onnx")
    return path.stat().st_size


if __name__ == "__main__":
    main()
