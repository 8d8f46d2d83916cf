"""Branches, loops, lists and classifiers, against Python."""

import numpy as np

from tests.mil.harness import builder, case, seeded

_random = seeded("control_flow")
_x = _random.normal(size=(2, 3)).astype(np.float32)
_y = _random.normal(size=(2, 3)).astype(np.float32)
_n = _random.integers(-9, 9, (2, 3)).astype(np.int32)
_yes, _no = np.array([True]), np.array([False])


def _branch(mb, p, x, y):
    return mb.cond(
        pred=mb.squeeze(x=p),
        _true_fn=lambda: mb.add(x=x, y=y),
        _false_fn=lambda: mb.mul(x=x, y=np.float32(3)),
    )


case("cond", "true", _branch, {"p": _yes, "x": _x, "y": _y}, _x + _y)
case("cond", "false", _branch, {"p": _no, "x": _x, "y": _y}, _x * 3, ios=15)


def _two(mb, p, x):
    return mb.cond(
        pred=mb.squeeze(x=p),
        _true_fn=lambda: (mb.add(x=x, y=1), mb.mul(x=x, y=2)),
        _false_fn=lambda: (mb.mul(x=x, y=5), mb.add(x=x, y=7)),
    )


case("cond", "two values", _two, {"p": _yes, "x": _n}, (_n + 1, _n * 2))
case("cond", "two other values", _two, {"p": _no, "x": _n}, (_n * 5, _n + 7))


def _within(mb, p, q, x):
    def inner():
        return mb.cond(pred=mb.squeeze(x=q), _true_fn=lambda: mb.add(x=x, y=1), _false_fn=lambda: mb.add(x=x, y=2))

    return mb.cond(pred=mb.squeeze(x=p), _true_fn=inner, _false_fn=lambda: mb.add(x=x, y=3))


case("cond", "one within the other", _within, {"p": _yes, "q": _no, "x": _n}, _n + 2)


def _loop(mb, x, n):
    """x · 2 as often as n says, and the count."""
    i = mb.squeeze(x=mb.mul(x=n, y=0))
    limit = mb.squeeze(x=n)
    count, value = mb.while_loop(
        _cond=lambda i, value: mb.less(x=i, y=limit),
        _body=lambda i, value: (mb.add(x=i, y=1), mb.mul(x=value, y=np.float32(2))),
        loop_vars=(i, x),
    )
    return mb.add(x=count, y=0), value


for _times in (0, 1, 9):
    case("while_loop", f"{_times} times", _loop, {"x": _x, "n": np.int32([_times])}, (np.int32(_times), _x * 2**_times))


def _nested(mb, x):
    """Sums x + 3 · 4, in a loop of three of a loop of four."""

    def inner(i, total):
        _, total = mb.while_loop(
            _cond=lambda j, value: mb.less(x=j, y=4),
            _body=lambda j, value: (mb.add(x=j, y=1), mb.add(x=value, y=1)),
            loop_vars=(mb.mul(x=i, y=0), total),
        )
        return mb.add(x=i, y=1), total

    start = mb.reduce_sum(x=mb.mul(x=x, y=0))
    return mb.while_loop(_cond=lambda i, total: mb.less(x=i, y=3), _body=inner, loop_vars=(start, x))[1]


case("while_loop", "one within the other", _nested, {"x": _n}, _n + 12, ios=15)

_mask = _random.integers(0, 2, (2, 3)).astype(bool)


def _select(mb, c, a, b):
    return mb.select(cond=c, a=a, b=b)


case("select", "same shape", _select, {"c": _mask, "a": _x, "b": _y}, np.where(_mask, _x, _y))
case("select", "integers", _select, {"c": _mask, "a": _n, "b": _n * 2 + 1}, np.where(_mask, _n, _n * 2 + 1), ios=15)
case("select", "truth", _select, {"c": _mask, "a": _mask, "b": _n > 0}, np.where(_mask, _mask, _n > 0))
case("select", "broadcast", _select, {"c": _mask, "a": _x, "b": _y[:1]}, np.where(_mask, _x, _y[:1]))
case("select", "broadcast condition", _select, {"c": _mask[:, :1], "a": _x, "b": _y}, np.where(_mask[:, :1], _x, _y))


# Lists.
def _length(**parameters):
    return lambda mb, x: mb.add(x=mb.list_length(ls=mb.make_list(**parameters)), y=x)


_one = np.int32([1])
case("make_list", "length", _length(init_length=4, elem_shape=(2, 3)), {"x": _one}, np.int32([5]))
case("make_list", "default length", _length(elem_shape=(2, 3)), {"x": _one}, np.int32([2]))
case("make_list", "fixed", _length(init_length=3, elem_shape=(2,), dynamic_length=False), {"x": _one}, np.int32([4]))


def _computed(mb, x, n):
    ls = mb.make_list(init_length=mb.squeeze(x=n), elem_shape=("rows", 3))
    ls = mb.list_write(ls=ls, index=4, value=x)
    return mb.list_length(ls=ls)


case("make_list", "computed length, named size", _computed, {"x": _x, "n": np.int32([7])}, np.int32(7))
case("list_length", "grown", _computed, {"x": _x, "n": np.int32([2])}, np.int32(5))
case("list_length", "kept", _computed, {"x": _x, "n": np.int32([6])}, np.int32(6), ios=15)


def _written(mb, x, y, i):
    ls = mb.make_list(init_length=3, elem_shape=(2, 3))
    ls = mb.list_write(ls=ls, index=0, value=x)
    ls = mb.list_write(ls=ls, index=2, value=y)
    return mb.list_read(ls=ls, index=mb.squeeze(x=i))


for _op in ("list_write", "list_read"):
    case(_op, "first", _written, {"x": _x, "y": _y, "i": np.int32([0])}, _x)
    case(_op, "last", _written, {"x": _x, "y": _y, "i": np.int32([2])}, _y, ios=15)


def _integers(mb, x):
    ls = mb.make_list(init_length=1, elem_shape=(2, 3), dtype="int32")
    old = mb.list_write(ls=ls, index=0, value=x)
    new = mb.list_write(ls=old, index=0, value=mb.add(x=x, y=1))
    # The list from before the second writing is what it was.
    return mb.list_read(ls=old, index=0), mb.list_read(ls=new, index=0)


for _op in ("list_write", "list_read"):
    case(_op, "integers, twice", _integers, {"x": _n}, (_n, _n + 1))


def _gathered(mb, x, y, i):
    ls = mb.make_list(init_length=2, elem_shape=(2, 3))
    ls = mb.list_write(ls=ls, index=1, value=x)
    ls = mb.list_write(ls=ls, index=3, value=y)
    return mb.list_gather(ls=ls, indices=i)


_zero = np.zeros_like(_x)
case("list_gather", "some", _gathered, {"x": _x, "y": _y, "i": np.int32([3, 1, 3])}, np.stack([_y, _x, _y]))
case(
    "list_gather",
    "never written",
    _gathered,
    {"x": _x, "y": _y, "i": np.int32([0, 1, 2])},
    np.stack([_zero, _x, _zero]),
)


def _scattered(mb, x, i):
    ls = mb.make_list(init_length=2, elem_shape=(3,))
    ls = mb.list_scatter(ls=ls, indices=i, value=x)
    return mb.list_gather(ls=ls, indices=[0, 1, 2])


case("list_scatter", "grown", _scattered, {"x": _x, "i": np.int32([2, 0])}, np.stack([_x[1], 0 * _x[0], _x[0]]))
case(
    "list_scatter",
    "the last stays",
    _scattered,
    {"x": _x, "i": np.int32([2, 2])},
    np.stack([0 * _x[1], 0 * _x[0], _x[1]]),
)


def _collected(mb, x):
    """Each row, doubled, in a list that a loop carries."""
    ls = mb.make_list(init_length=1, elem_shape=(3,))

    def body(i, ls):
        row = mb.gather(x=x, indices=i, axis=0)
        return mb.add(x=i, y=1), mb.list_write(ls=ls, index=i, value=mb.mul(x=row, y=np.float32(2)))

    start = mb.cast(x=mb.reduce_sum(x=mb.mul(x=x, y=np.float32(0))), dtype="int32")
    _, ls = mb.while_loop(_cond=lambda i, ls: mb.less(x=i, y=2), _body=body, loop_vars=(start, ls))
    return mb.list_gather(ls=ls, indices=[0, 1])


for _op in ("list_write", "list_gather", "while_loop"):
    case(_op, "carried by a loop", _collected, {"x": _x}, _x * 2)


# Classifiers.
def _classified(classes):
    def build(mb, x):
        builder()
        from coremltools.converters.mil import mil

        return mb.classify(probabilities=x, classes=mb.const(val=mil.mil_list(classes)))

    return build


_probabilities = np.float32([[0.125, 0.5, 0.375]])
_names = dict(zip(["cat", "dog", "ox"], _probabilities[0].tolist(), strict=True))
case("classify", "text", _classified(["cat", "dog", "ox"]), {"x": _probabilities}, ("dog", _names))
_numbers = dict(zip([7, 3, 11], _probabilities[0].tolist(), strict=True))
case(
    "classify",
    "numbers",
    _classified([np.int64(7), np.int64(3), np.int64(11)]),
    {"x": _probabilities[0]},
    (np.int64(3), _numbers),
    ios=15,
)
case("make_list", "one size", _length(init_length=2, elem_shape=(3,)), {"x": _one}, np.int32([3]))
