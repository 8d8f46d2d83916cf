"""Training sets encoded once: batches against padding done by hand, and the order of samples."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from edgeexport.compress._encoded import encode, order
from edgeexport.errors import SamplesError
from edgeexport.preprocess import ArraysPreprocess
from edgeexport.progress import Progress
from edgeexport.samples import feeds, open_samples
from edgeexport.signature import Signature, TensorSpec
from edgeexport.source import Source, SourceOptions
from edgeexport.sources.transformers import open_source

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def bert(tiny_bert):
    return open_source(tiny_bert.model, SourceOptions())


class Arrays(Source):
    """Takes arrays as they are."""

    name, task, labels, assets = "arrays", "classification", ("no", "yes"), None
    preprocess = ArraysPreprocess()

    def __init__(self, **shapes):
        inputs = tuple(TensorSpec(name, dtype, shape) for name, (dtype, shape) in shapes.items())
        self._signature = Signature(inputs, (TensorSpec("logits", "float32", ("batch", 2)),))

    signature = property(lambda self: self._signature)
    fingerprint = float32_bytes = reference = write_onnx = None


def test_batches_of_text_are_padded_by_hand(bert, tiny_bert, tmp_path):
    samples = open_samples(tiny_bert.evaluation)
    data = encode(bert, samples, tmp_path / "work", Progress())
    assert len(data) == 96
    chosen = np.array([5, 90, 0, 17])
    singles = [arrays for _, arrays in feeds(samples, bert.preprocess, bert.signature, bert.assets)]
    longest = max(singles[number]["input_ids"].shape[1] for number in chosen)
    batch = data.batch(chosen, CPU)
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids", "label", "sample"}
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        expected = np.zeros((4, longest), np.int64)
        for row, number in enumerate(chosen):
            values = singles[number][name][0]
            expected[row, : len(values)] = values
        assert batch[name].dtype == torch.int64
        assert batch[name].tolist() == expected.tolist()
    assert batch["attention_mask"].sum(1).tolist() == [data.lengths[number] for number in chosen]
    assert batch["label"].tolist() == [1, 0, 0, 1]  # bad and good in turn
    assert batch["sample"].tolist() == chosen.tolist()
    wider = data.batch(chosen, CPU, 8)["input_ids"]
    assert wider.shape[1] == min(-(-longest // 8) * 8, data.lengths.max())
    assert torch.equal(wider[:, :longest], batch["input_ids"])
    assert not wider[:, longest:].any()


def test_padding_is_the_tokenizers(bert, tiny_bert, tmp_path):
    folder = shutil.copytree(tiny_bert.model, tmp_path / "model")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"pad_token": "[UNK]", "pad_token_type_id": 1}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    source = open_source(str(folder), SourceOptions())
    data = encode(source, open_samples(tiny_bert.evaluation), tmp_path / "work", Progress())
    shortest, longest = int(data.lengths.argmin()), int(data.lengths.argmax())
    batch = data.batch(np.array([shortest, longest]), CPU)
    short = data.lengths[shortest]
    assert set(batch["input_ids"][0, short:].tolist()) == {1}
    assert set(batch["token_type_ids"][0, short:].tolist()) == {1}
    assert set(batch["token_type_ids"][1].tolist()) == {0}
    assert set(batch["attention_mask"][0, short:].tolist()) == {0}


def test_positions_are_counted_for_a_model_that_takes_them(folder_of, tiny_bert, tmp_path):
    folder = shutil.copytree(folder_of("gpt2"), tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"{tiny_bert.model}/{name}", folder)
    source = open_source(str(folder), SourceOptions())
    data = encode(source, open_samples(tiny_bert.evaluation), tmp_path / "work", Progress())
    batch = data.batch(np.array([0, 1]), CPU)
    for row in range(2):
        count = data.lengths[row]
        assert batch["position_ids"][row, :count].tolist() == list(range(count))
        assert batch["attention_mask"][row].sum() == count


def test_longest_cuts_and_keeps_the_closing_token(bert, tiny_bert, tmp_path):
    samples = open_samples(tiny_bert.evaluation)
    whole = encode(bert, samples, tmp_path / "whole", Progress())
    data = encode(bert, samples, tmp_path / "cut", Progress(), 8)
    assert whole.lengths.max() > 8
    assert data.lengths.tolist() == np.minimum(whole.lengths, 8).tolist()
    number = np.array([int(whole.lengths.argmax())])
    before, after = (side.batch(number, CPU)["input_ids"][0].tolist() for side in (whole, data))
    assert after == [*before[:7], 3]


def test_images(folder_of, tmp_path):
    from transformers import ViTImageProcessor

    folder = shutil.copytree(folder_of("vit"), tmp_path / "model")
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    source = open_source(str(folder), SourceOptions())
    random = np.random.default_rng(0)
    for number in range(6):
        place = tmp_path / "images" / f"LABEL_{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (20, 24, 3), np.uint8)).save(place / f"{number}.png")
    samples = open_samples(tmp_path / "images")
    data = encode(source, samples, tmp_path / "work", Progress())
    singles = list(feeds(samples, source.preprocess, source.signature))
    batch = data.batch(np.array([4, 1]), CPU)
    assert batch["pixel_values"].shape == (2, 3, 16, 16)
    for row, number in enumerate((4, 1)):
        assert batch["pixel_values"][row].numpy().tobytes() == singles[number][1]["pixel_values"][0].tobytes()
        assert f"LABEL_{batch['label'][row]}" == singles[number][0].label
    assert sorted(data.labels.tolist()) == [0, 0, 1, 1, 2, 2]
    assert data.labelled


def test_arrays_of_fixed_shape(tmp_path):
    source = Arrays(x=("float32", ("batch", 3)), ids=("int64", ("batch", 5)), scale=("float32", ("batch",)))
    random = np.random.default_rng(0)
    values = {
        "x": random.standard_normal((7, 3)).astype(np.float32),
        "ids": random.integers(0, 9, (7, 5)),
        "scale": random.standard_normal(7).astype(np.float32),
    }
    np.savez(tmp_path / "set.npz", **values, label=np.arange(7) % 2)
    data = encode(source, open_samples(tmp_path / "set.npz"), tmp_path / "work", Progress())
    batch = data.batch(np.array([6, 2, 2]), CPU)
    for name, array in values.items():
        assert batch[name].numpy().tobytes() == array[[6, 2, 2]].tobytes(), name
    assert batch["label"].tolist() == [0, 0, 0]


class Ragged:
    """Samples of arrays of several lengths, as no file of arrays holds them."""

    kind, labelled, path = "arrays", False, "ragged"

    def __init__(self, path, *records):
        from edgeexport.samples import Sample

        self.path = path
        self._samples = [Sample(f"ragged[{number}]", record) for number, record in enumerate(records)]

    def __len__(self):
        return len(self._samples)

    def __iter__(self):
        return iter(self._samples)


def ones(*shape):
    return np.ones((1, *shape), np.float32)


def test_one_input_varies_and_another_does_not(tmp_path):
    source = Arrays(x=("float32", ("batch", "steps")), y=("float32", ("batch", 2)))
    records = [{"x": ones(size) * size, "y": np.array([[size, -size]], np.float32)} for size in (3, 1, 2)]
    data = encode(source, Ragged(tmp_path / "set", *records), tmp_path / "work", Progress())
    assert data.lengths.tolist() == [3, 1, 2]
    batch = data.batch(np.array([1, 2, 0]), CPU)
    assert batch["x"].tolist() == [[1, 0, 0], [2, 2, 0], [3, 3, 3]]
    assert batch["y"].tolist() == [[1, -1], [2, -2], [3, -3]]
    assert batch["label"].tolist() == [-1, -1, -1]
    assert not data.labelled


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([{"x": ones(3), "y": ones(4)}, {"x": ones(2), "y": ones(5)}], "'x' and 'y' have samples of different lengths"),
        ([{"x": ones(3, 2), "y": ones(1)}, {"x": ones(2, 2), "y": ones(1)}], "'x' has samples of several shapes"),
    ],
)
def test_shapes_that_no_batch_holds_are_refused(tmp_path, records, said):
    deep = ("batch", "rows", "columns") if records[0]["x"].ndim == 3 else ("batch", "steps")
    source = Arrays(x=("float32", deep), y=("float32", ("batch", "steps")))
    with pytest.raises(SamplesError, match=said):
        encode(source, Ragged(tmp_path / "set", *records), tmp_path / "work", Progress())


def test_an_interrupted_encoding_is_done_again(bert, tiny_bert, tmp_path):
    samples = open_samples(tiny_bert.evaluation)
    expected = encode(bert, samples, tmp_path / "whole", Progress()).batch(np.arange(96), CPU)

    class Interrupted(Exception):
        pass

    class Stopping(Progress):
        def stage(self, title, total=None):
            stage = super().stage(title, total)
            entered = stage.__enter__()

            class Stage:
                def follow(self, items):
                    for number, item in enumerate(items):
                        if number == 40:
                            raise Interrupted
                        yield item

            class Context:
                __enter__ = lambda self: Stage()  # noqa: E731
                __exit__ = lambda self, *what: None  # noqa: E731

            del entered
            return Context()

    work = tmp_path / "work"
    with pytest.raises(Interrupted):
        encode(bert, samples, work, Stopping())
    assert (work / "0.bin").stat().st_size > 0
    data = encode(bert, samples, work, Progress())
    again = data.batch(np.arange(96), CPU)
    assert {name: tensor.tolist() for name, tensor in again.items()} == {
        name: tensor.tolist() for name, tensor in expected.items()
    }


def test_a_finished_encoding_is_read_again(bert, tiny_bert, tmp_path):
    samples = open_samples(tiny_bert.evaluation)
    encode(bert, samples, tmp_path / "work", Progress())

    class Nothing(Progress):
        def stage(self, title, total=None):
            raise AssertionError(title)

    assert len(encode(bert, samples, tmp_path / "work", Nothing())) == 96


def test_samples_of_another_kind(bert, linear, tmp_path):
    with pytest.raises(SamplesError, match=r"the model takes text; .*calibration.npz is an array file"):
        encode(bert, open_samples(linear.calibration), tmp_path / "work", Progress())
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("label", "said"),
    [("ugly", "set.jsonl line 2: the model has no class 'ugly'"), (7, "label 7 is not one of the model's 2 classes")],
)
def test_labels_that_are_no_class(bert, lines, tmp_path, label, said):
    path = lines([{"text": "the film was good", "label": "good"}, {"text": "a plot", "label": label}])
    with pytest.raises(SamplesError, match=said):
        encode(bert, open_samples(path), tmp_path / "work", Progress())
    assert not (tmp_path / "work" / "index.json").exists()


# the order


def lengths(count):
    return np.random.default_rng(1).integers(3, 40, count)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 5000])
def test_every_sample_comes_once(count):
    batches = order(lengths(count), 32, seed=0, epoch=0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    assert max(len(batch) for batch in batches) <= 32
    assert len(batches) == -(-count // 32)


def test_the_order_follows_from_seed_and_epoch_alone():
    def listed(seed, epoch):
        np.random.random()
        return [batch.tolist() for batch in order(lengths(500), 32, seed, epoch)]

    assert listed(3, 2) == listed(3, 2)
    orders = [listed(seed, epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert all(one != other for number, one in enumerate(orders) for other in orders[:number])


def test_padding_all_but_vanishes_and_the_order_stays_random():
    sizes = lengths(4096)
    batches = order(sizes, 32, 0, 0)
    padded = sum(len(batch) * sizes[batch].max() for batch in batches)
    assert sizes.sum() / padded > 0.98
    means = np.array([sizes[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3  # not from short to long
