"""A convolutional classifier in static int8: agreement with float32, signal to noise, size, latency.

MobileNetV2 trained on CIFAR-10; 510 calibration and 2,000 validation images, as JPEG files in class folders.
"""

from __future__ import annotations

import statistics

from bench import Figure, arguments, export, finish, latency_ratios, workspace


LIMITS = {
    "desktop-x86": {"unlike": 11, "size": 0.31, "latency": 0.56},
    "android-arm64-litert": {"unlike": 10, "size": 0.31, "latency": 0.54},
}


def main() -> None:
    options = arguments(
        __doc__,
        ("--target", {"default": "desktop-x86", "help": "a target's name, such as android-arm64-litert"}),
        ("--pairs", {"type": int, "default": 300, "help": "timed pairs of int8 and float32 in a process"}),
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
    finish(figures, options.json)


if __name__ == "__main__":
    main()
