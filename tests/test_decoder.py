"""What a decoder takes for calibration, and how its manifest entry becomes the runner's."""

import msgspec
import numpy as np
import pytest

from edgeexport.decoder import (
    MASKED,
    Decoder,
    decoding_signature,
    prefill_feeds,
    text_signature,
    to_runner,
    with_fixed_lengths,
)

PLAIN = Decoder(layers=2, kv_heads=3, head_dim=4, context=12, vocabulary=99, slides=False)


def test_signatures():
    signature = decoding_signature(PLAIN)
    assert [spec.name for spec in signature.inputs] == [
        "input_ids",
        "position_ids",
        "attention_mask",
        *PLAIN.past_names(),
    ]
    assert PLAIN.past_names() == ["past_key_0", "past_value_0", "past_key_1", "past_value_1"]
    assert [spec.name for spec in signature.outputs] == ["logits", *PLAIN.new_names()]
    assert [spec.name for spec in text_signature(PLAIN).outputs] == ["nll", "token", "logits"]
    assert PLAIN.cache_bytes() == 2 * 2 * 3 * 4 * 12 * 4


def test_a_text_of_any_length_goes_in_whole():
    ids = np.arange(9)[None]
    (feed,) = prefill_feeds(PLAIN, ids, decoding_signature(PLAIN))
    decoding_signature(PLAIN).check(feed, "here")
    assert (feed["input_ids"] == ids).all() and feed["past_key_1"].shape == (1, 3, 0, 4)
    assert (feed["attention_mask"][0, 0] == np.triu(np.full((9, 9), MASKED), 1)).all()


def test_fixed_shapes_take_it_in_padded_pieces():
    decoder = msgspec.structs.replace(PLAIN, prefill=(2, 5))
    feeds = list(prefill_feeds(decoder, np.arange(1, 9)[None], decoding_signature(decoder)))
    assert [feed["input_ids"].tolist() for feed in feeds] == [[[1, 2, 3, 4, 5]], [[6, 7, 8, 0, 0]]]
    for feed in feeds:
        assert feed["past_value_0"].shape == (1, 3, 12, 4) and feed["attention_mask"].shape == (1, 1, 5, 17)
        assert (feed["attention_mask"][..., :12] == MASKED).all()


def test_lengths_of_fixed_shapes():
    assert with_fixed_lengths(PLAIN, ()).prefill == (12,) and with_fixed_lengths(PLAIN, (4, 1, 4)).prefill == (1, 4)
    assert with_fixed_lengths(msgspec.structs.replace(PLAIN, context=512), ()).prefill == (64,)


def test_to_the_runner():
    told = to_runner(PLAIN, decoding_signature(PLAIN))
    assert told["ids"] == "int64" and told["masked"] == MASKED and told["prefill"] == () and told["context"] == 12


def test_a_manifest_that_makes_no_sense_is_refused():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**msgspec.to_builtins(PLAIN), "layers": 0}, Decoder)
