"""The least that exports a sentence classifier to int8 TFLite: litert-torch and ai-edge-quantizer, no more.

    python bare_litert.py MODEL OUTPUT

What benchmarks/cost.py --format tflite holds the pipeline against: the same calls for the same two lengths, without
checks, golden data, hashes or a bundle.
"""

import sys
from pathlib import Path

import litert_torch
import torch
import transformers
from ai_edge_quantizer import quantizer, recipe

LENGTHS = (64, 128)
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Positional(torch.nn.Module):
    """Arrays in order instead of keywords, the logits alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.model(**dict(zip(INPUTS, arrays, strict=True))).logits
        return logits


folder, output = Path(sys.argv[1]), Path(sys.argv[2])
output.mkdir(parents=True)
model = transformers.AutoModelForSequenceClassification.from_pretrained(
    folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True
)
module = Positional(model).eval()
converter = litert_torch
for length in LENGTHS:
    example = tuple(torch.ones(1, length, dtype=torch.int64) for _ in INPUTS)
    converter = converter.signature(f"length_{length}", module, example)
converter.convert().export(str(output / "float32.tflite"))
quantizing = quantizer.Quantizer(str(output / "float32.tflite"))
quantizing.load_quantization_recipe(recipe.dynamic_wi8_afp32())
quantizing.quantize().export_model(str(output / "model.tflite"))
