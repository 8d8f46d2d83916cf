"""Writes what the C++ needs of a bundle's manifest: ``python generate.py BUNDLE FOLDER``.

    FOLDER/app_config.h     labels, the features' settings, and the headers of BUNDLE/microcontroller
    FOLDER/app_tables.cc    the window, the twiddle factors and the mel filters, for flash

Plain Python, no packages. The formulae are those of the manifest's ``log-mel`` preprocessing.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PER_LINE = 8


def main(bundle: Path, folder: Path) -> None:
    """Write both files."""
    try:
        manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
        header = (bundle / "microcontroller" / "model.h").read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        sys.exit(f"generate.py: {bundle} is no bundle for a microcontroller: {error}")
    space = re.search(r"^namespace (\w+) \{", header, re.MULTILINE)
    if manifest.get("schema_version") != 1 or space is None:
        sys.exit(f"generate.py: {bundle} has another schema than this app reads")
    spec = manifest["preprocess"]
    features = spec["kind"] == "log-mel"
    if features and spec["n_fft"] & (spec["n_fft"] - 1):
        sys.exit(f"generate.py: n_fft is {spec['n_fft']}, and this app's Fourier transform takes powers of two")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "app_config.h").write_text(config(space[1], manifest, spec if features else None))
    (folder / "app_tables.cc").write_text(tables(spec) if features else '#include "app_config.h"\n')


def config(space: str, manifest: dict[str, Any], spec: dict[str, Any] | None) -> str:
    """``app_config.h``; ``spec`` is None where the model takes no sound."""
    labels = manifest["labels"] or []
    names = "".join(f"    {quoted(label)},\n" for label in labels) or "    nullptr,\n"
    lines = [
        "// Written by generate.py from a bundle.",
        "#ifndef APP_CONFIG_H_",
        "#define APP_CONFIG_H_",
        "",
        "#include <cstddef>",
        "#include <cstdint>",
        "",
        '#include "arena.h"',
        '#include "golden.h"',
        '#include "model.h"',
        '#include "ops.h"',
        "",
        f"#define APP_TAKES_SOUND {int(spec is not None)}",
        "",
        f"namespace model = {space};",
        "",
        "namespace app {",
        "",
        f"constexpr bool kClasses = {str(manifest['task'] == 'classification').lower()};",
        f"constexpr std::size_t kLabelCount = {len(labels)};",
        f"constexpr const char* kLabels[] = {{\n{names}}};",
        *(settings(spec) if spec else []),
        "",
        "}  // namespace app",
        "",
        "#endif  // APP_CONFIG_H_",
    ]
    return "\n".join(lines) + "\n"


def settings(spec: dict[str, Any]) -> list[str]:
    """The constants of the features."""
    size, hop, frames = spec["n_fft"], spec["hop_length"], spec["frames"]
    samples = frames * hop if spec["center"] else (frames - 1) * hop + size
    weights = sum(len(values) for _, values in filters(spec))
    mean, std = (0.0, 1.0) if spec["mean"] is None else (spec["mean"], spec["std"])
    return [
        "",
        f"constexpr std::size_t kSampleRate = {spec['sample_rate']};",
        f"constexpr std::size_t kSamples = {samples};  // of a waveform that one inference looks at",
        f"constexpr std::size_t kFftSize = {size};",
        f"constexpr std::size_t kHop = {hop};",
        f"constexpr std::size_t kFrames = {frames};",
        f"constexpr std::size_t kMels = {spec['n_mels']};",
        f"constexpr bool kCenter = {str(spec['center']).lower()};  // frames are centred, the waveform mirrored",
        f"constexpr bool kFramesFirst = {str(spec['layout'] == 'frames-mels-channel').lower()};",
        f"constexpr bool kNaturalLog = {str(spec['log'] == 'log').lower()};",
        f"constexpr float kPower = {real(spec['power'])};",
        f"constexpr float kFloor = {real(spec['floor'])};",
        f"constexpr float kMean = {real(mean)};",
        f"constexpr float kStd = {real(std)};",
        "",
        "// app_tables.cc",
        "extern const float kWindow[kFftSize];",
        "extern const float kCosine[kFftSize / 2];",
        "extern const float kSine[kFftSize / 2];",
        "struct Filter {",
        "  std::uint16_t first;  // frequency",
        "  std::uint16_t count;",
        "  std::uint32_t place;  // of its first weight",
        "};",
        "extern const Filter kFilters[kMels];",
        f"extern const float kWeights[{max(1, weights)}];",
    ]


def tables(spec: dict[str, Any]) -> str:
    """``app_tables.cc``."""
    size, length = spec["n_fft"], spec["win_length"]
    start = (size - length) // 2
    window = [0.0] * size
    for place in range(length):
        window[start + place] = 0.5 - 0.5 * math.cos(2 * math.pi * place / length)
    turns = [2 * math.pi * place / size for place in range(size // 2)]
    found, listed, weights = filters(spec), [], []
    for first, values in found:
        listed.append(f"    {{{first}, {len(values)}, {len(weights)}}},")
        weights += values
    return "\n".join(
        [
            "// Written by generate.py from a bundle.",
            '#include "app_config.h"',
            "",
            "namespace app {",
            "",
            *array("kWindow[kFftSize]", window),
            *array("kCosine[kFftSize / 2]", map(math.cos, turns)),
            *array("kSine[kFftSize / 2]", map(math.sin, turns)),
            "const Filter kFilters[kMels] = {",
            *listed,
            "};",
            *array(f"kWeights[{max(1, len(weights))}]", weights or [0.0]),
            "",
            "}  // namespace app",
            "",
        ]
    )


def filters(spec: dict[str, Any]) -> list[tuple[int, list[float]]]:
    """For each mel filter the first frequency that it lets through, and its weights from there on."""
    low, high = (mel(spec[name], spec["mel_scale"]) for name in ("f_min", "f_max"))
    count = spec["n_mels"]
    edges = [hertz(low + (high - low) * place / (count + 1), spec["mel_scale"]) for place in range(count + 2)]
    found = []
    for lower, peak, upper in zip(edges, edges[1:], edges[2:], strict=False):
        scale = 2 / (upper - lower) if spec["norm"] == "slaney" else 1.0
        heights = []
        for place in range(spec["n_fft"] // 2 + 1):
            frequency = place * spec["sample_rate"] / spec["n_fft"]
            heights.append(
                scale * max(0.0, min((frequency - lower) / (peak - lower), (upper - frequency) / (upper - peak)))
            )
        inside = [place for place, height in enumerate(heights) if height > 0]
        found.append((inside[0], heights[inside[0] : inside[-1] + 1]) if inside else (0, []))
    return found


def mel(frequency: float, scale: str) -> float:
    """From hertz."""
    if scale == "htk":
        return 2595 * math.log10(1 + frequency / 700)
    return 15 + 27 * math.log(frequency / 1000) / math.log(6.4) if frequency >= 1000 else 3 * frequency / 200


def hertz(value: float, scale: str) -> float:
    """From mel."""
    if scale == "htk":
        return 700 * (10 ** (value / 2595) - 1)
    return 1000 * math.exp(math.log(6.4) * (value - 15) / 27) if value >= 15 else 200 * value / 3


def array(name: str, values: Iterable[float]) -> list[str]:
    """Lines of a table of floats."""
    texts = [real(value) for value in values]
    rows = [f"    {', '.join(texts[place : place + PER_LINE])}," for place in range(0, len(texts), PER_LINE)]
    return [f"const float {name} = {{", *rows, "};"]


def real(value: float) -> str:
    """A float's literal."""
    return f"{value:.9e}f"


def quoted(label: str) -> str:
    """A string literal in UTF-8; octal escapes, which end after three digits."""
    plain = set(range(0x20, 0x7F)) - {0x22, 0x5C, 0x3F}  # no quotes, backslashes or question marks (trigraphs)
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in label.encode()) + '"'


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python generate.py BUNDLE FOLDER")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
