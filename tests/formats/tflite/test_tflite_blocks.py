import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="pip install 'edgeexport[litert]'")

from edgeexport.formats.tflite.blocks import quantize_blocks


def unpack(packed, size):
    low = (packed & 15).astype(np.int8)
    high = (packed >> 4).astype(np.int8)
    values = np.stack([low, high], -1).reshape(-1)
    return np.where(values > 7, values - 16, values).reshape(-1, size)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_error_is_less_than_with_the_largest_values_scale(size):
    values = np.random.default_rng(0).standard_normal((500, size)).astype(np.float32)
    packed, scales = quantize_blocks(values)
    assert packed.dtype == np.uint8 and packed.size == values.size // 2
    assert scales.dtype == np.float16 and scales.shape == (500,)
    error = ((unpack(packed, size) * scales.astype(np.float32)[:, None] - values) ** 2).sum(-1)
    plain = np.abs(values).max(-1, keepdims=True) / 7
    usual = ((np.clip(np.rint(values / plain), -7, 7) * plain - values) ** 2).sum(-1)
    assert error.sum() < 0.85 * usual.sum()


def test_values_on_the_grid_are_kept():
    levels = np.tile(np.arange(-8, 8, dtype=np.float32), (3, 2))
    values = levels * np.array([[0.5], [1.0], [0.0625]], np.float32)
    packed, scales = quantize_blocks(values)
    np.testing.assert_array_equal(scales, [0.5, 1.0, 0.0625])
    np.testing.assert_array_equal(unpack(packed, 32), levels)


def test_a_block_of_zeros_stays_zero():
    packed, scales = quantize_blocks(np.zeros((2, 32), np.float32))
    assert not packed.any()
    assert (scales > 0).all() and np.isfinite(scales).all()


def test_many_blocks_are_rounded_as_few_are(monkeypatch):
    values = np.random.default_rng(1).standard_normal((70, 32)).astype(np.float32)
    whole = quantize_blocks(values)
    monkeypatch.setattr("edgeexport.formats.tflite.blocks._AT_ONCE", 16)
    for one, other in zip(quantize_blocks(values), whole, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sign", [-1, 1])
def test_blocks_rounded_before_keep_their_codes_with_the_largest_at_either_end(sign):
    random = np.random.default_rng(1)
    codes = np.clip(np.rint(random.standard_normal((500, 32)) * 2.5), -6, 6)
    codes[:, 5] = 7 * sign
    values = (codes * random.uniform(0.001, 0.5, (500, 1))).astype(np.float32)
    packed, scales = quantize_blocks(values)
    np.testing.assert_array_equal(unpack(packed, 32), codes)
    np.testing.assert_array_equal(scales, (np.abs(values).max(-1) / np.float32(7)).astype(np.float16))
