"""Text from a language model's bundle, on a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeexport.artifact import Bundle, load_bundle
from edgeexport.decoder import Decoder
from edgeexport.errors import BundleError, SamplesError
from edgeexport.job import Device, Job
from edgeexport.pipeline.opening import open_device, open_format
from edgeexport.pipeline.verifying import rules
from edgeexport.preprocess import TokenizerPreprocess, from_dict
from edgeexport.runtime_names import module_of
from edgeexport.text_features import open_tokenizer
from edgeexport.token_samples import check_ids
from edgeexport.verify.harness import driver, job_folder

Prompt = str | Sequence[int]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; see :class:`edgeexport.runtimes.decoder.Sampler`.

    Attributes:
        count: tokens at most.
        temperature: 0 takes the likeliest.
        top_k: only the likeliest so many; 0 is all.
        top_p: only the likeliest that have this share together.
        seed: of the choice.
        stop: tokens that end the text, beside the model's own; each must be one token of the tokenizer.
    """

    count: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no sampler can do.

        Raises:
            SamplesError: naming the value.
        """
        problems = {
            f"{self.count} tokens": self.count < 1,
            f"a temperature of {self.temperature}": not 0 <= self.temperature < float("inf"),
            f"top_k {self.top_k}": self.top_k < 0,
            f"top_p {self.top_p}": not 0 < self.top_p <= 1,
            f"seed {self.seed}": self.seed < 0,
        }
        for what, wrong in problems.items():
            if wrong:
                raise SamplesError(f"{what} cannot be sampled with", "Counts are positive; top_p lies in (0, 1].")


@dataclass(frozen=True)
class Generation:
    """What a model made of one prompt.

    Attributes:
        prompt_tokens: how many the prompt has.
        tokens: those that follow, without the one that ended them.
        text: of ``tokens``; empty without a tokenizer.
        ended: by a ``stop`` token, at the ``count``, or because the ``context`` was full.
        prompt_ms: until the first token was chosen; None where a device's times mean nothing, as under emulation.
        token_ms: of every later token, one that ended the text included; empty likewise.
        runtime, device: what ran it and where.
        peak_memory_bytes: of the runner's process; None where it cannot be known.
    """

    prompt_tokens: int
    tokens: tuple[int, ...]
    text: str
    ended: str
    prompt_ms: float | None
    token_ms: tuple[float, ...]
    runtime: str
    device: str
    peak_memory_bytes: int | None


def run_generate(
    path: Path,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    device: str = "local",
    heard: Callable[[str], None] | None = None,
    timeout_s: float = 900.0,
) -> list[Generation]:
    """Go on with prompts, each as a text of its own.

    Args:
        path: the bundle.
        prompts: texts, or token ids.
        sampling: how.
        device: where.
        heard: gets pieces of text as they are made.
        timeout_s: for all of them.

    Raises:
        BundleError: the bundle is incomplete, altered, or no language model's.
        SamplesError: a prompt is empty, too long, or has ids that the model lacks; a stop is not one token.
        RunFailed: the runtime failed.
    """
    bundle = load_bundle(path)
    decoder = decoder_of(bundle)
    tokenizer = _tokenizer(bundle)
    ids = [_encode(prompt, number, tokenizer, decoder) for number, prompt in enumerate(prompts, 1)]
    stop_ids = (*decoder.stop_ids, *(_stop_id(text, tokenizer) for text in sampling.stop))
    opened = open_device(device)
    try:
        runtime = _runtime(bundle, opened)
        job = Job(
            runtime=runtime,
            models=(bundle.model_path,),
            inputs=[{"input_ids": one} for one in ids],
            mode="generate",
            timeout_s=timeout_s,
            decoder=driver(bundle),
            sampling={
                "count": sampling.count,
                "temperature": sampling.temperature,
                "top_k": sampling.top_k,
                "top_p": sampling.top_p,
                "seed": sampling.seed,
                "stop_ids": list(stop_ids),
            },
            heard=None if heard is None or tokenizer is None else _Streamed(tokenizer, heard).add,
        )
        with job_folder() as folder:
            result = opened.run(job, folder)
            timed = opened.describe().timed and result.stand_in is None
            outputs = [np.asarray(sample["tokens"]).tolist() for sample in result.outputs]
    finally:
        opened.close()
    return [
        Generation(
            prompt_tokens=one.shape[1],
            tokens=tuple(tokens),
            text="" if tokenizer is None else str(tokenizer.decode(tokens, skip_special_tokens=False)),
            ended=_ended(one.shape[1], len(tokens), sampling.count, decoder),
            prompt_ms=times[0] / 1e6 if timed else None,
            token_ms=tuple(time / 1e6 for time in times[1:]) if timed else (),
            runtime=f"{result.runtime} {result.version}".strip(),
            device=device,
            peak_memory_bytes=result.peak_memory_bytes,
        )
        for one, tokens, times in zip(ids, outputs, result.latency_ns, strict=True)
    ]


def decoder_of(bundle: Bundle) -> Decoder:
    """How the bundle's model is driven.

    Raises:
        BundleError: it is no language model, or its model has another cache than the manifest says.
    """
    decoder = bundle.manifest.decoder
    if decoder is None:
        raise BundleError(
            f"{bundle.path} holds no language model that generates: its task is {bundle.manifest.task}",
            "Export a causal language model.",
        )
    stored, _ = open_format(bundle.manifest.format).inspect(bundle.model_path)
    shapes = {spec.name: spec.shape for spec in (*stored.inputs, *stored.outputs)}
    names = decoder.past_names() if decoder.cache == "slots" else []
    others = {name for name in shapes if name.startswith("past_")}
    for name in names:
        shape = shapes.get(name, ())
        if len(shape) != 4 or (shape[1], shape[3]) != (decoder.kv_heads, decoder.head_dim) or others - set(names):
            raise BundleError(
                f"{bundle.path}: the manifest's cache is another model's: '{name}' is {list(shape)} in the model",
                "Export the bundle again.",
            )
    vocabulary = shapes.get("logits", (0,))[-1]
    if isinstance(vocabulary, int) and vocabulary != decoder.vocabulary:
        raise BundleError(
            f"{bundle.path}: the model has {vocabulary} tokens, and the manifest says {decoder.vocabulary}",
            "Export the bundle again.",
        )
    return decoder


class _Streamed:
    """Hands on text as its tokens come; a letter of several tokens waits for the last."""

    def __init__(self, tokenizer: Any, heard: Callable[[str], None]) -> None:
        self._tokenizer, self._heard = tokenizer, heard
        self._ids: list[int] = []
        self._told = ""

    def add(self, token: int) -> None:
        self._ids.append(token)
        text = str(self._tokenizer.decode(self._ids, skip_special_tokens=False))
        if not text.endswith("\ufffd") and text.startswith(self._told):
            self._heard(text[len(self._told) :])
            self._told = text


def _tokenizer(bundle: Bundle) -> Any:
    preprocess = from_dict(bundle.manifest.preprocess)
    return open_tokenizer(bundle.path) if isinstance(preprocess, TokenizerPreprocess) else None


def _encode(prompt: Prompt, number: int, tokenizer: Any, decoder: Decoder) -> np.ndarray[Any, Any]:
    if isinstance(prompt, str) and tokenizer is None:
        raise SamplesError("the bundle has no tokenizer", "Give the prompt as token ids, from Python.")
    ids = tokenizer.encode(prompt).ids if isinstance(prompt, str) else list(prompt)
    if not ids:
        raise SamplesError(f"prompt {number} is empty", "Give it at least one token to go on from.")
    check_ids(f"prompt {number}", np.array(ids, np.int64), decoder.vocabulary)
    if not decoder.slides and len(ids) >= decoder.context:
        raise SamplesError(
            f"prompt {number} has {len(ids)} tokens, and the model looks back on {decoder.context}, new ones included",
            "Shorten it, or export with a larger interface.context if the model has more positions.",
        )
    return np.array([ids], np.int64)


def _stop_id(text: str, tokenizer: Any) -> int:
    found = None if tokenizer is None else tokenizer.token_to_id(text)
    if found is None and tokenizer is not None:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        found = ids[0] if len(ids) == 1 else None
    if found is None:
        raise SamplesError(f"the stop {text!r} is not one token of the model's tokenizer", "Give one that is.")
    return int(found)


def _runtime(bundle: Bundle, device: Device) -> str:
    target, _ = rules(bundle)
    name = target.runtimes[0].name
    module = module_of(device.describe().instead.get(name, name))
    device.check(module)
    return module


def _ended(prompt: int, made: int, count: int, decoder: Decoder) -> str:
    if made == count:
        return "count"
    return "context" if not decoder.slides and prompt + made > decoder.context else "stop"
