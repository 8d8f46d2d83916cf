"""Jobs for one runtime on this machine, skipped where it is not installed."""

import itertools

import pytest

from edgeexport.devices import local
from edgeexport.errors import MissingRequirement
from edgeexport.job import Job


@pytest.fixture
def job(tmp_path):
    """``job(module, model, samples)``: the runner's result and its outputs."""
    device = local.open_device("")
    folders = (tmp_path / f"job-{number}" for number in itertools.count())

    def run(module, model, samples, **settings):
        try:
            device.check(module)
        except MissingRequirement as missing:
            pytest.skip(f"{missing.what}: {missing.hint}")
        folder = next(folders)
        folder.mkdir()
        models = model if isinstance(model, tuple) else (model,)
        result = device.run(Job(module, models, samples, **settings), folder)
        return result, list(result.outputs)

    return run
