"""What a cost model says of a bundle, as a run that is estimated."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgeexport.artifact import Bundle
from edgeexport.errors import RunFailed
from edgeexport.pipeline.opening import open_estimator
from edgeexport.results import Run
from edgeexport.target import Estimation, Target


def estimate(estimation: Estimation, bundle: Bundle, target: Target) -> Run:
    """What the target's cost model says of the bundle's model."""
    estimator = open_estimator(estimation)
    try:
        with tempfile.TemporaryDirectory(prefix="edgeexport-estimate-") as folder:
            said = estimator.estimate(bundle.model_path, Path(folder))
    except RunFailed as failure:
        return Run(
            runtime=estimation.tool,
            runtime_version="",
            device=estimation.options.get("accelerator", ""),
            machine=target.machine,
            cpu="",
            evidence="estimated",
            error=f"{failure.what}\n{failure.log}".strip(),
        )
    return Run(
        runtime=said.tool,
        runtime_version=said.tool_version,
        device=said.accelerator,
        machine=target.machine,
        cpu=said.accelerator,
        evidence="estimated",
        estimate=said,
    )
