"""C++17 sources for TensorFlow Lite Micro: the model, its operators, its arena and a self-test.

    microcontroller/
        model.h, model.cc      the model as an aligned array
        ops.h                  a resolver with the operators it uses and no others
        arena.h                how much memory its tensors need
        golden.h, golden.cc    inputs and what TensorFlow Lite Micro answers for them
        README.txt             how to put them together

Nothing depends on a build system. All names stand in a namespace of the model's own, so that a firmware can hold
several models.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeexport.errors import ConversionError
from edgeexport.packers._cpp import C_TYPES, elements, header, namespace, real, rows, source, text
from edgeexport.packers._micro_ops import METHODS
from edgeexport.packers._model import read_facts
from edgeexport.packers._readme import readme
from edgeexport.signature import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np

RUNTIME = "tflite-micro"
FOLDER = "microcontroller"
_ALIGNMENT = 16
_MARGIN_BYTES = 1024
_MARGIN_SHARE = 10  # one tenth

Arrays = dict[str, "np.ndarray"]


class MicrocontrollerPacker:
    """Packs ``.tflite`` models of one signature whose shapes are fixed."""

    def pack(
        self,
        folder: Path,
        *,
        name: str,
        model: Path,
        signature: Signature,
        golden: list[Arrays],
        outputs: list[Arrays],
        arena_bytes: int,
    ) -> tuple[str, ...]:
        """See :class:`edgeexport.packers.Packer`."""
        if not golden or len(golden) != len(outputs):
            raise ConversionError(f"packing {name}: {len(golden)} golden inputs and {len(outputs)} outputs")
        if arena_bytes <= 0:
            raise ConversionError(f"packing {name}: the arena was not measured")
        facts = read_facts(model)
        space = namespace(name)
        inputs = _in_order(facts.inputs, signature.inputs, golden, "input")
        answers = _in_order(facts.outputs, signature.outputs, outputs, "output")
        data = model.read_bytes()
        arena = arena_size(arena_bytes)
        title = text(name)
        files = {
            "model.h": _model_header(space, title, len(data)),
            "model.cc": _model_source(space, data),
            "ops.h": _ops_header(space, facts.ops),
            "arena.h": _arena_header(space, arena_bytes, arena),
            "golden.h": _golden_header(space, len(golden), inputs, answers),
            "golden.cc": _golden_source(space, golden, outputs, inputs, answers),
            "README.txt": readme(space, title, inputs, answers, len(golden)),
        }
        made = folder / FOLDER
        made.mkdir(exist_ok=True)
        for file, content in files.items():
            (made / file).write_bytes(content.encode("ascii"))
        operators = ", ".join(facts.ops)
        return (
            f"{FOLDER}/: C++ sources for TensorFlow Lite Micro; operators {operators}",
            f"{FOLDER}/arena.h reserves {arena:,} bytes: {arena_bytes:,} measured on this machine with the reference "
            f"kernels, and a margin of {arena - arena_bytes:,} for a board's own kernels",
        )


def open_packer() -> MicrocontrollerPacker:
    """The packer."""
    return MicrocontrollerPacker()


def arena_size(measured: int) -> int:
    """Bytes to reserve: what was measured, a tenth and 1 KiB more, rounded up to 16."""
    wanted = measured + -(-measured // _MARGIN_SHARE) + _MARGIN_BYTES
    return -(-wanted // _ALIGNMENT) * _ALIGNMENT


def _in_order(
    names: Sequence[str], specs: Sequence[TensorSpec], samples: Sequence[Arrays], kind: str
) -> tuple[TensorSpec, ...]:
    """The tensors by position, with the lengths that the samples have.

    Raises:
        ConversionError: names, types or lengths differ between the model, its signature and the samples.
    """
    known = {spec.name: spec for spec in specs}
    if sorted(known) != sorted(names):
        raise ConversionError(f"packing: the model's {kind}s are {list(names)}, its signature's {list(known)}")
    ordered = []
    for name in names:
        spec, shape = known[name], samples[0][name].shape
        for sample in samples:
            problem = spec.mismatch(sample[name])
            if problem is None and sample[name].shape != shape:
                problem = f"'{name}' has lengths {list(shape)} and {list(sample[name].shape)}"
            if problem is not None:
                raise ConversionError(f"packing: a golden {kind} does not fit: {problem}")
        if spec.dtype not in C_TYPES:
            raise ConversionError(
                f"packing: the {kind} '{name}' is {spec.dtype}, which no source can be written for",
                f"There is: {', '.join(C_TYPES)}.",
            )
        ordered.append(TensorSpec(name, spec.dtype, shape, spec.scale, spec.zero_point))
    return tuple(ordered)


def _model_header(space: str, title: str, size: int) -> str:
    body = (
        f"// {title}, a TensorFlow Lite model. It stays where it is in flash and is read in place.\n"
        f"constexpr std::size_t kModelBytes = {size};\n"
        f"alignas({_ALIGNMENT}) extern const unsigned char kModel[kModelBytes];\n"
    )
    return header(space, "model", ("<cstddef>",), body)


def _model_source(space: str, data: bytes) -> str:
    values = rows(f"0x{byte:02x}" for byte in data)
    return source(space, "model", f"alignas({_ALIGNMENT}) const unsigned char kModel[kModelBytes] = {{\n{values}}};\n")


def _ops_header(space: str, ops: Sequence[str]) -> str:
    """The resolver.

    Raises:
        ConversionError: naming the operators that TensorFlow Lite Micro lacks.
    """
    missing = [op for op in ops if op not in METHODS]
    if missing:
        raise ConversionError(
            f"packing: TensorFlow Lite Micro has no {', '.join(missing)}",
            "Replace the operator in the model, or take a target with a larger runtime.",
        )
    calls = "".join(f"  if (resolver.{METHODS[op]}() != kTfLiteOk) return kTfLiteError;\n" for op in ops)
    body = (
        "// Every operator that the model uses, and no other: each one costs flash.\n"
        f"constexpr unsigned int kOpCount = {len(ops)};\n"
        "using OpResolver = tflite::MicroMutableOpResolver<kOpCount>;\n\n"
        "// Registers them; the resolver may be larger, where several models share one.\n"
        "template <typename Resolver>\n"
        f"TfLiteStatus RegisterOps(Resolver& resolver) {{\n{calls}  return kTfLiteOk;\n}}\n"
    )
    return header(space, "ops", ('"tensorflow/lite/micro/micro_mutable_op_resolver.h"',), body)


def _arena_header(space: str, measured: int, size: int) -> str:
    body = (
        "// What the recording allocator of TensorFlow Lite Micro counted for one inference, on a 64-bit machine with\n"
        "// the reference kernels. Pointers are half as long on most microcontrollers; their own kernels, such as\n"
        "// those of CMSIS-NN, may ask for scratch memory beyond it.\n"
        f"constexpr std::size_t kArenaMeasuredBytes = {measured};\n\n"
        f"// With a margin of a tenth and 1 KiB, rounded up to {_ALIGNMENT}. After AllocateTensors(),\n"
        "// MicroInterpreter::arena_used_bytes() tells what your build needs.\n"
        f"constexpr std::size_t kArenaBytes = {size};\n"
        f"constexpr std::size_t kArenaAlignment = {_ALIGNMENT};\n"
    )
    return header(space, "arena", ("<cstddef>",), body)


def _golden_header(space: str, count: int, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> str:
    body = (
        "// Samples, and what TensorFlow Lite Micro answers for them with its reference kernels.\n"
        f"constexpr std::size_t kGoldenCount = {count};\n"
    )
    for kind, specs in (("Input", inputs), ("Output", outputs)):
        for index, spec in enumerate(specs):
            body += _tensor_constants(kind, index, spec)
    return header(space, "golden", ("<cstddef>", "<cstdint>"), body)


def _tensor_constants(kind: str, index: int, spec: TensorSpec) -> str:
    """Declarations for one input or output."""
    import numpy as np

    lengths = [int(length) for length in spec.shape]
    shape = ", ".join(map(str, lengths))
    lines = f"\n// {kind} {index}: '{text(spec.name)}', {spec.dtype} [{shape}]"
    size = f"constexpr std::size_t k{kind}{index}Size = {int(np.prod(lengths, dtype=np.int64))};\n"
    if spec.scale is None:
        lines += f".\n{size}"
    else:
        lines += f"; real = k{kind}{index}Scale * (integer - k{kind}{index}ZeroPoint).\n{size}"
        lines += f"constexpr float k{kind}{index}Scale = {real(spec.scale, f'the scale of {spec.name}')};\n"
        lines += f"constexpr std::int32_t k{kind}{index}ZeroPoint = {spec.zero_point or 0};\n"
    return lines + f"extern const {C_TYPES[spec.dtype]} kGolden{kind}{index}[kGoldenCount][k{kind}{index}Size];\n"


def _golden_source(
    space: str,
    golden: Sequence[Arrays],
    answers: Sequence[Arrays],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> str:
    parts = []
    for kind, specs, samples in (("Input", inputs, golden), ("Output", outputs, answers)):
        for index, spec in enumerate(specs):
            vectors = "".join(
                f"    {{\n{rows(elements(sample[spec.name], f'a golden {kind.lower()}'))}    }},\n"
                for sample in samples
            )
            array = f"kGolden{kind}{index}[kGoldenCount][k{kind}{index}Size]"
            parts.append(f"const {C_TYPES[spec.dtype]} {array} = {{\n{vectors}}};\n")
    return source(space, "golden", "\n".join(parts))
