"""Runs a causal language model token by token, with the cache that ``edgeexport/decoder.py`` describes.

NumPy only. What comes from outside is checked here, for a wrong token id reads beyond a table in some runtimes.
"""

import numpy as np

_STEP = 64


class Decoder:
    """One text through one model.

    Args:
        model: a runtime's: ``run(inputs) -> outputs``, and ``reset()`` where its cache is a state. Where it has fixed
            shapes and ``hold(names)``, that gives arrays of zeros for these inputs, which ``run`` does not copy.
        about: the manifest's ``decoder``, with ``ids``, the element type of token ids, and ``masked``, which the mask
            has where a token may not look.
    """

    def __init__(self, model, about):
        self._model = model
        self._about = about
        self._fixed = sorted({1, *about["prefill"]}) if about["prefill"] else []
        self._cache = _States(model, about) if about["cache"] == "state" else _Slots(model, about, bool(self._fixed))
        self.reset()

    def reset(self):
        """Begin a new text."""
        self.length = 0
        self._cache.reset()

    def rewind(self, length):
        """Forget what came after the first ``length`` tokens, of a text that is not longer than the context."""
        self.length = length

    def feed(self, ids):
        """Append token ids to the text; give the logits after each, [len(ids), vocabulary].

        Raises ValueError for no id at all or one that the model has not, and where the text gets longer than a model
        takes whose window does not slide.
        """
        return np.concatenate([logits.copy() for logits in self.passes(ids)])

    def passes(self, ids):
        """As :meth:`feed`, with the logits of some tokens at a time, as they were computed.

        A runtime may write the next ones into the same array.
        """
        ids = np.asarray(ids, np.int64).reshape(-1)
        about = self._about
        if not ids.size:
            raise ValueError("there is no token to begin with")
        strange = ids[(ids < 0) | (ids >= about["vocabulary"])]
        if strange.size:
            wrong = int(strange[0])
            raise ValueError(f"the model has no token {wrong}: its vocabulary is of {about['vocabulary']}")
        if not about["slides"] and self.length + ids.size > about["context"]:
            raise ValueError(f"{self.length + ids.size} tokens are more than the model's context of {about['context']}")
        for piece in self._pieces(ids):
            yield self._pass(piece)

    @property
    def full(self):
        """Whether there is no room for another token."""
        return not self._about["slides"] and self.length == self._about["context"]

    def _pieces(self, ids):
        """Pieces that one call takes: of a length that a fixed shape has, and none that overwrites its own slots."""
        longest, context = self._fixed[-1] if self._fixed else _STEP, self._about["context"]
        start, before = 0, self.length  # which grows with each piece that is taken
        while start < ids.size:
            count = min(longest, ids.size - start, context - (before + start) % context)
            if self._about["cache"] == "state":
                count = self._fitting(count, before + start)
            yield ids[start : start + count]
            start += count

    def _fitting(self, count, start):
        """How many tokens a state takes at once: it is written before it is looked at, padding included, so that all of
        a call's slots must be free ones, but for a single token, which takes that of the one that it no longer sees."""
        free = [length for length in self._fixed if start + length <= self._about["context"]]
        if any(length >= count for length in free):
            return count
        return max([length for length in free if length <= count], default=1)

    def _pass(self, ids):
        count = ids.size
        length = next(length for length in self._fixed if length >= count) if self._fixed else count
        dtype = self._about["ids"]
        padded = np.zeros((1, length), dtype)
        padded[0, :count] = ids
        positions = np.arange(self.length, self.length + length, dtype=dtype)[None]
        if not self._about["slides"]:
            positions = np.minimum(positions, np.array(self._about["context"] - 1, dtype))  # of padding, at the end
        outputs = self._cache.run(self._model, {"input_ids": padded, "position_ids": positions}, self.length, count)
        self.length += count
        return outputs["logits"][0, :count]


class _Slots:
    """Keys and values in arrays of ours: all slots at once where shapes are fixed, else as many as are needed.

    They are the runtime's own where it holds such, and ours otherwise.
    """

    def __init__(self, model, about, fixed):
        self._hold = getattr(model, "hold", None) if fixed else None
        self._about, self._fixed = about, fixed
        layers = range(about["layers"])
        self._past = [f"past_{kind}_{layer}" for layer in layers for kind in ("key", "value")]
        self._new = [f"new_{kind}_{layer}" for layer in layers for kind in ("key", "value")]
        self._arrays = {}

    def reset(self):
        self._arrays = {}
        if self._hold is not None:
            self._arrays = self._hold(self._past)
        else:
            self._grow(self._about["context"] if self._fixed else 0)

    def run(self, model, inputs, start, count):
        context, length = self._about["context"], inputs["input_ids"].shape[1]
        slots = self._arrays[self._past[0]].shape[2]
        # Slot n holds the last token whose position leaves n when divided by the context.
        held = start - 1 - (start - 1 - np.arange(slots)) % context
        rows = np.arange(start, start + length)[:, None]
        mask = np.zeros((1, 1, length, slots + length), np.float32)
        mask[0, 0, :, :slots][(held < 0) | (held <= rows - context)] = self._about["masked"]
        mask[0, 0, :, slots:] = np.triu(np.full((length, length), self._about["masked"], np.float32), 1)
        outputs = model.run({**inputs, "attention_mask": mask, **self._arrays})
        place = start % context
        if place + count > slots:
            self._grow(min(context, -(-(place + count) // _STEP) * _STEP))
        for past, new in zip(self._past, self._new):
            self._arrays[past][:, :, place : place + count] = outputs[new][:, :, :count]
        return outputs

    def _grow(self, slots):
        """More slots, by a step, so that what is copied is little to what is computed between two growths."""
        about = self._about
        for name in self._past:
            array = np.zeros((1, about["kv_heads"], slots, about["head_dim"]), np.float32)
            before = self._arrays.get(name)
            if before is not None:
                array[:, :, : before.shape[2]] = before
            self._arrays[name] = array


class _States:
    """Keys and values in the runtime; the mask says which slots count."""

    def __init__(self, model, about):
        self._model, self._about = model, about

    def reset(self):
        self._model.reset()

    def run(self, model, inputs, start, count):
        del count  # padding lies in free slots, which are masked until they are written again
        context, length = self._about["context"], inputs["input_ids"].shape[1]
        end = start + length - 1
        held = end - (end - np.arange(context)) % context  # with the new tokens in their slots already
        rows = np.arange(start, start + length)[:, None]
        mask = np.zeros((1, 1, length, context), np.float32)
        mask[0, 0][(held < 0) | (held > rows) | (held <= rows - context)] = self._about["masked"]
        slot = np.array([start % context], np.int32)
        return model.run({**inputs, "attention_mask": mask, "slot": slot})


def score(decoder, ids):
    """How likely a text is: a dict of ``nll`` [n - 1], ``token`` [n] and ``logits`` [vocabulary] of its n ids.

    ``nll`` is the negative log likelihood in nats of each token but the first, given those before; ``token`` the
    likeliest after each; ``logits`` those after the last.
    """
    ids = np.asarray(ids, np.int64).reshape(-1)
    decoder.reset()
    return likelihood(decoder.passes(ids), ids)


def likelihood(passes, ids):
    """What :func:`score` gives, from the logits [some, vocabulary] after each of the n ids, in order."""
    losses, tokens, done = [], [], 0
    for logits in passes:
        following = ids[done + 1 : done + 1 + len(logits)]
        values = logits[: len(following)].astype(np.float64)
        highest = values.max(-1, keepdims=True)
        total = highest[:, 0] + np.log(np.exp(values - highest).sum(-1))
        losses.append(total - np.take_along_axis(values, following[:, None], -1)[:, 0])
        tokens.append(logits.argmax(-1))
        done += len(logits)
    return {
        "nll": np.concatenate(losses).astype(np.float32),
        "token": np.concatenate(tokens).astype(np.int64),
        "logits": logits[-1].astype(np.float32),
    }


class Sampler:
    """Chooses the next token.

    Args:
        temperature: 0 takes the likeliest; else logits are divided by it.
        top_k: only the likeliest so many; 0 is all.
        top_p: only the likeliest that together have this share of the probability (nucleus sampling,
            https://arxiv.org/abs/1904.09751), at least one.
        seed: of the choice.
    """

    def __init__(self, temperature=0.0, top_k=0, top_p=1.0, seed=0):
        self._temperature, self._top_k, self._top_p = temperature, top_k, top_p
        self._random = np.random.default_rng(seed)

    def __call__(self, logits):
        """The next token's id, from logits [vocabulary]."""
        if self._temperature <= 0:
            return int(logits.argmax())
        values = logits.astype(np.float64) / self._temperature
        order = np.argsort(-values, kind="stable")
        if self._top_k:
            order = order[: self._top_k]
        shares = np.exp(values[order] - values[order[0]])
        shares /= shares.sum()
        kept = int(np.searchsorted(np.cumsum(shares), self._top_p)) + 1
        order, shares = order[:kept], shares[:kept]
        return int(self._random.choice(order, p=shares / shares.sum()))


def generate(decoder, ids, *, count, sampler, stop_ids, clock, tell):
    """Go on with a text for up to ``count`` tokens.

    ``tell(id)`` gets each as it is chosen. Ends after a token of ``stop_ids``, which is not given, and where the
    context is full. Gives the tokens, and ``clock()``'s difference for each: the first is that of the prompt.
    """
    decoder.reset()
    before = clock()
    for passed in decoder.passes(ids):
        logits = passed[-1]
    tokens, times = [], []
    while True:
        token = sampler(logits)
        now = clock()
        times.append(now - before)
        before = now
        if token in stop_ids:
            return tokens, times
        tokens.append(token)
        tell(token)
        if len(tokens) == count or decoder.full:
            return tokens, times
        logits = decoder.feed([token])[0]
