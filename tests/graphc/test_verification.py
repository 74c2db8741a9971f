"""The verifier finds what breaks an invariant, and names node, op, line and both types."""

from dataclasses import replace

import numpy as np
import pytest

import graphc as gc
from graphc.function import Function, in_known_order
from graphc.op import OPS
from graphc.text import as_function
from graphc.types import FLOAT32, TensorType
from graphc.verification import verify


@pytest.fixture
def x(graph):
    return gc.placeholder("float32", (None, 4), name="x")


def broken(message, function):
    with pytest.raises(gc.VerificationError, match=message):
        verify(function)


def test_what_users_define_is_right(x):
    v = gc.Variable(np.zeros(4, "float32"), name="v")
    p = gc.placeholder("bool", (), name="p")
    branch = gc.cond(p, lambda: gc.exp(x), lambda: v.assign(v + 1.0) + x)
    function = as_function([gc.sum(branch + v, axis=-1), gc.group(v.assign_add(v)), gc.sort(x)])
    assert verify(function) is function


def test_an_unknown_rank_is_right(graph):
    x = gc.placeholder("float32", None, name="x")
    verify(as_function([gc.exp(x), gc.transpose(x), gc.matmul(x, gc.ones((3, 3)))]))


def test_a_stored_type_that_the_rule_does_not_give(x):
    wrong = replace(gc.exp(x, name="y"), type=TensorType(FLOAT32, (2,)))
    broken(
        r"'y' \(op exp, made at .*test_verification.py:\d+: .*\): stored f32\[2\], and the rule says f32\[",
        as_function(wrong),
    )


def test_a_size_that_an_operand_has_is_no_other_unknown_one(x):
    other = gc.placeholder("float32", (None, 4))
    broken("the rule says", as_function(replace(gc.exp(x), type=other.type)))


def test_a_wrong_type_inside_a_body(x):
    p = gc.placeholder("bool", (), name="p")
    made = gc.cond(p, lambda: gc.exp(x), lambda: x)
    region = made.inputs[0]
    body = region.attrs["then"]
    wrong = replace(body.outputs[0], op=OPS["sum"], attrs={"axis": (0,), "keepdims": False})
    attrs = {**region.attrs, "then": replace(body, outputs=(wrong,))}
    broken("op sum.*the rule says f32", as_function(replace(made, inputs=(replace(region, attrs=attrs),))))


def test_a_rule_that_fails(x):
    broken("the rule fails: ", as_function(replace(gc.sum(x), inputs=(x, x))))


def test_a_placeholder_that_is_no_input(x):
    broken("it is reached, and it is no input", Function((), (gc.exp(x),)))


def test_a_body_that_reaches_out(x):
    p = gc.placeholder("bool", (), name="p")
    made = gc.cond(p, lambda: gc.exp(x), lambda: x)
    region = made.inputs[0]
    attrs = {**region.attrs, "then": replace(region.attrs["then"], outputs=(gc.exp(x),))}
    broken(
        "placeholder 'x'.*no input of the Function",
        as_function(replace(made, inputs=(replace(region, attrs=attrs),))),
    )


def test_a_body_with_inputs_of_another_type(x):
    p = gc.placeholder("bool", (), name="p")
    y = gc.placeholder("float64", (4,), name="y")
    made = gc.cond(p, lambda: gc.exp(x), lambda: x)
    region = made.inputs[0]
    wrong = replace(region, inputs=(region.inputs[0], y))
    broken(
        r"its body then takes \(f32\[.*\]\), and it is given \(f64\[4\]\)",
        as_function(replace(made, inputs=(wrong,))),
    )


def test_an_input_twice(x):
    broken("one of its inputs twice", Function((x, x), (x,)))


def test_nodes_in_another_order_than_that_of_a_walk(x):
    y = gc.exp(x)
    z = gc.neg(y)
    verify(in_known_order(Function((x,), (z,)), (x, y, z)))
    broken("in another order", in_known_order(Function((x,), (z,)), (x, z, y)))
    broken("in another order", in_known_order(Function((x,), (z,)), (x, y, gc.sin(x), z)))


def test_an_operation_as_input(graph):
    broken("an input is a single value", Function((gc.group(),), ()))


def test_parts_that_are_no_tensors(x):
    broken("tuples of tensors", Function((x,), (None,)))
    broken("tuples of tensors", Function((x,), [x]))


def test_names_that_are_no_texts(x):
    broken("its name is 3", as_function(replace(gc.exp(x), name=3)))
    broken("its name is ''", as_function(replace(gc.exp(x), name="")))


@pytest.mark.parametrize("value", [len, object(), {1}, (1, [print]), np.array([None]), b"x"])
def test_attributes_that_are_no_data(x, value):
    node = gc.sum(x)
    broken("neither data nor a Function", as_function(replace(node, attrs={**node.attrs, "axis": value})))


def test_an_op_that_nobody_knows(x, monkeypatch):
    node = gc.exp(x)
    monkeypatch.delitem(OPS, "exp")
    broken("its op is not registered", as_function(node))
