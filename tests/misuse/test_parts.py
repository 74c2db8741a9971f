"""The parts of a message: what is wrong; the operands with their types and names; where each was made."""

import numpy as np
import pytest

import graphc as gc


def test_the_operands_are_told_by_the_users_names_and_types_once():
    with gc.Graph().as_default():
        x = gc.placeholder("float32", ("batch", 784), name="x")
        w = gc.Variable(np.zeros((512, 10), np.float32), name="w")
        with pytest.raises(gc.ShapeError) as caught:
            logits = x @ w  # noqa: F841  # what the message shows
    first = x.loc.line
    assert str(caught.value).splitlines() == [
        "matmul: inner sizes differ: f32[batch,784] @ f32[512,10]",
        f"  at test_parts.py:{first + 3}: logits = x @ w  # noqa: F841  # what the message shows",
        f"  x is placeholder 'x', made at test_parts.py:{first}",
        f"  w is variable 'w', made at test_parts.py:{first + 1}",
    ]


def test_a_type_that_the_first_line_does_not_name_stands_with_its_operand():
    with gc.Graph().as_default():
        unnamed, count = gc.placeholder("float32", (2,)), gc.placeholder("int32", (2,), name="count")
        with pytest.raises(gc.DTypeError) as caught:
            unnamed + count
    text = str(caught.value)
    assert "\n  x is placeholder 'placeholder': f32[2], made at test_parts.py:" in text
    assert "\n  count is placeholder 'count': i32[2], made at test_parts.py:" in text
