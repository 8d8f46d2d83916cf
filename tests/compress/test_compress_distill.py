"""Distillation: what a student learns, of every task, and what is refused before anything is trained."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_bert as sentences
import torch
from PIL import Image

from edgeexport.compress._objectives import NextTokens
from edgeexport.compress.distill import open_method
from edgeexport.compression import Materials
from edgeexport.errors import EdgeExportError, ModelError, RecipeError, SamplesError
from edgeexport.labels import class_index
from edgeexport.pipeline.opening import open_source as open_any
from edgeexport.progress import Progress
from edgeexport.samples import feeds, open_samples
from edgeexport.source import SourceOptions
from edgeexport.stages import Distill, Training

FAST = Training(epochs=3, batch=32, learning_rate=2e-3, held_out=0.1)
OPTIONS = SourceOptions()


@pytest.fixture
def distill(tmp_path):
    """Distil ``model`` by ``stage``; gives the facts and the new folder."""

    def run(model, stage, train, evaluation=None, name="student", progress=None):
        materials = Materials(
            train=None if train is None else open_samples(Path(train)),
            calibration=None,
            evaluation=None if evaluation is None else open_samples(Path(evaluation)),
            settings=None,
            format="",
            open=lambda given: open_any(given, OPTIONS),
            work=tmp_path / f"work-{name}",
            progress=progress or Progress(),
        )
        folder = tmp_path / name
        folder.mkdir()
        return open_method().compress(open_any(str(model), OPTIONS), stage, materials, folder), folder

    run.folder = tmp_path
    return run


@pytest.fixture(scope="session")
def train(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "train.jsonl"
    sentences.write_lines(path, sentences.sentences(640, seed=11))
    return path


def accuracy(model, evaluation):
    source, samples = open_any(str(model), OPTIONS), open_samples(Path(evaluation))
    right = 0
    for sample, arrays in feeds(samples, source.preprocess, source.signature, source.assets):
        scores = next(iter(source.reference(arrays).values()))
        names = {name: number for number, name in enumerate(source.labels)}
        right += int(scores[0].argmax()) == class_index(sample, names, len(names))
    return right / len(samples)


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def beginner(tiny_bert, tmp_path_factory):
    """A student of one layer that knows nothing, as a folder."""
    from transformers import AutoModelForSequenceClassification, BertConfig

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("students") / "beginner"
    config = BertConfig.from_pretrained(tiny_bert.model, num_hidden_layers=1, hidden_size=32, intermediate_size=48)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(tiny_bert.model) / name, folder)
    return folder


# what is learned


def test_a_student_of_one_layer_learns(distill, tiny_bert, train):
    before = content(tiny_bert.model)
    facts, folder = distill(tiny_bert.model, Distill(layers=1, training=FAST), train, tiny_bert.evaluation)
    assert content(tiny_bert.model) == before
    assert accuracy(folder, tiny_bert.evaluation) == facts["evaluation"]["student"]["accuracy"] > 0.97
    assert facts["evaluation"]["teacher"]["accuracy"] == accuracy(tiny_bert.model, tiny_bert.evaluation)
    assert facts["evaluation"]["samples"] == 96
    assert (facts["teacher"], facts["layers"], facts["trained_on"]) == ("model", [0], 576)
    assert facts["parameters"] == [
        open_any(str(side), OPTIONS).float32_bytes // 4 for side in (tiny_bert.model, folder)
    ]
    assert facts["training"]["steps"] == 3 * 18
    assert len(facts["training"]["epochs"]) == 3
    teacher, student = (facts["evaluation"][side]["accuracy"] for side in ("teacher", "student"))
    large, small = (f"{count / 1e6:.2f} M" for count in facts["parameters"])
    assert facts["summary"] == (
        f"model of {large} parameters taught one of {small} (layers 0) on 576 samples; "
        f"accuracy {teacher:.4f} → {student:.4f} on 96 others"
    )
    json.dumps(facts)
    assert set(content(folder)) == set(before)
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 1


def test_a_student_that_knew_nothing_learns_from_the_teacher_alone(distill, tiny_bert, beginner, lines):
    """Without a label: alpha is 1."""
    unlabelled = lines([{"text": one["text"]} for one in sentences.sentences(960, seed=12)])
    assert accuracy(beginner, tiny_bert.evaluation) < 0.7
    training = Training(epochs=4, batch=32, learning_rate=5e-3, held_out=0.05)
    stage = Distill(student=str(beginner), alpha=1.0, training=training)
    facts, folder = distill(tiny_bert.model, stage, unlabelled, tiny_bert.evaluation)
    assert facts["evaluation"]["student"]["accuracy"] > 0.95
    assert facts["layers"] == [1]
    assert all(epoch["accuracy"] is None for epoch in facts["training"]["epochs"])
    assert accuracy(folder, tiny_bert.evaluation) == facts["evaluation"]["student"]["accuracy"]


def test_the_teachers_answers_are_what_is_learned(distill, tiny_bert, beginner, lines):
    """Labels that are all wrong do nothing at alpha 1, and everything at alpha 0."""
    swapped = [{**one, "label": {"good": "bad", "bad": "good"}[one["label"]]} for one in sentences.sentences(640, 13)]
    wrong = lines(swapped)
    training = Training(epochs=4, batch=32, learning_rate=5e-3, held_out=0)
    scores = {}
    for alpha in (0.0, 1.0):
        stage = Distill(student=str(beginner), alpha=alpha, training=training)
        facts, _ = distill(tiny_bert.model, stage, wrong, tiny_bert.evaluation, name=f"student-{alpha}")
        scores[alpha] = facts["evaluation"]["student"]["accuracy"]
    assert scores[1.0] > 0.9
    assert scores[0.0] < 0.1


def test_the_evaluation_set_only_scores(distill, tiny_bert, train, lines):
    stage = Distill(layers=1, training=Training(epochs=2, batch=64, held_out=0.1))
    folders = [
        distill(tiny_bert.model, stage, train, evaluation, name=name)[1]
        for name, evaluation in (
            ("none", None),
            ("own", tiny_bert.evaluation),
            ("other", lines([{"text": "the film was good", "label": "bad"}])),
        )
    ]
    first, *others = (content(folder) for folder in folders)
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("width", "weights"),
    [
        (1.0, {"hidden": 1.0, "attention": 1.0, "relations": 1.0, "cosine": 1.0}),
        (0.5, {"hidden": 1.0, "attention": 1.0, "relations": 1.0}),
    ],
)
def test_transfer_brings_the_insides_nearer(distill, tiny_bert, train, width, weights):
    training = Training(epochs=2, batch=64, learning_rate=1e-3, held_out=0.1)
    stage = Distill(layers=1, width=width, training=training, **weights)
    facts, folder = distill(tiny_bert.model, stage, train, tiny_bert.evaluation)
    first, second = facts["training"]["epochs"]
    assert second["held_out"] < first["held_out"]
    assert accuracy(folder, tiny_bert.evaluation) == facts["evaluation"]["student"]["accuracy"] > 0.9
    assert json.loads((folder / "config.json").read_text())["hidden_size"] == 64 * width
    assert not [name for name in content(folder) if "projection" in name]


@pytest.fixture(scope="session")
def sentence_encoder(tiny_bert, tmp_path_factory):
    """BERT's trunk with mean pooling, as sentence-transformers keeps it."""
    from transformers import BertModel

    folder = tmp_path_factory.mktemp("teachers") / "encoder"
    BertModel.from_pretrained(tiny_bert.model, add_pooling_layer=False).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(tiny_bert.model) / name, folder)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return folder


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_a_sentence_encoder(distill, sentence_encoder, tiny_bert, lines, width):
    texts = lines([{"text": one["text"]} for one in sentences.sentences(400, seed=14)])
    training = Training(epochs=3, batch=32, learning_rate=1e-3, held_out=0.1)
    stage = Distill(layers=1, width=width, training=training)
    facts, folder = distill(sentence_encoder, stage, texts, tiny_bert.calibration)
    untrained = Distill(layers=1, width=width, training=Training(epochs=1, learning_rate=1e-12, held_out=0.1))
    _, before = distill(sentence_encoder, untrained, texts, name="untrained")
    teacher, student, beginning = (open_any(str(one), OPTIONS) for one in (sentence_encoder, folder, before))
    assert student.task == "embedding"
    vectors = {}
    for source in (teacher, student, beginning):
        samples = open_samples(tiny_bert.calibration)
        found = [
            source.reference(arrays)["sentence_embedding"][0]
            for _, arrays in feeds(samples, source.preprocess, source.signature, source.assets)
        ]
        vectors[source] = np.stack(found)
        assert vectors[source].shape == (120, 64 * width if source is not teacher else 64)
    among = {source: one @ one.T for source, one in vectors.items()}
    apart = {source: float(((one - among[teacher]) ** 2).mean()) for source, one in among.items()}
    assert apart[student] < 0.8 * apart[beginning]
    if width == 1:
        cosine = {source: float((one * vectors[teacher]).sum(1).mean()) for source, one in vectors.items()}
        assert cosine[student] > cosine[beginning]
        assert facts["evaluation"]["student"]["cosine"] == pytest.approx(cosine[student], abs=1e-5)
        assert facts["summary"].endswith(f"cosine 1.0000 → {cosine[student]:.4f} on 120 others")
    else:
        assert facts["evaluation"] == {"samples": 120}
    assert facts["training"]["epochs"][-1]["accuracy"] is None
    assert "pooler.dense.weight" not in _changed(before, folder)


def _changed(one, other):
    from safetensors.torch import load_file

    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert list(first) == list(second)
    return {name for name in first if not torch.equal(first[name], second[name])}


def test_a_sentence_encoders_bytes_are_the_same_each_time(distill, sentence_encoder, lines):
    """Its pooler, which the file lacks, was made up at random once."""
    texts = lines([{"text": one["text"]} for one in sentences.sentences(64, seed=14)])
    stage = Distill(layers=1, width=0.5, hidden=1.0, training=Training(epochs=1))
    first, second = (distill(sentence_encoder, stage, texts, name=name)[1] for name in ("one", "two"))
    assert content(first) == content(second)


def test_an_encoder_without_pooling(distill, sentence_encoder, lines):
    folder = shutil.copytree(sentence_encoder, distill.folder / "teacher")
    (folder / "modules.json").unlink()
    texts = lines([{"text": one["text"]} for one in sentences.sentences(200, seed=15)])
    facts, made = distill(folder, Distill(layers=[0], training=FAST), texts)
    losses = [epoch["held_out"] for epoch in facts["training"]["epochs"]]
    assert losses[-1] < 0.8 * losses[0]
    assert open_any(str(made), OPTIONS).signature.outputs[0].name == "last_hidden_state"


def test_an_image_classifier(distill, tmp_path):
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    random = np.random.default_rng(0)
    for part, count in (("train", 60), ("evaluation", 20)):
        for label, colour in enumerate(([200, 60, 60], [60, 200, 60], [60, 60, 200])):
            place = tmp_path / part / ("red", "green", "blue")[label]
            place.mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(random.normal(colour, 60, (16, 16, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    torch.manual_seed(0)
    labels = {0: "red", 1: "green", 2: "blue"}
    config = ViTConfig(
        image_size=16, patch_size=8, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64
    )
    config.id2label, config.label2id = labels, {name: number for number, name in labels.items()}
    teacher = tmp_path / "teacher"
    ViTForImageClassification(config).save_pretrained(teacher)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(teacher)
    stage = Distill(layers=2, alpha=0.0, training=Training(epochs=3, batch=32, learning_rate=3e-3, held_out=0.1))
    facts, folder = distill(teacher, stage, tmp_path / "train", tmp_path / "evaluation")
    assert facts["layers"] == [0, 2]
    assert facts["evaluation"]["teacher"]["accuracy"] < 0.7  # it was never trained
    assert accuracy(folder, tmp_path / "evaluation") == facts["evaluation"]["student"]["accuracy"] > 0.95
    assert (folder / "preprocessor_config.json").is_file()


@pytest.fixture(scope="session")
def language_model(tiny_bert, tmp_path_factory):
    """A GPT-2 that has read the made-up sentences."""
    from tokenizers import Tokenizer
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("teachers") / "gpt"
    tokenizer = Tokenizer.from_file(f"{tiny_bert.model}/tokenizer.json")
    tokenizer.enable_padding()
    config = GPT2Config(vocab_size=64, n_positions=32, n_embd=32, n_layer=3, n_head=4)
    model = GPT2LMHeadModel(config)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    texts = [one["text"] for one in sentences.sentences(800, seed=16)]
    for start in range(0, 800, 32):
        encoded = tokenizer.encode_batch(texts[start : start + 32])
        ids, mask = (torch.tensor([getattr(one, key) for one in encoded]) for key in ("ids", "attention_mask"))
        loss = model(input_ids=ids, attention_mask=mask, labels=torch.where(mask == 1, ids, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(tiny_bert.model) / name, folder)
    return folder


def perplexity(folder, path):
    """By hand, over all tokens that follow another."""
    source = open_any(str(folder), OPTIONS)
    lost = count = 0
    for _, arrays in feeds(open_samples(path), source.preprocess, source.signature, source.assets):
        scores = torch.from_numpy(source.reference(arrays)["logits"][0, :-1]).double().log_softmax(-1)
        following = torch.from_numpy(arrays["input_ids"][0, 1:])
        lost -= float(scores.gather(1, following[:, None]).sum())
        count += len(following)
    return float(np.exp(lost / count))


def test_a_language_model(distill, language_model, lines):
    texts = lines([{"text": one["text"]} for one in sentences.sentences(480, seed=17)], "train.jsonl")
    others = lines([{"text": one["text"]} for one in sentences.sentences(60, seed=18)], "others.jsonl")
    stage = Distill(layers=1, width=0.5, training=Training(epochs=4, batch=32, learning_rate=5e-3, held_out=0.1))
    facts, folder = distill(language_model, stage, texts, others)
    slow = Distill(layers=1, width=0.5, training=Training(epochs=1, learning_rate=1e-12))
    before, _ = distill(language_model, slow, texts, others, name="untrained")
    scores = facts["evaluation"]
    assert scores["teacher"]["perplexity"] == pytest.approx(perplexity(language_model, others), rel=1e-4)
    assert scores["student"]["perplexity"] == pytest.approx(perplexity(folder, others), rel=1e-4)
    untaught = before["evaluation"]["student"]["perplexity"]
    assert scores["student"]["perplexity"] < 0.9 * untaught
    assert scores["student"]["perplexity"] < 1.1 * scores["teacher"]["perplexity"]
    assert NextTokens().truth == "text"


STUDENTS = """
import torch
from digits import Digits


class Small(torch.nn.Module):
    def __init__(self, classes=10, size=8):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 8, 3, stride=2, padding=1), torch.nn.ReLU(), torch.nn.Flatten(),
            torch.nn.Linear(2 * size * size, classes),
        )
        self.example_inputs = {"image": torch.zeros(1, 1, size, size)}
        self.output_names = ["logits"]
        self.labels = [str(number) for number in range(classes)]

    def forward(self, image):
        return self.layers(image)


def small():
    return Small()


def nine():
    return Small(9)


def larger():
    return Small(size=16)


def renamed():
    module = Small()
    module.example_inputs = {"picture": module.example_inputs["image"]}
    return module


def generic():
    module = Small()
    module.labels = None
    return module


def vectors():
    module = Small()
    module.task = "embedding"
    module.labels = None
    return module
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    name = f"students_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(STUDENTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def digit_sets(digits, tmp_path):
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))[400:]
    images = (data.images[order, None] / 16).astype(np.float32)
    np.savez(tmp_path / "digits.npz", image=images, label=data.target[order])
    return tmp_path / "digits.npz"


def test_a_factorys_module_taught_by_anothers(distill, digits, digit_sets, factories):
    training = Training(epochs=6, batch=32, learning_rate=1e-2, held_out=0.1)
    stage = Distill(student=f"{factories}:small", training=training)
    facts, folder = distill(digits.model, stage, digit_sets, digits.evaluation)
    assert set(content(folder)) == {"factory.json", "model.safetensors"}
    assert facts["layers"] == []
    assert accuracy(folder, digits.evaluation) == facts["evaluation"]["student"]["accuracy"] > 0.9
    assert facts["evaluation"]["teacher"]["accuracy"] == accuracy(digits.model, digits.evaluation)
    again, other = distill(digits.model, stage, digit_sets, name="again")
    assert content(other) == content(folder)  # what a factory makes at random, it makes by the seed
    del again


def test_a_taught_factory_is_exported_and_scores_the_same(distill, digits, digit_sets, factories, board, tmp_path):
    import edgeexport

    training = Training(epochs=2, batch=32, learning_rate=1e-2)
    facts, folder = distill(
        digits.model, Distill(student=f"{factories}:small", training=training), digit_sets, digits.evaluation
    )
    bundle = edgeexport.export(
        folder, target=board, precision="fp32", evaluation=digits.evaluation, output=tmp_path / "bundle"
    )
    report = json.loads(bundle.report_path.read_text())
    (run,) = report["runs"]
    assert run["accuracy"]["value"] == run["accuracy"]["reference"] == facts["evaluation"]["student"]["accuracy"]


def test_a_distilbert_may_learn_from_a_bert(distill, tiny_bert, train, tmp_path):
    """It takes no token types."""
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    torch.manual_seed(0)
    config = DistilBertConfig(
        vocab_size=42, dim=32, n_layers=1, n_heads=4, hidden_dim=64, max_position_embeddings=32,
        id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1},
    )  # fmt: skip
    folder = tmp_path / "distilbert"
    DistilBertForSequenceClassification(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(tiny_bert.model) / name, folder)
    stage = Distill(student=str(folder), training=Training(epochs=4, batch=32, learning_rate=5e-3))
    facts, made = distill(tiny_bert.model, stage, train, tiny_bert.evaluation)
    assert accuracy(made, tiny_bert.evaluation) == facts["evaluation"]["student"]["accuracy"] > 0.9


# what is refused


@pytest.fixture
def altered(beginner, tmp_path):
    """The untaught student with one thing changed."""

    def change(what):
        folder = Path(shutil.copytree(beginner, tmp_path / "altered"))
        config = json.loads((folder / "config.json").read_text())
        if what == "tokenizer":
            text = (folder / "tokenizer.json").read_text()
            (folder / "tokenizer.json").write_text(text.replace('"boring"', '"tedious"'))
        elif what == "labels":
            config["id2label"] = {"0": "good", "1": "bad"}
        elif what == "length":
            values = json.loads((folder / "tokenizer_config.json").read_text())
            (folder / "tokenizer_config.json").write_text(json.dumps({**values, "model_max_length": 16}))
        (folder / "config.json").write_text(json.dumps(config))
        return str(folder)

    return change


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("tokenizer", "differ in their tokenizer.json"),
        ("labels", r"differ in their class names: \('bad', 'good'\) and \('good', 'bad'\)"),
        ("length", "differ in their preprocessing: {'max_length': 32} and {'max_length': 16}"),
    ],
)
def test_a_student_that_differs_from_its_teacher(distill, tiny_bert, train, altered, what, said):
    with pytest.raises(ModelError, match=said):
        distill(tiny_bert.model, Distill(student=altered(what), training=FAST), train)
    assert content(distill.folder / "student") == {}


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("nine", r"differ in their class names"),
        ("larger", r"differ in their inputs: {'image': \['float32', 'any', 1, 8, 8\]} and"),
        ("renamed", r"differ in their inputs: {'image'.*} and {'picture'"),
        ("generic", "differ in their task: classification and generic"),
        ("vectors", "differ in their task: classification and embedding"),
    ],
)
def test_a_factory_that_differs_from_its_teacher(distill, digits, digit_sets, factories, factory, said):
    with pytest.raises(ModelError, match=said):
        distill(digits.model, Distill(student=f"{factories}:{factory}", training=FAST), digit_sets)


def test_a_language_model_of_another_vocabulary(distill, language_model, lines, tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path / "other"
    GPT2LMHeadModel(GPT2Config(vocab_size=65, n_positions=32, n_embd=32, n_layer=1, n_head=4)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(language_model / name, folder)
    with pytest.raises(ModelError, match=r"differ in their outputs: \['logits', 3, 64\] and \['logits', 3, 65\]"):
        distill(language_model, Distill(student=str(folder), training=FAST), lines([{"text": "the film"}]))


def labelled(count, label="good"):
    return [{"text": f"the film was {word}", "label": label} for word in ("good", "great", "warm") * (count // 3)]


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([{"text": "the film was good"}] * 9, "has samples without a label, and labels have a weight of 0.5"),
        (labelled(9), "has samples of one class only, 'good'"),
        ([*labelled(9), {"text": "a plot", "label": "ugly"}], "line 10: the model has no class 'ugly'"),
    ],
)
def test_training_sets_that_are_refused(distill, tiny_bert, lines, records, said):
    titles = []

    class Listening(Progress):
        def stage(self, title, total=None):
            titles.append(title)
            return super().stage(title, total)

    with pytest.raises(SamplesError, match=said):
        distill(tiny_bert.model, Distill(layers=1, training=FAST), lines(records), progress=Listening())
    assert titles == ["encoding set.jsonl"]
    assert content(distill.folder / "student") == {}


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([{"text": "the film was good"}], "has samples without a label, and scores need them"),
        ([{"text": "a plot", "label": "ugly"}], "line 1: the model has no class 'ugly'"),
    ],
)
def test_evaluation_sets_are_refused_before_the_training(distill, tiny_bert, train, lines, records, said):
    titles = []

    class Listening(Progress):
        def stage(self, title, total=None):
            titles.append(title)
            return super().stage(title, total)

    with pytest.raises(SamplesError, match=said):
        distill(tiny_bert.model, Distill(layers=1), train, lines(records), progress=Listening())
    assert not [title for title in titles if title.startswith(("training", "asking"))]


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (Distill(), "what the student is to be was not said"),
        (Distill(student="x", layers=2), "a student of its own cannot also be cut out of the teacher"),
        (Distill(student="x", width=0.5), "a student of its own cannot also be cut out of the teacher"),
        (Distill(student="./nowhere"), "no model at './nowhere'"),
        (Distill(layers=9), "has 2 layers, and 9 are asked for"),
        (Distill(layers=1, width=0.5, cosine=1.0), "the cosine of hidden states of 32 and 64 channels"),
    ],
)
def test_stages_that_are_refused(distill, tiny_bert, train, stage, said):
    with pytest.raises(EdgeExportError, match=said):
        distill(tiny_bert.model, stage, train)


def test_nothing_to_learn_from(distill, tiny_bert, sentence_encoder, train, linear):
    with pytest.raises(SamplesError, match="needs samples to train on, and none were given"):
        distill(tiny_bert.model, Distill(layers=1), None)
    with pytest.raises(RecipeError, match="with alpha = 0 there is nothing to learn from"):
        distill(sentence_encoder, Distill(layers=1, alpha=0.0), train, name="vectors")
    with pytest.raises(RecipeError, match="what linear gives is not known to be classes"):
        distill(linear.model, Distill(layers=1), linear.calibration, name="onnx")


def test_insides_of_a_factorys_module_cannot_be_compared(distill, digits, digit_sets, factories):
    stage = Distill(student=f"{factories}:small", hidden=1.0, training=FAST)
    with pytest.raises(RecipeError, match="its insides cannot be compared"):
        distill(digits.model, stage, digit_sets)


def test_weights_that_are_not_finite_are_not_written(distill, tiny_bert, train):
    training = Training(epochs=1, batch=32, learning_rate=1e30, warmup=0, clip=0, held_out=0)
    with pytest.raises(EdgeExportError, match="is not finite"):
        distill(tiny_bert.model, Distill(layers=1, training=training), train)
    assert content(distill.folder / "student") == {}
