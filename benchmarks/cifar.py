"""A convolutional classifier in static int8: agreement with float32, signal to noise, size, latency.

MobileNetV2 trained on CIFAR-10; 510 calibration and 2,000 validation images, as JPEG files in class folders. With
--emulated N, the first N images run on an emulated board too, and the outputs are compared bit by bit.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import Figure, arguments, export, finish, latency_ratios, note, workspace

LIMITS = {
    "desktop-x86": {"unlike": 8, "size": 0.27, "latency": 0.56},
    "android-arm64-litert": {"unlike": 8, "size": 0.27, "latency": 0.54},
}


def main() -> None:
    options = arguments(
        __doc__,
        ("--target", {"default": "desktop-x86", "help": "a target's name, such as android-arm64-litert"}),
        ("--pairs", {"type": int, "default": 300, "help": "timed pairs of int8 and float32 in a process"}),
        ("--emulated", {"type": int, "default": 0, "metavar": "N", "help": "images to run on --board"}),
        ("--board", {"default": "raspberry-pi-4-litert", "help": "an emulated board's target; default: %(default)s"}),
        ("--processes", {"type": int, "default": 7, "help": "processes to time in; the median counts"}),
    )
    data = options.shared / "data" / "cifar10"
    with workspace() as folder:
        report = export(
            options.shared / "models" / "cifar-mobilenet-v2",
            options.target,
            folder / "bundle",
            folder / "cache",
            *("--precision", "w8a8", "--set", f"timing.pairs={options.pairs}"),
            *("--calibration", data / "calibration", "--evaluation", data / "validation"),
        )
        ratios = latency_ratios(report, folder / "bundle", folder / "cache", options.processes)
        emulated = []
        if options.emulated:
            emulated = list(on_board(folder / "bundle", options.board, data / "validation", options.emulated))
    result, limits = report["runs"][0], LIMITS.get(options.target, LIMITS["desktop-x86"])
    parity, accuracy = result["parity"], result["accuracy"]
    figures = [
        Figure(f"unlike float32, of {parity['samples']}", parity["unlike"], limits["unlike"]),
        Figure("signal to noise of the logits, dB", parity["snr_db"], 30.5, at_least=True),
        Figure("bytes, share of float32", report["size"]["ratio"], limits["size"]),
        Figure(f"latency, share of float32, median of {len(ratios)}", statistics.median(ratios), limits["latency"]),
        Figure("latency, lowest", ratios[0]),
        Figure("latency, highest", ratios[-1]),
        Figure("right", round(accuracy["value"] * accuracy["samples"])),
        Figure("float32 right", round(accuracy["reference"] * accuracy["samples"])),
    ]
    finish([*figures, *emulated], options.json)


def on_board(path: Path, board: str, evaluation: Path, count: int) -> Iterator[Figure]:
    """Output values of an emulated board that differ from this machine's, each as its 32 bits."""
    import numpy as np

    from edgeexport.artifact import load_bundle
    from edgeexport.interface import quantize
    from edgeexport.job import Job
    from edgeexport.pipeline import open_device
    from edgeexport.preprocess import from_dict
    from edgeexport.runtime_names import module_of
    from edgeexport.samples import feeds, open_samples

    bundle = load_bundle(path)
    encoded = feeds(open_samples(evaluation), from_dict(bundle.manifest.preprocess), bundle.signature.real(), path)
    inputs = [quantize(arrays, bundle.signature) for _, arrays in itertools.islice(encoded, count)]
    runtime = module_of(bundle.manifest.target["runtimes"][0]["name"])
    values = []
    for name in ("local", f"emulated:{board}"):
        note(f"running {count} images on {name}")
        with tempfile.TemporaryDirectory() as folder:
            job = Job(runtime=runtime, models=(bundle.model_path,), inputs=inputs, timeout_s=3600)
            result = open_device(name).run(job, Path(folder))
            values.append(np.concatenate([next(iter(output.values())).view(np.uint32) for output in result.outputs]))
        if result.delegate not in (None, "xnnpack"):
            sys.exit(f"{name}: XNNPACK is not active, but {result.delegate}")
    yield Figure(
        f"{board} emulated: output values unlike this machine's, of {values[0].size}",
        int((values[0] != values[1]).sum()),
        0,
    )


if __name__ == "__main__":
    main()
