"""Every example of every op buys its checks: type rule, text, first and second gradient, backends."""

import re

import numpy as np
import pytest

import graphc as gc
from graphc.op import OPS
from graphc.types import TensorType, TupleType, as_dtype

# Ops that no call with fed operands can show; the tests that do are named.
SHOWN_ELSEWHERE = {
    "placeholder": "every test feeds one",
    "variable": "tests/runtime/test_transactions.py",
    "assign": "tests/runtime/test_transactions.py",
    "gradient_request": "the gradients below",
    "run_state": "tests/runtime/test_session.py",
    "cond": "tests/graphc/test_region.py",
    "loop": "tests/graphc/test_loops.py",
    "fused": "tests/passes/test_fusion.py",
    "override_gradient": "tests/graphc/test_derivatives.py",
    "call_python": "tests/graphc/test_derivatives.py",
    "extent": "tests/graphc/test_movement.py",
    "pick": "every op with several results",
}
CASES = [
    pytest.param(op, example, id=f"{op.name}-{i}")
    for op in OPS.values()
    for i, example in enumerate(op.examples)
]
STEP = 1e-5


def type_of(text):
    dtype, sizes = re.fullmatch(r"(\w+)\[(.*)\]", text).groups()
    return TensorType(as_dtype(dtype), tuple(int(n) for n in sizes.split(",") if n))


def drawn(operand, domain, rng):
    """The array for an operand of an example, and the type it is fed at."""
    if not isinstance(operand, str):
        array = np.asarray(operand)
        return array, TensorType(as_dtype(array.dtype), array.shape)
    type = type_of(operand)
    low, high = domain
    if type.dtype.kind == "f":
        array = rng.uniform(low, high, type.shape)
    elif type.dtype.kind == "b":
        array = rng.random(type.shape) < 0.5
    else:
        array = rng.integers(
            max(0, int(low)) if type.dtype.kind == "u" else int(low), int(high) + 1, type.shape
        )
    return np.asarray(array).astype(type.dtype.numpy), type


class Call:
    """An example as a graph, fed with drawn operands; `sizes` says how much of the shapes is declared."""

    def __init__(self, op, example, sizes="known"):
        rng = np.random.default_rng(len(op.name))
        self.graph = gc.Graph(seed=0)
        with self.graph.as_default():
            self.arrays, self.inputs = [], []
            for i, operand in enumerate(example.operands):
                array, type = drawn(operand, example.domain, rng)
                shape = {"known": type.shape, "unknown": (None,) * len(type.shape), "rank": None}[sizes]
                self.arrays.append(array)
                self.inputs.append(gc.placeholder(type.dtype, shape, name=f"x{i}"))
            self.node = op(*self.inputs, **example.attrs)
            several = isinstance(self.node.type, TupleType)
            self.outputs = (
                [OPS["pick"](self.node, index=i) for i in range(len(self.node.type.elements))]
                if several
                else [self.node]
            )

    def feeds(self, arrays=None):
        return dict(zip(self.inputs, arrays or self.arrays, strict=True))

    def run(self, fetches, arrays=None, backend="numpy"):
        with gc.Session(graph=self.graph, backend=backend) as session:
            return session.run(fetches, self.feeds(arrays))


def test_every_op_has_an_example():
    assert set(SHOWN_ELSEWHERE) <= set(OPS)
    assert [n for n, op in OPS.items() if not op.examples and n not in SHOWN_ELSEWHERE] == []


def test_every_op_states_its_gradient():
    assert [name for name, op in OPS.items() if not op.gradient_stated] == []


def test_every_differentiable_op_is_checked_by_finite_differences():
    unchecked = [
        name
        for name, op in OPS.items()
        if op.gradient_rule is not None
        and name not in ("cond", "loop", "override_gradient")
        and not any(is_smooth(e) for e in op.examples)
    ]
    # A read hands nothing on, and an assignment is the identity on its value: checked with the transactions.
    assert unchecked == ["variable", "assign"]


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_docstring_gives_shapes(op):
    assert op.__doc__
    assert re.search(r"Shapes: ", op.__doc__)


@pytest.mark.parametrize(("op", "example"), CASES)
def test_type_rule_tells_the_truth(op, example):
    call = Call(op, example)
    for output, value in zip(call.outputs, call.run(call.outputs), strict=True):
        value = np.asarray(value)
        assert value.dtype == output.dtype.numpy
        if output.shape is None:  # known at the run only
            continue
        assert len(value.shape) == len(output.shape)
        assert all(
            not isinstance(size, int) or size == n for size, n in zip(output.shape, value.shape, strict=True)
        )


@pytest.mark.parametrize(("op", "example"), [case for case in CASES if case.values[0].meaning is not None])
def test_meaning_has_the_declared_dtype(op, example):
    call = Call(op, example)
    node = call.node
    arrays = [a.astype(i.dtype.numpy) for a, i in zip(call.arrays, node.inputs, strict=True)]
    with np.errstate(all="ignore"):
        results = op.meaning(*arrays, **node.attrs)  # a run would bring them to the declared dtype
    several = isinstance(node.type, TupleType)
    types = node.type.elements if several else [node.type]
    for result, type in zip(results if several else [results], types, strict=True):
        assert np.asarray(result).dtype == type.dtype.numpy


@pytest.mark.parametrize("sizes", ["unknown", "rank"])
@pytest.mark.parametrize(("op", "example"), CASES)
def test_sizes_known_only_at_the_run_change_nothing(op, example, sizes):
    if not example.operands:
        pytest.skip("a source has no operand whose size could be unknown")
    known, later = Call(op, example), Call(op, example, sizes)
    for a, b, output in zip(known.run(known.outputs), later.run(later.outputs), later.outputs, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.asarray(b).dtype == output.dtype.numpy


@pytest.mark.parametrize(("op", "example"), CASES)
def test_text_round_trips(op, example):
    call = Call(op, example)
    text, data = gc.show_with_data(call.outputs)
    again = gc.parse(text, data=data)
    assert gc.show_with_data(again)[0] == text
    with gc.Session(graph=again, backend="numpy") as session:
        feeds = {f"x{i}": array for i, array in enumerate(call.arrays) if f"%x{i}:" in text}
        for a, b in zip(
            call.run(call.outputs), session.run(list(again.function.outputs), feeds), strict=True
        ):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("op", "example"), CASES)
def test_backends_agree(op, example):
    call = Call(op, example)
    expected = call.run(call.outputs)
    for backend in [name for name in gc.backends() if name != "numpy"]:
        for a, b in zip(expected, call.run(call.outputs, backend=backend), strict=True):
            assert np.asarray(a).dtype == np.asarray(b).dtype
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-12)


def is_smooth(example):
    floats = [
        o
        for o in example.operands
        if (o.startswith("f") if isinstance(o, str) else np.asarray(o).dtype.kind == "f")
    ]
    wide = all(
        o.startswith("f64") if isinstance(o, str) else np.asarray(o).dtype == np.float64 for o in floats
    )
    return example.smooth and bool(floats) and wide


SMOOTH = [case for case in CASES if case.values[0].gradient_rule is not None and is_smooth(case.values[1])]


def weighted(call, rng):
    """One number that depends on every float result."""
    total = gc.constant(0.0, "float64")
    for output in call.outputs:
        if output.dtype == "float64":
            total = total + gc.sum(ranked(call, output) * rng.uniform(0.5, 1.5, np.shape(call.run(output))))
    return total


def ranked(call, x):
    """`x` with its shape stated, where only the run knows even the rank."""
    return gc.ensure_shape(x, np.shape(call.run(x))) if x.shape is None else x


def slopes(call, number, arrays, which):
    """The derivative of `number` towards operand `which`, by central differences."""
    result = np.zeros_like(arrays[which])
    with gc.Session(graph=call.graph) as session:
        for position in np.ndindex(result.shape):
            ends = []
            for sign in (1, -1):
                moved = [a.copy() for a in arrays]
                moved[which][position] += sign * STEP
                ends.append(session.run(number, call.feeds(moved)))
            result[position] = (ends[0] - ends[1]) / (2 * STEP)
    return result


@pytest.mark.parametrize(("op", "example"), SMOOTH)
def test_gradient_is_the_slope(op, example):
    call = Call(op, example)
    rng = np.random.default_rng(1)
    with call.graph.as_default():
        number = weighted(call, rng)
        floats = [
            i for i, x in enumerate(call.inputs) if x.dtype == "float64" and i not in op.nondifferentiable
        ]
        first = gc.gradients(number, [call.inputs[i] for i in floats], unconnected="zero")
        second_of = gc.constant(0.0, "float64")
        for slope in first:
            second_of = second_of + gc.sum(
                ranked(call, slope) * rng.uniform(0.5, 1.5, np.shape(call.run(slope)))
            )
        second = gc.gradients(second_of, [call.inputs[i] for i in floats], unconnected="zero")
    for which, slope, curve in zip(floats, first, second, strict=True):
        measured = slopes(call, number, call.arrays, which)
        np.testing.assert_allclose(call.run(slope), measured, rtol=2e-5, atol=2e-6)
        measured = slopes(call, second_of, call.arrays, which)
        np.testing.assert_allclose(call.run(curve), measured, rtol=2e-5, atol=2e-6)
