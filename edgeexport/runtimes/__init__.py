"""Programs that run an artifact on a device.

Every file here is handed to devices as it is: the standard library, numpy and one runtime, nothing of edgeexport.
``runner.py`` is started as ``python runner.py FOLDER``; each other module but ``tensors.py`` is one runtime with

    ``load(path, threads)`` → a model with ``run(inputs)`` → outputs by name, and
    ``info()`` → ``{"runtime": name, "version": version}``.
"""
