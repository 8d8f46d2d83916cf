"""What going through the pipeline costs, up to the packed bundle, in wall time and peak memory.

Against a bare script that makes the same library calls (bare_export.py; with --format tflite bare_litert.py), and, for
ONNX, against the two optimum-cli commands: whole processes run in turn, after one untimed round, medians compared. Then
the same export again, from the cache.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from bench import EDGEEXPORT, PROGRAMS, Figure, Usage, arguments, finish, note, run, workspace

BARE = {
    name: Path(__file__).with_name(f"bare_{script}.py") for name, script in (("onnx", "export"), ("tflite", "litert"))
}
TARGETS = {"onnx": "raspberry-pi-4", "tflite": "android-arm64-litert"}
REPORTS = {"report.json", "report.html"}


def main() -> None:
    options = arguments(
        __doc__,
        ("--format", {"choices": list(TARGETS), "default": "onnx"}),
        ("--pairs", {"type": int, "default": 7, "help": "timed runs of the pipeline and of the bare script"}),
        ("--commands", {"type": int, "default": 3, "help": "timed runs of the two optimum-cli commands"}),
    )
    model = options.shared / "models" / "sst2-minilm"
    evaluation = options.shared / "data" / "sst2" / "validation.jsonl"
    plan = ("--target", TARGETS[options.format], "--precision", "w8a8-dynamic")
    commands = options.commands if options.format == "onnx" else 0
    with workspace() as folder:
        figures = [*compare(model, folder, plan, BARE[options.format], pairs=options.pairs, commands=commands)]
        figures += again(model, plan, folder / "packed")
        figures += again(model, plan, folder / "verified", evaluation)
    finish(figures, options.json)


def compare(
    model: Path, folder: Path, plan: Sequence[str], script: Path, *, pairs: int, commands: int
) -> Iterator[Figure]:
    pipeline: list[Usage] = []
    bare: list[Usage] = []
    cli: list[float] = []
    for turn in range(pairs + 1):
        results = (by_pipeline(model, folder, plan), by_script(script, model, folder))
        if turn == 0:
            continue
        pipeline.append(results[0])
        bare.append(results[1])
        times = [f"pipeline {results[0].seconds:.2f} s, bare script {results[1].seconds:.2f} s"]
        if turn <= commands:
            cli.append(by_commands(model, folder))
            times.append(f"two commands {cli[-1]:.2f} s")
        note(f"turn {turn} of {pairs}: {', '.join(times)}")
    seconds, memory = (
        [median(getattr(usage, key) for usage in group) for group in (pipeline, bare)]
        for key in ("seconds", "peak_bytes")
    )
    yield Figure("pipeline, s", seconds[0])
    yield Figure("bare script, s", seconds[1])
    yield Figure("pipeline over bare script, wall time", seconds[0] / seconds[1], 1.15)
    yield Figure("pipeline, MB", memory[0] / 1e6)
    yield Figure("bare script, MB", memory[1] / 1e6)
    yield Figure("pipeline over bare script, peak memory", memory[0] / memory[1], 1.2)
    if cli:
        yield Figure("two optimum-cli commands, s", median(cli))
        yield Figure("pipeline over two commands, wall time", seconds[0] / median(cli), 1.0)


def by_pipeline(model: Path, folder: Path, plan: Sequence[str]) -> Usage:
    output, cache = folder / "bundle", folder / "cache"
    usage = run([EDGEEXPORT, "export", model, *plan, "--no-verify", "--no-cache", "--output", output], cache)
    shutil.rmtree(output)
    shutil.rmtree(cache)
    return usage


def by_script(script: Path, model: Path, folder: Path) -> Usage:
    usage = run([PROGRAMS / "python", script, model, folder / "bare"])
    shutil.rmtree(folder / "bare")
    return usage


def by_commands(model: Path, folder: Path) -> float:
    """Wall time of both, one after the other."""
    exported, quantized = folder / "exported", folder / "quantized"
    program = PROGRAMS / "optimum-cli"
    first = run([program, "export", "onnx", "--model", model, "--task", "text-classification", exported])
    options = ("--per_channel", "--arm64", "--output", quantized)
    second = run([program, "onnxruntime", "quantize", "--onnx_model", exported, *options])
    shutil.rmtree(exported)
    shutil.rmtree(quantized)
    return first.seconds + second.seconds


def again(model: Path, plan: Sequence[str], folder: Path, evaluation: Path | None = None) -> Iterator[Figure]:
    """Export three times: first, from the cache, and afresh with a cache that is not read."""
    kind = "packed" if evaluation is None else "verified"
    check = ("--no-verify",) if evaluation is None else ("--evaluation", evaluation)
    bundles = [folder / name for name in ("first", "cached", "fresh")]
    usages = []
    for bundle, more in zip(bundles, ((), (), ("--no-cache",)), strict=True):
        command = (EDGEEXPORT, "export", model, *plan, *check, *more, "--output", bundle)
        usages.append(run(command, folder / "cache", allowed=(0, 1)))
        note(f"{kind}, {bundle.name}: {usages[-1].seconds:.2f} s")
    first, cached, fresh = map(digests, bundles)
    yield Figure(f"{kind}: first export, s", usages[0].seconds)
    yield Figure(f"{kind}: the same from the cache, s", usages[1].seconds, 2.0)
    yield Figure(f"{kind}: files that differ from the first, from the cache", unlike(first, cached), 0)
    for name in REPORTS:  # a fresh verification has timings of its own
        first.pop(name, None)
        fresh.pop(name, None)
    yield Figure(f"{kind}: files that differ from the first, afresh, reports apart", unlike(first, fresh), 0)


def digests(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def unlike(first: dict[str, str], second: dict[str, str]) -> int:
    return len(set(first.items()) ^ set(second.items()))


if __name__ == "__main__":
    main()
