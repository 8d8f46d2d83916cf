"""Where a runtime runs: one module a kind of device, found by its name.

Each module has ``open_device(argument) -> Device``, given what follows the colon in ``NAME:ARGUMENT``, and
``list_devices() -> list[str]``: the names that can be opened now. One whose devices take building also has
``create(argument, say, runtime="") -> Path``, which ``edgeexport devices create NAME:ARGUMENT`` calls.
"""
