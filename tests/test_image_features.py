"""Pixel values equal those of Transformers' image processors (the Pillow ones)."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import transformers
from PIL import Image

from edgeexport.errors import ModelError, SamplesError
from edgeexport.preprocess import ImagePreprocess
from edgeexport.samples import Sample, open_samples

SHARED = Path(__file__).parents[1] / ".." / "shared"
RNG = np.random.default_rng(3)
SIZES = [(37, 53), (53, 37), (96, 96), (5, 4), (300, 17), (1, 1), (24, 24), (33, 32)]  # width, height
CONFIGS = {
    "mobilenet": ("MobileNetV2", {"size": {"shortest_edge": 32}, "crop_size": {"height": 24, "width": 28}}),
    "crop-larger": ("MobileNetV2", {"size": {"shortest_edge": 16}, "crop_size": {"height": 31, "width": 30}}),
    "exact": ("MobileNetV1", {"size": {"height": 20, "width": 30}, "crop_size": {"height": 21, "width": 19}}),
    "no-resize": ("MobileNetV2", {"do_resize": False, "crop_size": {"height": 24, "width": 24}}),
    "no-crop": ("MobileNetV2", {"size": {"shortest_edge": 20}, "do_center_crop": False}),
    "no-rescale": ("MobileNetV2", {"do_rescale": False, "size": 20, "crop_size": 20, "image_mean": 127.5}),
    "no-normalize": ("MobileNetV2", {"do_normalize": False, "size": 20, "crop_size": 20}),
    "vit": ("ViT", {"size": {"height": 32, "width": 32}, "image_mean": [0.1, 0.2, 0.3], "resample": 3}),
    "vit-number": ("ViT", {"size": 18, "image_std": [0.2, 0.4, 0.7], "resample": 0}),
    "vit-lanczos": ("ViT", {"size": 18, "resample": 1, "rescale_factor": 0.01}),
    "deit": ("DeiT", {"size": {"height": 40, "width": 40}, "crop_size": {"height": 32, "width": 32}}),
    "beit": ("Beit", {"size": {"height": 40, "width": 40}, "crop_size": {"height": 32, "width": 32}}),
    "clip": ("CLIP", {"size": {"shortest_edge": 30}, "crop_size": 30, "resample": 3}),
    "bit": ("Bit", {"size": {"shortest_edge": 30}, "crop_size": {"height": 28, "width": 28}}),
    "siglip": ("Siglip", {"size": {"height": 30, "width": 25}, "resample": 4}),
    "mobilevit": ("MobileViT", {"size": {"shortest_edge": 30}, "crop_size": {"height": 28, "width": 28}}),
    "mobilevit-rgb": (
        "MobileViT",
        {"size": {"shortest_edge": 30}, "crop_size": 28, "do_flip_channel_order": False},
    ),
    "convnext": ("ConvNext", {"size": {"shortest_edge": 28}, "crop_pct": 0.8}),
    "convnext-default": ("ConvNext", {"size": {"shortest_edge": 32}}),
    "convnext-large": ("ConvNext", {"size": {"shortest_edge": 384}}),
}


def refused(error: type, match: str):
    return pytest.raises(error, match=re.escape(match))


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    pixels = RNG.integers(0, 256, (height, width, channels), np.uint8)
    return Image.frombytes(mode, (width, height), pixels.tobytes())


def encode(preprocess: ImagePreprocess, image: Image.Image, path: Path) -> np.ndarray:
    image.save(path)
    return preprocess.prepare()(Sample("s", path))[preprocess.input]


def theirs(processor, image: Image.Image) -> np.ndarray:
    options = {"return_tensors": "np", "input_data_format": "channels_last"}
    return processor(np.array(image.convert("RGB")), **options)["pixel_values"]


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_transformers_on_odd_sizes(tmp_path, name):
    kind, options = CONFIGS[name]
    processor = getattr(transformers, f"{kind}ImageProcessor")(**options)
    config = json.loads(processor.to_json_string())
    assert config["image_processor_type"] == f"{kind}ImageProcessor"
    preprocess = ImagePreprocess.from_config(config)
    for width, height in SIZES:
        image = picture(width, height)
        mine = encode(preprocess, image, tmp_path / "i.png")
        expected = theirs(processor, image)
        assert (mine.shape, mine.dtype) == (expected.shape, np.float32)
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["mobilenet", "vit", "convnext", "mobilevit"])
def test_the_numbers_are_bit_equal(tmp_path, name):
    kind, options = CONFIGS[name]
    processor = getattr(transformers, f"{kind}ImageProcessor")(**options)
    preprocess = ImagePreprocess.from_config(processor.to_dict() | {"image_processor_type": kind})
    image = picture(61, 47)
    assert encode(preprocess, image, tmp_path / "i.png").tobytes() == theirs(processor, image).tobytes()


@pytest.mark.parametrize(("mode", "suffix"), [("L", "png"), ("LA", "png"), ("RGBA", "png"), ("CMYK", "tif")])
def test_other_modes_become_rgb(tmp_path, mode, suffix):
    processor = transformers.MobileNetV2ImageProcessor(size={"shortest_edge": 20}, crop_size=16)
    preprocess = ImagePreprocess.from_config(json.loads(processor.to_json_string()))
    image = picture(33, 21, mode)
    mine = encode(preprocess, image, tmp_path / f"i.{suffix}")
    np.testing.assert_allclose(mine, theirs(processor, image), rtol=0, atol=1e-6)


def test_a_palette_becomes_rgb(tmp_path):
    image = picture(9, 7).quantize(16)
    preprocess = ImagePreprocess(rescale=None)
    mine = encode(preprocess, image, tmp_path / "i.png")
    np.testing.assert_array_equal(mine[0].transpose(1, 2, 0), np.array(image.convert("RGB")))


def test_layouts_and_channel_order_hold_the_same_numbers(tmp_path):
    image = picture(9, 7)
    planar = encode(ImagePreprocess(), image, tmp_path / "i.png")
    packed = encode(ImagePreprocess(layout="NHWC", input="image"), image, tmp_path / "i.png")
    reverse = encode(ImagePreprocess(channels="BGR"), image, tmp_path / "i.png")
    assert (planar.shape, packed.shape) == ((1, 3, 7, 9), (1, 7, 9, 3))
    assert packed.flags.c_contiguous
    np.testing.assert_array_equal(packed.transpose(0, 3, 1, 2), planar)
    np.testing.assert_array_equal(reverse, planar[:, ::-1])


def test_mean_and_std_follow_the_channel_order(tmp_path):
    image = picture(9, 7)
    scaled = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
    mine = encode(ImagePreprocess(channels="BGR", **scaled), image, tmp_path / "i.png")
    plain = encode(ImagePreprocess(channels="BGR"), image, tmp_path / "i.png")
    for channel in range(3):
        expected = (plain[0, channel] - scaled["mean"][channel]) / scaled["std"][channel]
        np.testing.assert_allclose(mine[0, channel], expected, atol=1e-6)


BASE = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 8, "width": 8},
    "resample": 2,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}


@pytest.mark.parametrize("name", ["ViTImageProcessorFast", "ViTFeatureExtractor", "ViTImageProcessor"])
def test_older_and_faster_names_mean_the_same(name):
    config = {**BASE, "image_processor_type": None, "feature_extractor_type": name}
    assert ImagePreprocess.from_config(config) == ImagePreprocess.from_config(BASE)


def test_what_is_off_or_concerns_labels_is_passed_over():
    extra = {"do_pad": False, "pad_size": None, "do_reduce_labels": True, "data_format": "channels_first"}
    assert ImagePreprocess.from_config({**BASE, **extra}) == ImagePreprocess.from_config(BASE)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"do_pad": True}, "'do_pad' (True) is not implemented"),
        ({"do_thumbnail": True}, "'do_thumbnail' (True) is not implemented"),
        ({"rescale_offset": True}, "'rescale_offset' (True) is not implemented"),
        ({"data_format": "channels_last"}, "'data_format' ('channels_last') is not implemented"),
        ({"do_center_crop": True}, "'do_center_crop' is on, but ViT processors do not crop"),
        ({"crop_pct": 0.9}, "'crop_pct' is not implemented but for ConvNext"),
        ({"size": {"longest_edge": 9}}, "'size' {'longest_edge': 9} is not implemented"),
        ({"size": {"shortest_edge": 8, "longest_edge": 9}}, "is not implemented"),
        ({"size": None}, "'size' is missing"),
        ({"resample": None}, "'resample' is missing"),
        ({"resample": 9}, "a value is out of range"),
        ({"image_mean": None}, "'image_mean' is missing"),
        ({"image_std": [0.5]}, "a value is out of range"),
        (
            {"size": {"height": 0, "width": 8}},
            "a value is out of range (resize is (0, 8), less than a pixel)",
        ),
        (
            {"image_processor_type": "LevitImageProcessor"},
            "'LevitImageProcessor' is not one of the image processors",
        ),
        (
            {"image_processor_type": None, "feature_extractor_type": "ASTFeatureExtractor"},
            "'ASTFeatureExtractor'",
        ),
        ({"image_processor_type": "CLIPImageProcessor"}, "'crop_size' is missing"),
        (
            {"image_processor_type": "CLIPImageProcessor", "crop_size": {"shortest_edge": 8}},
            "'crop_size' needs a height and a width",
        ),
    ],
)
def test_steps_that_are_not_implemented_are_refused(change, problem):
    with refused(ModelError, problem) as error:
        ImagePreprocess.from_config({**BASE, **change})
    assert error.value.what.startswith("preprocessor_config.json: ")
    assert error.value.hint


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"mean": (0, 0, 0)}, "mean and std belong together"),
        ({"resize": 0}, "resize is 0, less than a pixel"),
        ({"resize": (3, -1)}, "resize is (3, -1), less than a pixel"),
    ],
)
def test_contradictions_are_refused(options, problem):
    with refused(ValueError, problem):
        ImagePreprocess(**options)


@pytest.mark.parametrize("cut", [0, 20, 500])
def test_an_unreadable_image_is_named_when_it_is_decoded(tmp_path, cut):
    path = tmp_path / "i.jpg"
    picture(64, 64).save(path)
    path.write_bytes(path.read_bytes()[:cut])
    sample = open_samples(tmp_path).head(1)[0]
    with refused(SamplesError, f"{path} cannot be read as an image"):
        ImagePreprocess().prepare()(sample)


def test_more_than_8_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "i.png")
    with refused(SamplesError, "i.png has more than 8 bits a channel (I;16)"):
        ImagePreprocess().prepare()(Sample("s", tmp_path / "i.png"))


def test_a_record_that_is_no_file_is_refused():
    with refused(SamplesError, "the model takes images; s.jsonl line 1 is none"):
        ImagePreprocess().prepare()(Sample("s.jsonl line 1", {"text": "a"}))


@pytest.mark.shared
def test_cifar_images_equal_transformers_and_take_about_a_millisecond():
    model, data = SHARED / "models" / "cifar-mobilenet-v2", SHARED / "data" / "cifar10" / "validation"
    if not model.is_dir() or not data.is_dir():
        pytest.skip("needs ../shared: models/cifar-mobilenet-v2 and data/cifar10")
    processor = transformers.MobileNetV2ImageProcessor.from_pretrained(model)
    run = ImagePreprocess.from_config(json.loads((model / "preprocessor_config.json").read_text())).prepare()
    samples = list(open_samples(data))[::10]
    start = time.perf_counter()
    encoded = [run(sample)["pixel_values"] for sample in samples]
    assert (time.perf_counter() - start) / len(samples) < 0.01
    for sample, mine in zip(samples, encoded, strict=True):
        np.testing.assert_allclose(mine, theirs(processor, Image.open(sample.record)), rtol=0, atol=1e-6)
