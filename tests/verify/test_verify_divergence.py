"""Figures of layers against a recomputation, and which of them are blamed."""

import numpy as np
import pytest

from edgeexport.analysis import LayerError
from edgeexport.observation import Grid, Layer
from edgeexport.verify.divergence import DivergenceMeter


def layer(name, *reads, own=True, grid=None, axis=-1):
    return Layer(name, "MatMul", name, name, reads, own, grid, grid is not None, axis)


def values(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def noisy(reference, db, seed=9):
    """The reference with so many decibels of noise below it."""
    noise = values(seed, *reference.shape)
    scale = np.linalg.norm(reference) / np.linalg.norm(noise) * 10 ** (-db / 20)
    return (reference + scale * noise).astype(np.float32)


def meter(layers, *pairs):
    made = DivergenceMeter(layers)
    for reference, output in pairs:
        made.add(reference, output)
    return made


def chain(*decibels, own=True, reads=None):
    """Layers after each other with these ratios; None is exact."""
    names = [chr(97 + number) for number in range(len(decibels))]
    places = reads or [() if number == 0 else (number - 1,) for number in range(len(names))]
    layers = [layer(name, *place, own=own) for name, place in zip(names, places, strict=True)]
    reference = {name: values(number, 40, 64) for number, name in enumerate(names)}
    output = {
        name: reference[name] if db is None else noisy(reference[name], db)
        for name, db in zip(names, decibels, strict=True)
    }
    return meter(layers, (reference, output))


def test_figures_are_those_of_a_recomputation():
    grid = Grid(0.02, 10, -128, 127)
    references = [values(seed, 3, 5, 8) for seed in range(4)]
    integers = [np.clip(np.rint(one / 0.02) + 10, -128, 127).astype(np.int8) for one in references]
    found = meter([layer("a", grid=grid)], *(({"a": r}, {"a": q}) for r, q in zip(references, integers, strict=True)))
    wanted = np.stack(references).astype(np.float64)
    got = (np.stack(integers).astype(np.float64) - 10) * 0.02
    signal, noise = (wanted**2).reshape(-1, 8).sum(0), ((wanted - got) ** 2).reshape(-1, 8).sum(0)
    (error,) = found.errors()
    assert error.snr_db == pytest.approx(10 * np.log10(signal.sum() / noise.sum()), abs=1e-9)
    share = np.median(noise / (signal + noise))
    assert error.channel_snr_db == pytest.approx(10 * np.log10((1 - share) / share), abs=1e-9)
    assert error.clipped == ((wanted < -2.77) | (wanted > 2.35)).mean() > 0
    assert (error.low, error.high) == (wanted.min(), wanted.max())
    assert (error.path, error.operator, error.samples, error.finite) == ("a", "MatMul", 4, True)


def test_channels_of_images_are_second():
    reference = values(0, 2, 4, 6, 6)
    output = reference.copy()
    output[:, 0] = 0
    first = meter([layer("a", axis=1)], ({"a": reference}, {"a": output})).errors()[0]
    last = meter([layer("a")], ({"a": reference}, {"a": output})).errors()[0]
    assert first.channel_snr_db is None
    assert last.channel_snr_db == pytest.approx(last.snr_db, abs=1.5)


def test_samples_of_other_lengths():
    pairs = [({"a": values(n, 1, n, 8)}, {"a": noisy(values(n, 1, n, 8), 20)}) for n in (3, 7)]
    (error,) = meter([layer("a")], *pairs).errors()
    assert error.snr_db == pytest.approx(20, abs=0.01)
    assert error.channel_snr_db is not None
    (error,) = meter([layer("a", axis=1)], *pairs).errors()
    assert error.snr_db == pytest.approx(20, abs=0.01)
    assert error.channel_snr_db is None


def test_equal_values_and_zeros_have_no_ratio():
    same = values(0, 4, 4)
    nothing = np.zeros((4, 4), np.float32)
    layers = [layer("a"), layer("b"), layer("c")]
    output = {"a": same, "b": nothing, "c": same}
    made = meter(layers, ({"a": same, "b": nothing, "c": nothing}, output))
    assert [error.snr_db for error in made.errors()] == [None, None, None]
    assert all(error.finite for error in made.errors())
    assert made.worst() == ()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_worst(bad):
    made = chain(50, 48, 45)
    reference = {name: values(number, 40, 64) for number, name in enumerate("abc")}
    output = {name: noisy(array, 45) for name, array in reference.items()}
    output["b"][3, 3] = bad
    output["c"][:] = bad
    made.add(reference, output)
    assert [error.finite for error in made.errors()] == [True, False, False]
    assert made.errors()[1].snr_db is None
    assert made.worst() == ("b",)


def test_masks_are_left_out():
    reference = values(0, 4, 8)
    output = noisy(reference, 30)
    wanted = meter([layer("a")], ({"a": reference}, {"a": output})).errors()[0]
    for masked in (-3.4e38, -np.inf):
        more = np.concatenate([reference, np.full((4, 8), masked, np.float32)])
        made = meter([layer("a")], ({"a": more}, {"a": np.concatenate([output, np.full((4, 8), -20, np.float32)])}))
        assert made.errors()[0].snr_db == pytest.approx(wanted.snr_db)
        assert (made.errors()[0].low, made.errors()[0].high) == (wanted.low, wanted.high)


def test_other_shapes_are_left_out_and_places_follow():
    reference = {"a": values(0, 2, 4), "b": values(1, 2, 4), "c": values(2, 2, 4)}
    output = {"a": values(0, 4, 2), "b": noisy(reference["b"], 30), "c": noisy(reference["c"], 30)}
    errors = meter([layer("a"), layer("b", 0), layer("c", 0, 1)], (reference, output)).errors()
    assert [(error.path, error.reads) for error in errors] == [("b", ()), ("c", (0,))]


@pytest.mark.parametrize(
    ("decibels", "worst"),
    [
        ((45, 44, 43), ()),  # what int8 leaves
        ((38, 37, 8, 9, 7), ("c",)),
        ((8, 9, 7), ("a",)),
        ((None, 8, 9, 7), ("b",)),
        ((35, 8, 9, 1), ("b", "d")),
        ((35, 25, 9, 8), ("c",)),  # 25 dB is no quarter of the noise at 9
    ],
)
def test_the_first_layer_that_loses_is_blamed(decibels, worst):
    assert chain(*decibels).worst() == worst


def test_a_layer_that_computes_in_float_is_never_blamed():
    assert chain(35, 8, 9, own=False).worst() == ()


def test_the_worst_of_what_is_read_counts():
    assert chain(40, 10, 9, reads=[(), (), (0, 1)]).worst() == ("b",)


def test_a_loss_that_does_not_live_on_is_none():
    near_zero = [(), (0,), (0, 1), (2,)]  # the mean of a normalization, and what it is taken off
    assert chain(20, -8, 19, 12, reads=near_zero).worst() == ("d",)
    assert chain(20, 2, 3, 1, reads=near_zero).worst() == ("b",)


def test_an_outlier_channel_hides_nothing():
    reference = values(0, 200, 64)
    reference[:, 7] *= 400
    step = np.abs(reference).max() / 127
    outliers = (np.rint(reference / step) * step).astype(np.float32)
    after = {"a": values(1, 200, 64), "c": values(2, 200, 64)}
    made = meter(
        [layer("a"), layer("b", 0), layer("c", 1)],
        ({"b": reference, **after}, {"b": outliers, "a": noisy(after["a"], 40), "c": noisy(after["c"], 0)}),
    )
    assert made.errors()[1].snr_db > 25
    assert made.errors()[1].channel_snr_db < 1
    assert made.worst() == ("b",)


def test_a_layer_error_reads_back_from_json_without_the_later_fields():
    import msgspec

    text = b'{"path":"a","operator":"b","snr_db":null,"clipped":null,"low":0,"high":1,"samples":1}'
    error = msgspec.json.decode(text, type=LayerError)
    assert (error.finite, error.reads, error.channel_snr_db) == (True, (), None)
