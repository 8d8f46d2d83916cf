"""Language models with a cache, in int8 and int4, on ONNX Runtime and LiteRT.

GPT-2 at full size with seeded random weights: bytes, time a token in turn with float32, and peak memory. The code model
of the shared folder: perplexity over the validation set, and 64 greedy tokens on each of 8 prompts against PyTorch,
which goes over the whole text for each token. ``--plot FILE`` writes the milliseconds of every token of a text as SVG.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import CHECKOUT, Figure, arguments, finish, note, run, workspace
from sizes import BUILD, MODELS

TARGETS = {"onnx": "desktop-x86", "litert": "android-arm64-litert", "coreml": "iphone-ios18"}
TIMED = ("onnx", "litert")
"""Off a Mac an evaluator stands in for Core ML, and nothing is timed."""
PASSED_OVER = {("litert", "w8"), ("coreml", "w8a8-dynamic"), ("coreml", "gptq")}
"""LiteRT expands such weights; Core ML has no such precision; and GPTQ is that of the first two."""
CONTEXT = 512
SIZES = {"w8a8-dynamic": 0.253, "w4": 0.16}
TIMES = {"w8a8-dynamic": 0.55, "w4": 0.50}
RISES = {"fp32": 1.0001, "w8": 1.01, "w8a8-dynamic": 1.01, "w4": 1.05, "gptq": 1.05}
PASTS = (64, 256, 440)
PROMPTS, TOKENS = 8, 64
SMALL = "GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=64))"
"""Its process is the runtime's own memory."""


def main() -> None:
    options = arguments(
        __doc__,
        ("--roads", {"nargs": "+", "choices": list(TARGETS), "default": list(TIMED)}),
        ("--parts", {"nargs": "+", "choices": ["gpt2", "codelm"], "default": ["gpt2", "codelm"]}),
        ("--precisions", {"nargs": "+", "choices": list(RISES), "default": list(RISES), "help": "fp32 goes first"}),
        ("--limit", {"type": int, "metavar": "N", "help": "perplexity over the first N windows"}),
        ("--plot", {"type": Path, "metavar": "FILE", "help": "where to draw the milliseconds of each token"}),
    )
    figures: list[Figure] = []
    drawn: dict[str, list[float]] = {}
    with workspace() as folder:
        if "gpt2" in options.parts:
            run([sys.executable, "-c", BUILD.format(model=MODELS["GPT-2"]), folder / "gpt2"])
            run([sys.executable, "-c", BUILD.format(model=SMALL), folder / "small"])
        for road in options.roads:
            if "gpt2" in options.parts and road in TIMED:
                figures += gpt2(folder, road, drawn)
            if "codelm" in options.parts:
                figures += codelm(folder, road, options)
    if options.plot and drawn:
        options.plot.write_text(draw(drawn))
    finish(figures, options.json)


def gpt2(folder: Path, road: str, drawn: dict[str, list[float]]) -> Iterator[Figure]:
    """Size and speed, which random weights do not change."""
    import edgeexport

    def exported(model: str, precision: str) -> Any:
        note(f"exporting {model} for {TARGETS[road]}, {precision}")
        return edgeexport.export(
            folder / model,
            target=TARGETS[road],
            precision=precision,
            settings={"interface": {"context": CONTEXT}, "golden_samples": 1},
            output=folder / f"{model}-{road}-{precision}",
            verify=False,
        )

    bundles = {precision: exported("gpt2", precision) for precision in ("fp32", *SIZES)}
    (least,) = edgeexport.generate(exported("small", "fp32").path, [[1, 2, 3, 4]], max_tokens=4)
    whole = bundles["fp32"].manifest.source["float32_bytes"]
    for precision, limit in SIZES.items():
        share = bundles[precision].model_path.stat().st_size / whole
        yield Figure(f"GPT-2, {road}, {precision}: bytes, share of the float32 parameters", share, limit)
    for past in PASTS:
        note(f"timing a token after {past}")
        medians = {name: statistics.median(times) for name, times in in_turn(bundles, past).items()}
        for precision, limit in TIMES.items():
            share = medians[precision] / medians["fp32"]
            yield Figure(f"GPT-2, {road}, {precision}: time a token after {past}, share of float32's", share, limit)
    for precision in ("fp32", *SIZES):
        note(f"a text of {CONTEXT} tokens, {precision}")
        (found,) = edgeexport.generate(bundles[precision].path, [[1, 2, 3, 4]], max_tokens=CONTEXT - 4)
        drawn[f"{road} {precision}"] = list(found.token_ms)
        cache = bundles[precision].manifest.decoder.cache_bytes()
        artifact = bundles[precision].model_path.stat().st_size
        name = f"GPT-2, {road}, {precision}: peak memory"
        yield Figure(f"{name}, bytes", found.peak_memory_bytes)
        share = (found.peak_memory_bytes - cache - least.peak_memory_bytes) / artifact
        yield Figure(f"{name} less the cache and a tiny model's process, share of the artifact", share, 1.3)


def in_turn(bundles: dict[str, Any], past: int) -> dict[str, list[int]]:
    """Nanoseconds of a token after ``past``, of all models in turn in one process."""
    import numpy as np

    from edgeexport.devices import local
    from edgeexport.job import Job
    from edgeexport.pipeline.verifying import rules
    from edgeexport.runtime_names import module_of
    from edgeexport.verify.harness import driver

    (target, _), *_ = (rules(bundle) for bundle in bundles.values())
    job = Job(
        runtime=module_of(target.runtimes[0].name),
        models=tuple(bundle.model_path for bundle in bundles.values()),
        inputs=[{"input_ids": np.ones((1, past), np.int64)}],
        mode="latency",
        warmup=4,
        pairs=30,
        decoder=driver(next(iter(bundles.values()))),
    )
    with tempfile.TemporaryDirectory() as folder:
        found = local.open_device("").run(job, Path(folder)).latency_ns
    return {name: list(times) for name, times in zip(bundles, found, strict=True)}


def codelm(folder: Path, road: str, options: Any) -> Iterator[Figure]:
    """Perplexity of a trained model, and its greedy tokens."""
    import edgeexport
    from edgeexport.results import Report

    data = options.shared / "data" / "code"
    float32: float | None = None
    for precision in options.precisions:
        if (road, precision) in PASSED_OVER:
            continue
        note(f"exporting the code model for {TARGETS[road]}, {precision}")
        gptq = {"recipe": CHECKOUT / "benchmarks" / "recipes" / "gptq.toml"} if precision == "gptq" else {}
        bundle = edgeexport.export(
            options.shared / "models" / "codelm",
            target=TARGETS[road],
            calibration=data / "calibration_ids.npy",
            evaluation=data / "validation_ids.npy",
            precision="w4" if precision == "gptq" else precision,
            settings={"interface": {"context": CONTEXT}},
            output=folder / f"codelm-{road}-{precision}",
            limit=options.limit,
            **gptq,
        )
        report = Report.read(bundle.report_path)
        (one,) = report.runs
        if one.error is not None or one.accuracy is None or one.accuracy.reference is None:
            sys.exit(f"{road} {precision}: {one.error}")
        # Not the report's own reference for GPTQ: that is the rounded source's.
        float32 = float32 or one.accuracy.reference
        rise = one.accuracy.value / float32
        name = f"code model, {road}, {precision}"
        yield Figure(f"{name}: bytes, share of the float32 parameters", report.size.ratio)
        yield Figure(f"{name}: perplexity of {one.accuracy.samples} tokens", one.accuracy.value)
        yield Figure(f"{name}: perplexity over float32's", rise, RISES[precision])
        if precision == "fp32":
            yield from greedy(bundle, options.shared / "models" / "codelm", data / "validation_ids.npy", name)


def greedy(bundle: Any, model: Path, ids: Path, name: str) -> Iterator[Figure]:
    """Tokens unlike PyTorch's over all prompts."""
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    import edgeexport

    rows = np.load(ids).reshape(-1, CONTEXT)[:PROMPTS, :32].astype(np.int64)
    found = edgeexport.generate(bundle.path, [row.tolist() for row in rows], max_tokens=TOKENS)
    reference = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    unlike = 0
    for row, one in zip(rows, found, strict=True):
        text = list(row)
        with torch.inference_mode():
            while len(text) < len(row) + len(one.tokens):
                text.append(int(reference(torch.tensor([text])).logits[0, -1].argmax()))
        unlike += sum(a != b for a, b in zip(text[len(row) :], one.tokens, strict=True))
    yield Figure(f"{name}: greedy tokens", sum(len(one.tokens) for one in found))
    yield Figure(f"{name}: of these unlike PyTorch's", unlike, 0)


def draw(drawn: dict[str, list[float]]) -> str:
    """Milliseconds of each token, medians of 16 in a row, as SVG."""
    width, height, left, low = 760, 420, 60, 370
    colors = ("#1b6ca8", "#d1495b", "#2e933c", "#7d5ba6", "#e08e0b", "#444444")
    medians = {
        name: [statistics.median(times[at : at + 16]) for at in range(0, len(times) - 15, 16)]
        for name, times in drawn.items()
    }
    top = max(max(values) for values in medians.values()) * 1.1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" ',
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<path d="M{left} 20V{low}H{width - 150}" fill="none" stroke="#333"/>',
    ]
    for number in range(5):
        y = low - number / 4 * (low - 30)
        parts.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{top * number / 4:.0f}</text>')
        x = left + number / 4 * (width - 150 - left)
        parts.append(f'<text x="{x:.0f}" y="{low + 16}" text-anchor="middle">{CONTEXT * number // 4}</text>')
    parts.append(f'<text x="{left}" y="14">ms a token</text>')
    parts.append(f'<text x="{width - 150}" y="{low + 32}" text-anchor="end">tokens before it</text>')
    placed = height
    for color, (name, values) in zip(colors, sorted(medians.items(), key=lambda one: one[1][-1]), strict=False):
        points = " ".join(
            f"{left + (16 * at + 8) / CONTEXT * (width - 150 - left):.1f},{low - value / top * (low - 30):.1f}"
            for at, value in enumerate(values)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        placed = min(low - values[-1] / top * (low - 30) + 4, placed - 14)
        parts.append(f'<text x="{width - 145}" y="{placed:.0f}" fill="{color}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    main()
