"""Core ML: the framework itself on a Mac; on other systems the evaluator of its programs, and every result says so.

The one runtime that needs edgeexport beside it: the evaluator is no program for a board.
"""

import platform
from importlib.metadata import version

RUNTIME = "coreml"
NEEDS = {"imports": "coremltools", "distribution": "coremltools", "extra": "coreml", "system": "Darwin"}


class Evaluated:
    """A program that the evaluator computes, rounding to float16 after each operator as the Neural Engine does."""

    def __init__(self, path, threads):
        import torch

        from edgeexport.mil import load as open_program

        torch.set_num_threads(threads)
        self._model = open_program(path, mode="device")
        self._state = None

    def reset(self):
        """From now on keep states from one run to the next, beginning with empty ones."""
        self._state = self._model.new_state()

    def run(self, inputs):
        """Run one sample: a dict of arrays in, a dict of arrays out; a class label is text, and left out."""
        outputs = self._model(inputs, self._state)
        return {name: value for name, value in outputs.items() if hasattr(value, "dtype")}

    def facts(self):
        """That this was not Core ML, and where values left float16's range."""
        return {
            "stand_in": f"evaluator of edgeexport {version('edgeexport')}",
            "findings": [
                {
                    "operator": finding.op,
                    "output": finding.output,
                    "kind": finding.kind,
                    "count": int(finding.count),
                    "where": str(finding.where),
                }
                for finding in self._model.findings
            ],
        }


def load(path, threads):
    """Open the ``.mlpackage`` folder at ``path``; a Mac decides on threads itself."""
    if platform.system() == NEEDS["system"]:
        import coreml_mac

        return coreml_mac.Model(path)
    return Evaluated(path, threads)


def info():
    """Name and version for the report; there is no version where Core ML had no part."""
    if platform.system() == NEEDS["system"]:
        import coreml_mac

        return {"runtime": RUNTIME, "version": coreml_mac.version()}
    return {"runtime": RUNTIME, "version": ""}
