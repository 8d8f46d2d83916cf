"""The loop that drives a decoder, on a model of NumPy whose cache shows what it was given."""

import numpy as np
import pytest

from edgeexport.runtimes import decoder as decoders

VOCABULARY = 50


class Rememberer:
    """Keys hold the tokens that were fed: the logits are highest for the sum of all visible ones, modulo a number.

    Any order of slots gives the same, and a token that is seen once too often or not at all another.
    """

    def __init__(self, ids="int64"):
        self.ids, self.calls = ids, []

    def run(self, inputs):
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        assert ids.dtype == inputs["position_ids"].dtype == self.ids and mask.dtype == np.float32
        length = ids.shape[1]
        past = inputs["past_key_0"]
        assert mask.shape == (1, 1, length, past.shape[2] + length)
        self.calls.append((length, past.shape[2], int(inputs["position_ids"][0, 0])))
        values = np.concatenate((past[0, 0, :, 0], ids[0]))
        sums = ((mask[0, 0] == 0) * values).sum(-1)
        logits = np.zeros((1, length, VOCABULARY), np.float32)
        logits[0, np.arange(length), sums.astype(int) % VOCABULARY] = 1
        new = ids.reshape(1, 1, length, 1).astype(np.float32)
        return {"logits": logits, "new_key_0": new, "new_value_0": new}


def about(**changes):
    plain = {"layers": 1, "kv_heads": 1, "head_dim": 1, "context": 200, "vocabulary": VOCABULARY, "slides": False}
    return {**plain, "prefill": [], "cache": "slots", "ids": "int64", "masked": -1e4, **changes}


def sums(ids, window=10**6):
    return [sum(ids[max(0, end - window) : end]) % VOCABULARY for end in range(1, len(ids) + 1)]


@pytest.mark.parametrize("prefill", [[], [8], [4, 32]])
@pytest.mark.parametrize("pieces", [(150,), (3, 1, 1, 100, 45), (1,) * 70])
def test_every_token_sees_all_before_it(prefill, pieces):
    ids = np.random.default_rng(0).integers(0, VOCABULARY, sum(pieces))
    text = decoders.Decoder(Rememberer(), about(prefill=prefill))
    found, done = [], 0
    for count in pieces:
        found += text.feed(ids[done : done + count]).argmax(-1).tolist()
        done += count
    assert found == sums(ids.tolist())


def test_shapes_are_those_of_the_format():
    model = Rememberer()
    decoders.Decoder(model, about(prefill=[8])).feed(range(20))
    assert model.calls == [(8, 200, 0), (8, 200, 8), (8, 200, 16)]
    model = Rememberer()
    text = decoders.Decoder(model, about())
    text.feed(range(30))
    for _ in range(36):
        text.feed([1])
    assert model.calls[:2] == [(30, 0, 0), (1, 64, 30)] and {slots for _, slots, _ in model.calls[35:]} == {64, 128}


@pytest.mark.parametrize("prefill", [[], [8]])
def test_a_window_that_slides_forgets_the_oldest(prefill):
    ids = np.random.default_rng(1).integers(0, VOCABULARY, 90)
    text = decoders.Decoder(Rememberer(), about(context=20, slides=True, prefill=prefill))
    found = text.feed(ids[:50]).argmax(-1).tolist()
    for token in ids[50:]:
        found += text.feed([token]).argmax(-1).tolist()
    assert found == sums(ids.tolist(), 20)


def test_a_window_that_does_not_slide_ends():
    text = decoders.Decoder(Rememberer(), about(context=10))
    text.feed(range(10))
    assert text.full
    with pytest.raises(ValueError, match="11 tokens are more than the model's context of 10"):
        text.feed([1])
    text.reset()
    assert not text.full and text.feed([7]).argmax() == 7


def test_what_was_rewound_is_not_seen():
    text = decoders.Decoder(Rememberer(), about())
    text.feed([1, 2, 3, 30])
    text.rewind(3)
    assert text.feed([4]).argmax(-1).tolist() == [10]


@pytest.mark.parametrize(("ids", "words"), [([3, 50], "no token 50"), ([-1], "no token -1"), ([], "no token to begin")])
def test_ids_that_no_table_has(ids, words):
    with pytest.raises(ValueError, match=words):
        decoders.Decoder(Rememberer(), about()).feed(ids)


def test_the_element_type_of_ids():
    assert decoders.Decoder(Rememberer("int32"), about(ids="int32")).feed([2, 3]).argmax(-1).tolist() == [2, 5]


def test_likelihood_in_pieces():
    generator = np.random.default_rng(2)
    logits, ids = generator.standard_normal((9, VOCABULARY)).astype(np.float32), generator.integers(0, VOCABULARY, 9)
    shares = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(-1, keepdims=True)
    for cut in (9, 4, 8, 1):
        found = decoders.likelihood([logits[:cut], logits[cut:]] if cut < 9 else [logits], ids)
        np.testing.assert_allclose(found["nll"], -np.log(shares[np.arange(8), ids[1:]]), rtol=1e-6)
        assert found["token"].tolist() == logits.argmax(-1).tolist()
        assert (found["logits"] == logits[-1]).all()


def test_sampling():
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05]))
    assert decoders.Sampler()(logits) == 0

    def drawn(**how):
        sampler = decoders.Sampler(**{"temperature": 1.0, "seed": 5, **how})
        return np.bincount([sampler(logits) for _ in range(4000)], minlength=4) / 4000

    np.testing.assert_allclose(drawn(), [0.5, 0.3, 0.15, 0.05], atol=0.03)
    np.testing.assert_allclose(drawn(top_k=2), [0.625, 0.375, 0, 0], atol=0.03)
    np.testing.assert_allclose(drawn(top_p=0.9), np.array([0.5, 0.3, 0.15, 0]) / 0.95, atol=0.03)
    np.testing.assert_allclose(drawn(temperature=0.5), np.array([25, 9, 2.25, 0.25]) / 36.5, atol=0.03)
    assert drawn(top_p=0.1).tolist() == [1, 0, 0, 0]
    assert drawn(seed=5).tolist() == drawn(seed=5).tolist() != drawn(seed=6).tolist()


def generated(ids, count, stop_ids=(), **how):
    ticks = iter(range(1000))
    told = []
    tokens, times = decoders.generate(
        decoders.Decoder(Rememberer(), about(**how)),
        ids,
        count=count,
        sampler=decoders.Sampler(),
        stop_ids=stop_ids,
        clock=lambda: next(ticks),
        tell=told.append,
    )
    assert told == tokens and times == [1] * len(times)
    return tokens, len(times)


def test_generation():
    # each next token is the sum of all before it, modulo 50
    assert generated([1, 2], 5) == ([3, 6, 12, 24, 48], 5)
    assert generated([1, 2], 5, stop_ids=(24,)) == ([3, 6, 12], 4)
    assert generated([1, 2], 50, context=4) == ([3, 6, 12], 3)
