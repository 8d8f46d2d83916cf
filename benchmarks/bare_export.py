"""The least that exports a sentence classifier to int8 ONNX: optimum's exporter and onnxruntime's quantizer, no more.

    python bare_export.py MODEL OUTPUT

What benchmarks/cost.py holds the pipeline against: the same calls, without checks, golden data, hashes or a bundle.
"""

import sys
from pathlib import Path

import optimum.exporters.onnx.model_configs  # noqa: F401  registers the architectures
import torch
import transformers
from onnxruntime.quantization import QuantType, quantize_dynamic
from optimum.exporters.onnx.convert import export
from optimum.exporters.tasks import TasksManager

folder, output = Path(sys.argv[1]), Path(sys.argv[2])
output.mkdir(parents=True)
model = transformers.AutoModelForSequenceClassification.from_pretrained(
    folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True
)
config = TasksManager.get_exporter_config_constructor(
    "onnx", model=model, task="text-classification", library_name="transformers"
)(model.config)
export(model, config, output / "float32.onnx", opset=18)
config.post_process_exported_models(output, {"model": (model, config)}, ["float32.onnx"])
quantize_dynamic(output / "float32.onnx", output / "model.onnx", per_channel=True, weight_type=QuantType.QInt8)
