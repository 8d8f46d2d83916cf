"""Images to ``pixel_values``, as Transformers' image processors make them with Pillow.

The steps, all but the first optional, are theirs: convert to RGB; resize; crop about the centre, padding with
black where the image is smaller; reverse the channels; multiply by a factor; subtract a mean and divide by a
standard deviation. Numbers are equal to those of the processors named in :data:`_PROCESSORS`; their ``Fast``
variants resize by torchvision, which differs from Pillow by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec

from edgeexport.errors import ModelError, SamplesError
from edgeexport.sample_files import Kind, Sample, wrong_kind

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

Resample = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]
_RESAMPLES: tuple[Resample, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's filters, in the order of their codes."""

_WARPED_FROM = 384  # ConvNeXT's processor neither keeps the ratio nor crops from this size on


class _Processor(NamedTuple):
    """What a processor does with keys that its configuration leaves out or gives as one number."""

    crops: bool
    square: bool


_PROCESSORS = {
    "Beit": _Processor(crops=True, square=True),
    "Bit": _Processor(crops=True, square=False),
    "CLIP": _Processor(crops=True, square=False),
    "ConvNext": _Processor(crops=False, square=False),
    "DeiT": _Processor(crops=True, square=True),
    "MobileNetV1": _Processor(crops=True, square=False),
    "MobileNetV2": _Processor(crops=True, square=False),
    "MobileViT": _Processor(crops=True, square=False),
    "Siglip": _Processor(crops=False, square=True),
    "ViT": _Processor(crops=False, square=True),
}
_NEVER_CROP = frozenset({"ConvNext", "Siglip", "ViT"})

_UNDERSTOOD = frozenset(
    {
        *("do_resize", "size", "resample", "crop_pct", "do_center_crop", "crop_size", "do_rescale"),
        *("rescale_factor", "do_normalize", "image_mean", "image_std", "do_convert_rgb"),
        *("do_flip_channel_order", "image_processor_type", "feature_extractor_type"),
    }
)
_HARMLESS = frozenset(
    {
        *("do_reduce_labels", "reduce_labels"),  # of segmentation maps
        *("processor_class", "_processor_class", "_valid_processor_keys", "transformers_version", "auto_map"),
        *("default_to_square", "device", "disable_grouping", "return_tensors", "use_square_size"),
    }
)

Pixels = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Triple = tuple[float, float, float]


class ImagePreprocess(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="image"
):
    """How an image becomes an array [1, 3, height, width] or [1, height, width, 3], float32.

    Attributes:
        input: the model's input.
        layout: ``NCHW`` or ``NHWC``.
        channels: their order.
        resize: pixels of the shortest edge, keeping the ratio; or height and width; or None.
        resample: Pillow's filter.
        crop: height and width, or None.
        rescale: factor on values 0 to 255, or None.
        mean: one a channel, subtracted after ``rescale``; None with ``std``.
        std: one a channel.
    """

    accepts: ClassVar[Kind] = "image"
    assets: ClassVar[tuple[str, ...]] = ()

    input: str = "pixel_values"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    channels: Literal["RGB", "BGR"] = "RGB"
    resize: int | tuple[int, int] | None = None  # msgspec 0.22 crashes on a bounded int beside a tuple
    resample: Resample = "bilinear"
    crop: tuple[Pixels, Pixels] | None = None
    rescale: Positive | None = 1 / 255
    mean: Triple | None = None
    std: tuple[Positive, Positive, Positive] | None = None

    def __post_init__(self) -> None:
        """Refuse an impossible size and half a normalisation."""
        edges = self.resize if isinstance(self.resize, tuple) else (self.resize or 1,)
        if self.resize == 0 or min(edges) < 1:
            raise ValueError(f"resize is {self.resize}, less than a pixel")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together: give both or neither")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ImagePreprocess:
        """From the content of a ``preprocessor_config.json``.

        Raises:
            ModelError: a processor of a kind not known here, a step that is not implemented, or a needed key
                is missing; nothing is passed over silently.
        """
        name, processor = _processor(config)
        for key, value in config.items():
            if key not in _UNDERSTOOD | _HARMLESS and value not in (None, False, "channels_first"):
                raise _refuse(f"'{key}' ({value!r}) is not implemented")
        resize, crop = _sizes(config, name, processor)
        if name == "ConvNext" and isinstance(resize, int):
            resize, crop = _convnext(resize, config.get("crop_pct"))
        elif config.get("crop_pct") is not None and name != "ConvNext":
            raise _refuse("'crop_pct' is not implemented but for ConvNext")
        normalize = bool(config.get("do_normalize", name != "MobileViT"))
        flips = config.get("do_flip_channel_order", name == "MobileViT")
        try:
            return cls(
                channels="BGR" if flips else "RGB",
                resize=resize,
                resample="bilinear" if resize is None else _RESAMPLES[int(_need(config, "resample"))],
                crop=crop,
                rescale=float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else None,
                mean=_triple(_need(config, "image_mean")) if normalize else None,
                std=_triple(_need(config, "image_std")) if normalize else None,
            )
        except (TypeError, ValueError, IndexError) as error:
            raise _refuse(f"a value is out of range ({error})") from error

    def prepare(self, assets: Path | None = None) -> Callable[[Sample], dict[str, np.ndarray]]:
        """The encoder; ``assets`` is not used.

        Raises:
            SamplesError: by the result: a file is no image, is damaged, or has more than 8 bits a channel.
        """
        del assets
        import numpy as np

        table = self._table()
        order = (0, 1, 2) if self.channels == "RGB" else (2, 1, 0)

        def encode(sample: Sample) -> dict[str, np.ndarray]:
            if not isinstance(sample.record, Path):
                raise wrong_kind("image", f"{sample.name} is none")
            pixels = self._crop(np.asarray(self._resize(_read(sample.record))))
            values = np.empty((1, 3, *pixels.shape[:2]), np.float32)
            for channel, source in enumerate(order):
                np.take(table[channel], pixels[..., source], out=values[0, channel], mode="clip")
            return {self.input: values if self.layout == "NCHW" else np.ascontiguousarray(values.transpose(0, 2, 3, 1))}

        return encode

    def normalised(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels of 0 to 255, float32 [1, 3, height, width], as :meth:`prepare` gives them: bit for bit the same."""
        import numpy as np

        values = pixels.astype(np.float32)
        if self.rescale is not None:
            values = (pixels.astype(np.float64) * self.rescale).astype(np.float32)
        if self.mean is not None and self.std is not None:
            mean, std = np.array([self.mean, self.std], np.float32)[:, None, :, None, None]
            values = (values - mean) / std
        return values

    def _table(self) -> np.ndarray:
        """float32 [3, 256]: what each byte becomes in each channel, with the processors' own rounding."""
        import numpy as np

        every = np.broadcast_to(np.arange(256, dtype=np.float32), (1, 3, 1, 256))
        return self.normalised(every)[0, :, 0]

    def _resize(self, image: Image) -> Image:
        if self.resize is None:
            return image
        width, height = image.size
        if not isinstance(self.resize, int):
            height, width = self.resize
        elif width <= height:
            width, height = self.resize, int(self.resize * height / width)
        else:
            width, height = int(self.resize * width / height), self.resize
        return image.resize((width, height), _RESAMPLES.index(self.resample))

    def _crop(self, pixels: np.ndarray) -> np.ndarray:
        """Cut uint8 [height, width, 3] to ``crop``; too small an image is padded, the odd pixel before it."""
        import numpy as np

        if self.crop is None:
            return pixels
        short = [max(0, want - have) for want, have in zip(self.crop, pixels.shape, strict=False)]
        if any(short):
            pixels = np.pad(pixels, [*((n - n // 2, n // 2) for n in short), (0, 0)])
        top, left = ((have - want) // 2 for want, have in zip(self.crop, pixels.shape, strict=False))
        return pixels[top : top + self.crop[0], left : left + self.crop[1]]


def _read(path: Path) -> Image:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise SamplesError(f"{path} has more than 8 bits a channel ({image.mode})", "Convert it to 8 bits.")
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SamplesError(f"{path} cannot be read as an image: {error}", "Repair or remove it.") from error


def _processor(config: Mapping[str, Any]) -> tuple[str, _Processor]:
    """The processor's name without its suffix; without a name every key must be spelled out."""
    kind = config.get("image_processor_type") or config.get("feature_extractor_type")
    if kind is None:
        return "", _Processor(crops=False, square=True)
    name = str(kind).removesuffix("Fast").removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
    if name not in _PROCESSORS:
        raise ModelError(
            f"preprocessor_config.json: '{kind}' is not one of the image processors known here: "
            f"{', '.join(sorted(_PROCESSORS))}",
            "Give samples as .npz arrays, already preprocessed.",
        )
    return name, _PROCESSORS[name]


def _sizes(
    config: Mapping[str, Any], name: str, processor: _Processor
) -> tuple[int | tuple[int, int] | None, tuple[int, int] | None]:
    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    if config.get("do_resize", True):
        resize = _size("size", _need(config, "size"), processor.square)
    if config.get("do_center_crop", processor.crops):
        if name in _NEVER_CROP:
            raise _refuse(f"'do_center_crop' is on, but {name} processors do not crop")
        both = _size("crop_size", _need(config, "crop_size"), square=True)
        if isinstance(both, int):
            raise _refuse("'crop_size' needs a height and a width")
        crop = both
    return resize, crop


def _size(key: str, size: Any, square: bool) -> int | tuple[int, int]:
    """A size as Transformers writes it: shortest edge, height and width, one number or a pair."""
    if isinstance(size, int):
        return (size, size) if square else size
    if isinstance(size, list | tuple) and len(size) == 2:
        return int(size[0]), int(size[1])
    if isinstance(size, Mapping):
        given = {name: int(value) for name, value in size.items() if value is not None}
        if set(given) == {"shortest_edge"}:
            return given["shortest_edge"]
        if set(given) == {"height", "width"}:
            return given["height"], given["width"]
    raise _refuse(f"'{key}' {size!r} is not implemented, only a shortest_edge, or a height and a width")


def _convnext(edge: int, crop_pct: float | None) -> tuple[int | tuple[int, int], tuple[int, int] | None]:
    """ConvNeXT: below 384, enlarge by 1/crop_pct and crop; from there on, warp to a square."""
    if edge >= _WARPED_FROM:
        return (edge, edge), None
    return int(edge / (224 / 256 if crop_pct is None else crop_pct)), (edge, edge)


def _triple(value: Any) -> Triple:
    red, green, blue = (value,) * 3 if isinstance(value, int | float) else value
    return float(red), float(green), float(blue)


def _need(config: Mapping[str, Any], key: str) -> Any:
    if config.get(key) is None:
        raise _refuse(f"'{key}' is missing")
    return config[key]


def _refuse(problem: str) -> ModelError:
    return ModelError(
        f"preprocessor_config.json: {problem}",
        "Save it again with AutoImageProcessor, or give samples as .npz arrays, already preprocessed.",
    )
