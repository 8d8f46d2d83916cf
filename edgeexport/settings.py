"""Every setting of an export, as one schema that targets, recipes and the command line all fill in part.

The schema is the vocabulary: a profile in ``targets/``, a recipe file and ``--set quantization.per_channel=true``
use the same names. :func:`edgeexport.recipe.resolve` merges them and says where each value came from.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from edgeexport.stages import Stage

Precision = Literal["fp32", "fp16", "w8", "w4", "w8a8-dynamic", "w8a8", "w8a16"]
"""Bits of weights (``w``) and activations (``a``), in the field's names. ``w8`` and ``w4`` quantize weights only;
``w8a8-dynamic`` finds activation ranges while running; ``w8a8`` and ``w8a16`` find them beforehand, on calibration
data."""

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "w8", "w4", "w8a8-dynamic", "w8a8", "w8a16")
STATIC: tuple[Precision, ...] = ("w8a8", "w8a16")
"""Those that need calibration samples."""

Ratio = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Quantization(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The integer scheme that the target's kernels are fastest and exact with.

    Attributes:
        activation_type: ``uint8`` (U8S8 with int8 weights) or ``int8`` (S8S8), for static activations. ONNX's
            DynamicQuantizeLinear always gives uint8.
        weight_type: element type of 8-bit weights.
        per_channel: one scale per output channel of a weight rather than one per tensor.
        hybrid_per_channel: the same for layers that take float activations, and one scale a row of an embedding table;
            runtimes of before 2025 ignore all but the first scale there.
        reduce_range: 7-bit weights, for x86 CPUs without VNNI, whose 16-bit accumulators saturate at U8S8.
        op_types: operators, by the format's own names, that are quantized; every other stays float. ``*`` alone
            means all of them.
        constant_weights_only: leave a MatMul of two activations (attention scores) in float.
        carried_op_types: static only. Operators such as Add and Clip that are quantized where everything they read
            comes from quantized nodes, so that integers pass through them, and stay float elsewhere.
        least_channels: a convolution of fewer input channels, such as one on RGB, stays float, and so does a depthwise
            one right behind it: kernels for them are slower in int8, and their error passes through all the rest.
        float_outputs: operators whose output is not quantized; the runtime then fuses the dequantization, and a
            bias stays float.
        smoothing: SmoothQuant's α (arXiv:2211.10438) for MatMul inputs with outlier channels, measured on the
            calibration set; 0 is off. Without a calibration set nothing is smoothed, and the report says so.
        smoothing_ratio: an input is smoothed where its largest channel exceeds its median channel by this factor.
        bias_correction: static only. Take the mean error of rounded convolution weights off the bias
            (arXiv:1906.04721).
        block_size: weights that share a scale in ``w4`` and ``w8``; 0 is one scale an output channel.
        palette_bits: with ``w8`` or ``w4`` of Core ML, look weights up in a palette of two to this many values, found
            by k-means, instead of spacing them evenly; 0 is off. ``block_size`` channels share one; 0 is one a tensor.
        embedding_bits: of embedding tables; None leaves them as the precision has it.
        minimum_snr: static only, in dB. A layer with an input or output that int8 steps over its calibrated range
            represent with less signal to noise than this has ``fallback`` instead; 0 turns the rule off.
        one_scale_snr: TFLite's static int8 weights, in dB. A layer whose weights keep this much signal to noise with
            one scale has one, where scales a channel would be more than 1/32 of its bytes; 0 leaves them.
        fallback: what such a layer has: ``w8a8-dynamic``, ``w8``, or ``fp32``.
        io_type: element type of the model's real-valued inputs and outputs.
        mask_value: attention masks below this, such as a dtype's minimum, are raised to it where a
            quantized tensor or float16 would otherwise have to span them; 0 leaves them.
    """

    activation_type: Literal["uint8", "int8"]
    weight_type: Literal["int8", "uint8"] = "int8"
    per_channel: bool
    hybrid_per_channel: bool = True
    reduce_range: bool = False
    op_types: tuple[str, ...]
    carried_op_types: tuple[str, ...] = ()
    least_channels: Count = 1
    float_outputs: tuple[str, ...] = ()
    constant_weights_only: bool = True
    smoothing: Share = 0.0
    smoothing_ratio: Ratio = 3.0
    bias_correction: bool = False
    block_size: Literal[0, 16, 32, 64, 128] = 32
    palette_bits: Literal[0, 1, 2, 3, 4, 6, 8] = 0
    embedding_bits: Literal[4, 8] | None = None
    minimum_snr: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    one_scale_snr: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    fallback: Literal["w8a8-dynamic", "w8", "fp32"] = "w8a8-dynamic"
    io_type: Literal["float32", "int8", "int16"] = "float32"
    mask_value: Annotated[float, msgspec.Meta(le=0)] = 0.0


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How static activation ranges are found.

    Attributes:
        method: ``minmax``; ``percentile``, which clips to a share of the values; or ``mse``, which picks the
            range with the least squared quantization error over a histogram.
        percentile: the share that ``percentile`` keeps, in percent.
        bins: histogram bins for ``percentile`` and ``mse``.
        minimum_samples: fewer than this is refused.
        lint: what becomes of errors that :mod:`edgeexport.lint` finds in the calibration set: ``error`` stops the
            export, ``warn`` reports them as warnings, ``off`` does not look.
        ignore: names of its rules that are overruled: their errors become warnings, their warnings are left out.
    """

    method: Literal["minmax", "percentile", "mse"]
    percentile: Annotated[float, msgspec.Meta(gt=50, le=100)] = 99.99
    bins: Annotated[int, msgspec.Meta(ge=128)] = 2048
    minimum_samples: Count
    lint: Literal["error", "warn", "off"] = "error"
    ignore: tuple[str, ...] = ()


class Interface(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The shapes an artifact takes, in a format that fixes them.

    Attributes:
        lengths: of the one dynamic dimension beside the batch, such as a text's tokens: one signature each. Shorter
            texts are padded to the next, longer ones cut to the last. Empty leaves a format's dynamic shapes.
        longest: Core ML, without ``lengths``: that dimension takes any length up to this; None is the tokenizer's own.
        context: of a language model, how many tokens it looks back on at most: its cache; 0 is as many as it has
            positions, up to 1024.
        prefill: of a language model in a format that fixes shapes, how many tokens of a prompt go in at once; one
            signature each beside that of a single token. Empty is 64, or the context where that is less.
        channels_last: images go in as [1, height, width, channels].
        images: Core ML takes images where the model takes normalised pixels, as Vision and Xcode's previews expect: the
            program normalises, and samples are pixels of 0 to 255 after resizing and cropping.
        classifier: Core ML gives ``classLabel`` and ``classLabel_probs`` beside the scores, as Vision expects.
        deployment_target: the least iOS that a Core ML program is for, which decides what operators it may have.
    """

    lengths: tuple[Count, ...] = ()
    longest: Count | None = None
    context: Annotated[int, msgspec.Meta(ge=0)] = 0
    prefill: tuple[Count, ...] = ()
    channels_last: bool = False
    images: bool = False
    classifier: bool = False
    deployment_target: Literal["iOS16", "iOS17", "iOS18"] = "iOS17"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What verification holds a bundle to. A limit that is None is reported and not judged.

    Attributes:
        size_ratio: artifact bytes over the source's float32 parameter bytes, at most.
        artifact_bytes: at most, in bytes.
        accuracy_drop: reference accuracy, or R² of a regression, minus measured, as a share (0.005 is half a point),
            at most.
        perplexity_ratio: measured perplexity over the reference's, at most.
        agreement: share of predictions equal to the float32 source's, at least.
        cosine_min: least cosine similarity of an output to the float32 source's, at least.
        latency_ratio: median latency over float32's, same format and runtime, timed in turn, at most.
        peak_memory: resident bytes of the runner process, at most.
        arena_bytes: of a microcontroller's tensor arena, at most.
        sram_bytes: that a cost model says an accelerator needs, at most.
    """

    size_ratio: Ratio | None = None
    artifact_bytes: Count | None = None
    accuracy_drop: Annotated[float, msgspec.Meta(ge=-1, le=1)] | None = None
    perplexity_ratio: Ratio | None = None
    agreement: Share | None = None
    cosine_min: Annotated[float, msgspec.Meta(ge=-1, le=1)] | None = None
    latency_ratio: Ratio | None = None
    peak_memory: Count | None = None
    arena_bytes: Count | None = None
    sram_bytes: Count | None = None


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How latency is taken: batch 1, the model and its float32 form run in turn.

    Attributes:
        length: text models are timed on a sequence of this many tokens, or of as many as they take.
        pairs: timed pairs, after ``warmup`` untimed ones; 0 leaves timing out.
        threads: intra-op threads of the runtime.
    """

    length: Count = 64
    pairs: Annotated[int, msgspec.Meta(ge=0)] = 60
    warmup: Count = 8
    threads: Count = 1


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A different precision for some nodes. Later overrides win.

    Attributes:
        precision: ``fp32`` leaves the nodes float; the others as their names say, where the format can mix them.
        op_type: matches nodes of this operator, by the format's own name.
        name: a regular expression searched in the node's name. With both, both must match.
    """

    precision: Literal["fp32", "w8", "w8a8-dynamic", "w8a8"]
    op_type: str | None = None
    name: str | None = None


class ModelFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a source does not say of itself, such as an ``.onnx`` file. What is given here wins over the source.

    Attributes:
        task: what the first output holds: ``classification``, ``regression``, ``embedding`` or ``generic``; for a
            language model ``generic`` exports one pass over a whole text, without a cache.
        labels: class names by index.
        preprocess: a :mod:`edgeexport.preprocess` specification with its ``kind``, as plain values.
        assets: the folder with the files that the preprocessing names, such as ``tokenizer.json``.
    """

    task: Literal["classification", "regression", "embedding", "generic"] | None = None
    labels: tuple[str, ...] | None = None
    preprocess: dict[str, Any] | None = None
    assets: str | None = None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides what an export produces and what it is held to."""

    precision: Precision
    compress: tuple[Stage, ...] = ()
    interface: Interface = Interface()
    quantization: Quantization
    calibration: Calibration
    limits: Limits = Limits()
    timing: Timing = Timing()
    overrides: tuple[Override, ...] = ()
    model: ModelFacts = ModelFacts()
    golden_samples: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
