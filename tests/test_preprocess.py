"""The specification survives a bundle's manifest, and arrays pass through unchanged."""

import gc
import json
import re
from pathlib import Path

import numpy as np
import pytest

from edgeexport.errors import BundleError, SamplesError
from edgeexport.preprocess import (
    ArraysPreprocess,
    ImagePreprocess,
    LogMelPreprocess,
    TokenizerPreprocess,
    from_dict,
    to_dict,
)
from edgeexport.samples import Sample

AUDIO = {"sample_rate": 8000, "n_fft": 256, "win_length": 256, "hop_length": 80, "n_mels": 40}
AUDIO |= {"f_max": 4000.0, "mel_scale": "slaney", "norm": "slaney", "frames": 50}
SPECIFICATIONS = [
    TokenizerPreprocess(max_length=128),
    TokenizerPreprocess(max_length=9, fields=("a", "b"), inputs=("input_ids",), dtype="int32", lengths=(9,), pad_id=1),
    ImagePreprocess(),
    ImagePreprocess(resize=96, crop=(96, 90), mean=(0.1, 0.2, 0.3), std=(1, 1, 1), layout="NHWC", channels="BGR"),
    ImagePreprocess(resize=(96, 90), resample="lanczos", rescale=None),
    LogMelPreprocess(**AUDIO),
    LogMelPreprocess(**AUDIO, mean=-3.0, std=2.0, center=False, layout="frames-mels-channel"),
    ArraysPreprocess(),
]


@pytest.mark.parametrize("preprocess", SPECIFICATIONS, ids=repr)
def test_a_specification_survives_json(preprocess):
    data = to_dict(preprocess)
    assert data == json.loads(json.dumps(data))
    assert from_dict(json.loads(json.dumps(data))) == preprocess
    gc.collect()  # a schema that msgspec lays out wrongly crashes here


def test_kinds_and_assets():
    summary = [(to_dict(p)["kind"], type(p).accepts, type(p).assets) for p in SPECIFICATIONS]
    assert sorted(set(summary)) == [
        ("image", "image", ()),
        ("log-mel", "audio", ()),
        ("none", "arrays", ()),
        ("tokenizer", "text", ("tokenizer.json",)),
    ]


def test_the_manifest_of_an_image_model_reads_so():
    preprocess = ImagePreprocess(resize=96, crop=(96, 96), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert to_dict(preprocess) == {
        "kind": "image",
        "input": "pixel_values",
        "layout": "NCHW",
        "channels": "RGB",
        "resize": 96,
        "resample": "bilinear",
        "crop": [96, 96],
        "rescale": 1 / 255,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    }


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({}, "missing required field `kind`"),
        ({"kind": "video"}, "Invalid value 'video' - at `$.kind`"),
        ({"kind": "none", "extra": 1}, "unknown field `extra`"),
        ({"kind": "tokenizer"}, "missing required field `max_length`"),
        ({"kind": "tokenizer", "max_length": 0}, "Expected `int` >= 1 - at `$.max_length`"),
        ({"kind": "tokenizer", "max_length": 8, "fields": ["a", "b", "c"]}, "at `$.fields`"),
        ({"kind": "tokenizer", "max_length": 8, "lengths": [4]}, "largest of lengths is 4, less than max_length 8"),
        ({"kind": "image", "crop": [0, 9]}, "Expected `int` >= 1 - at `$.crop[0]`"),
        ({"kind": "image", "resize": [9]}, "at `$.resize`"),
        ({"kind": "image", "resize": -1}, "resize is -1, less than a pixel"),
        ({"kind": "image", "std": [1, 1, 0], "mean": [0, 0, 0]}, "Expected `float` > 0.0 - at `$.std[2]`"),
        ({"kind": "log-mel", **AUDIO, "n_fft": 257}, "Expected `int` that's a multiple of 2 - at `$.n_fft`"),
        ({"kind": "log-mel", **AUDIO, "f_max": 9000}, "frequencies must rise"),
    ],
)
def test_a_manifest_that_does_not_validate_is_refused(data, problem):
    with pytest.raises(BundleError, match="manifest.json: preprocess does not validate: .*" + re.escape(problem)):
        from_dict(data)
    gc.collect()


def test_the_error_names_the_file():
    with pytest.raises(BundleError, match=r"other\.json: preprocess"):
        from_dict({}, "other.json")


def test_arrays_go_in_as_they_are():
    record = {"x": np.arange(4)[None], "y": np.ones((1, 2), np.float16)}
    arrays = ArraysPreprocess().prepare()(Sample("s[0]", record))
    assert {name: id(array) for name, array in arrays.items()} == {name: id(a) for name, a in record.items()}


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"text": "a"}, "the model takes arrays; s holds str in 'text'"),
        (Path("a.png"), "the model takes arrays; s is a file"),
    ],
)
def test_records_that_are_not_arrays_are_refused(record, problem):
    with pytest.raises(SamplesError, match=re.escape(problem)):
        ArraysPreprocess().prepare()(Sample("s", record))
