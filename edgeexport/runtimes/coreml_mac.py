"""Core ML itself, on a Mac, through coremltools.

Written against the documentation of coremltools 9 and nothing else: it cannot be exercised off a Mac, where
predictions, compiled models and compute plans do not exist. Its tests check the calls with stand-ins for the framework.
"""

import os
import platform
import shutil
import tempfile

import coremltools
import numpy as np
from coremltools.models import compute_device
from coremltools.models.compute_plan import MLComputePlan
from PIL import Image

_DEVICES = (
    ("Neural Engine", compute_device.MLNeuralEngineComputeDevice),
    ("GPU", compute_device.MLGPUComputeDevice),
    ("CPU", compute_device.MLCPUComputeDevice),
)
# Until macOS 15 its number was three behind that of the iOS with the same Core ML; since 26 they are equal.
_BEHIND, _LAST_BEHIND = 3, 15
_FIRST_WITH_PLANS = (14, 4)


class Model:
    """One model on all compute units, with a state of its own for each sample where it has any, until :meth:`reset`.

    It is opened as a copy: coremltools writes ``Manifest.json`` anew in every package that it opens.
    """

    def __init__(self, path):
        self._folder = tempfile.TemporaryDirectory(prefix="edgeexport-coreml-")
        package = os.path.join(self._folder.name, os.path.basename(path))
        shutil.copytree(path, package)
        self._model = coremltools.models.MLModel(package, compute_units=coremltools.ComputeUnit.ALL)
        description = self._model.get_spec().description
        # A classifier also gives its label, a text, and the probabilities by label.
        self._outputs = [output.name for output in description.output if _kind(output) == "multiArrayType"]
        self._images = {one.name: one.type.imageType for one in description.input if _kind(one) == "imageType"}
        self._stateful = len(description.state) > 0
        self._kept = None

    def reset(self):
        """From now on keep the state from one run to the next, beginning with an empty one."""
        self._kept = self._model.make_state() if self._stateful else None

    def run(self, inputs):
        """Run one sample: a dict of arrays in, a dict of arrays out, in the order of the model's description."""
        state = self._kept
        if state is None and self._stateful:
            state = self._model.make_state()
        given = {name: _image(array, self._images.get(name)) for name, array in inputs.items()}
        answered = self._model.predict(given, state)
        return {name: np.asarray(answered[name]) for name in self._outputs}

    def facts(self):
        """How many operators each processor has, by Core ML's own plan; constants are on none."""
        if tuple(int(number) for number in platform.mac_ver()[0].split(".")[:2]) < _FIRST_WITH_PLANS:
            return {}
        plan = MLComputePlan.load_from_path(
            path=self._model.get_compiled_model_path(), compute_units=coremltools.ComputeUnit.ALL
        )
        counts = dict.fromkeys((name for name, _ in _DEVICES), 0)
        for operation in _operations(plan.model_structure.program):
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            for name, kind in _DEVICES:
                if usage is not None and isinstance(usage.preferred_compute_device, kind):
                    counts[name] += 1
        return {"delegate": ", ".join(f"{count} on {name}" for name, count in counts.items() if count) or None}


def version():
    """The iOS that has this Mac's Core ML, by which targets name what they need, then what it is here."""
    mac = platform.mac_ver()[0]
    major = int(mac.split(".")[0])
    ios = major + _BEHIND if major <= _LAST_BEHIND else major
    return f"{ios} (macOS {mac}, coremltools {coremltools.__version__})"


def _kind(feature):
    return feature.type.WhichOneof("Type")


def _image(array, declared):
    """The pixels [1, 3, height, width] of 0 to 255 as the picture that coremltools takes for an image input."""
    if declared is None:
        return array
    pixels = np.clip(np.rint(array[0]), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    if declared.colorSpace == declared.BGR:
        pixels = pixels[:, :, ::-1]  # a picture is RGB, and Core ML turns it around
    return Image.fromarray(np.ascontiguousarray(pixels))


def _operations(program):
    """Every operation of the program, those in the bodies of loops and conditions too."""
    pending = [function.block for function in program.functions.values()] if program is not None else []
    while pending:
        for operation in pending.pop().operations:
            yield operation
            pending.extend(operation.blocks)
