"""Programs that run an artifact on a device.

Every file here is handed to devices as it is: the standard library, numpy and one runtime, nothing of edgeexport; but
``coreml.py`` finds its evaluator in an installed edgeexport. ``runner.py`` is started as ``python runner.py FOLDER``.
``tensors.py``, ``tflite_model.py`` and ``coreml_mac.py`` are parts of others. Each other module is one runtime with

    ``load(path, threads)`` → a model with ``run(inputs)`` → outputs by name, and perhaps ``facts()`` → what there is to
    tell of it after a run: ``{"delegate": "xnnpack" | "none"}``, ``{"arena_bytes": N}``, ``{"stand_in": "…"}`` where it
    was not the runtime itself that ran, ``{"findings": […]}`` where it looks for values beyond a type's range;
    ``info()`` → ``{"runtime": name, "version": version}``;
    ``RUNTIME``, its public name, and ``NEEDS``, what it imports, both plain values that are read without importing it
    (:mod:`edgeexport.runtime_names`).
"""
