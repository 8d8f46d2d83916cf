"""Run a job on this machine: ``python runner.py FOLDER``.

``FOLDER/job.json``:
    runtime   a module beside this file: ``ort``, …
    mode      ``outputs``: run every sample through the first model and keep the outputs;
              ``latency``: time all models in turn on the first sample
              ``score``: how likely each sample, a text of token ids, is to a language model
              ``generate``: go on with each sample
    models    paths, absolute or relative to FOLDER
    threads   intra-op threads
    warmup, pairs   for ``latency``
    decoder   of a language model: see ``decoder.py``; ``latency`` then times one token after a text of the sample
    sampling  for ``generate``: count, stop_ids, and what ``decoder.Sampler`` takes
``FOLDER/inputs``, ``FOLDER/outputs``: streams as ``tensors.py`` describes.
``FOLDER/result.json``: runtime, version, machine, python, samples, latency_ns (one list a model), peak_memory_bytes,
what the runtime tells of the first model (delegate, arena_bytes, stand_in, findings), and of ``latency`` the
``conditions`` before and after and ``energy_j``, joules a sample of each model or null; written last, so that a file
that is there is complete. ``generate`` gives ``tokens``, and one list of latency_ns a sample, a value a token, that of
the prompt first. Progress is printed as ``progress N`` lines, a token as ``token ID``. A failure ends with a traceback
on standard error, no result, and exit status 1.
"""

import importlib
import json
import os
import platform
import sys
import time

import conditions
import decoder as decoders
import numpy as np
import tensors

_PROGRESS_S = 0.5


def run_outputs(runtime, job, folder):
    """Run every sample through the first model; give the number of samples."""
    model = runtime.load(os.path.join(folder, job["models"][0]), job["threads"])
    return {"samples": _each(folder, model.run), "latency_ns": [], **facts(model)}


def run_score(runtime, job, folder):
    """How likely each sample is to the first model."""
    model = runtime.load(os.path.join(folder, job["models"][0]), job["threads"])
    text = decoders.Decoder(model, job["decoder"])
    count = _each(folder, lambda inputs: decoders.score(text, inputs["input_ids"]))
    return {"samples": count, "latency_ns": [], **facts(model)}


def run_generate(runtime, job, folder):
    """Go on with each sample."""
    model = runtime.load(os.path.join(folder, job["models"][0]), job["threads"])
    text = decoders.Decoder(model, job["decoder"])
    sampling = dict(job["sampling"])
    count, stop_ids = sampling.pop("count"), sampling.pop("stop_ids")
    latency = []

    def go_on(inputs):
        ids, sampler = inputs["input_ids"], decoders.Sampler(**sampling)
        tokens, times = decoders.generate(
            text, ids, count=count, sampler=sampler, stop_ids=stop_ids, clock=time.perf_counter_ns, tell=_tell
        )
        latency.append(times)
        return {"tokens": np.array(tokens, np.int64)}

    return {"samples": _each(folder, go_on), "latency_ns": latency, **facts(model)}


def _tell(token):
    print(f"token {token}", flush=True)


def _each(folder, run):
    """Write what ``run`` gives for each sample; give the number of samples."""
    writer = tensors.Writer(os.path.join(folder, "outputs"))
    count, told = 0, time.monotonic()
    for inputs in tensors.Reader(os.path.join(folder, "inputs")):
        writer.add(run(inputs))
        count += 1
        if time.monotonic() - told > _PROGRESS_S:
            told = time.monotonic()
            print(f"progress {count}", flush=True)
    writer.close()
    return count


def run_latency(runtime, job, folder):
    """Time all models in turn on the first sample, so that a change of clock or load meets each alike."""
    models = [runtime.load(os.path.join(folder, path), job["threads"]) for path in job["models"]]
    inputs = next(iter(tensors.Reader(os.path.join(folder, "inputs"))))
    runs = [_step(model, job, inputs) for model in models]
    latency = [[] for _ in models]
    before = conditions.read()
    for repetition in range(job["warmup"] + job["pairs"]):
        for times, run in zip(latency, runs):
            start = time.perf_counter_ns()
            run()
            elapsed = time.perf_counter_ns() - start
            if repetition >= job["warmup"]:
                times.append(elapsed)
    told = {"conditions": [before, conditions.read()], "energy_j": energy(runs, job["pairs"])}
    return {"samples": 1, "latency_ns": latency, **told, **facts(models[0])}


def _step(model, job, inputs):
    """What is timed: a sample, or one more token of a text."""
    if "decoder" not in job:
        return lambda: model.run(inputs)
    text = decoders.Decoder(model, job["decoder"])
    text.feed(inputs["input_ids"])
    length = text.length

    def run():
        text.rewind(length)
        text.feed([0])

    return run


def energy(runs, count):
    """Joules a sample of each model, run by itself; None where the board does not tell, or its counter began anew."""
    if conditions.joules() is None:
        return None
    found = []
    for run in runs:
        start = conditions.joules()
        for _ in range(count):
            run()
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


MODES = {"outputs": run_outputs, "latency": run_latency, "score": run_score, "generate": run_generate}


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
