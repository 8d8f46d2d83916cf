"""The text that tells a firmware engineer how to use the sources."""

from __future__ import annotations

from collections.abc import Sequence

from edgeexport.packers._cpp import C_TYPES, text
from edgeexport.signature import TensorSpec

_TEXT = """{title} for TensorFlow Lite Micro
{rule}

Add this folder to the include path, and model.cc and golden.cc to the build, as C++17 or later, next to TensorFlow
Lite Micro (https://github.com/tensorflow/tflite-micro). The self-test needs golden.cc; a product can leave it out.

    model.h, model.cc      the model, an array of kModelBytes bytes, aligned to 16
    ops.h                  OpResolver and RegisterOps(): the operators that the model uses
    arena.h                kArenaBytes, the memory for its tensors
    golden.h, golden.cc    {count} samples and the outputs that TensorFlow Lite Micro gives for them

Everything is in the namespace {space}. Inputs and outputs, by position:

{tensors}
A self-test, which returns the number of values that differ:

    #include <cstring>

    #include "tensorflow/lite/micro/micro_interpreter.h"
    #include "tensorflow/lite/schema/schema_generated.h"

    #include "arena.h"
    #include "golden.h"
    #include "model.h"
    #include "ops.h"

    namespace m = {space};

    alignas(m::kArenaAlignment) static unsigned char arena[m::kArenaBytes];

    int SelfTest() {{
      static m::OpResolver resolver;
      if (m::RegisterOps(resolver) != kTfLiteOk) return -1;
      static tflite::MicroInterpreter interpreter(tflite::GetModel(m::kModel), resolver, arena, sizeof(arena));
      if (interpreter.AllocateTensors() != kTfLiteOk) return -2;
      int unlike = 0;
      for (std::size_t sample = 0; sample < m::kGoldenCount; ++sample) {{
{copies}        if (interpreter.Invoke() != kTfLiteOk) return -3;
{compares}      }}
      return unlike;
    }}

What differs, and by how much
-----------------------------
The outputs in golden.cc were computed by TensorFlow Lite Micro's reference kernels. A build with the same kernels
gives the same {bits}. Kernels written for one processor, such as those of CMSIS-NN, may move
{steps}; where a classifier's predicted class changes, something is wrong with the build.
"""


def readme(space: str, title: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], count: int) -> str:
    """README.txt.

    Args:
        space: the namespace.
        title: the model's name, printable.
        inputs: by position, with fixed shapes.
        outputs: likewise.
        count: golden samples.
    """
    heading = f"{title} for TensorFlow Lite Micro"
    whole = all(spec.dtype != "float32" for spec in outputs)
    return _TEXT.format(
        title=title,
        rule="=" * len(heading),
        space=space,
        count=count,
        tensors="".join(
            f"    {kind} {index}    '{text(spec.name)}'    {spec.dtype} {list(spec.shape)}{_scale(kind, index, spec)}\n"
            for kind, specs in (("Input", inputs), ("Output", outputs))
            for index, spec in enumerate(specs)
        ),
        copies="".join(
            f"        std::memcpy(interpreter.input({index})->data.raw, m::kGoldenInput{index}[sample],\n"
            f"                    sizeof(m::kGoldenInput{index}[sample]));\n"
            for index in range(len(inputs))
        ),
        compares="".join(
            f"        const {C_TYPES[spec.dtype]}* output{index} =\n"
            f"            reinterpret_cast<const {C_TYPES[spec.dtype]}*>(interpreter.output({index})->data.raw);\n"
            f"        for (std::size_t i = 0; i < m::kOutput{index}Size; ++i)\n"
            f"          unlike += output{index}[i] != m::kGoldenOutput{index}[sample][i];\n"
            for index, spec in enumerate(outputs)
        ),
        bits="integers" if whole else "numbers up to the last bits of a float",
        steps="a value by a step or a few" if whole else "the last digits",
    )


def _scale(kind: str, index: int, spec: TensorSpec) -> str:
    if spec.scale is None:
        return ""
    return f"    real = k{kind}{index}Scale * (integer - k{kind}{index}ZeroPoint)"
