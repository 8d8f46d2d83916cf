"""Where the bytes of the shared models are: all of them, in modules that the sources have, and few enough."""

import pytest

import edgeexport
from edgeexport import tree
from edgeexport.excess import explain
from edgeexport.module_paths import unwrapped
from edgeexport.pipeline import measure_size, open_source
from edgeexport.results import Report
from edgeexport.source import SourceOptions

pytestmark = [pytest.mark.slow, pytest.mark.shared]

TARGETS = ("desktop-x86", "android-arm64-litert", "iphone-ios18")


@pytest.fixture(scope="module")
def cached(once, session_cache):
    """A cache for the large models, apart from what tests of the cache do; the boards are those of all tests."""
    folder = once("bytes-cache", lambda folder: (folder / "devices").symlink_to(session_cache / "devices"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXPORT_CACHE", str(folder))
        yield folder


@pytest.fixture
def export(shared, cached, tmp_path):
    def run(model, data, target, precision=None, **more):
        return edgeexport.export(
            shared / "models" / model,
            target=target,
            precision=precision,
            calibration=shared / "data" / data,
            output=tmp_path / f"{model}-{target}",
            settings={"limits": {"latency_ratio": 100.0}},
            **more,
        )

    return run


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("model", "data"), [("sst2-minilm", "sst2/calibration.jsonl"), ("cifar-mobilenet-v2", "cifar10/calibration")]
)
def test_every_byte_is_in_a_module_of_the_source(export, shared, model, data, target):
    bundle = export(model, data, target, verify=False)
    size = measure_size(bundle)
    assert sum(module.bytes for module in size.modules) == size.artifact_bytes == tree.size(bundle.model_path)
    assert sum(part.bytes for part in explain(size).parts) == size.artifact_bytes - size.source_float32_bytes // 4
    source = open_source(str(shared / "models" / model), SourceOptions())
    known = {name for name, _ in unwrapped(source.module()).named_modules()}
    stored = [module for module in size.modules if module.what in ("weight", "scale")]
    assert {module.path for module in stored} - known == set()
    assert sum(module.bytes for module in stored if not module.path) == 0
    assert sum(module.bytes for module in size.modules if not module.path) < 12_000
    weights = {}
    for module in stored:
        if module.what == "weight":
            weights[module.path] = weights.get(module.path, 0) + module.bytes
    for name, part in unwrapped(source.module()).named_modules():
        if (
            type(part).__name__ == "Linear" or name == "bert.embeddings.word_embeddings"
        ):  # others are folded, as sums are
            assert weights.get(name, 0) >= part.weight.numel(), name


@pytest.mark.parametrize("target", ["desktop-x86", "android-arm64", "android-arm64-litert"])
def test_cifar_is_near_a_quarter(export, shared, target):
    evaluation = shared / "data" / "cifar10" / "validation"
    bundle = export("cifar-mobilenet-v2", "cifar10/calibration", target, "w8a8", evaluation=evaluation)
    report = Report.read(bundle.report_path)
    (run,) = report.runs
    assert report.size.ratio <= 0.27
    assert run.parity.unlike <= 8
    assert run.parity.snr_db >= 30.5
