"""The signs of zeros are the same on both backends: what is divided by them is an infinity of that sign."""

import numpy as np
import pytest

import graphc as gc

FUNCTIONS = {
    "relu": gc.nn.relu,
    "relu6": gc.nn.relu6,
    "elu": gc.nn.elu,
    "selu": gc.nn.selu,
    "leaky_relu": gc.nn.leaky_relu,
    "maximum": lambda x: gc.maximum(x, 0.0),
    "maximum, turned": lambda x: gc.maximum(0.0, x),
    "minimum": lambda x: gc.minimum(x, 0.0),
    "minimum, turned": lambda x: gc.minimum(-0.0, x),
    "clip": lambda x: gc.clip(x, 0.0, 1.0),
    "clip, above": lambda x: gc.clip(x, -1.0, 0.0),
    "cumsum": lambda x: gc.cumsum(x, 0),
    "cumsum, reverse": lambda x: gc.cumsum(gc.reshape(x, (-1, 2)), 0, reverse=True),
    "sum": lambda x: gc.sum(gc.reshape(x, (-1, 2)), 1),
    "sum, columns": lambda x: gc.sum(gc.reshape(x, (-1, 2)), 0),
    "prod": lambda x: gc.prod(gc.reshape(x, (-1, 2)), 1),
    "floor": gc.floor,
    "round": gc.round,
    "expm1": gc.expm1,
    "sin": gc.sin,
    "sqrt": gc.sqrt,
}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_signs_of_zeros(name, dtype):
    x = gc.placeholder(dtype, (38,), name="x")
    y = FUNCTIONS[name](x)
    numbers = np.float32 if dtype == "bfloat16" else dtype
    for fed in ([-0.0] * 38, [0.0] * 38, [0.0, -0.0] * 19, [-0.0, -0.25, 0.0, 0.5] * 9 + [-0.0] * 2):
        found = {}
        for backend in gc.backends():
            with gc.Session(backend=backend) as session:
                found[backend] = session.run(y, {x: np.array(fed, numbers)})
        zeros = found["numpy"] == 0
        np.testing.assert_array_equal(found["llvm"] == 0, zeros)
        np.testing.assert_array_equal(*(np.signbit(value[zeros]) for value in found.values()))


def test_a_zero_that_relu_keeps_is_no_finding():
    x = gc.placeholder("float32", (5,), name="x")
    for y in (gc.nn.relu(x), gc.maximum(x, 0.0), gc.maximum(0.0, x)):
        assert gc.check_passes(
            1.0 / y, {x: np.array([-0.0, 0.0, 1.0, -1.0, -0.0], np.float32)}, backend="llvm"
        ).ok
