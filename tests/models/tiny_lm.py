"""Tiny causal language models with a tokenizer of words, made here: random weights, seeds fixed."""

import json

import torch

WORDS = ["<end>", "<unk>", *(f"w{number}" for number in range(62))]
LAYERS, HEADS, KV_HEADS, HEAD_DIM, CONTEXT = 2, 4, 2, 8, 48


def _model(kind):
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    common = {"vocab_size": len(WORDS), "bos_token_id": 0, "eos_token_id": 0}
    width = HEADS * HEAD_DIM
    rotary = {
        **common,
        "hidden_size": width,
        "intermediate_size": 64,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.3,
    }
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**rotary))
    if kind == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**rotary, tie_word_embeddings=True))
    config = GPT2Config(
        **common, n_embd=width, n_layer=LAYERS, n_head=HEADS, n_positions=CONTEXT, initializer_range=0.3
    )
    return GPT2LMHeadModel(config)


def save(folder, kind="gpt2", tokenizer=True):
    """Write a model folder; gives it."""
    torch.manual_seed(0)
    _model(kind).save_pretrained(folder)
    if tokenizer:
        write_tokenizer(folder)
    return folder


def write_tokenizer(folder, words=WORDS):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.decoder = decoders.Fuse()
    made.add_special_tokens(["<end>"])
    made.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, "eos_token": "<end>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def reference(folder):
    """The model as Transformers loads it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def greedy(model, ids, count):
    """The likeliest tokens one by one, each by a pass over the whole text; stops at token 0, which is left out."""
    tokens = []
    with torch.inference_mode():
        while len(tokens) < count:
            token = int(model(torch.tensor([[*ids, *tokens]])).logits[0, -1].argmax())
            if token == 0:
                break
            tokens.append(token)
    return tokens
