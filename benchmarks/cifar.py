"""A convolutional classifier in static int8: agreement with float32, signal to noise, size, latency.

MobileNetV2 trained on CIFAR-10; 510 calibration and 2,000 validation images, as JPEG files in class folders.
"""

from __future__ import annotations

import statistics

from bench import Figure, arguments, export, finish, latency_ratios, workspace


def main() -> None:
    options = arguments(
        __doc__,
        ("--target", {"default": "desktop-x86", "help": "a target's name"}),
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
    result = report["runs"][0]
    parity, accuracy = result["parity"], result["accuracy"]
    figures = [
        Figure(f"unlike float32, of {parity['samples']}", parity["unlike"], 11),
        Figure("signal to noise of the logits, dB", parity["snr_db"], 30.5, at_least=True),
        Figure("bytes, share of float32", report["size"]["ratio"], 0.31),
        Figure(f"latency, share of float32, median of {len(ratios)}", statistics.median(ratios), 0.56),
        Figure("latency, lowest", ratios[0]),
        Figure("latency, highest", ratios[-1]),
        Figure("right", round(accuracy["value"] * accuracy["samples"])),
        Figure("float32 right", round(accuracy["reference"] * accuracy["samples"])),
    ]
    finish(figures, options.json)


if __name__ == "__main__":
    main()
