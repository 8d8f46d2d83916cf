"""Programs that run an artifact on a device.

Every file here is handed to devices as it is: the standard library, numpy and one runtime, nothing of edgeexport.
``runner.py`` is started as ``python runner.py FOLDER``. ``tensors.py`` and ``tflite_model.py`` are shared. Each other
module is one runtime with

    ``load(path, threads)`` → a model with ``run(inputs)`` → outputs by name, and perhaps ``facts()`` → what there is to
    tell of it after a run: ``{"delegate": "xnnpack" | "none"}``, ``{"arena_bytes": N}``;
    ``info()`` → ``{"runtime": name, "version": version}``;
    ``RUNTIME``, its public name, and ``NEEDS``, what it imports, both plain values that are read without importing it
    (:mod:`edgeexport.runtime_names`).
"""
