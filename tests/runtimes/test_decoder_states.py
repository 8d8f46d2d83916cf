"""What a decoder whose cache is a state asks of its runtime: slots that are free, and no token lost from sight."""

import numpy as np
import pytest

from edgeexport.runtimes.decoder import Decoder

CONTEXT, PREFILL = 16, 4


class Recorder:
    """A runtime with one value a slot, the token's own id; its logits say which tokens each new one looks at."""

    def __init__(self):
        self.calls = []

    def reset(self):
        self.slots = np.full(CONTEXT, -1)

    def run(self, inputs):
        ids, [slot], mask = inputs["input_ids"][0], inputs["slot"], inputs["attention_mask"][0, 0]
        assert mask.shape == (len(ids), CONTEXT)
        assert slot + len(ids) <= CONTEXT
        self.calls.append((int(slot), len(ids)))
        self.slots[slot : slot + len(ids)] = ids
        logits = np.zeros((1, len(ids), 200), np.float32)
        for row, masked in enumerate(mask):
            logits[0, row, self.slots[masked == 0]] = 1
        return {"logits": logits}


def decoder(model, slides):
    about = {"layers": 1, "kv_heads": 1, "head_dim": 1, "context": CONTEXT, "vocabulary": 200, "slides": slides}
    more = {"prefill": [PREFILL], "stop_ids": [], "cache": "state", "ids": "int32", "masked": -1e4}
    return Decoder(model, {**about, **more})


@pytest.mark.parametrize("cuts", [[60], [1, 7, 60], [15, 60], [16, 17, 60], [3, 4, 5, 33, 60]])
def test_each_token_sees_the_last_of_the_context_and_nothing_else(cuts):
    model, tokens = Recorder(), np.arange(100, 160)
    text = decoder(model, slides=True)
    starts = [0, *cuts[:-1]]
    found = np.concatenate([text.feed(tokens[start:end]) for start, end in zip(starts, cuts, strict=True)])
    for place, logits in enumerate(found):
        assert np.flatnonzero(logits).tolist() == tokens[max(0, place + 1 - CONTEXT) : place + 1].tolist()


def test_pieces_are_as_long_as_free_slots_allow():
    model = Recorder()
    text = decoder(model, slides=False)
    text.feed(np.arange(6))
    text.feed(np.arange(7))
    assert text.length == 13
    assert model.calls == [(0, 4), (4, 4), (6, 4), (10, 4)]
    text.feed(np.arange(3))
    assert text.full
    assert model.calls[-3:] == [(13, 1), (14, 1), (15, 1)]
