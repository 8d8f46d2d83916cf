"""A two-layer BERT that tells good from bad in short made-up sentences, as a Transformers folder."""

import json
import random

_WORDS = {
    "good": ["good", "great", "lovely", "brilliant", "warm", "funny", "clever", "superb"],
    "bad": ["bad", "awful", "boring", "dull", "cold", "silly", "clumsy", "terrible"],
    "thing": ["film", "plot", "cast", "scene", "story", "score", "script", "ending"],
    "filler": ["the", "a", "this", "that", "was", "is", "very", "quite", "rather", "and", "with", "its", "of", "our"],
}


def sentences(count, seed):
    """Labelled sentences of 3 to 20 words, such as ``this film was quite good``."""
    source = random.Random(seed)
    found = []
    for number in range(count):
        label = ("bad", "good")[number % 2]
        words = [source.choice(_WORDS["filler"]) for _ in range(source.randint(1, 15))]
        words += [source.choice(_WORDS["thing"]), *source.choices(_WORDS[label], k=source.randint(1, 4))]
        source.shuffle(words)
        found.append({"text": " ".join(words), "label": label})
    return found


def train(folder):
    """Write the model to ``model``, ``calibration.jsonl`` (120, no labels) and ``evaluation.jsonl`` (96)."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*special, *(word for group in _WORDS.values() for word in group)]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(special)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=32,
        id2label={0: "bad", 1: "good"},
        label2id={"bad": 0, "good": 1},
    )
    model = BertForSequenceClassification(config)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    tokenizer.enable_padding()
    examples = sentences(1600, seed=1)
    for start in range(0, len(examples), 32):
        batch = examples[start : start + 32]
        encoded = tokenizer.encode_batch([example["text"] for example in batch])
        labels = torch.tensor([config.label2id[example["label"]] for example in batch])
        result = model(
            input_ids=torch.tensor([one.ids for one in encoded]),
            attention_mask=torch.tensor([one.attention_mask for one in encoded]),
            labels=labels,
        )
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
    tokenizer.no_padding()
    model.save_pretrained(folder / "model")
    tokenizer.save(str(folder / "model" / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32, "pad_token": "[PAD]"}
    (folder / "model" / "tokenizer_config.json").write_text(json.dumps(settings))
    write_lines(folder / "calibration.jsonl", [{"text": one["text"]} for one in sentences(120, seed=2)])
    write_lines(folder / "evaluation.jsonl", sentences(96, seed=3))


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
