"""Reports of plausible size for the tests of what renders them: MiniLM on a Raspberry Pi, with everything that a report
may hold. Sizes follow from the model's shapes; losses are drawn from a fixed seed."""

import math
import random

from edgeexport.analysis import (
    Budget,
    Divergence,
    LayerError,
    LintFinding,
    ModuleBytes,
    Search,
    Sensitivity,
    Trial,
)
from edgeexport.artifact import Golden, Manifest
from edgeexport.estimate import Estimate
from edgeexport.results import Accuracy, Check, Component, Conditions, Latency, Parity, Report, Run, Size

HIDDEN, INNER, VOCABULARY, LAYERS = 384, 1536, 30522, 6
SHAPES = {
    "attention.self.query": (HIDDEN, HIDDEN),
    "attention.self.key": (HIDDEN, HIDDEN),
    "attention.self.value": (HIDDEN, HIDDEN),
    "attention.output.dense": (HIDDEN, HIDDEN),
    "intermediate.dense": (HIDDEN, INNER),
    "output.dense": (INNER, HIDDEN),
}


def linears():
    """Path and shape of every linear layer."""
    for layer in range(LAYERS):
        for name, shape in SHAPES.items():
            yield f"bert.encoder.layer.{layer}.{name}", shape


def modules():
    """Bytes by module, with the last feed-forward layers in float32."""
    found = [
        ModuleBytes(path="bert.embeddings.word_embeddings", what="weight", dtype="int8", bytes=VOCABULARY * HIDDEN),
        ModuleBytes(path="bert.embeddings.word_embeddings", what="scale", dtype="float32", bytes=4 * HIDDEN),
        ModuleBytes(path="bert.embeddings.position_embeddings", what="weight", dtype="int8", bytes=512 * HIDDEN),
        ModuleBytes(path="bert.embeddings.LayerNorm", what="weight", dtype="float32", bytes=8 * HIDDEN),
        ModuleBytes(path="bert.pooler.dense", what="weight", dtype="float32", bytes=4 * HIDDEN * HIDDEN),
        ModuleBytes(path="classifier", what="weight", dtype="float32", bytes=4 * 2 * (HIDDEN + 1)),
        ModuleBytes(path="", what="structure", dtype="", bytes=152_406),
        ModuleBytes(path="", what="constant", dtype="int64", bytes=5_024),
    ]
    for path, (inputs, outputs) in linears():
        kept = path.startswith("bert.encoder.layer.5") and "output.dense" in path
        width, dtype = (4, "float32") if kept else (1, "int8")
        found.append(ModuleBytes(path=path, what="weight", dtype=dtype, bytes=width * inputs * outputs))
        found.append(ModuleBytes(path=path, what="scale", dtype="float32", bytes=4 * outputs))
        found.append(ModuleBytes(path=path, what="weight", dtype="float32", bytes=4 * outputs))
    return tuple(found)


def size():
    """Of those modules."""
    placed = modules()
    whole = sum(one.bytes for one in placed)
    linear = sum(one.bytes for one in placed if "dense" in one.path or "self" in one.path)
    parts = (
        Component(name="linear", bytes=linear, dtype="int8"),
        Component(name="embedding", bytes=whole - linear - 152_406, dtype="int8"),
        Component(name="graph", bytes=152_406, dtype="-"),
    )
    return Size(
        artifact_bytes=whole,
        source_float32_bytes=90_860_000,
        ratio=whole / 90_860_000,
        components=parts,
        modules=placed,
    )


def sensitivities():
    """Worse towards the last layers, the second feed-forward ones worst."""
    chance = random.Random(1)
    whole = sum(inputs * outputs for _, (inputs, outputs) in linears())
    found = []
    for index, (path, (inputs, outputs)) in enumerate(linears()):
        snr = 48 - 0.4 * index - 14 * path.endswith("output.dense") + chance.uniform(-3, 3)
        found.append(
            Sensitivity(
                layer=path.replace(".", "/") + "/MatMul",
                path=path,
                precision="w8a8",
                snr_db=snr,
                unlike=round(400 * 10 ** (-snr / 20) * 0.4),
                samples=400,
                bytes=inputs * outputs,
                macs=inputs * outputs / whole,
            )
        )
    return tuple(found)


TRIALS = (
    ("dynamic, everything in 8 bits", 23_130_003, 0.2546, 0.471, 0.0000, 3, 31.2, True),
    ("static, everything in 8 bits", 23_214_880, 0.2555, 0.402, 0.0413, 41, 11.8, False),
    ("static, mse ranges", 23_214_880, 0.2555, 0.404, 0.0275, 33, 13.1, False),
    ("static, 2 layers float", 26_763_912, 0.2946, 0.458, 0.0115, 18, 17.4, False),
    ("static, 4 layers float", 30_312_944, 0.3336, 0.519, 0.0069, 11, 20.9, True),
    ("static, 6 layers float", 33_861_976, 0.3727, 0.566, 0.0046, 8, 23.5, True),
    ("4 bits a weight, blocks of 32", 18_102_220, 0.1992, 0.733, 0.0252, 29, 13.6, False),
)


def search(met=True, dropped=None):
    """Seven whole trials, one on some samples and one that did not run."""
    trials = [
        Trial(
            number=number,
            title=title,
            settings={"precision": "w8a8", "quantization": {"bias_correction": True}, "calibration": {"method": "mse"}},
            evaluated=True,
            samples=436,
            artifact_bytes=size,
            size_ratio=ratio,
            latency_ratio=latency,
            drop=drop,
            unlike=unlike,
            snr_db=snr,
            kept=kept,
        )
        for number, (title, size, ratio, latency, drop, unlike, snr, kept) in enumerate(TRIALS, 1)
    ]
    trials.append(
        Trial(
            number=8,
            title="static, 3 layers float",
            settings={},
            evaluated=False,
            samples=100,
            artifact_bytes=28_538_428,
            size_ratio=0.3141,
            drop=0.02,
            unlike=6,
            snr_db=18.8,
            note="passed over: on 100 samples already worse than trial 5",
        )
    )
    trials.append(
        Trial(number=9, title="16-bit activations", settings={}, evaluated=False, samples=0, note="no kernel for it")
    )
    chosen = trials[0]
    return Search(
        budget=Budget(drop=0.01, bytes=32_000_000, latency_ratio=0.6),
        metric="accuracy",
        runtime="onnxruntime",
        device="local",
        evidence="measured",
        seed=0,
        choosing=436,
        scoring=436,
        trials=tuple(trials),
        chosen=chosen.number,
        score=Trial(number=1, title=chosen.title, settings={}, evaluated=True, samples=436, drop=0.0023, kept=met),
        met=met,
        sensitivities=sensitivities(),
        evaluations=8,
        stopped="Trial 1 keeps the budget, and nothing smaller does.",
    )


def divergence(layers=64):
    """Two sudden losses on the way, and clipping where they are."""
    chance = random.Random(2)
    found, snr = [], 52.0
    paths = [path for path, _ in linears()]
    for index in range(layers):
        path = paths[index * len(paths) // layers] + ("" if index % 2 else ".bias")
        drop = {21: 11.0, 47: 9.0}.get(index, 0.25)
        snr = snr - drop + chance.uniform(-0.5, 0.5)
        found.append(
            LayerError(
                path=f"{path}.{index}",
                operator="MatMul" if index % 2 else "Add",
                snr_db=snr,
                clipped=0.0213 if drop > 1 else 0.0004 if index % 5 == 0 else 0.0,
                low=-1.0 - index / 7,
                high=2.0 + index / 5,
                samples=32,
            )
        )
    worst = (found[21].path, found[47].path)
    return Divergence(runtime="onnxruntime", device="local", evidence="measured", layers=tuple(found), worst=worst)


LINT = (
    LintFinding(
        rule="duplicate-samples",
        level="warning",
        evidence="118 of 512 samples are equal to another",
        remedy="Give samples that differ; 394 distinct ones are left.",
    ),
    LintFinding(
        rule="missing-labels",
        level="error",
        evidence="the set holds label 0 only, the evaluation set 0 and 1",
        remedy="Draw samples of every label.",
    ),
)


def run(**changes):
    """On this machine, with its conditions."""
    fields = {
        "runtime": "onnxruntime",
        "runtime_version": "1.32.0",
        "device": "local",
        "machine": "x86_64",
        "cpu": "AMD EPYC",
        "evidence": "measured",
        "parity": Parity(
            cosine_mean=0.9987,
            cosine_min=0.9481,
            max_abs=0.8125,
            snr_db=29.84,
            agreement=866 / 872,
            unlike=6,
            samples=872,
            over="evaluation",
        ),
        "accuracy": Accuracy(metric="accuracy", value=781 / 872, reference=781 / 872, samples=872),
        "latency_ms": Latency(
            p50=3.801,
            p90=4.012,
            float32_p50=9.171,
            float32_p90=9.934,
            count=60,
            threads=1,
            before=Conditions(temperature_c=41.2, frequency_mhz=1800.0),
            after=Conditions(temperature_c=57.9, frequency_mhz=1800.0),
        ),
        "peak_memory_bytes": 86_090_000,
    }
    return Run(**{**fields, **changes})


ESTIMATED = Run(
    runtime="vela",
    runtime_version="5.2.0",
    device="ethos-u55-128",
    machine="armv8.1-m.main",
    cpu="ethos-u55-128",
    evidence="estimated",
    estimate=Estimate(
        tool="vela",
        tool_version="5.2.0",
        accelerator="ethos-u55-128",
        cycles=1_234_567,
        milliseconds=6.1728,
        clock_hz=200e6,
        sram_bytes=54_321,
        flash_bytes=234_567,
        npu_share=0.875,
        cpu_ops=("ARG_MAX", "CAST"),
    ),
)


def check(name, measured, limit, unit="ratio", verdict="pass", where="onnxruntime on local", note=""):
    """One check."""
    return Check(name=name, measured=measured, limit=limit, unit=unit, verdict=verdict, where=where, note=note)


def rich(**changes):
    """A report that has every section, and fails."""
    sizes = size()
    pi = "onnxruntime on emulated:raspberry-pi-4"
    fields = {
        "target": "raspberry-pi-4",
        "model": "sst2-minilm",
        "precision": "w8a8",
        "verdict": "fail",
        "size": sizes,
        "runs": (
            run(),
            run(
                device="emulated:raspberry-pi-4",
                machine="aarch64",
                cpu="cortex-a72",
                evidence="emulated",
                latency_ms=None,
                stand_in=None,
                accuracy=Accuracy(metric="accuracy", value=779 / 872, reference=781 / 872, samples=872),
            ),
            ESTIMATED,
        ),
        "checks": (
            check("compatibility", 0.0, 0.0, "operators", where="onnxruntime 1.22"),
            check("size_ratio", sizes.ratio, 0.27, "ratio", "fail", "artifact"),
            check("agreement", 866 / 872, 0.97, "share", note="6 of 872 unlike float32"),
            check("accuracy_drop", 0.0, 0.01, "share"),
            check("latency_ratio", 3.801 / 9.171, 0.6, note="timed on x86_64; the target is aarch64"),
            check("peak_memory", 86_090_000.0, None, "bytes"),
            check("cosine_min", 0.9481, 0.99, "", "fail"),
            check("accuracy_drop", 2 / 872, 0.01, "share", where=pi),
            check("latency_ratio", None, 0.6, "ratio", "not run", pi, "not timed: emulated"),
        ),
        "evaluation": "9a3746676d2e2c30d507d6cc430a8016693b6cc5083eac9e59b7296e551791e7",
        "notes": (
            "19 activations with outlier channels smoothed (α 0.85)",
            "1 attention mask constants raised to -100",
        ),
        "lint": LINT,
        "divergences": (divergence(),),
        "search": search(),
    }
    return Report(**{**fields, **changes})


MANIFEST = Manifest(
    artifact="model.onnx",
    format="onnx",
    precision="w8a8",
    task="classification",
    signature={},
    target={"name": "raspberry-pi-4"},
    recipe={
        "settings": {
            "precision": "w8a8",
            "quantization": {"per_channel": True, "op_types": ["MatMul", "Conv"], "smoothing": 0.85},
            "calibration": {"method": "mse", "minimum_samples": 100},
        },
        "origins": {
            "precision": "command line",
            "quantization.per_channel": "target raspberry-pi-4",
            "quantization.op_types": "command line",
            "quantization.smoothing": "recipe my recipe.toml",
            "calibration.method": "target raspberry-pi-4",
            "calibration.minimum_samples": "default",
        },
    },
    preprocess={},
    labels=("negative", "positive"),
    golden=Golden(samples=8, origin="evaluation"),
    reference=None,
    versions={"onnx": "1.19.0", "onnxruntime": "1.32.0", "torch": "2.9.0"},
    source={"name": "sst2-minilm", "fingerprint": "30d8414c427efea0", "float32_bytes": 90_860_000},
    files={"model.onnx": "05de188e85977217", "tokenizer.json": "aa"},
)


def noise_share(snr):
    """As the page gives it."""
    return 10 ** (-snr / 20) if math.isfinite(snr) else 0.0
