"""A language model from its folder to text: exported by the command, verified, generated from, or refused."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_lm

import edgeexport
from edgeexport.artifact import MANIFEST, load_bundle
from edgeexport.errors import BundleError, SamplesError
from edgeexport.results import Report

COMMAND = Path(sys.executable).with_name("edgeexport")
PROMPTS = [[5, 9, 33], [60, 2, 2, 7, 41, 8, 19], [1]]


@pytest.fixture(scope="module")
def folder(once):
    return once("tiny-gpt2", tiny_lm.save)


@pytest.fixture(scope="module")
def ids(once):
    def fill(place):
        np.save(place / "ids.npy", np.random.default_rng(0).integers(1, 60, 47 * 30 + 9).astype(np.uint16))

    return once("tiny-ids", fill) / "ids.npy"


@pytest.fixture(scope="module")
def bundle(once, folder, ids):
    def fill(place):
        command = [COMMAND, "export", folder, "-t", "desktop-x86", "--precision", "fp32", "--evaluation", ids]
        subprocess.run(
            [*command, "-o", place / "bundle", "--set", "limits.size_ratio=2"], check=True, capture_output=True
        )

    return load_bundle(once("tiny-gpt2-bundle", fill) / "bundle")


def test_the_report(bundle, folder, ids):
    report = Report.read(bundle.report_path)
    (run,) = report.runs
    windows = np.load(ids)
    import torch

    model, loss, count = tiny_lm.reference(folder), 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(windows), tiny_lm.CONTEXT):
            text = torch.from_numpy(windows[start : start + tiny_lm.CONTEXT].astype(np.int64))[None]
            if text.shape[1] > 1:
                logits = model(text).logits[0, :-1]
                loss += float(torch.nn.functional.cross_entropy(logits, text[0, 1:], reduction="sum"))
                count += text.shape[1] - 1
    assert run.accuracy.metric == "perplexity" and not run.accuracy.higher_is_better
    assert run.accuracy.samples == count
    assert run.accuracy.value == pytest.approx(np.exp(loss / count), rel=1e-5)
    assert run.parity.unlike == 0 and run.parity.cosine_min > 0.999999
    (check,) = [check for check in report.checks if check.name == "perplexity_ratio"]
    assert check.verdict == "pass" and check.limit == 1.001 and check.measured == pytest.approx(1, abs=1e-6)
    assert report.verdict == "pass"


def test_greedy_tokens_are_torchs(bundle, folder):
    model = tiny_lm.reference(folder)
    for ids, found in zip(PROMPTS, edgeexport.generate(bundle.path, PROMPTS, max_tokens=30), strict=True):
        assert list(found.tokens) == tiny_lm.greedy(model, ids, 30)
        assert found.prompt_tokens == len(ids) and found.prompt_ms > 0
        assert found.ended == ("count" if len(found.tokens) == 30 else "stop")
        assert found.text == "".join(tiny_lm.WORDS[token] for token in found.tokens)


def test_a_text_ends_where_the_context_is_full(bundle, folder):
    (found,) = edgeexport.generate(bundle.path, [[7] * 40], max_tokens=30)
    expected = tiny_lm.greedy(tiny_lm.reference(folder), [7] * 40, 9)
    assert list(found.tokens) == expected
    assert found.ended == ("context" if len(expected) == 9 else "stop")


@pytest.mark.parametrize("precision", ["w8", "w8a8-dynamic", "w4"])
def test_integers_go_on_as_well(folder, ids, tmp_path, precision):
    made = edgeexport.export(
        folder,
        target="desktop-x86",
        calibration=ids,
        evaluation=ids,
        precision=precision,
        settings={"calibration": {"minimum_samples": 10, "ignore": ["evaluation-overlap"]}, "timing": {"pairs": 3}},
        output=tmp_path / "bundle",
    )
    (run,) = Report.read(made.report_path).runs
    assert run.error is None
    assert run.accuracy.value / run.accuracy.reference < (1.5 if precision == "w4" else 1.05)
    assert run.latency_ms is not None and run.latency_ms.count == 3
    (found,) = edgeexport.generate(made.path, [PROMPTS[1]], max_tokens=5)
    assert 0 < len(found.tokens) <= 5


def test_the_command_streams_and_tells(bundle):
    command = [COMMAND, "generate", bundle.path, "--prompt", "w3 w7", "--max-tokens", "3"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    told = json.loads(subprocess.run([*command, "--json"], check=True, capture_output=True, text=True).stdout)
    assert shown.stdout == f"w3 w7{told[0]['text']}\n"
    assert told[0]["tokens"] == list(edgeexport.generate(bundle.path, [[5, 9]], max_tokens=3)[0].tokens)
    assert f"{len(told[0]['tokens'])} tokens, ended by" in shown.stderr and "onnxruntime" in shown.stderr


def test_times_that_mean_nothing_are_not_told(bundle):
    (found,) = edgeexport.generate(bundle.path, [[5, 9]], max_tokens=3, on="fake")
    (here,) = edgeexport.generate(bundle.path, [[5, 9]], max_tokens=3)
    assert found.tokens == here.tokens and found.prompt_ms is None and found.token_ms == ()
    command = [COMMAND, "generate", bundle.path, "-p", "w3", "--max-tokens", "2", "--on", "fake"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0 and " ms" not in told.stderr and "on fake" in told.stderr


def test_sampling_is_seeded(bundle):
    def drawn(seed):
        (found,) = edgeexport.generate(bundle.path, [[5]], max_tokens=20, temperature=5.0, seed=seed)
        return found.tokens

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize(
    ("prompt", "how", "words"),
    [
        ([7] * 48, {}, "has 48 tokens, and the model looks back on 48"),
        ([64], {}, "has token 64, and the model knows 64"),
        ("", {}, "prompt 1 is empty"),
        ("w1", {"stop": ["w1 w2"]}, "is not one token"),
        ("w1", {"temperature": float("nan")}, "temperature of nan"),
        ("w1", {"top_p": 0.0}, "top_p 0.0"),
    ],
)
def test_what_cannot_be_gone_on_from(bundle, prompt, how, words):
    with pytest.raises(SamplesError, match=words):
        edgeexport.generate(bundle.path, [prompt], **how)


def test_a_stop_of_the_users(bundle, folder):
    first = tiny_lm.greedy(tiny_lm.reference(folder), PROMPTS[0], 8)
    stop = next(token for token in first[1:] if token != first[0])
    (found,) = edgeexport.generate(bundle.path, [PROMPTS[0]], stop=[tiny_lm.WORDS[stop]])
    assert list(found.tokens) == first[: first.index(stop)] and found.ended == "stop"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kv_heads": 2}, r"the manifest's cache is another model's: 'past_key_0' is \[1, 4, 'past', 8\]"),
        ({"layers": 1}, "the manifest's cache is another model's"),
        ({"vocabulary": 70}, "the model has 64 tokens, and the manifest says 70"),
    ],
)
def test_the_cache_of_another_model(bundle, tmp_path, change, words):
    import shutil

    shutil.copytree(bundle.path, tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / MANIFEST).read_text())
    manifest["decoder"].update(change)
    (tmp_path / "bundle" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=words):
        edgeexport.generate(tmp_path / "bundle", [[1]])


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("words", "its tokenizer has 66 tokens, and the model knows 64"),
        ("end", "a text ends with token 99, and the model knows 64"),
        ("ids", r"ids.npy\[1\] has token 90, and the model knows 64"),
    ],
)
def test_tokens_that_the_model_lacks(tmp_path, what, words):
    place = tiny_lm.save(tmp_path / "model")
    ids = np.full(60, 5)
    if what == "words":
        tiny_lm.write_tokenizer(place, [*tiny_lm.WORDS, "one", "more"])
    if what == "end":
        for name in ("config.json", "generation_config.json"):
            config = json.loads((place / name).read_text())
            (place / name).write_text(json.dumps({**config, "eos_token_id": 99}))
    if what == "ids":
        ids[55] = 90
    np.save(tmp_path / "ids.npy", ids)
    command = [
        COMMAND,
        "export",
        place,
        "-t",
        "desktop-x86",
        "--precision",
        "fp32",
        "--evaluation",
        tmp_path / "ids.npy",
    ]
    done = subprocess.run([*command, "-o", tmp_path / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and re.search(words, done.stderr) and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_that_does_not_generate(once, tmp_path, folder, ids):
    made = edgeexport.export(
        folder,
        target="desktop-x86",
        precision="fp32",
        settings={"model": {"task": "generic"}},
        output=tmp_path / "bundle",
        verify=False,
    )
    assert [spec.name for spec in made.signature.inputs] == ["input_ids", "attention_mask", "position_ids"]
    with pytest.raises(BundleError, match="no language model that generates: its task is generic"):
        edgeexport.generate(made.path, ["w1"])


def test_a_window_that_slides(once, tmp_path):
    place = once("tiny-llama", lambda place: tiny_lm.save(place, "llama"))
    made = edgeexport.export(
        place,
        target="desktop-x86",
        precision="fp32",
        output=tmp_path / "bundle",
        settings={"interface": {"context": 16}},
    )
    (found,) = edgeexport.generate(made.path, [PROMPTS[1]], max_tokens=60)
    short = tiny_lm.greedy(tiny_lm.reference(place), PROMPTS[1], 9)
    assert list(found.tokens[:9]) == short[: len(found.tokens)]
    assert found.ended == "stop" or len(found.tokens) == 60
