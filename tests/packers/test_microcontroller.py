"""The C++ sources compile without a warning and hold what Python put into them."""

import hashlib
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import numpy as np
import pytest

from edgeexport.errors import ConversionError
from edgeexport.packers._cpp import elements, namespace, real, text
from edgeexport.packers._micro_ops import METHODS
from edgeexport.packers._model import read_facts
from edgeexport.packers.microcontroller import RUNTIME, arena_size, open_packer
from edgeexport.signature import Signature, TensorSpec

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
flatbuffer_utils = pytest.importorskip("ai_edge_litert.tools.flatbuffer_utils")

RNG = np.random.default_rng(5)
SIGNATURE = Signature(
    (TensorSpec("sound", "int8", (1, 4, 3), 0.1, -9), TensorSpec("level", "int16", ("batch", 2), 1 / 3, 0)),
    (TensorSpec("scores", "int8", (1, 5), 0.5, 7),),
)
GXX = shutil.which("g++")
needs_compiler = pytest.mark.skipif(GXX is None, reason="there is no g++")
FAKE = Path(__file__).parent / "fake_tflm"


def write_model(path, ops=("CONV_2D", "FULLY_CONNECTED", "CONV_2D"), custom=b""):
    """A file with such operators, whose inputs are (level, sound) by position; nothing could run it."""
    model = schema.ModelT()
    model.version, model.description, model.buffers = 3, "test", [schema.BufferT()]
    subgraph = schema.SubGraphT()
    subgraph.name, subgraph.tensors, subgraph.operators = b"main", [], []
    for name in ("t_scores", "t_sound", "t_level"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode(), [1], schema.TensorType.INT8
        subgraph.tensors.append(tensor)
    subgraph.inputs, subgraph.outputs = [2, 1], [0]
    model.operatorCodes = []
    for index, op in enumerate(ops):
        code = schema.OperatorCodeT()
        number = getattr(schema.BuiltinOperator, op)
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
        code.customCode = custom if op == "CUSTOM" else None
        model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = index, [1], [0]
        subgraph.operators.append(operator)
    unused = schema.OperatorCodeT()
    unused.builtinCode = unused.deprecatedBuiltinCode = schema.BuiltinOperator.TANH
    model.operatorCodes.append(unused)
    model.subgraphs = [subgraph]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs = [entry("sound", 1), entry("level", 2)]
    signature.outputs = [entry("scores", 0)]
    model.signatureDefs = [signature]
    flatbuffer_utils.write_model(model, str(path))
    return path


def entry(name, index):
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name.encode(), index
    return made


def samples(count=3):
    golden = [
        {
            "sound": RNG.integers(-128, 128, (1, 4, 3)).astype(np.int8),
            "level": RNG.integers(-32768, 32768, (1, 2)).astype(np.int16),
        }
        for _ in range(count)
    ]
    golden[0]["sound"].flat[:2] = -128, 127
    return golden, [{"scores": RNG.integers(-128, 128, (1, 5)).astype(np.int8)} for _ in range(count)]


def pack(folder, **changed):
    folder.mkdir(exist_ok=True)
    golden, outputs = changed.pop("both", None) or samples()
    arguments = {
        "name": "my-model 2",
        "model": folder / "model.tflite",
        "signature": SIGNATURE,
        "golden": golden,
        "outputs": outputs,
        "arena_bytes": 29696,
        **changed,
    }
    if not arguments["model"].exists():
        write_model(arguments["model"])
    return open_packer().pack(folder, **arguments), arguments


def build(folder, main, *flags):
    """Compile ``main`` with the sources; what the program prints."""
    (folder / "main.cc").write_text(main)
    sources = ("microcontroller/model.cc", "microcontroller/golden.cc", "main.cc")
    command = [GXX, "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Imicrocontroller", *flags, *sources]
    done = subprocess.run([*command, "-o", "main"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return subprocess.run(["./main"], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_runtime_has_a_runner():
    from edgeexport.runtime_names import runtime_modules

    assert RUNTIME in runtime_modules()


def test_facts_come_by_position_and_by_use(tmp_path):
    facts = read_facts(write_model(tmp_path / "m.tflite"))
    assert facts.ops == ("CONV_2D", "FULLY_CONNECTED")  # each once; TANH has a code, and no operator uses it
    assert facts.inputs == ("level", "sound")
    assert facts.outputs == ("scores",)


@needs_compiler
def test_the_program_sees_the_same_bytes(tmp_path):
    _, given = pack(tmp_path)
    printed = build(
        tmp_path,
        """
        #include <cstdio>
        #include "arena.h"
        #include "golden.h"
        #include "model.h"
        namespace m = my_model_2_model;
        template <typename T, std::size_t R, std::size_t C>
        void Print(const T (&array)[R][C]) {
          for (const auto& row : array) for (T value : row) std::printf("%d ", static_cast<int>(value));
          std::printf("\\n");
        }
        int main() {
          std::printf("%zu %zu %zu\\n", m::kModelBytes, alignof(decltype(m::kModel)),
                      reinterpret_cast<std::uintptr_t>(m::kModel) % 16);
          for (unsigned char byte : m::kModel) std::printf("%02x", byte);
          std::printf("\\n%zu %zu %zu\\n", m::kArenaMeasuredBytes, m::kArenaBytes, m::kArenaAlignment);
          std::printf("%zu %zu %zu %zu\\n", m::kGoldenCount, m::kInput0Size, m::kInput1Size, m::kOutput0Size);
          std::printf("%.9g %d %.9g %d %.9g %d\\n", m::kInput0Scale, m::kInput0ZeroPoint, m::kInput1Scale,
                      m::kInput1ZeroPoint, m::kOutput0Scale, m::kOutput0ZeroPoint);
          Print(m::kGoldenInput0);
          Print(m::kGoldenInput1);
          Print(m::kGoldenOutput0);
        }
        """,
    ).splitlines()
    model = given["model"].read_bytes()
    size, _, misaligned = map(int, printed[0].split())
    assert (size, misaligned) == (len(model), 0)
    assert hashlib.sha256(bytes.fromhex(printed[1])).digest() == hashlib.sha256(model).digest()
    assert printed[2] == "29696 33696 16"
    assert printed[3] == "3 2 12 5"
    constants = printed[4].split()
    assert [np.float32(constants[n]) for n in (0, 2, 4)] == [np.float32(1 / 3), np.float32(0.1), np.float32(0.5)]
    assert [int(constants[n]) for n in (1, 3, 5)] == [0, -9, 7]
    for line, key, arrays in (
        (5, "level", given["golden"]),
        (6, "sound", given["golden"]),
        (7, "scores", given["outputs"]),
    ):
        expected = np.concatenate([array[key].ravel() for array in arrays])
        np.testing.assert_array_equal(np.array(printed[line].split(), int), expected)


@needs_compiler
@pytest.mark.parametrize(("moved", "expected"), [(0, "0"), (2, "2")])
def test_the_self_test_of_the_readme_counts_what_differs(tmp_path, moved, expected):
    """Against headers that only look like TensorFlow Lite Micro's; its interpreter answers what is expected."""
    pack(tmp_path)
    readme = (tmp_path / "microcontroller" / "README.txt").read_text()
    code = readme.split("values that differ:\n")[1].split("\nWhat differs")[0]
    main = textwrap.dedent(code) + textwrap.dedent(f"""
        #include <cstdio>
        int tflite::MicroInterpreter::Answer(int sample) {{
          for (std::size_t i = 0; i < m::kInput0Size; ++i)
            if (reinterpret_cast<std::int16_t*>(input(0)->data.raw)[i] != m::kGoldenInput0[sample][i]) return 1;
          if (std::memcmp(input(1)->data.raw, m::kGoldenInput1[sample], m::kInput1Size) != 0) return 1;
          std::memcpy(output(0)->data.raw, m::kGoldenOutput0[sample], m::kOutput0Size);
          for (int i = 0; i < {moved} && sample == 1; ++i) ++output(0)->data.raw[i];
          return 0;
        }}
        int main() {{
          const int unlike = SelfTest();
          std::printf("%d %d", unlike, tflite::registered);
        }}
        """)
    assert build(tmp_path, main, f"-I{FAKE}") == f"{expected} 2"


@needs_compiler
def test_every_method_registers_through_the_resolver(tmp_path):
    builtin = [op for op in METHODS if not op.startswith("CUSTOM(")]
    _, given = pack(tmp_path, model=write_model(tmp_path / "all.tflite", builtin))
    assert len(read_facts(given["model"]).ops) == len(builtin)
    declared = "".join(f"  TfLiteStatus {name}() {{ return Add(); }}\n" for name in sorted(METHODS.values()))
    (tmp_path / "methods.inc").write_text(declared)
    printed = build(
        tmp_path,
        """
        #include <cstdio>
        #include "ops.h"
        int main() {
          my_model_2_model::OpResolver resolver;
          const bool done = my_model_2_model::RegisterOps(resolver) == kTfLiteOk;
          std::printf("%d %d", done, tflite::registered);
        }
        """,
        f"-I{FAKE}",
        "-I.",
        "-DALL_METHODS",
    )
    assert printed == f"1 {len(builtin)}"


def test_operators_are_of_the_schema_and_methods_are_distinct():
    for op in METHODS:
        assert op.startswith("CUSTOM(") or hasattr(schema.BuiltinOperator, op)
    assert len(set(METHODS.values())) == len(METHODS)
    assert METHODS["CONV_2D"] == "AddConv2D"
    assert METHODS["DEPTHWISE_CONV_2D"] == "AddDepthwiseConv2D"
    assert METHODS["BATCH_MATMUL"] == "AddBatchMatMul"
    assert METHODS["UNIDIRECTIONAL_SEQUENCE_LSTM"] == "AddUnidirectionalSequenceLSTM"
    assert METHODS["CUSTOM(TFLite_Detection_PostProcess)"] == "AddDetectionPostprocess"


def test_the_resolver_holds_just_the_operators(tmp_path):
    pack(tmp_path)
    ops = (tmp_path / "microcontroller" / "ops.h").read_text()
    assert re.findall(r"resolver\.(\w+)\(\)", ops) == ["AddConv2D", "AddFullyConnected"]
    assert "MicroMutableOpResolver<kOpCount>" in ops
    assert "kOpCount = 2;" in ops


def test_equal_arguments_give_equal_bytes(tmp_path):
    both = samples()
    notes = [pack(tmp_path / place, both=both)[0] for place in ("a", "b")]
    made = [
        {path.name: path.read_bytes() for path in (tmp_path / place / "microcontroller").iterdir()}
        for place in ("a", "b")
    ]
    assert made[0] == made[1]
    assert notes[0] == notes[1]
    assert sorted(made[0]) == ["README.txt", "arena.h", "golden.cc", "golden.h", "model.cc", "model.h", "ops.h"]
    assert "29,696 measured" in notes[0][1]
    assert "33,696 bytes" in notes[0][1]


@pytest.mark.parametrize(
    ("measured", "reserved"),
    [(29696, 33696), (1, 1040), (16, 1056), (10_000, 12_032)],
)
def test_the_arena_has_a_tenth_and_a_kibibyte_more(measured, reserved):
    assert arena_size(measured) == reserved
    assert reserved % 16 == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("digits", "digits_model"),
        ("my-model 2", "my_model_2_model"),
        ("2nd", "m2nd_model"),
        ("class", "class_model"),
        ("__x__", "x_model"),
        ("a__b", "a_b_model"),
        ("Modèle", "Mod_le_model"),
        ("", "model"),
        ("數", "model"),
    ],
)
def test_namespaces_are_identifiers(name, expected):
    assert namespace(name) == expected


@needs_compiler
def test_a_hostile_name_stays_in_its_comment(tmp_path):
    pack(tmp_path, name="x*/ \\\n#error no\n??/")
    build(tmp_path, '#include "model.h"\nint main() { return x_error_no_model::kModelBytes == 0; }\n')


def test_literals_give_their_values_back():
    values = np.array([np.iinfo(np.int32).min, -1, np.iinfo(np.int32).max], np.int32)
    assert list(elements(values, "x")) == ["-2147483647 - 1", "-1", "2147483647"]
    for value in (0.1, 1 / 3, 1.0, 1e-30, 16777216.0):
        literal = real(value, "x")
        assert literal.endswith("f")
        assert "." in literal
        assert np.float32(literal[:-1]) == np.float32(value)
    with pytest.raises(ConversionError, match="nan"):
        real(float("nan"), "x")


def test_comments_are_one_line_of_ascii():
    assert text("a\nb\\c\té") == "a?b?c??"


def test_what_cannot_be_packed_is_refused(tmp_path):
    golden, outputs = samples()
    with pytest.raises(ConversionError, match="3 golden inputs and 2 outputs"):
        pack(tmp_path, both=(golden, outputs[:2]))
    with pytest.raises(ConversionError, match="not measured"):
        pack(tmp_path, arena_bytes=0)
    with pytest.raises(ConversionError, match="no GELU"):
        pack(tmp_path, model=write_model(tmp_path / "gelu.tflite", ("CONV_2D", "GELU")))
    with pytest.raises(ConversionError, match=r"no CUSTOM\(mine\)"):
        pack(tmp_path, model=write_model(tmp_path / "custom.tflite", ("CUSTOM",), b"mine"))
    with pytest.raises(ConversionError, match="has dtype int32"):
        pack(tmp_path, both=([{**golden[0], "level": golden[0]["level"].astype(np.int32)}], outputs[:1]))
    other = Signature(SIGNATURE.inputs[:1], SIGNATURE.outputs)
    with pytest.raises(ConversionError, match="inputs are"):
        pack(tmp_path, signature=other)
    (tmp_path / "no.tflite").write_bytes(b"no model")
    with pytest.raises(ConversionError, match="not a TFLite model"):
        pack(tmp_path, model=tmp_path / "no.tflite")
    (tmp_path / "cut.tflite").write_bytes(write_model(tmp_path / "whole.tflite").read_bytes()[:120])
    with pytest.raises(ConversionError, match="damaged"):
        pack(tmp_path, model=tmp_path / "cut.tflite")
    assert not (tmp_path / "microcontroller").exists()
