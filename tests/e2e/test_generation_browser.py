"""A language model in Chromium: the tokens and the perplexity of this machine's own runtime."""

import numpy as np
import pytest
import tiny_lm

import edgeexport
from edgeexport.devices import browser
from edgeexport.errors import DeviceError, MissingRequirement
from edgeexport.results import Report

pytestmark = pytest.mark.slow
PROMPTS = [[5, 9, 33], [60, 2, 2, 7, 41, 8, 19]]


@pytest.fixture(params=["ort_web", "litert_web"])
def target(request):
    try:
        browser.open_device("").check(request.param)
    except (DeviceError, MissingRequirement) as missing:
        pytest.skip(missing.what)
    return {"ort_web": "desktop-x86", "litert_web": "android-arm64-litert"}[request.param]


@pytest.mark.parametrize(("kind", "context"), [("gpt2", 0), ("llama", 16)])
def test_the_same_as_here(target, kind, context, tmp_path):
    tiny_lm.save(tmp_path / "model", kind)
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(1, 60, 48 * 5).astype(np.uint16))
    bundle = edgeexport.export(
        tmp_path / "model",
        target=target,
        evaluation=tmp_path / "ids.npy",
        precision="fp32",
        settings={"interface": {"context": context, "prefill": [8]}},
        output=tmp_path / "bundle",
        on=["local", "browser"],
    )
    here, there = Report.read(bundle.report_path).runs
    assert there.error is None and there.runtime.endswith("-web")
    assert there.accuracy.value == pytest.approx(here.accuracy.value, rel=1e-4)
    assert there.parity.unlike == here.parity.unlike and there.parity.cosine_min > 0.99999
    heard = []
    ours = edgeexport.generate(bundle.path, PROMPTS, max_tokens=30)
    theirs = edgeexport.generate(bundle.path, PROMPTS, max_tokens=30, on="browser", heard=heard.append)
    assert [one.tokens for one in theirs] == [one.tokens for one in ours]
    assert all(one.prompt_ms > 0 and len(one.token_ms) >= len(one.tokens) - 1 for one in theirs)
    assert "".join(heard).startswith(theirs[0].text)
    drawn = [edgeexport.generate(bundle.path, [[5]], temperature=5.0, seed=seed, on="browser")[0] for seed in (1, 1, 2)]
    assert drawn[0].tokens == drawn[1].tokens != drawn[2].tokens
