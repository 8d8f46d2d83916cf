"""Transformers models: a local folder, or a hub id."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeexport.artifact import file_digest
from edgeexport.compression import RECORD
from edgeexport.errors import ConversionError, ModelError
from edgeexport.preprocess import ArraysPreprocess, ImagePreprocess, Preprocess, tokenizer_from_folder
from edgeexport.quiet import native_output
from edgeexport.signature import Signature, TensorSpec
from edgeexport.source import Editable, Source, SourceOptions, Task, TorchReference, float32_bytes
from edgeexport.sources._pooling import pool_in_forward, read_pooling

if TYPE_CHECKING:
    import numpy as np
    import torch

    from edgeexport.settings import Interface

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.py", "*.bin")
_OPSET = 18
_UNUSED = "pooler."
"""Weights of a base encoder that no output depends on."""


@dataclass(frozen=True)
class _Kind:
    """What the end of an architecture's class name says.

    Attributes:
        suffix: that end.
        loader: the auto class that loads it.
        export_task: optimum's name of the task.
        task: ours.
        attention: the implementation that exports best, both with the same outputs: ``eager`` gives an encoder fewer
            nodes, and a decoder its causal mask as a constant of a megabyte.
    """

    suffix: str
    loader: str
    export_task: str
    task: Task
    attention: str


_KINDS = (
    _Kind(
        "ForSequenceClassification",
        "AutoModelForSequenceClassification",
        "text-classification",
        "classification",
        "eager",
    ),
    _Kind(
        "ForImageClassification",
        "AutoModelForImageClassification",
        "image-classification",
        "classification",
        "eager",
    ),
    _Kind("ForCausalLM", "AutoModelForCausalLM", "text-generation", "generation", "sdpa"),
    _Kind("LMHeadModel", "AutoModelForCausalLM", "text-generation", "generation", "sdpa"),
    _Kind("Model", "AutoModel", "feature-extraction", "generic", "eager"),
)


def accepts(model: str) -> bool:
    """A folder, or ``organisation/name`` where no such path exists."""
    return Path(model).is_dir() or (not Path(model).exists() and _HUB_ID.fullmatch(model) is not None)


def open_source(model: str, options: SourceOptions) -> TransformersSource:
    """Open a local folder, or download a hub id into the hub's own cache.

    Raises:
        ModelError: not a model folder, an unsupported architecture, or weights only as a pickle that would execute.
    """
    folder = Path(model)
    return TransformersSource(folder if folder.is_dir() else _download(model), options)


class TransformersSource(Source):
    """A model folder with ``config.json`` and weights."""

    def __init__(self, folder: Path, options: SourceOptions) -> None:
        self._folder = folder
        self._options = options
        self._config = _read_config(folder)
        self._kind = _kind_of(self._config, folder)
        self._check_weights()
        self._check_code()
        self._pooling = read_pooling(folder)
        self.name = folder.absolute().name
        self.task = "embedding" if self._pooling else _task_of(self._kind, self._config)
        self.labels = self._read_labels()
        self.preprocess, self.assets = self._open_preprocess()

    def fingerprint(self) -> str:
        """SHA-256 over the names and contents of every file that decides the model or its preprocessing."""
        digest = hashlib.sha256()
        paths = {path for pattern in _FILES for path in self._folder.glob(pattern) if path.name != RECORD}
        if self._pooling is not None:
            paths.update(self._folder.glob("*/config.json"))
        for path in sorted(paths):
            digest.update(f"{path.relative_to(self._folder)}\0{file_digest(path)}\0".encode())
        return digest.hexdigest()

    @cached_property
    def signature(self) -> Signature:
        """As optimum exports it; found by one small forward."""
        config = self._export_config
        dummies = {name: tensor.numpy() for name, tensor in config.generate_dummy_inputs(framework="pt").items()}
        names = tuple(config.inputs)
        outputs = TorchReference(self.module(), names, tuple(config.outputs))(dummies)
        return Signature(
            tuple(_spec(name, dummies[name], config.inputs[name]) for name in names),
            tuple(_spec(name, outputs[name], config.outputs[name]) for name in config.outputs),
        )

    @cached_property
    def float32_bytes(self) -> int:
        """See :class:`Source`."""
        return float32_bytes(self._model)

    def reference(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See :class:`Source`."""
        return self._reference(feeds)

    def module(self) -> torch.nn.Module:
        """See :class:`Source`."""
        import torch

        class Positional(torch.nn.Module):
            """Arrays in order instead of keywords, a tuple instead of a ModelOutput."""

            def __init__(self, model: Any, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
                super().__init__()
                self.model, self.inputs, self.outputs = model, inputs, outputs

            def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
                result = self.model(**dict(zip(self.inputs, arrays, strict=True)))
                return tuple(result[name] for name in self.outputs)

        config = self._export_config
        return Positional(self._model, tuple(config.inputs), tuple(config.outputs)).eval()

    def write_onnx(self, path: Path) -> None:
        """Export by optimum's exporter, at its opset for the architecture, with dynamic batch and sequence."""
        import warnings

        from optimum.exporters.onnx.convert import export

        config = self._export_config
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                export(self._model, config, path, opset=max(_OPSET, config.DEFAULT_ONNX_OPSET))
                # Stores a table that embedding and head share once instead of twice.
                config.post_process_exported_models(path.parent, {"model": (self._model, config)}, [path.name])
            except Exception as error:
                raise ConversionError(
                    f"exporting {self.name} to ONNX failed: {type(error).__name__}: {error}"
                ) from error

    @cached_property
    def _reference(self) -> TorchReference:
        config = self._export_config
        return TorchReference(self.module(), tuple(config.inputs), tuple(config.outputs))

    def exported(self, interface: Interface) -> Source:
        """See :class:`Source`."""
        if self.task != "generation":
            return self
        from edgeexport.sources._decoding import DecodingSource

        return DecodingSource(self, self._model, interface)

    def editable(self) -> Editable:
        """See :class:`Source`. Loaded anew: a copy would share what was bound to the first."""
        from edgeexport.sources._editing import EditableTransformers

        config, pooling = self._export_config, self._pooling
        model = self._load().requires_grad_(True)
        if self._kind.suffix == "Model":  # what no output depends on has no gradient either
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(not name.startswith(_UNUSED))
        return EditableTransformers(
            name=self.name,
            model=model,
            inputs=tuple(config.inputs),
            outputs=tuple(config.outputs),
            folder=self._folder,
            prepare=None if pooling is None else lambda model: pool_in_forward(model, pooling),
        )

    @cached_property
    def _model(self) -> Any:
        return self._load()

    def _load(self) -> Any:
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()
        try:
            with native_output():  # quantization libraries that it imports where they are installed warn of each other
                loader = getattr(transformers, self._kind.loader)
                model, loading = loader.from_pretrained(
                    self._folder,
                    output_loading_info=True,
                    dtype=torch.float32,
                    attn_implementation=self._kind.attention,
                    local_files_only=True,
                    weights_only=True,
                    trust_remote_code=self._options.trust_remote_code,
                )
        except Exception as error:
            if _is_unsafe(error):
                raise _unsafe(self._folder) from error
            raise ModelError(
                f"{self._folder} cannot be loaded: {type(error).__name__}: {str(error).splitlines()[0]}",
                "Check that config.json and the weights belong together.",
            ) from error
        self._check_complete(loading["missing_keys"])
        for name in loading["missing_keys"]:  # a pooler's, whose output is not exported: not at random
            torch.nn.init.zeros_(model.get_parameter(name))
        model.eval()
        model.requires_grad_(False)
        if self._pooling is not None:
            pool_in_forward(model, self._pooling)
        return model

    @cached_property
    def _export_config(self) -> Any:
        with native_output():
            import optimum.exporters.onnx.model_configs  # noqa: F401  registers the architectures
            from optimum.exporters.tasks import TasksManager

        try:
            constructor = TasksManager.get_exporter_config_constructor(
                "onnx", model=self._model, task=self._kind.export_task, library_name="transformers"
            )
        except (KeyError, ValueError) as error:
            raise ModelError(
                f"{self.name}: optimum exports no '{self._config.get('model_type')}' for {self._kind.export_task}",
                "Wrap the model in a torch module and give it as package.module:factory.",
            ) from error
        config = constructor(self._model.config)
        if self._pooling is not None:
            outputs = {"sentence_embedding": {0: "batch_size"}}
            config.__class__ = type(
                config.__class__.__name__, (config.__class__,), {"outputs": property(lambda _self: outputs)}
            )
        return config

    def _open_preprocess(self) -> tuple[Preprocess, Path | None]:
        processor = self._folder / "preprocessor_config.json"
        if processor.is_file():
            return ImagePreprocess.from_config(json.loads(processor.read_text())), None
        if (self._folder / "tokenizer.json").is_file() or (self._folder / "tokenizer_config.json").is_file():
            preprocess, file = tokenizer_from_folder(self._folder)
            if self._kind.export_task == "text-generation":  # decoders are exported with positions of their own
                preprocess = msgspec.structs.replace(preprocess, inputs=(*preprocess.inputs, "position_ids"))
            return preprocess, file.parent
        return ArraysPreprocess(), None

    def _read_labels(self) -> tuple[str, ...] | None:
        names = self._config.get("id2label")
        if self.task != "classification" or not names:
            return None
        return tuple(str(names[key]) for key in sorted(names, key=int))

    def _check_weights(self) -> None:
        if not any(any(self._folder.glob(pattern)) for pattern in ("*.safetensors", "pytorch_model*.bin")):
            raise ModelError(
                f"{self._folder} holds no weights",
                "Put model.safetensors there; model.save_pretrained(FOLDER) writes it.",
            )

    def _check_complete(self, missing: Iterable[str]) -> None:
        """Refuse weights that Transformers made up at random, but for a pooler, whose output is not exported."""
        unused = _UNUSED if self._kind.suffix == "Model" else None
        made_up = sorted(name for name in missing if unused is None or not name.startswith(unused))
        if made_up:
            raise ModelError(
                f"{self._folder} lacks {len(made_up)} weights of {self._config['architectures'][0]}: {made_up[0]}",
                "Check that config.json and the weights belong together, and that the model was trained for this task.",
            )

    def _check_code(self) -> None:
        if "auto_map" in self._config and not self._options.trust_remote_code:
            raise ModelError(
                f"{self._folder} needs Python code of its own to load",
                "Read that code; then allow it with --trust-remote-code.",
            )


def _download(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=[p for p in _FILES if p != "*.bin"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:  # an impossible id is the last
        raise ModelError(
            f"no model folder at '{model}', and it could not be fetched as a hub id: {type(error).__name__}",
            "Give the path of a local folder, or check the id and the network.",
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            f"{folder} is no Transformers folder: it has no config.json",
            "model.save_pretrained(FOLDER) writes config.json and the weights.",
        )
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from error
    return config


def _kind_of(config: Mapping[str, Any], folder: Path) -> _Kind:
    architecture = (config.get("architectures") or [""])[0]
    for kind in _KINDS:
        if architecture.endswith(kind.suffix):
            return kind
    raise ModelError(
        f"{folder}: architecture '{architecture}' is not supported",
        "Supported: sequence and image classification, base encoders with or without pooling, and causal "
        "language models. Wrap others as package.module:factory.",
    )


def _task_of(kind: _Kind, config: Mapping[str, Any]) -> Task:
    """The kind's, but for a head of real numbers, which has a classifier's architecture.

    One label is a regression, as Transformers takes it: among the scores of one class there is nothing to choose.
    """
    if kind.task != "classification":
        return kind.task
    labels = config.get("num_labels", len(config.get("id2label") or (0, 1)))
    return "regression" if labels == 1 or config.get("problem_type") == "regression" else kind.task


def _is_unsafe(error: BaseException | None) -> bool:
    """Whether torch's safe unpickler is behind an error; Transformers puts its own words before it."""
    import pickle

    while error is not None:
        if isinstance(error, pickle.UnpicklingError) or "Unsupported global" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _unsafe(folder: Path) -> ModelError:
    return ModelError(
        f"{folder}: the weights are a pickle that would run code when loaded; it was not loaded",
        "Load it where you trust it and save it again with model.save_pretrained(FOLDER), as safetensors.",
    )


def _spec(name: str, array: np.ndarray, axes: Mapping[int, str]) -> TensorSpec:
    shape = tuple(axes.get(axis, length) for axis, length in enumerate(array.shape))
    return TensorSpec(name, str(array.dtype), shape)
