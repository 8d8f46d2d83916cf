"""Pruned vocabularies: ids, bytes and scores against the model as it was, for every kind of tokenizer."""

import json
import random

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from edgeexport.compress._embedding_rows import keep_rows
from edgeexport.compress._tokenizer_companions import renumbered
from edgeexport.compress.vocabulary import open_method
from edgeexport.compression import Materials
from edgeexport.errors import ModelError, RecipeError, SamplesError
from edgeexport.pipeline.opening import open_source
from edgeexport.samples import open_samples
from edgeexport.source import SourceOptions
from edgeexport.stages import Vocabulary

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
ROOTS = ["walk", "talk", "paint", "wonder", "remark", "film", "plot", "grand", "été", "naïve", "über", "日本", "語"]
ENDS = ["", "s", "ed", "ing", "er", "ers", "able", "ably", "ly", "ish", "-like", "!", ",", "."]


def words(source, count):
    return [
        source.choice(("", "", "", "re", "un", "out")) + source.choice(ROOTS) + source.choice(ENDS)
        for _ in range(count)
    ]


def texts(seed, count=400):
    source = random.Random(seed)
    return [" ".join(words(source, source.randint(1, 12))) for _ in range(count)]


CORPUS = texts(seed=1)


def by_trainer(model, trainer, pre_tokenizer, normalizer=None):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def word_level():
    trainer = trainers.WordLevelTrainer(special_tokens=SPECIAL, vocab_size=400)
    return by_trainer(models.WordLevel(unk_token="<unk>"), trainer, pre_tokenizers.Whitespace())


def word_piece():
    trainer = trainers.WordPieceTrainer(special_tokens=SPECIAL, vocab_size=400)
    model = models.WordPiece(unk_token="<unk>")
    return by_trainer(model, trainer, pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer())


def byte_level(**more):
    trainer = trainers.BpeTrainer(
        special_tokens=SPECIAL, vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    return by_trainer(models.BPE(**more), trainer, pre_tokenizers.ByteLevel(add_prefix_space=False))


def looked_up():
    """As Llama 3's: whole words are looked up first, among them some that no merge makes."""
    tokenizer = byte_level(ignore_merges=True)
    values = json.loads(tokenizer.to_str())
    vocabulary = values["model"]["vocab"]
    for word in ("Ġrewalkish", "Ġunfilmably", "Ġoutgrand"):
        vocabulary.setdefault(word, len(vocabulary))
    return Tokenizer.from_str(json.dumps(values))


def ambiguous():
    """As Llama's, from SentencePiece: bytes for what is unknown, and every way to make a token is a merge."""
    pieces = unigram_pieces(500)
    ranked = [piece for piece, _ in sorted(pieces, key=lambda piece: -piece[1]) if piece not in SPECIAL]
    characters = sorted({character for piece in ranked for character in piece} - {"語"})
    tokens = [*SPECIAL, *(f"<0x{number:02X}>" for number in range(256))]
    tokens += [piece for piece in ranked if len(piece) > 1 and set(piece) <= set(characters)] + characters
    known = set(tokens)
    merges = [
        (token[:place], token[place:])
        for token in tokens[len(SPECIAL) + 256 :]
        for place in range(1, len(token))
        if token[:place] in known and token[place:] in known
    ]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    model = models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def ended():
    """As CLIP's: the last character of a word is another token."""
    trainer = trainers.BpeTrainer(special_tokens=SPECIAL, vocab_size=500, end_of_word_suffix="</w>")
    model = models.BPE(unk_token="<unk>", end_of_word_suffix="</w>")
    return by_trainer(model, trainer, pre_tokenizers.Whitespace())


def continued():
    trainer = trainers.BpeTrainer(special_tokens=SPECIAL, vocab_size=500, continuing_subword_prefix="##")
    model = models.BPE(unk_token="<unk>", continuing_subword_prefix="##")
    return by_trainer(model, trainer, pre_tokenizers.Whitespace())


def unigram():
    trainer = trainers.UnigramTrainer(special_tokens=SPECIAL, vocab_size=500, unk_token="<unk>")
    return by_trainer(models.Unigram(), trainer, pre_tokenizers.Metaspace(), normalizers.NFKC())


def unigram_pieces(size):
    trainer = trainers.UnigramTrainer(special_tokens=SPECIAL, vocab_size=size, unk_token="<unk>")
    tokenizer = by_trainer(models.Unigram(), trainer, pre_tokenizers.Metaspace())
    return json.loads(tokenizer.to_str())["model"]["vocab"]


def drawn():
    """A Unigram model of few scores, so that many splits draw, over whole texts, with bytes for what is unknown."""
    pieces = [(f"<0x{number:02X}>", -9.0) for number in range(256)]
    pieces = [(token, 0.0) for token in SPECIAL] + pieces
    pieces += [(piece, -float(2 + len(piece) % 2)) for piece, _ in unigram_pieces(500) if piece not in SPECIAL]
    tokenizer = Tokenizer(models.Unigram(pieces, SPECIAL.index("<unk>"), True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


KINDS = {
    make.__name__: make
    for make in (*(word_level, word_piece, byte_level, looked_up, ambiguous, ended, continued, unigram, drawn),)
}


def lines(path, found):
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in found))
    return open_samples(path)


def write_tokenizer(folder, tokenizer, **config):
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B </s>",
        special_tokens=[(token, ids[token]) for token in ("<s>", "</s>")],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    added = {str(ids[token]): {"content": token, "special": True} for token in SPECIAL}
    values = {
        **{"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 48, "added_tokens_decoder": added},
        **{"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
        **config,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(values))


def write_bert(folder, tokenizer, kind="Bert", **more):
    import transformers

    torch.manual_seed(0)
    settings = {
        **{"vocab_size": tokenizer.get_vocab_size(), "hidden_size": 32, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64, "pad_token_id": 1},
        **{"bos_token_id": 0, "eos_token_id": 2, "id2label": {0: "a", 1: "b", 2: "c"}},
    }
    config = getattr(transformers, f"{kind}Config")(**{**settings, **more})
    return save(getattr(transformers, f"{kind}ForSequenceClassification")(config), folder)


def with_bert(tmp_path, tokenizer):
    write_tokenizer(tmp_path / "model", tokenizer)
    write_bert(tmp_path / "model", tokenizer)


def write_gpt(folder, tokenizer, **more):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_positions": 48, "n_embd": 32, "n_layer": 2, "n_head": 4}
    config = GPT2Config(vocab_size=tokenizer.get_vocab_size(), bos_token_id=0, eos_token_id=2, **sizes, **more)
    return save(GPT2LMHeadModel(config), folder)


def save(model, folder):
    for parameter in model.parameters():
        parameter.data.mul_(4)  # trained models do not have the initial near-zero weights, at which outputs are alike
    model.save_pretrained(folder)
    return model


@pytest.fixture
def prune(tmp_path):
    """Prune the folder ``model``; gives the sources before and after, and the facts."""

    def run(train, evaluation=None, **stage):
        out = tmp_path / "out"
        out.mkdir()
        materials = Materials(train, None, evaluation, None, "", opened, tmp_path)
        source = opened(tmp_path / "model")
        facts = open_method().compress(source, Vocabulary(**stage), materials, out)
        return source, opened(out), facts

    (tmp_path / "model").mkdir()
    return run


def opened(folder):
    return open_source(str(folder), SourceOptions())


def tokenizer_of(source):
    return Tokenizer.from_file(str(source.assets / "tokenizer.json"))


def mapping(source, made):
    """New ids by old ones."""
    before, after = tokenizer_of(source).get_vocab(), tokenizer_of(made).get_vocab()
    return {number: after[token] for token, number in before.items() if token in after}


def outputs(source, samples):
    """Of every sample, with weights in memory of their own: what is mapped from a file lies as the file has it."""
    for parameter in source.module().parameters():
        parameter.data = parameter.data.clone()
    encode = source.preprocess.bind(samples.head(1)[0]).prepare(source.assets)
    names = [spec.name for spec in source.signature.inputs]
    for sample in samples:
        arrays = encode(sample)
        arrays["position_ids"] = np.arange(arrays["input_ids"].shape[1])[None]
        given = {name: arrays[name] for name in names}
        yield given["input_ids"][0].tolist(), next(iter(source.reference(given).values()))[0]


def random_texts(source, count):
    """Texts of known words, of pieces of them, and of known characters in any order."""
    characters = sorted({character for text in CORPUS for character in text})
    for number in range(count):
        found = words(source, source.randint(1, 6))
        for place, word in enumerate(found):
            if number % 3 == 1:
                start = source.randrange(len(word))
                found[place] = word[start : source.randint(start + 1, len(word))] * source.randint(1, 2)
            elif number % 3 == 2:
                found[place] = "".join(source.choices(characters, k=source.randint(1, 5)))
        yield " ".join(found) + source.choice(("", "", " ☃", "語"))


@pytest.mark.parametrize("kind", KINDS)
def test_covered_text_has_the_same_tokens_and_outputs(kind, prune, tmp_path):
    tokenizer = KINDS[kind]()
    with_bert(tmp_path, tokenizer)
    train = lines(tmp_path / "train.jsonl", CORPUS[:12])
    source, made, facts = prune(train)
    new, before, after = mapping(source, made), tokenizer_of(source), tokenizer_of(made)
    rows, kept = facts["tokens"]
    assert sorted(new.values()) == list(range(kept)) and sorted(new) == sorted(new, key=new.get)
    assert (rows, kept) == (before.get_vocab_size(), after.get_vocab_size())
    assert kept < 0.95 * rows
    assert source.float32_bytes - made.float32_bytes == facts["bytes_saved"] == (rows - kept) * 32 * 4
    for (old, wanted), (given, got) in zip(outputs(source, train), outputs(made, train), strict=True):
        assert [new[number] for number in old] == given
        assert np.array_equal(wanted, got)
    checked = 0
    for text in random_texts(random.Random(7), 6000):
        old = before.encode(text).ids
        if all(number in new for number in old):
            checked += 1
            assert after.encode(text).ids == [new[number] for number in old], text
    assert checked >= 100


@pytest.mark.parametrize("tied", [True, False])
def test_language_model(tied, prune, tmp_path):
    folder, tokenizer = tmp_path / "model", byte_level()
    write_tokenizer(folder, tokenizer)
    write_gpt(folder, tokenizer, tie_word_embeddings=tied)
    (folder / "vocab.json").write_text(json.dumps(tokenizer.get_vocab(), ensure_ascii=False))
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in merges))
    train = lines(tmp_path / "train.jsonl", CORPUS[:8])
    source, made, facts = prune(train)
    rows, kept = facts["tokens"]
    tables = 1 if tied else 2
    assert source.float32_bytes - made.float32_bytes == facts["bytes_saved"] == tables * (rows - kept) * 32 * 4
    assert facts["kept"]["alphabet"] == 256
    new = mapping(source, made)
    for (old, wanted), (given, got) in zip(outputs(source, train), outputs(made, train), strict=True):
        assert [new[number] for number in old] == given
        np.testing.assert_allclose(got, wanted[..., sorted(new)], rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert facts["largest_difference"] < 1e-3
    out = tmp_path / "out"
    after = json.loads((out / "tokenizer.json").read_text())["model"]
    assert json.loads((out / "vocab.json").read_text()) == after["vocab"]
    assert (out / "merges.txt").read_text().split("\n")[1:-1] == [" ".join(merge) for merge in after["merges"]]
    assert (out / "merges.txt").read_text().startswith("#version: 0.2\n")
    config, generation = (json.loads((out / f"{name}.json").read_text()) for name in ("config", "generation_config"))
    assert (config["vocab_size"], config["eos_token_id"], generation["eos_token_id"]) == (kept, new[2], new[2])


def test_transformers_loads_the_same_tokenizer(prune, tmp_path):
    from transformers import AutoTokenizer

    folder, tokenizer = tmp_path / "model", word_piece()
    write_tokenizer(folder, tokenizer, tokenizer_class="BertTokenizerFast", cls_token="<s>", sep_token="</s>")
    write_bert(folder, tokenizer)
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    (folder / "added_tokens.json").write_text(json.dumps({"<mask>": 4}))
    source, made, facts = prune(lines(tmp_path / "train.jsonl", CORPUS[:20]))
    out, new = tmp_path / "out", mapping(source, made)
    assert facts["files_left_out"] == []
    assert (out / "vocab.txt").read_text() == "".join(f"{word}\n" for number, word in enumerate(words) if number in new)
    assert json.loads((out / "added_tokens.json").read_text()) == {"<mask>": new[4]}
    loaded = AutoTokenizer.from_pretrained(out)
    for text in CORPUS[:30]:
        assert loaded(text)["input_ids"] == tokenizer_of(made).encode(text).ids


def test_positions_counted_from_padding(prune, tmp_path):
    """RoBERTa: padding keeps its id, so the tokens before it stay, whatever their use."""
    folder, tokenizer = tmp_path / "model", byte_level()
    vocabulary = tokenizer.get_vocab()
    write_tokenizer(folder, tokenizer)
    values = json.loads((folder / "tokenizer.json").read_text())
    padding = vocabulary["Ġ"] + 40  # among the merges' tokens, with unused ones before it
    old = next(token for token, number in vocabulary.items() if number == padding)
    ids = values["model"]["vocab"]
    ids[old], ids["<pad>"] = ids["<pad>"], padding
    values["added_tokens"] = [
        {**token, "id": padding if token["content"] == "<pad>" else token["id"]} for token in values["added_tokens"]
    ]
    values["added_tokens"].sort(key=lambda token: token["id"])
    values["post_processor"] = {
        "type": "Sequence",
        "processors": [
            {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}
            | {"trim_offsets": True, "add_prefix_space": False}
        ],
    }
    (folder / "tokenizer.json").write_text(json.dumps(values))
    added = {str(token["id"]): {"content": token["content"], "special": True} for token in values["added_tokens"]}
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "added_tokens_decoder": added}))
    write_bert(folder, tokenizer, "Roberta", pad_token_id=padding, max_position_embeddings=padding + 49)
    train = lines(tmp_path / "train.jsonl", CORPUS[:6])
    source, made, facts = prune(train)
    assert facts["kept"]["before_padding"] > 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["pad_token_id"] == padding
    assert (source.preprocess, made.preprocess.pad_id) == (made.preprocess, padding)
    assert facts["tokens"][1] < facts["tokens"][0]
    for (_, wanted), (_, got) in zip(outputs(source, train), outputs(made, train), strict=True):
        assert np.array_equal(wanted, got)


def test_bert_processing(prune, tmp_path):
    folder, tokenizer = tmp_path / "model", word_piece()
    write_tokenizer(folder, tokenizer)
    unused = [token for token in tokenizer.get_vocab() if token.startswith("##") and len(token) > 4]
    last = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["[cls]", "[sep]"])
    tokenizer.post_processor = processors.BertProcessing(("[sep]", last + 1), ("[cls]", last))
    tokenizer.save(str(folder / "tokenizer.json"))
    write_bert(folder, tokenizer, eos_token_id=last + 1)
    _, made, facts = prune(lines(tmp_path / "train.jsonl", CORPUS[:4]))
    kept = facts["tokens"][1]
    assert unused and kept < last
    ids = tokenizer_of(made).encode(CORPUS[0]).ids
    assert (ids[0], ids[-1]) == (kept - 2, kept - 1)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == kept - 1


class Held:
    """An editable model of a kind that no source opens."""

    name = "held"

    def __init__(self, model):
        self.model = model


def test_head_of_its_own_with_a_bias():
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    for tied in (True, False):
        config = BertConfig(vocab_size=90, max_position_embeddings=16, tie_word_embeddings=tied, **sizes)
        model = BertForMaskedLM(config).eval()
        model.cls.predictions.bias.data.normal_()
        kept = sorted([0, *random.Random(3).sample(range(1, 90), 40)])
        given = torch.tensor([kept[3:9]])
        with torch.inference_mode():
            wanted = model(given).logits[..., kept]
        keep_rows(Held(model), kept)
        with torch.inference_mode():
            got = model(torch.arange(3, 9)[None]).logits
        assert model.config.vocab_size == got.shape[-1] == len(kept)
        assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)


def test_rare_tokens_go_and_asked_ones_stay(prune, tmp_path):
    tokenizer = word_level()
    with_bert(tmp_path, tokenizer)
    train = lines(tmp_path / "train.jsonl", ["film film plot", "film plot grand", "walks"])
    evaluation = lines(tmp_path / "evaluation.jsonl", ["film plot", "grand film", "walks zzz film"])
    source, made, facts = prune(train, evaluation, minimum_count=2, keep=("talks paint",))
    assert set(tokenizer_of(made).get_vocab()) == {*SPECIAL, "film", "plot", "talks", "paint"}
    rules = {name: count for name, count in facts["kept"].items() if count}
    assert rules == {"special": 5, "training": 2, "keep": 2}
    assert facts["evaluation"] == {
        **{"samples": 3, "samples_changed": 2, "tokens": 4 + 4 + 5, "tokens_changed": 2},
        **{"share_changed": 2 / 13, "more_unknown": 2},
    }
    assert facts["summary"].startswith(f"9 of {source.signature and facts['tokens'][0]} tokens kept, ")
    assert "the tokens of 2 of 3 evaluation samples changed" in facts["summary"]


@pytest.mark.parametrize("kind", [word_piece, unigram, ended, ambiguous])
def test_words_fall_apart_before_they_become_unknown(kind, prune, tmp_path):
    tokenizer = kind()
    with_bert(tmp_path, tokenizer)
    _, made, facts = prune(lines(tmp_path / "train.jsonl", [CORPUS[0]]))
    assert facts["kept"]["characters"] > 0
    encoding = tokenizer_of(made).encode("wonder film")
    assert "<unk>" not in encoding.tokens
    assert len(encoding.ids) > len(tokenizer.encode("wonder film").ids)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_word_that_the_limit_cuts_through(side, prune, tmp_path):
    """What is seen of it depends on the rest of it."""
    tokenizer = unigram()
    write_tokenizer(tmp_path / "model", tokenizer, model_max_length=7, truncation_side=side)
    write_bert(tmp_path / "model", tokenizer)
    long = [text for text in CORPUS if len(tokenizer.encode(text).ids) > 12][:40]
    train = lines(tmp_path / "train.jsonl", long)
    source, made, facts = prune(train)
    new = mapping(source, made)
    assert facts["tokens"][1] < facts["tokens"][0]
    for (old, wanted), (given, got) in zip(outputs(source, train), outputs(made, train), strict=True):
        assert len(old) == 7
        assert [new[number] for number in old] == given
        assert np.array_equal(wanted, got)


def test_a_sentencepiece_file_is_left_out(prune, tmp_path):
    tokenizer = unigram()
    with_bert(tmp_path, tokenizer)
    (tmp_path / "model" / "spiece.model").write_bytes(b"\x0a\x0b")
    (tmp_path / "model" / "vocab.txt").write_text("numbered\notherwise\n")
    _, _, facts = prune(lines(tmp_path / "train.jsonl", CORPUS[:4]))
    assert facts["files_left_out"] == ["spiece.model", "vocab.txt"]
    assert "spiece.model, vocab.txt left out" in facts["summary"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_settings_of_generation():
    new = {0: 0, 5: 1, 9: 2}
    config = {
        **{"eos_token_id": [5, 9], "pad_token_id": -1, "bos_token_id": 50256, "cls_token_id": None, "use_cache": True},
        **{"suppress_tokens": [5, 6], "bad_words_ids": [[5, 9], [5, 6]], "pad_token_type_id": 5},
    }
    assert renumbered(config, new, "here") == {
        **{"eos_token_id": [1, 2], "pad_token_id": -1, "bos_token_id": 50256},
        **{"suppress_tokens": [1], "bad_words_ids": [[1, 2]]},
    }
    with pytest.raises(ModelError, match="here has 'forced_decoder_ids'"):
        renumbered({"forced_decoder_ids": [[1, 5]]}, new, "here")


def test_no_training_set(prune, tmp_path):
    with_bert(tmp_path, word_level())
    with pytest.raises(SamplesError, match="needs texts that show which tokens the task uses, and none were given"):
        prune(None)


def test_training_set_of_another_kind(prune, tmp_path):
    with_bert(tmp_path, word_level())
    np.savez(tmp_path / "train.npz", x=np.zeros((3, 4), np.float32))
    with pytest.raises(SamplesError, match="the model takes text; "):
        prune(open_samples(tmp_path / "train.npz"))


def test_nothing_is_left(prune, tmp_path):
    with_bert(tmp_path, word_level())
    train = lines(tmp_path / "train.jsonl", ["film film", "film"])
    with pytest.raises(RecipeError, match=r"minimum_count of 9 keeps no token of .*train\.jsonl: .* 3 times"):
        prune(train, minimum_count=9)


def test_empty_texts(prune, tmp_path):
    with_bert(tmp_path, word_level())
    with pytest.raises(SamplesError, match=r"train\.jsonl holds no text"):
        prune(lines(tmp_path / "train.jsonl", ["", " "]))


def test_an_empty_text_to_keep(prune, tmp_path):
    with_bert(tmp_path, word_level())
    with pytest.raises(RecipeError, match="keep: a text is empty"):
        prune(lines(tmp_path / "train.jsonl", CORPUS[:3]), keep=("film", " "))


def test_a_model_without_a_tokenizer(tmp_path, digits, prune):
    train = lines(tmp_path / "train.jsonl", CORPUS[:3])
    materials = Materials(train, None, None, None, "", opened, tmp_path)
    with pytest.raises(ModelError, match="has no tokenizer, so it has no vocabulary to prune"):
        open_method().compress(open_source(digits.model, SourceOptions()), Vocabulary(), materials, tmp_path)


def test_no_unknown_token(prune, tmp_path):
    with_bert(tmp_path, word_level())
    path = tmp_path / "model" / "tokenizer.json"
    values = json.loads(path.read_text())
    values["model"]["unk_token"] = "absent"
    path.write_text(json.dumps(values))
    with pytest.raises(ModelError, match="names no unknown token, so a word that is removed could not be encoded"):
        prune(lines(tmp_path / "train.jsonl", CORPUS[:3]))


def test_dropout(prune, tmp_path):
    with_bert(tmp_path, byte_level(dropout=0.1))
    with pytest.raises(ModelError, match=r"splits words at random, by a dropout of 0\.1"):
        prune(lines(tmp_path / "train.jsonl", CORPUS[:3]))


def test_a_tokenizer_larger_than_the_model(prune, tmp_path):
    tokenizer = word_level()
    with_bert(tmp_path, tokenizer)
    rows = tokenizer.get_vocab_size()
    tokenizer.add_tokens([AddedToken("☃")])
    tokenizer.save(str(tmp_path / "model" / "tokenizer.json"))
    with pytest.raises(ModelError, match=f"a token of id {rows}, but model has {rows} rows of embeddings"):
        prune(lines(tmp_path / "train.jsonl", CORPUS[:3]))


@pytest.mark.slow
@pytest.mark.shared
def test_sst2(shared, tmp_path):
    folder, data = shared / "models" / "sst2-minilm", shared / "data" / "sst2"
    train, validation = (open_samples(data / f"{name}.jsonl") for name in ("train", "validation"))
    materials = Materials(train, None, validation, None, "", opened, tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    source = opened(folder)
    facts = open_method().compress(source, Vocabulary(), materials, out)
    made = opened(out)
    rows, kept = facts["tokens"]
    assert (rows, kept) == (30522, 11630)
    assert source.float32_bytes - made.float32_bytes == (rows - kept) * 384 * 4
    assert facts["evaluation"]["more_unknown"] == 0
    new = mapping(source, made)
    same = right = 0
    pairs = zip(validation, outputs(source, validation), outputs(made, validation), strict=True)
    for sample, (old, wanted), (given, got) in pairs:
        right += int(got.argmax()) == sample.label
        if [new.get(number) for number in old] == given:
            same += 1
            assert np.array_equal(wanted, got)
    assert same == 872 - facts["evaluation"]["samples_changed"]
    assert right >= 780
