import numpy as np
import pytest
import torch

from edgeexport.compress._fake_quant import (
    ActivationSteps,
    ConstantSteps,
    TableSteps,
    WeightSteps,
    prominence,
    steps,
)
from edgeexport.settings import Calibration


def activation(dtype="uint8", interval=(-1.3, 2.7), learned=False, masked=None):
    least, most = {"uint8": (0, 255), "int8": (-128, 127)}[dtype]
    made = ActivationSteps(dtype=getattr(torch, dtype), quant_min=least, quant_max=most, learned=learned, masked=masked)
    made.set_range(interval)
    made.mode = "rounded"
    return made


def by_hand(x, scale, zero, least, most):
    """In float32 as torch documents it: the inverse of the scale is rounded first."""
    inverse = np.float32(1) / np.float32(scale)
    integers = np.clip(np.rint(x * inverse) + np.float32(zero), least, most)
    return ((integers - np.float32(zero)) * np.float32(scale)).astype(np.float32)


@pytest.fixture
def values():
    return torch.from_numpy(np.random.default_rng(0).normal(size=(64, 33)).astype(np.float32))


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("interval", [(-1.3, 2.7), (0.0, 1.0), (0.5, 3.0), (-2.0, -0.1)])
def test_an_activation_is_rounded_bit_by_bit(values, dtype, interval):
    made = activation(dtype, interval)
    scale, zero = steps(interval, made.quant_min, made.quant_max)
    expected = by_hand(values.numpy(), scale, zero, made.quant_min, made.quant_max)
    np.testing.assert_array_equal(made(values).detach().numpy(), expected)


def test_zero_is_exact_and_the_range_is_kept():
    made = activation(interval=(-1.0, 3.0))
    low, high = made.interval
    assert made(torch.zeros(1)).item() == 0
    assert (low, high) == pytest.approx((-1.0, 3.0), abs=4 / 255 / 2)
    assert made(torch.tensor([-50.0, 50.0])).tolist() == pytest.approx([low, high])


def test_a_point_has_a_scale():
    scale, zero = steps((0.0, 0.0), 0, 255)
    assert scale > 0
    assert zero == 0


def test_the_gradient_passes_inside_the_range_only():
    made = activation(interval=(-1.0, 1.0))
    x = torch.tensor([-3.0, -0.4, 0.2, 5.0], requires_grad=True)
    made(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]


def test_masked_values_are_left_as_they_are():
    made = activation(interval=(-4.0, 4.0), masked=-50.0)
    assert made(torch.tensor([-100.0, -4.5])).tolist() == pytest.approx([-100.0, made.interval[0]])


@pytest.mark.parametrize("axis", [0, 1, None])
def test_a_weight_is_rounded_bit_by_bit(values, axis):
    made = WeightSteps(torch.int8, -127, 127, axis=axis)
    made.mode = "rounded"
    weight = values.numpy()
    largest = np.abs(weight).max() if axis is None else np.abs(weight).max(1 - axis, keepdims=True)
    scale = (largest / np.float32(127)).astype(np.float32)
    np.testing.assert_array_equal(made(values).numpy(), by_hand(weight, scale, 0, -127, 127))


def test_a_vector_of_parameters_spans_its_own_range():
    made = ConstantSteps(torch.uint8, 0, 255)
    made.mode = "rounded"
    x = torch.tensor([-0.2, 0.1, 0.8])
    scale, zero = steps((-0.2, 0.8), 0, 255)
    np.testing.assert_array_equal(made(x).numpy(), by_hand(x.numpy(), scale, zero, 0, 255))


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_of_a_table_are_rounded_as_the_table_would_be(values, axis):
    made = TableSteps(torch.int8, -127, 127, axis=axis)
    made.mode = "rounded"
    made.reads(values)
    made.look()
    whole = WeightSteps(torch.int8, -127, 127, axis=axis)
    whole.mode = "rounded"
    ids = torch.tensor([3, 60, 3])
    np.testing.assert_allclose(made(values[ids]).numpy(), whole(values).numpy()[ids], atol=1e-6)


def test_learned_steps_have_the_gradient_of_lsq():
    """Inside: round(x / s) − x / s; outside: the end's integer (arXiv:1902.08153, equation 3), times the scaling."""
    made = activation("int8", (-1.28, 1.27), learned=True)
    scale, zero = made.scale.item(), round(made.zero_point.item())
    x = torch.tensor([0.503, -0.333, 2.0, -7.0, 0.011], requires_grad=True)
    upstream = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.5])
    (made(x) * upstream).sum().backward()
    ratio = x.detach().numpy() / np.float32(scale)
    integers = np.clip(np.rint(ratio) + zero, -128, 127) - zero
    inside = (np.rint(ratio) + zero >= -128) & (np.rint(ratio) + zero <= 127)
    expected = np.where(inside, integers - ratio, integers)
    factor = 1 / np.sqrt(x.numel() * 127)
    assert made.scale.grad.item() == pytest.approx(float((expected * upstream.numpy()).sum() * factor), rel=1e-4)
    np.testing.assert_array_equal(x.grad.numpy(), np.where(inside, upstream.numpy(), 0))


def test_learned_offsets_move_clipped_values_only():
    """Outside the range the value is (end − z) s, whose derivative by z is −s (arXiv:2004.09576)."""
    made = activation("int8", (-1.28, 1.27), learned=True)
    made(torch.tensor([0.3, 5.0, 6.0])).sum().backward()
    factor = 1 / np.sqrt(3 * 127)
    assert made.zero_point.grad.item() == pytest.approx(-2 * made.scale.item() * factor, rel=1e-4)


def test_fixed_ranges_are_not_learned():
    made = ActivationSteps(dtype=torch.uint8, quant_min=0, quant_max=255, fixed=(0.0, 1.0), learned=True)
    made.set_range((-5.0, 5.0))
    assert made.interval == pytest.approx((0.0, 1.0))
    assert not made.scale.requires_grad


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_observed_ranges_are_those_of_the_calibration_method(values, method):
    from edgeexport.ranges import Histogram, least_error_range, percentile_range

    calibration = Calibration(method=method, percentile=99.0, bins=256, minimum_samples=1)
    made = ActivationSteps(dtype=torch.uint8, quant_min=0, quant_max=255)
    made.mode = "extremes"
    made(values)
    if method != "minmax":
        made.start_histogram(calibration.bins)
        made.mode = "histogram"
        made(values)
    x = values.numpy()
    histogram = Histogram(float(x.min()), float(x.max()), np.histogram(x, 256)[0])
    expected = {
        "minmax": (x.min(), x.max()),
        "percentile": percentile_range(histogram, 99.0),
        "mse": least_error_range(histogram),
    }[method]
    assert made.found(calibration) == pytest.approx(expected)
    assert made.seen.snr_db() > 30


def test_prominence_is_that_of_a_normal_distribution():
    """E|x|⁸ = 105 and E|x| = √(2/π): log(105¹⸍⁴ π/2)."""
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    assert prominence(x).item() == pytest.approx(np.log(105**0.25 * np.pi / 2), abs=0.02)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_prominence_has_no_unit(factor):
    x = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    assert prominence(factor * x).item() == pytest.approx(prominence(x).item(), abs=1e-4)


def test_prominence_pulls_an_outlier_down_however_large_it_is():
    """A kurtosis would hardly: of values that are all the energy, it is the number of values over theirs."""
    x = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    x[:20] = 1000.0
    x.requires_grad_(True)
    prominence(x).backward()
    assert (x.grad[:20] * x.detach()[:20]).sum() > 0.3
    squares = torch.square(x)
    (kurtosis,) = torch.autograd.grad(torch.log(torch.mean(squares**2) / torch.mean(squares) ** 2), x)
    assert abs((kurtosis[:20] * x.detach()[:20]).sum()) < 0.01
    assert prominence(torch.zeros(8)).isfinite()


@pytest.mark.parametrize("mode", ["float", "rounded"])
def test_a_peak_is_taken_where_gradients_are(values, mode):
    made = activation("int8", (-2.0, 2.0))
    made.pressed, made.mode = True, mode
    made(values)
    assert made.peak is None
    values = values.clone().requires_grad_(True)
    made(values)
    assert made.peak.item() == pytest.approx(prominence(values).item())
