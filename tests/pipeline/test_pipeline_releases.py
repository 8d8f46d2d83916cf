"""The lowest release that a target takes, of a runtime and of a browser's build of it."""

from pathlib import Path

import msgspec
import pytest

from edgeexport.pipeline import releases
from edgeexport.results import Run
from edgeexport.runtime_names import needs_of
from edgeexport.target import load_target

RUN = Run(
    runtime="onnxruntime",
    runtime_version="1.30.0",
    device="browser",
    machine="x86_64",
    cpu="",
    evidence="measured",
)


def target(name, minimum):
    loaded = load_target("desktop-x86")
    need = msgspec.structs.replace(loaded.runtimes[0], name=name, minimum=minimum)
    return msgspec.structs.replace(loaded, runtimes=(need,))


def of(runtime, version, **more):
    return msgspec.structs.replace(RUN, runtime=runtime, runtime_version=version, **more)


@pytest.mark.parametrize("runtime", ["onnxruntime", "onnxruntime-web"])
@pytest.mark.parametrize(("minimum", "failed"), [("1.29", 0), ("1.30", 0), ("1.30.1", 1), ("1.31", 1), ("2.0", 1)])
def test_an_older_one_fails(runtime, minimum, failed):
    found = list(releases.judge(of(runtime, "1.30.0"), target("onnxruntime", minimum)))
    assert [check.verdict for check in found] == ["fail"] * failed
    for check in found:
        assert check.note == f"the device has {runtime} 1.30.0; the target needs {minimum}"
        assert check.where == f"{runtime} on browser"


def test_another_runtime_s_lowest_release_is_not_its_own():
    assert not list(releases.judge(of("onnxruntime-web", "1.30.0"), target("litert", "9.0")))


def test_what_failed_or_stood_in_has_no_release():
    for more in ({"error": "crashed"}, {"stand_in": "evaluator"}):
        assert not list(releases.judge(of("onnxruntime", "", **more), target("onnxruntime", "1.22")))


def test_litert_s_build_for_browsers_is_numbered_by_itself():
    run = of("litert-web", "2.5.3")
    assert not list(releases.judge(run, target("litert", "9.0")))
    (note,) = releases.notes([run], target("litert", "9.0"))
    assert "litert-web on browser: the releases of litert-web (2.5.3 ran) have numbers of their own" in note
    assert not list(releases.notes([of("onnxruntime-web", "1.30.0"), RUN], target("onnxruntime", "1.22")))


def test_only_builds_that_say_so_are_compared():
    folder = Path(releases.__file__).parents[1] / "runtimes"
    same = {path.stem: needs_of(path.stem).same_versions for path in folder.glob("*_web.js")}
    assert same == {"ort_web": True, "litert_web": False}
