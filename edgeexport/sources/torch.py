"""Torch models: ``package.module:factory`` for a module, a folder with trained weights for one, and ``.pt2``."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import json
import logging
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexport.artifact import file_digest
from edgeexport.errors import ConversionError, ModelError
from edgeexport.preprocess import ArraysPreprocess, Preprocess
from edgeexport.signature import Signature, TensorSpec
from edgeexport.source import Editable, Source, SourceOptions, Task, TorchReference, float32_bytes
from edgeexport.sources._editing import FACTORY, STATE, EditableTorch
from edgeexport.sources._naming import name_by_module

if TYPE_CHECKING:
    import numpy as np
    import torch

_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
_OPSET = 18


def accepts(model: str) -> bool:
    """``package.module:factory``, a folder that names one, or a file torch writes."""
    written = Path(model).suffix in {".pt2", *_PICKLES} or (Path(model) / FACTORY).is_file()
    return written or _FACTORY.fullmatch(model) is not None


def open_source(model: str, _options: SourceOptions) -> TorchSource:
    """Import a factory and call it, give its module the weights of a folder, or load an exported program.

    A factory takes no arguments and returns a ``torch.nn.Module`` with the attributes
    ``example_inputs`` (a dict of tensors by name, first axis the batch, as keywords of ``forward``) and, where wanted,
    ``dynamic_axes`` (``{"input": {0: "batch"}}``; default: the first axis of every input), ``output_names``,
    ``labels``, ``task`` and ``preprocess`` (see :mod:`edgeexport.preprocess`).

    Raises:
        ModelError: it cannot be imported, returns something else, or is a pickle.
    """
    path = Path(model)
    if path.suffix in _PICKLES and _FACTORY.fullmatch(model) is None:
        raise ModelError(
            f"{model} is a torch pickle, which may run code when loaded and holds no model structure",
            "Give package.module:factory, where the factory loads it with "
            "torch.load(..., weights_only=True), or save an exported program (.pt2).",
        )
    if path.suffix == ".pt2":
        return TorchSource(_load_program(path), path.stem, file_digest(path))
    if path.is_dir():
        return _open_folder(path)
    module, name, digest = _call_factory(model)
    return TorchSource(module, name, digest, factory=model)


class TorchSource(Source):
    """A torch module with example inputs, and the factory that makes it again, where there is one."""

    def __init__(self, module: Any, name: str, code_digest: str, factory: str | None = None) -> None:
        self.name = name
        self._factory = factory
        self._module = module.eval()
        self._code_digest = code_digest
        self._example: dict[str, torch.Tensor] = dict(module.example_inputs)
        self._axes: Mapping[str, Mapping[int, str]] = getattr(
            module, "dynamic_axes", {key: {0: "batch"} for key in self._example}
        )
        labels = getattr(module, "labels", None)
        self.labels = tuple(map(str, labels)) if labels else None
        self.task: Task = getattr(module, "task", "classification" if labels else "generic")
        self.preprocess: Preprocess = getattr(module, "preprocess", ArraysPreprocess())
        self.assets = None

    def fingerprint(self) -> str:
        """SHA-256 over the weights, and over the factory's own code or the program's file."""
        digest = hashlib.sha256(self._code_digest.encode())
        for name, tensor in sorted(self._module.state_dict().items()):
            values = tensor.detach().cpu().contiguous()
            digest.update(f"{name}\0{values.dtype}\0{tuple(values.shape)}\0".encode())
            digest.update(values.flatten().view(_bytes_type()).numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def signature(self) -> Signature:
        """From the example inputs and forwards on them, one more a dynamic axis."""
        try:
            example = {key: tensor.numpy() for key, tensor in self._example.items()}
        except TypeError as error:
            raise ModelError(
                f"{self.name} takes inputs that samples cannot have: {error}", "Take float32 and cast inside the model."
            ) from error
        outputs = self.reference(example)
        axes = self._output_axes(example, outputs)
        return Signature(
            tuple(_spec(key, array, self._axes.get(key, {})) for key, array in example.items()),
            tuple(_spec(key, array, axes[key]) for key, array in outputs.items()),
        )

    @cached_property
    def float32_bytes(self) -> int:
        """See :class:`Source`."""
        return float32_bytes(self._module)

    def reference(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See :class:`Source`."""
        return TorchReference(self._module, tuple(self._example), self._output_names)(feeds)

    def module(self) -> torch.nn.Module:
        """See :class:`Source`."""
        module: torch.nn.Module = self._module
        return module

    def editable(self) -> Editable:
        """See :class:`Source`."""
        import copy

        if self._factory is None:
            return super().editable()
        model = copy.deepcopy(self._module).requires_grad_(True)
        return EditableTorch(self.name, model, tuple(self._example), self._output_names, self._factory)

    def write_onnx(self, path: Path) -> None:
        """Export by ``torch.onnx.export(dynamo=True)``, with the dynamic axes that the module names."""
        import warnings

        import torch

        shapes = tuple(self._dynamic_shape(key) for key in self._example)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                program = torch.onnx.export(
                    self._module,
                    tuple(self._example.values()),
                    dynamo=True,
                    opset_version=_OPSET,
                    input_names=list(self._example),
                    output_names=list(self._output_names),
                    dynamic_shapes=shapes,
                    verbose=False,
                )
                if program is None:
                    raise RuntimeError("the exporter returned nothing")
                name_by_module(program.model.graph, "")
                program.save(str(path))
            except Exception as error:
                raise ConversionError(
                    f"exporting {self.name} to ONNX failed: {type(error).__name__}: "
                    f"{str(error).strip().splitlines()[0]}",
                    "Check that the module is exportable: torch.export.export(module, inputs).",
                ) from error

    @cached_property
    def _output_names(self) -> tuple[str, ...]:
        import torch

        named = getattr(self._module, "output_names", None)
        if named:
            return tuple(named)
        with torch.inference_mode():
            outputs = self._module(*self._example.values())
        count = 1 if isinstance(outputs, torch.Tensor) else len(outputs)
        return ("output",) if count == 1 else tuple(f"output_{number}" for number in range(count))

    def _output_axes(
        self, example: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
    ) -> dict[str, dict[int, str]]:
        """For each output, the axes whose length follows a dynamic axis of the inputs."""
        axes: dict[str, dict[int, str]] = {key: {} for key in outputs}
        for name in sorted({name for named in self._axes.values() for name in named.values()}):
            longer = self._with_longer(name, example)
            for key in outputs:
                lengths = zip(outputs[key].shape, longer[key].shape, strict=True)
                axes[key].update({axis: name for axis, (before, after) in enumerate(lengths) if before != after})
        return axes

    def _with_longer(self, name: str, example: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs once the input axes called ``name`` are one longer, or double where that is refused."""
        import numpy as np

        for whole in (False, True):
            longer = dict(example)
            for key, named in self._axes.items():
                for axis in (axis for axis, other in named.items() if other == name):
                    more = longer[key] if whole else longer[key].take([0], axis)
                    longer[key] = np.concatenate([longer[key], more], axis)
            try:
                return self.reference(longer)
            except Exception as error:  # whatever a module makes of a length it does not take
                refused = str(error) or repr(error)
        raise ModelError(
            f"{self.name} does not take another length of its dynamic axis '{name}': {refused.splitlines()[0]}",
            "Leave the axis out of dynamic_axes.",
        )

    def _dynamic_shape(self, key: str) -> dict[int, str]:
        return dict(self._axes.get(key, {}))


def _open_folder(folder: Path) -> TorchSource:
    """What :class:`EditableTorch` wrote."""
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        factory = str(json.loads((folder / FACTORY).read_text())["factory"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder / FACTORY} names no factory", 'It holds {"factory": "package.module:name"}.'
        ) from error
    module, _, digest = _call_factory(factory)
    try:
        load_model(module, str(folder / STATE))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"the weights in {folder} do not fit what {factory} makes: {str(error).splitlines()[0]}",
            "Use the factory as it was when they were trained.",
        ) from error
    return TorchSource(module, folder.absolute().name, digest, factory)


def _load_program(path: Path) -> Any:
    import torch

    if not path.is_file():
        raise ModelError(f"no exported program at {path}")
    try:
        with _no_pickled_code():
            program = torch.export.load(path)
    except Exception as error:  # whatever a foreign or damaged archive makes of the reader
        raise ModelError(
            f"{path} is not an exported program that this torch reads: {(str(error) or repr(error)).splitlines()[0]}",
            "torch.export.save(torch.export.export(module, inputs), PATH) writes one.",
        ) from error
    arguments, keywords = program.example_inputs or ((), {})
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    module: Any = program.module()
    if keywords or len(arguments) != len(names):
        raise ModelError(
            f"{path} takes keyword or nested inputs, or carries no example inputs",
            "Export it with positional tensors.",
        )
    module.example_inputs = dict(zip(names, arguments, strict=True))
    dynamic = _dynamic_axes(program)
    module.dynamic_axes = {name: dynamic.get(name, {}) for name in names}
    module.eval = lambda: module  # exported programs are frozen in the mode they were exported in
    return module


@contextmanager
def _no_pickled_code() -> Iterator[None]:
    """Let ``torch.export.load`` read tensors only.

    It reads example inputs and constants as pickles, and where the safe reader refuses one, takes the unsafe reader.
    """
    variable = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(variable)
    logger = logging.getLogger("torch.export")  # prints a traceback of what the error then says
    level = logger.level
    os.environ[variable] = "1"
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _dynamic_axes(program: Any) -> dict[str, dict[int, str]]:
    axes: dict[str, dict[int, str]] = {}
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and hasattr(value, "shape"):
            axes[node.name] = {
                axis: f"dim_{length}" if axis else "batch"
                for axis, length in enumerate(value.shape)
                if not isinstance(length, int)
            }
    return axes


def _call_factory(model: str) -> tuple[Any, str, str]:
    module_name, _, factory_name = model.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"'{model}' cannot be imported: {error}",
            "Run where the package can be imported, and give it as package.module:factory.",
        ) from error
    import torch

    module = factory()
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"'{model}' returned {type(module).__name__}, not a torch.nn.Module")
    example = getattr(module, "example_inputs", None)
    if not isinstance(example, dict) or not example:
        raise ModelError(
            f"'{model}': the module has no 'example_inputs'",
            "Set module.example_inputs = {'input name': tensor of one sample, batch axis first}.",
        )
    return module, factory_name, _code_digest(module_name)


def _code_digest(module_name: str) -> str:
    """SHA-256 over the user's source files that the factory's module imports, directly or not: a changed forward is a
    changed model even where the weights are the same."""
    library = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")}
    library.add(Path(__file__).resolve().parents[1])
    found: dict[str, Path] = {}
    waiting = [module_name]
    while waiting:
        name = waiting.pop()
        path = _source_file(name)
        if path is not None and name not in found and not any(path.is_relative_to(folder) for folder in library):
            found[name] = path
            waiting.extend(_imported(name, path))
    digest = hashlib.sha256()
    for name, path in sorted(found.items()):
        digest.update(f"{name}\0{file_digest(path)}\0".encode())
    return digest.hexdigest()


def _source_file(name: str) -> Path | None:
    """The Python file of a module, imported or not."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None and name not in sys.modules:
        with suppress(ImportError, AttributeError, ValueError):
            spec = importlib.util.find_spec(name)
            file = spec.origin if spec is not None else None
    return Path(file).resolve() if file is not None and file.endswith(".py") else None


def _imported(name: str, path: Path) -> Iterator[str]:
    """The modules that a source file's import statements may name, and the packages they are in."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    names = {name}
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            with suppress(ImportError):
                base = importlib.util.resolve_name(base, package)
                names.update((base, *(f"{base}.{alias.name}" for alias in node.names)))
    for imported in names:
        parts = imported.split(".")
        yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _bytes_type() -> Any:
    import torch

    return torch.uint8


def _spec(name: str, array: np.ndarray, axes: Mapping[int, str]) -> TensorSpec:
    shape = tuple(axes.get(axis, length) for axis, length in enumerate(array.shape))
    return TensorSpec(name, str(array.dtype), shape)
