"""Says from the file alone which operators of a TFLite model a runtime lacks or would execute wrong.

Three things are compared, in this order, and the first that does not fit is told:
    1. the version that the operator needs (`requirements`) with the highest one that the runtime registers;
    2. the kinds of its tensors with those that were seen to run right on that runtime (`runtimes.toml`);
    3. its ranks and scales with the limits at which that runtime stops the whole process.

Nothing is run here: two of these faults give numbers without any error, and the third kills the process.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeexport.errors import TargetError
from edgeexport.formats.tflite.names import module_path
from edgeexport.formats.tflite.requirements import Node, need, nodes, scale_count

_TABLE = Path(__file__).with_name("runtimes.toml")
_WEIGHTED = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "BATCH_MATMUL")
_CONVERTING = ("CAST", "QUANTIZE", "DEQUANTIZE")
_STORED = ("int8", "int4", "int2", "int16", "uint8")
# Additions of 8-bit values are done after a shift by 20 bits, of 16-bit values by 15; squared differences by 14.
_SHIFTS = {"int8": 20, "uint8": 20, "int16": 15}


@dataclass(frozen=True)
class Problem:
    """One operator, or several alike, that a runtime does not execute right.

    Attributes:
        op: the operator's name.
        where: the first place: a module path where the tensor's name tells it, else the tensor's name.
        what: one sentence: what is needed and what the runtime has or would do.
        count: how many operators have this problem.
    """

    op: str
    where: str
    what: str
    count: int = 1


@dataclass(frozen=True)
class Release:
    """What is known of one release of a runtime; see `runtimes.toml` for the kinds.

    Attributes:
        runtime: its name.
        version: the release, as (major, minor).
        newest: whether no later release is known.
        versions: operator → highest version that it registers; empty if it does not look at versions.
        registered: the operators that it has.
        runs: operator → kinds that run right. Kinds of other operators are not judged.
        wrong: operator → kind → what it would do.
        ranks: operator → highest rank.
        broadcast_ranks: operator → highest rank at which integers can be broadcast.
        degenerate: operators that stop the process when the output's scale is far below the inputs'.
    """

    runtime: str
    version: tuple[int, ...]
    newest: bool = False
    versions: dict[str, int] = field(default_factory=dict)
    registered: frozenset[str] = frozenset()
    runs: dict[str, frozenset[str]] = field(default_factory=dict)
    wrong: dict[str, dict[str, str]] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    broadcast_ranks: dict[str, int] = field(default_factory=dict)
    degenerate: frozenset[str] = frozenset()


def problems(model: Any, runtime: str, version: str) -> list[Problem]:
    """What of a model a runtime cannot execute right, in file order; alike problems are told once.

    Args:
        model: a `ModelT`.
        runtime: `litert`, `tflite-runtime` or `tflite-micro`.
        version: of the runtime, such as `2.14.0`. Of LiteRT, releases after the last known one are taken to execute
            what the last one does and any newer version of its operators.

    Raises:
        TargetError: nothing is known about such a runtime, or about a release this old.
    """
    release = find_release(runtime, version)
    name = runtime if runtime == "tflite-micro" else f"{runtime} {'.'.join(version.split('.')[:2])}"
    found: dict[tuple[str, str], Problem] = {}
    for node in nodes(model):
        what = _judge(node, release, name, _numbers(version) > release.version)
        if what is not None:
            first = found.get((node.op, what))
            place = module_path(node.where) if {"/", ";"} & set(node.where) else ""
            found[node.op, what] = (
                replace(first, count=first.count + 1) if first else Problem(node.op, place or node.where, what)
            )
    return list(found.values())


def find_release(runtime: str, version: str) -> Release:
    """The last known release of a runtime that is not newer than `version`.

    Raises:
        TargetError: there is none.
    """
    known = [release for release in _releases() if release.runtime == runtime]
    if not known:
        runtimes = ", ".join(sorted({release.runtime for release in _releases()}))
        raise TargetError(f"Nothing is known about the operators of {runtime}.", f"Known runtimes are {runtimes}.")
    fitting = [release for release in known if release.version <= _numbers(version)]
    if not fitting:
        oldest = ".".join(map(str, known[0].version))
        raise TargetError(f"Nothing is known about the operators of {runtime} {version}.", f"Take {oldest} or newer.")
    return fitting[-1]


def kind(node: Node) -> str:
    """The kinds of an operator's tensors, in the words of `runtimes.toml`."""
    if node.base in _WEIGHTED:
        weight = node.type(1)
        if node.base != "BATCH_MATMUL" or node.scales(1) > 1:
            weight = _scaled(node.inputs[1], weight)
        grouped = node.base == "CONV_2D" and len(node.shape(1)) == 4 and node.shape(1)[3:] != node.shape(0)[3:]
        return f"{node.type(node.data)}*{weight}{'/grouped' if grouped else ''}"
    if node.base == "EMBEDDING_LOOKUP":
        return f"{_scaled(node.inputs[1], node.type(1))}>{node.output_type()}"
    if node.base == "DEQUANTIZE":
        return f"{_scaled(node.inputs[0], node.type(0))}>{node.output_type()}"
    if node.base in _CONVERTING:
        return f"{node.type(0)}>{node.output_type()}"
    return node.type(node.data)


def _scaled(tensor: Any, dtype: str) -> str:
    if dtype not in _STORED:
        return dtype
    quantization = tensor.quantization
    # Details are how blocks of a channel get scales of their own.
    if quantization is not None and quantization.details is not None:
        return f"{dtype}/block"
    return f"{dtype}/{'channel' if scale_count(tensor) > 1 else 'tensor'}"


def _judge(node: Node, release: Release, name: str, later: bool) -> str | None:
    """What is wrong with an operator, or None."""
    op, tensors = node.base, kind(node)
    # Nothing was seen of what comes after the last known release, but nothing is ever taken out of LiteRT.
    newer = release.newest and later
    if op in ("CUSTOM", "STABLEHLO_CUSTOM_CALL"):
        return f"needs {node.op}, which is no operator of TFLite and not a part of {name}"
    if op not in release.registered and not newer:
        return f"needs {op}, which {name} lacks"
    fault = release.wrong.get(op, {}).get(tensors)
    wanted, has = need(node), release.versions.get(op)
    if has is not None and wanted.version > has and not newer:
        effect = f" and computes it wrong: it {fault}" if fault else ""
        return f"needs {op} version {wanted.version} ({wanted.why}); {name} has version {has}{effect}"
    if fault:
        return f"needs {op} with {_in_words(tensors)}, which {name} computes wrong: it {fault}"
    if op in release.runs and tensors not in release.runs[op]:
        return f"needs {op} with {_in_words(tensors)}, which {name} does not support"
    return _limits(node, release, name)


def _limits(node: Node, release: Release, name: str) -> str | None:
    op = node.base
    if len(node.shape(0)) > release.ranks.get(op, 99):
        return f"needs {op} of rank {len(node.shape(0))}, where {name} goes up to {release.ranks[op]}"
    most = release.broadcast_ranks.get(op, 99)
    if node.broadcasts and node.rank > most and node.type(0) in _SHIFTS:
        return f"needs {op} that broadcasts {node.type(0)} values of rank {node.rank}, which ends the process of {name}"
    if op in release.degenerate and _degenerate(node):
        return (
            f"needs {op} with an output scale far below its inputs', which ends the process of {name}; "
            "calibration saw a constant there"
        )
    return None


def _degenerate(node: Node) -> bool:
    """Whether the multiplier of the output, which kernels need below 1, is not."""
    tensors = (*node.inputs[:2], *node.outputs[:1])
    if node.type(0) not in _SHIFTS or len(tensors) < 3 or any(scale_count(tensor) != 1 for tensor in tensors):
        return False
    one, two, out = (float(tensor.quantization.scale[0]) for tensor in tensors)
    twice = 2 * max(one, two)
    if node.base == "SQUARED_DIFFERENCE":
        return bool(twice**2 >= out * 2**14)
    return bool(twice >= out * 2 ** _SHIFTS[node.type(0)])


def _in_words(tensors: str) -> str:
    """`float32*int8/channel` → "float32 activations and int8 per-channel weights"."""
    tensors = tensors.removesuffix("/grouped")
    left, sign, right = tensors.partition("*") if "*" in tensors else tensors.partition(">")

    def word(part: str) -> str:
        dtype, _, scaling = part.partition("/")
        return f"{dtype} per-{scaling}" if scaling else dtype

    if sign == "*":
        return f"{left} activations and {word(right)} weights"
    return f"{word(left)} values to {right}" if sign == ">" else f"{tensors} values"


def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers[:2])


@functools.cache
def _releases() -> tuple[Release, ...]:
    """Every known release, each runtime's oldest first."""
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    everywhere = table["everywhere"]
    made: dict[str, Release] = {}
    for entry in table["release"]:
        before = made.get(entry.get("after", ""))
        versions = dict(before.versions) if before else {}
        versions.update({op: int(version) for version, ops in entry.get("versions", {}).items() for op in ops})
        wrong = {op: dict(kinds) for op, kinds in everywhere["wrong"].items()}
        for op, kinds in entry.get("wrong", {}).items():
            wrong.setdefault(op, {}).update(kinds)
        last = [other["version"] for other in table["release"] if other["runtime"] == entry["runtime"]][-1]
        made[f"{entry['runtime']} {entry['version']}"] = Release(
            runtime=entry["runtime"],
            version=_numbers(entry["version"]),
            newest=entry["version"] == last and entry["runtime"] == "litert",
            versions=versions,
            registered=frozenset(versions) | frozenset(entry.get("registered", ())),
            runs={op: frozenset(kinds) for op, kinds in entry.get("runs", {}).items()},
            wrong=wrong,
            ranks=entry.get("ranks", {}),
            broadcast_ranks=entry.get("broadcast_ranks", {}),
            degenerate=frozenset(entry.get("degenerate", ())) | frozenset(everywhere["degenerate"]),
        )
    return tuple(made.values())
