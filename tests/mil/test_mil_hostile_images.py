"""Operators on images and weights refuse what would be too large or has no meaning, in words."""

import pytest
import torch

from edgeexport.errors import ModelError
from edgeexport.mil.memory import limited
from edgeexport.mil.table import find

X = torch.zeros(1, 2, 4, 4)
W = torch.zeros(2, 2, 3, 3)
BIG = 1 << 30
MASK = torch.ones(2, 2, dtype=torch.uint8)
BYTES = torch.zeros(4, dtype=torch.uint8)
SAMPLED = {"sampling_mode": "bilinear", "padding_mode": "constant", "padding_value": 0.0}
SAMPLED |= {"coordinates_mode": "normalized_minus_one_to_one", "align_corners": True}
BOX = torch.tensor([[0.0, 0.0, 1.0, 1.0]])

LARGE = [
    ("conv", 17, {"x": X, "weight": W, "pad_type": "custom", "pad": [BIG, BIG, 0, 0]}),
    ("conv", 17, {"x": X, "weight": W, "pad_type": "same", "dilations": [BIG, 1]}),
    ("conv_transpose", 17, {"x": X, "weight": W, "strides": [BIG, BIG]}),
    ("conv_transpose", 17, {"x": X, "weight": W, "pad_type": "custom", "output_shape": [1, 2, BIG, BIG]}),
    ("max_pool", 17, {"x": X, "kernel_sizes": [2, 2], "pad_type": "custom", "pad": [BIG, BIG, BIG, BIG]}),
    ("avg_pool", 17, {"x": X, "kernel_sizes": [BIG, 2], "pad_type": "same"}),
    ("l2_pool", 17, {"x": X, "kernel_sizes": [2, 2], "pad_type": "custom", "pad": [BIG, 0, 0, 0]}),
    ("resize", 17, {"x": X, "shape": [BIG, BIG], "resized_dims": 2}),
    ("resize_bilinear", 17, {"x": X, "target_size_height": BIG, "target_size_width": BIG}),
    ("resize_nearest_neighbor", 17, {"x": X, "target_size_height": BIG, "target_size_width": BIG}),
    ("upsample_bilinear", 15, {"x": X, "scale_factor_height": 1e9}),
    ("upsample_bilinear", 17, {"x": X, "scale_factor_height": 1e9, "align_corners": False}),
    ("upsample_nearest_neighbor", 17, {"x": X, "scale_factor_width": 1e18}),
    ("crop_resize", 15, {"x": X, "roi": BOX.reshape(1, 1, 4, 1, 1), "target_height": BIG, "target_width": BIG}),
    ("crop_resize", 17, {"x": X, "boxes": BOX, "target_height": BIG, "target_width": BIG}),
    ("resample", 17, {"x": X, "coordinates": torch.zeros(1, 1, 1, 2).expand(1, BIG, BIG, 2), **SAMPLED}),
    (
        "affine",
        17,
        {"x": X, "transform_matrix": torch.zeros(1, 6), "output_height": BIG, "output_width": BIG, **SAMPLED},
    ),
    (
        "non_maximum_suppression",
        17,
        {"boxes": torch.zeros(1, 4, 2), "scores": torch.zeros(1, 1, 2), "iou_threshold": 0.5, "max_boxes": BIG},
    ),
    ("constexpr_lut_to_dense", 16, {"indices": BYTES, "lut": torch.zeros(16), "shape": [BIG, BIG]}),
    ("constexpr_lut_to_dense", 18, {"indices": MASK.expand(BIG, 2, 2), "lut": torch.zeros(1, 1, 1, 2, 1)}),
    ("constexpr_sparse_to_dense", 16, {"nonzero_data": torch.ones(2), "mask": BYTES, "shape": [BIG, BIG]}),
    ("constexpr_sparse_to_dense", 18, {"nonzero_data": torch.ones(2), "mask": MASK.expand(BIG, 2, 2)}),
    ("constexpr_blockwise_shift_scale", 18, {"data": MASK.expand(BIG, 2, 2), "scale": torch.ones(1, 1, 1)}),
    (
        "constexpr_affine_dequantize",
        16,
        {
            "quantized_data": MASK.expand(BIG, 2, 2),
            "zero_point": torch.tensor(0),
            "scale": torch.tensor(1.0),
            "axis": 0,
        },
    ),
]
SENSELESS = [
    ("conv", 17, {"x": X, "weight": W, "strides": [0, 1]}),
    ("conv", 17, {"x": X, "weight": W, "pad_type": "same", "strides": [0, 0]}),
    ("conv", 17, {"x": X, "weight": W, "dilations": [-1, 1]}),
    ("conv", 17, {"x": X, "weight": W, "pad_type": "custom", "pad": [-1, 0, 0, 0]}),
    ("conv", 17, {"x": X, "weight": W, "pad_type": "sam"}),
    ("conv", 17, {"x": X, "weight": W, "groups": 0}),
    ("conv", 17, {"x": X, "weight": torch.zeros(2, 2, 9, 9)}),
    ("conv", 17, {"x": X, "weight": torch.zeros(2, 2, 9)}),
    ("conv_transpose", 17, {"x": X, "weight": W, "strides": [0, 1]}),
    ("conv_transpose", 17, {"x": X, "weight": W, "pad_type": "custom", "pad": [9, 9, 9, 9]}),
    ("conv_transpose", 17, {"x": X, "weight": W, "output_shape": [1, 2]}),
    ("max_pool", 17, {"x": X, "kernel_sizes": [0, 2], "pad_type": "valid"}),
    ("max_pool", 17, {"x": X, "kernel_sizes": [2, 2], "pad_type": "valid", "strides": [0, 0]}),
    ("avg_pool", 17, {"x": X, "kernel_sizes": [9, 9], "pad_type": "valid"}),
    ("l2_pool", 17, {"x": X, "kernel_sizes": [2, 2], "pad_type": "custom", "pad": [-1, -1, 0, 0]}),
    ("resize", 17, {"x": X, "shape": [-2, 2], "resized_dims": 2}),
    ("resize", 17, {"x": X, "shape": [2], "resized_dims": 2}),
    ("resize", 17, {"x": X, "shape": [2], "resized_dims": 1, "sampling_mode": "ELSE"}),
    ("resize_bilinear", 17, {"x": X[:, :, :0], "target_size_height": 2, "target_size_width": 2}),
    ("upsample_bilinear", 17, {"x": X, "scale_factor_height": float("nan")}),
    ("upsample_bilinear", 17, {"x": X, "align_corners": True, "half_pixel_centers": True}),
    ("crop", 17, {"x": X, "crop_height": [3, 3], "crop_width": [0, 0]}),
    ("crop", 17, {"x": X, "crop_height": [-1, 0], "crop_width": [0, 0]}),
    ("crop_resize", 17, {"x": X, "boxes": BOX, "box_indices": torch.tensor([7])}),
    ("crop_resize", 17, {"x": X, "boxes": BOX, "target_height": -1}),
    ("crop_resize", 16, {"x": X, "roi": torch.tensor([-1.0, 0, 0, 1, 1]).reshape(1, 1, 5, 1, 1)}),
    ("resample", 17, {"x": X, "coordinates": torch.zeros(3, 1, 1, 2), **SAMPLED}),
    ("resample", 17, {"x": X[:, :, :0], "coordinates": torch.zeros(1, 1, 1, 2), **SAMPLED}),
    (
        "non_maximum_suppression",
        17,
        {"boxes": torch.zeros(1, 4, 2), "scores": torch.zeros(1, 1, 3), "iou_threshold": 0.5, "max_boxes": 2},
    ),
    ("constexpr_lut_to_dense", 18, {"indices": MASK * 9, "lut": torch.zeros(1, 1, 2, 1)}),
    ("constexpr_lut_to_dense", 18, {"indices": MASK, "lut": torch.zeros(0, 1, 2, 1)}),
    ("constexpr_lut_to_dense", 18, {"indices": MASK, "lut": torch.zeros(1, 1, 2, 2)}),
    ("constexpr_lut_to_dense", 18, {"indices": MASK, "lut": torch.zeros(1, 1, 2, 2), "vector_axis": 5}),
    ("constexpr_lut_to_dense", 16, {"indices": BYTES, "lut": torch.zeros(5), "shape": [2]}),
    ("constexpr_lut_to_dense", 16, {"indices": BYTES, "lut": torch.zeros(16), "shape": [3]}),
    ("constexpr_lut_to_dense", 16, {"indices": BYTES, "lut": torch.zeros(16), "shape": [-8]}),
    ("constexpr_sparse_to_dense", 18, {"nonzero_data": torch.ones(2), "mask": MASK}),
    ("constexpr_blockwise_shift_scale", 18, {"data": MASK, "scale": torch.ones(3, 1)}),
    ("quantize", 17, {"input": X, "scale": torch.ones(3), "output_dtype": "int8", "axis": 1}),
    ("quantize", 17, {"input": X, "scale": torch.tensor(1.0), "output_dtype": "int32"}),
    ("dequantize", 17, {"input": MASK, "scale": torch.ones(2), "axis": 4}),
]


def _label(value):
    return value if isinstance(value, str) else None


@pytest.mark.parametrize(("name", "opset", "arguments"), LARGE, ids=_label)
def test_too_large(name, opset, arguments):
    with limited(1 << 28), pytest.raises(ModelError, match="are allowed"):
        find(name, opset).run(**arguments)


@pytest.mark.parametrize(("name", "opset", "arguments"), SENSELESS, ids=_label)
def test_senseless(name, opset, arguments):
    # What PyTorch says, the machine puts into words of its own.
    with limited(1 << 28), pytest.raises((ModelError, RuntimeError, ValueError, IndexError)):
        find(name, opset).run(**arguments)


def test_coordinates_that_are_no_numbers():
    where = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30]).reshape(1, 1, 2, 2)
    for padding in ("constant", "border", "reflection", "symmetric"):
        for mode in ("bilinear", "nearest"):
            options = {**SAMPLED, "padding_mode": padding, "sampling_mode": mode}
            assert find("resample", 17).run(x=X, coordinates=where, **options).shape == (1, 2, 1, 2)
    boxes = torch.full((1, 4), float("nan"))
    assert find("crop_resize", 17).run(x=X, boxes=boxes, pad_value=3.0).eq(3).all()


def test_scale_of_zero():
    found = find("quantize", 17).run(input=torch.tensor([-1.0, 0, 1]), scale=torch.tensor(0.0), output_dtype="int8")
    assert found.tolist() == [-128, 0, 127]


def test_numbered_boxes_of_several_images():
    x = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    roi = torch.tensor([[1.0, 0, 0, 2, 2], [0, 0, 0, 1, 1]]).reshape(2, 1, 5, 1, 1)
    found = find("crop_resize", 16).run(x=x, roi=roi, target_height=2, target_width=3)
    assert found.shape == (2, 1, 1, 2, 3)
    assert found[0].eq(1).all()
    assert found[1].eq(0).all()
