"""Cases on a device, with a device that answers as a test says."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgeexport.errors import DeviceError, RunFailed, SamplesError
from edgeexport.job import DeviceInfo, JobResult
from edgeexport.progress import Progress
from edgeexport.results import Finding
from edgeexport.runtime_names import Needs
from edgeexport.samples import Sample
from edgeexport.settings import Timing
from edgeexport.signature import Signature, TensorSpec
from edgeexport.verify import harness
from edgeexport.verify.harness import Case, Plan, agreement, example_of_length, verify_on

ABOUT = DeviceInfo("fake", "riscv64", "a cpu", "measured", timed=True)


class Fake:
    """Doubles ``x``; keeps the jobs it was given, and the folders."""

    def __init__(self, about=ABOUT, answer=None):
        self.about, self.jobs, self.folders = about, [], []
        self._answer = answer or (lambda inputs: {"y": inputs["x"] * 2})

    def describe(self):
        return self.about

    def close(self):
        pass

    def run(self, job, folder, progress=None):
        assert list(folder.iterdir()) == []
        self.jobs.append(job)
        self.folders.append(folder)
        if job.mode == "latency":
            times = tuple(tuple([value] * job.pairs) for value in (2_000_000, 4_000_000))
            return JobResult("onnxruntime", "1.22", "riscv64", 1, (), times, 999)
        outputs = [self._answer(inputs) for inputs in job.inputs]
        if progress is not None:
            progress(len(outputs))
        return JobResult("onnxruntime", "1.22", "riscv64", len(outputs), outputs, (), 100 + len(self.jobs))


def plan(cases, float32=None, task="classification", labels=("a", "b", "c")):
    bundle = SimpleNamespace(
        model_path=Path("model.onnx"),
        manifest=SimpleNamespace(task=task, labels=labels, precision="w8", decoder=None),
        signature=Signature((TensorSpec("x", "float32", (1, 3)),), (TensorSpec("y", "float32", (1, 3)),)),
    )
    cases = list(cases)
    return Plan(
        bundle=bundle,
        cases=iter(cases),
        count=len(cases),
        over="evaluation",
        timing=Timing(pairs=5, warmup=2, threads=3),
        example={"x": np.zeros((1, 3), np.float32)},
        float32=float32,
    )


def case(number, label=None, reference=True, scored=True, width=3):
    x = np.roll(np.arange(width, dtype=np.float32), number)[None]
    return Case(Sample(f"sample {number}", {}, label), {"x": x}, {"y": x * 2} if reference else None, scored)


def test_a_run_has_every_figure():
    device = Fake()
    run, scores = verify_on(
        device, "onnxruntime", plan([case(n, label=(2 + n) % 3) for n in range(6)], Path("float.onnx")), Progress()
    )
    assert (run.error, run.runtime, run.runtime_version) == (None, "onnxruntime", "1.22")
    assert (run.device, run.machine, run.cpu, run.evidence) == ("fake", "riscv64", "a cpu", "measured")
    assert (run.parity.samples, run.parity.unlike, run.parity.max_abs) == (6, 0, 0)
    assert (run.accuracy.value, run.accuracy.reference, run.accuracy.samples) == (1, 1, 6)
    assert (run.latency_ms.p50, run.latency_ms.float32_p50, run.latency_ms.threads) == (2, 4, 3)
    assert run.peak_memory_bytes == 101
    assert len(scores) == 6
    outputs, latency = device.jobs
    assert (outputs.mode, outputs.models, outputs.threads) == ("outputs", (Path("model.onnx"),), 3)
    assert (latency.mode, latency.models) == ("latency", (Path("model.onnx"), Path("float.onnx")))
    assert (latency.pairs, latency.warmup, len(latency.inputs)) == (5, 2, 1)


def test_many_samples_are_split_into_jobs_and_memory_is_the_most_of_all():
    device = Fake()
    run, _ = verify_on(device, "onnxruntime", plan(case(n, label=0) for n in range(600)), Progress())
    assert [len(job.inputs) for job in device.jobs] == [256, 256, 88]
    assert (run.parity.samples, run.peak_memory_bytes) == (600, 103)
    assert not any(folder.exists() for folder in device.folders)


def test_large_samples_are_split_by_bytes():
    device = Fake()
    cases = [case(n, width=5 << 20, scored=False) for n in range(8)]
    verify_on(device, "onnxruntime", plan(cases, task="generic"), Progress())
    assert [len(job.inputs) for job in device.jobs] == [4, 4]


def test_no_latency_without_a_float32_model_or_where_times_mean_nothing():
    run, _ = verify_on(Fake(), "onnxruntime", plan([case(0, label=0)]), Progress())
    assert run.latency_ms is None
    untimed = Fake(DeviceInfo("fake", "aarch64", "c", "emulated", timed=False))
    run, _ = verify_on(untimed, "onnxruntime", plan([case(0, label=0)], Path("float.onnx")), Progress())
    assert (run.latency_ms, run.evidence, len(untimed.jobs)) == (None, "emulated", 1)


def test_golden_samples_have_no_label_and_samples_no_reference():
    cases = [case(0, scored=False), case(1, label=0, reference=False)]
    run, _ = verify_on(Fake(), "onnxruntime", plan(cases), Progress())
    assert (run.parity.samples, run.accuracy.samples, run.accuracy.reference) == (1, 1, None)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda inputs: {"z": inputs["x"]}, "sample 0: output 'y' is missing, the float32 source's is [1, 3]"),
        (lambda inputs: {"y": inputs["x"][:, :2]}, "sample 0: output 'y' is [1, 2]"),
    ],
)
def test_outputs_of_another_shape_are_a_failed_run(answer, said):
    run, scores = verify_on(Fake(answer=answer), "onnxruntime", plan([case(0, label=0)]), Progress())
    assert run.error.startswith(said)
    assert (run.parity, run.accuracy, scores) == (None, None, [])


def test_a_crash_is_a_failed_run_with_its_log_and_leaves_no_folder():
    device = Fake(answer=lambda inputs: (_ for _ in ()).throw(RunFailed("it crashed", "last words")))
    run, _ = verify_on(device, "onnxruntime", plan([case(0)]), Progress())
    assert run.error == "it crashed\nlast words"
    assert not device.folders[0].exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, DeviceError("gone")])
def test_other_errors_pass_and_leave_no_folder(error):
    def answer(inputs):
        raise error

    device = Fake(answer=answer)
    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        verify_on(device, "onnxruntime", plan([case(0)]), Progress())
    assert not device.folders[0].exists()


def test_a_label_that_the_model_lacks_is_bad_input():
    with pytest.raises(SamplesError, match="sample 1: the model has no class 'zebra'"):
        verify_on(Fake(), "onnxruntime", plan([case(0, label="a"), case(1, label="zebra")]), Progress())


def test_a_missing_answer_and_no_cases_are_failed_runs():
    class Short(Fake):
        def run(self, job, folder, progress=None):
            result = super().run(job, folder, progress)
            return JobResult(**{**vars(result), "samples": result.samples - 1})

    assert (
        "answered 1 samples for 2" in verify_on(Short(), "onnxruntime", plan([case(0), case(1)]), Progress())[0].error
    )
    assert verify_on(Fake(), "onnxruntime", plan([]), Progress())[0].error == "there was no sample to run"


def test_only_class_scores_are_held_in_memory():
    _, scores = verify_on(Fake(), "onnxruntime", plan([case(0)], task="generic"), Progress())
    assert scores == []


def test_jobs_of_killed_processes_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "edgeexport-job-abc").mkdir()
    verify_on(Fake(), "onnxruntime", plan([case(0, label=0)]), Progress())
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_over_all_jobs():
    steps = []

    class Telling(Progress):
        def stage(self, title, total=None):
            stage = super().stage(title, total)
            steps.append((title, total))
            return stage

    verify_on(Fake(), "onnxruntime", plan([case(0, label=0)] * 3), Telling())
    assert steps == [("running onnxruntime on fake", 3)]


@pytest.mark.parametrize(("length", "expected"), [(2, [1, 2]), (3, [1, 2, 3]), (7, [1, 2, 3, 1, 2, 3, 1])])
def test_an_example_of_a_length(length, expected):
    inputs = {"ids": np.array([[1, 2, 3]]), "fixed": np.array([[5, 6]])}
    resized = example_of_length(inputs, {"ids": ("batch", "sequence"), "fixed": ("batch", 2)}, length, {})
    assert resized["ids"].tolist() == [expected]
    assert resized["fixed"].tolist() == [[5, 6]]
    assert resized["ids"].dtype == inputs["ids"].dtype


def test_agreement_of_two_devices():
    first = [np.array([[0.1, 0.9]]), np.array([[0.9, 0.1]]), np.array([[0.9, 0.1]])]
    second = [np.array([[0.2, 0.3]]), np.array([[0.1, 0.9]])]
    assert agreement(first, first) == (0, 3)
    assert agreement(first, second) == (2, 3)


def finding(output, kind, count):
    return Finding(operator="exp", output=output, kind=kind, count=count, where="encoder.0")


class StandIn(Fake):
    """Says that it is not the runtime itself; finds something in every job."""

    def run(self, job, folder, progress=None):
        result = super().run(job, folder, progress)
        found = (finding("a", "overflow", 2), finding("a", "nan", 1))
        return JobResult(**{**vars(result), "version": "", "stand_in": "evaluator of tests", "findings": found})


def test_what_stands_in_for_a_runtime_is_emulated_and_not_timed_whatever_the_device_says():
    device = StandIn()
    run, _ = verify_on(device, "onnxruntime", plan([case(0, label=0)], Path("float.onnx")), Progress())
    assert (run.evidence, run.stand_in, run.runtime_version) == ("emulated", "evaluator of tests", "")
    assert (run.latency_ms, run.peak_memory_bytes) == (None, None)
    assert [job.mode for job in device.jobs] == ["outputs"]
    assert run.place == "onnxruntime on fake, emulated"
    assert run.parity.max_abs == 0


def test_findings_are_added_up_over_jobs_for_each_tensor_and_kind():
    run, _ = verify_on(StandIn(), "onnxruntime", plan(case(n, label=0) for n in range(600)), Progress())
    assert run.findings == (finding("a", "overflow", 6), finding("a", "nan", 3))
    run, _ = verify_on(Fake(), "onnxruntime", plan([case(0, label=0)]), Progress())
    assert run.findings is None


@pytest.mark.parametrize(
    ("device", "system", "evidence", "stand_in"),
    [
        ("local", "Elsewhere", "emulated", "evaluator"),
        ("local", "", "measured", None),
        ("ssh:a-mac", "Elsewhere", "measured", None),
    ],
)
def test_a_stand_in_that_fails_was_not_the_runtime_either(monkeypatch, device, system, evidence, stand_in):
    monkeypatch.setattr(harness, "needs_of", lambda module: Needs("onnxruntime", "onnxruntime", system=system))
    crashing = Fake(
        DeviceInfo(device, "riscv64", "a cpu", "measured", timed=True),
        answer=lambda inputs: (_ for _ in ()).throw(RunFailed("it lacks an operator")),
    )
    run, _ = verify_on(crashing, "onnxruntime", plan([case(0)]), Progress())
    assert (run.error, run.evidence, run.stand_in) == ("it lacks an operator", evidence, stand_in)
