"""What values take together, how often loops run, and names that several blocks use."""

import numpy as np
import pytest
import torch

from edgeexport.errors import ModelError
from edgeexport.mil.dtypes import BY_NAME
from edgeexport.mil.machine import Machine
from edgeexport.mil.memory import claim, limited
from edgeexport.mil.program import Block, Function, Literal, Named, Operation, Type
from tests.mil import harness

_FLOATS = Type(BY_NAME["fp32"], None)


def _given(value):
    return Literal(lambda: value)


def _operation(op, output, blocks=(), **arguments):
    return Operation(op, output, arguments, (Named(output, _FLOATS),), blocks)


def _constant(output, number):
    return _operation("const", output, val=_given(torch.tensor(number)))


def _run(operations, output, mode="exact", largest=1 << 20, **inputs):
    block = Block((), (output,), tuple(operations))
    function = Function("main", tuple(Named(name, _FLOATS) for name in inputs), 18, block)
    with limited(largest):
        machine = Machine(function, mode, 1000)
        return machine.run(inputs, {}, None)[0]


def _fills(count):
    shape, value = _given(torch.tensor([250, 1000])), _given(torch.ones(()))
    return [_operation("fill", f"f{i}", shape=shape, value=value) for i in range(count)]


def test_values_that_are_kept_are_counted_together():
    # Each takes 1 MB of the 1.05 allowed for one, and 4.19 for all.
    def total(count):
        names = tuple(f"f{i}" for i in range(count))
        return [*_fills(count), _operation("concat", "c", values=names, axis=_given(torch.tensor(0)))]

    with pytest.raises(ModelError, match=r"fill 'f4': .*5e-03 GB together|fill 'f4': .*0\.005 GB together"):
        _run(total(100), "c")


def test_values_that_are_let_go_are_not():
    many = _fills(100)
    uses = [_operation("reduce_sum", f"s{i}", x=f"f{i}") for i in range(100)]
    found = _run([step for pair in zip(many, uses, strict=True) for step in pair], "s99")
    assert found.item() == 250_000


def test_views_are_counted_once():
    views = [_operation("identity", f"v{i}", x="x") for i in range(100)]
    total = [_operation("reduce_sum", f"s{i}", x=f"v{i}") for i in range(100)]
    assert _run([*views, *total], "s99", x=torch.ones(250, 1000)).item() == 250_000


def test_a_list_that_grows_in_a_loop_is_counted(tmp_path):
    def build(mb, x):
        def body(i, ls):
            return mb.add(x=i, y=np.float32(1)), mb.list_write(ls=ls, index=mb.cast(x=i, dtype="int32"), value=_more(i))

        def _more(i):
            return mb.fill(shape=[1000, 1000], value=np.float32(2))

        ls = mb.make_list(init_length=1, elem_shape=(1000, 1000), dynamic_length=True)
        looped = mb.while_loop(
            _cond=lambda i, ls: mb.less(x=mb.reduce_sum(x=i), y=np.float32(900)), _body=body, loop_vars=(x, ls)
        )
        return mb.list_length(ls=looped[1])

    # 900 elements of 4 MB.
    case = harness.Case("while_loop", "", build, {"x": np.zeros(1, np.float32)}, (), 17)
    with pytest.raises(ModelError, match=r"while_loop .*fill .*GB together; 1.07 GB are allowed"):
        harness.evaluate(case, tmp_path)


def test_loops_within_one_another_share_their_iterations(tmp_path):
    def build(mb, x):
        def count(v):
            return mb.while_loop(
                _cond=lambda w: mb.less(x=mb.reduce_sum(x=w), y=np.float32(40)),
                _body=lambda w: mb.add(x=w, y=np.float32(1)),
                loop_vars=(mb.sub(x=v, y=v),),
            )

        return mb.while_loop(
            _cond=lambda v: mb.less(x=mb.reduce_sum(x=v), y=np.float32(40 * 40)),
            _body=lambda v: mb.add(x=v, y=count(v)),
            loop_vars=(x,),
        )

    # 40 times 40 iterations, and 1000 are allowed.
    case = harness.Case("while_loop", "", build, {"x": np.zeros(1, np.float32)}, (), 17)
    with pytest.raises(ModelError, match="not ended after 1000 iterations"):
        harness.evaluate(case, tmp_path)


def test_no_elements_along_one_dimension_are_no_leave_for_others():
    with limited(1 << 20), pytest.raises(ModelError, match="would take 8 GB"):
        claim((2_000_000_000, 0))
    with limited(1 << 20):
        claim((1000, 0, 4))


def test_blocks_beside_one_another_may_use_the_same_names():
    taken = Block((), ("c",), (_constant("c", 5.0),))
    other = Block((), ("d",), (_operation("add", "c", x="x", y="x"), _operation("mul", "d", x="c", y="x")))
    for pred, expected in ((True, 5.0), (False, 18.0)):
        step = _operation("cond", "y", (taken, other), pred=_given(torch.tensor(pred)))
        assert _run([step], "y", x=torch.tensor(3.0)).item() == expected
    # And what follows them.
    step = _operation("cond", "y", (taken, taken), pred=_given(torch.tensor(True)))
    after = [step, _operation("add", "c", x="x", y="x"), _operation("mul", "z", x="c", y="y")]
    assert _run(after, "z", x=torch.tensor(3.0)).item() == 30


def test_a_block_does_not_see_into_another():
    taken = Block((), ("c",), (_constant("c", 5.0),))
    other = Block((), ("d",), (_operation("add", "d", x="c", y="x"),))
    step = _operation("cond", "y", (taken, other), pred=_given(torch.tensor(True)))
    with pytest.raises(ModelError, match="uses 'c' before any operation gives it"):
        _run([step], "y", x=torch.tensor(3.0))


def test_an_input_of_a_block_is_new():
    same = Block((Named("c", _FLOATS),), ("c",), ())
    loop = _operation("while_loop", "y", (same, same), loop_vars="x")
    with pytest.raises(ModelError, match="gives 'c' twice"):
        _run([_constant("c", 1.0), loop], "y", x=torch.tensor(0.0))


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (
            _operation("add", "y", x="x", y=("x", "x")),
            "add 'y': its parameter 'y' takes one value, and the program has 2",
        ),
        (_operation("add", "y", x="x", y=()), "takes one value, and the program has 0"),
        (_operation("add", "y", x="x", y=_given("five")), "add 'y': a tensor is needed, and the program has 'five'"),
        (_operation("relu", "y", x=_given([1.0] * 1000)), "a tensor is needed, and the program has \\[1.0.*…"),
        (_operation("concat", "y", values=("x", _given("a")), axis=_given(torch.tensor(0))), "concat 'y'"),
        (_operation("clip", "y", x="x", alpha=_given("low"), beta=_given(torch.ones(()))), "numbers are needed"),
        (_operation("softmax", "y", x="x", axis=_given(torch.tensor(torch.inf))), "infinity"),
    ],
)
def test_arguments_of_another_kind(operation, words):
    with pytest.raises(ModelError, match=words):
        _run([operation], "y", x=torch.ones(2, 2))


def test_one_weight_behind_many_constants_is_counted(tmp_path):
    def build(mb, x):
        weight = np.ones((1000, 1000), np.float16)
        for _ in range(5):
            x = mb.add(x=x, y=mb.cast(x=mb.const(val=weight), dtype="fp32"))
        return x

    case = harness.Case("add", "", build, {"x": np.zeros(1, np.float32)}, (), 17)
    # Half as large in the file as they are held.
    assert harness.evaluate(case, tmp_path)[0][0, 0] == 5
    with pytest.raises(ModelError, match="together"):
        harness.evaluate(case, tmp_path, largest=4 << 20)
