"""Run a job on this machine: ``python runner.py FOLDER``.

``FOLDER/job.json``:
    runtime   a module beside this file: ``ort``, …
    mode      ``outputs``: run every sample through the first model and keep the outputs;
              ``latency``: time all models in turn on the first sample
    models    paths, absolute or relative to FOLDER
    threads   intra-op threads
    warmup, pairs   for ``latency``
``FOLDER/inputs``, ``FOLDER/outputs``: streams as ``tensors.py`` describes.
``FOLDER/result.json``: runtime, version, machine, python, samples, latency_ns (one list a model), peak_memory_bytes,
what the runtime tells of the first model (delegate, arena_bytes, stand_in, findings), and of ``latency`` the
``conditions`` before and after and ``energy_j``, joules a sample of each model or null; written last, so that a file
that is there is complete. Progress is printed as ``progress N`` lines. A failure ends with a traceback on standard
error, no result, and exit status 1.
"""

import importlib
import json
import os
import platform
import sys
import time

import conditions
import tensors

_PROGRESS_S = 0.5


def run_outputs(runtime, job, folder):
    """Run every sample through the first model; give the number of samples."""
    model = runtime.load(os.path.join(folder, job["models"][0]), job["threads"])
    writer = tensors.Writer(os.path.join(folder, "outputs"))
    count, told = 0, time.monotonic()
    for inputs in tensors.Reader(os.path.join(folder, "inputs")):
        writer.add(model.run(inputs))
        count += 1
        if time.monotonic() - told > _PROGRESS_S:
            told = time.monotonic()
            print(f"progress {count}", flush=True)
    writer.close()
    return {"samples": count, "latency_ns": [], **facts(model)}


def run_latency(runtime, job, folder):
    """Time all models in turn on the first sample, so that a change of clock or load meets each alike."""
    models = [runtime.load(os.path.join(folder, path), job["threads"]) for path in job["models"]]
    inputs = next(iter(tensors.Reader(os.path.join(folder, "inputs"))))
    latency = [[] for _ in models]
    before = conditions.read()
    for repetition in range(job["warmup"] + job["pairs"]):
        for times, model in zip(latency, models):
            start = time.perf_counter_ns()
            model.run(inputs)
            elapsed = time.perf_counter_ns() - start
            if repetition >= job["warmup"]:
                times.append(elapsed)
    told = {"conditions": [before, conditions.read()], "energy_j": energy(models, inputs, job["pairs"])}
    return {"samples": 1, "latency_ns": latency, **told, **facts(models[0])}


def energy(models, inputs, count):
    """Joules a sample of each model, run by itself; None where the board does not tell, or its counter began anew."""
    if conditions.joules() is None:
        return None
    found = []
    for model in models:
        start = conditions.joules()
        for _ in range(count):
            model.run(inputs)
        found.append((conditions.joules() - start) / count)
    return found if min(found) > 0 else None


def facts(model):
    """What the runtime tells of a model that has run; most tell nothing."""
    return model.facts() if hasattr(model, "facts") else {}


def peak_memory_bytes():
    """High-water mark of this process's resident set, or None where the system does not tell.

    Not getrusage: its ru_maxrss starts from the parent's size when a process is spawned by vfork.
    """
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


MODES = {"outputs": run_outputs, "latency": run_latency}


def main(folder):
    """Run the job in ``folder`` and write its result."""
    with open(os.path.join(folder, "job.json")) as file:
        job = json.load(file)
    runtime = importlib.import_module(job["runtime"])
    result = MODES[job["mode"]](runtime, job, folder)
    result.update(runtime.info())
    result["machine"] = platform.machine()
    result["python"] = platform.python_version()
    result["peak_memory_bytes"] = peak_memory_bytes()
    partial = os.path.join(folder, "result.json.partial")
    with open(partial, "w") as file:
        json.dump(result, file)
    os.replace(partial, os.path.join(folder, "result.json"))


if __name__ == "__main__":
    main(sys.argv[1])
