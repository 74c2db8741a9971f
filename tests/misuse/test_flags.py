"""Options that are true or false take nothing else: a text such as "no" would count as true."""

import numpy as np
import pytest

import graphc as gc

FLAGS = {
    "sum": ("keepdims", lambda flag: gc.sum(gc.ones((2, 2)), keepdims=flag)),
    "argmax": ("keepdims", lambda flag: gc.argmax(gc.ones((2, 2)), 0, flag)),
    "var": ("keepdims", lambda flag: gc.var(gc.ones((2, 2)), None, flag)),
    "cumsum": ("exclusive", lambda flag: gc.cumsum(gc.ones(2), 0, exclusive=flag)),
    "cumprod": ("reverse", lambda flag: gc.cumprod(gc.ones(2), 0, reverse=flag)),
    "sort": ("descending", lambda flag: gc.sort(gc.ones(2), -1, flag)),
    "unique": ("return_inverse", lambda flag: gc.unique(gc.ones(2), return_inverse=flag)),
    "Variable": ("trainable", lambda flag: gc.Variable(1.0, None, None, flag)),
    "scan": ("reverse", lambda flag: gc.scan(lambda c, x: (c, x), 0.0, gc.ones(2), flag)),
    "dot_product_attention": (
        "causal",
        lambda flag: gc.nn.dot_product_attention(*[gc.ones((2, 2))] * 3, causal=flag),
    ),
    "Momentum": ("nesterov", lambda flag: gc.train.Momentum(0.1, nesterov=flag)),
    "exponential_decay": (
        "staircase",
        lambda flag: gc.train.exponential_decay(0.1, gc.constant(1), 10, 0.9, staircase=flag),
    ),
}


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("given", ["no", "", None, 1, 0.0, []])
def test_a_flag_is_a_bool(name, given):
    flag, call = FLAGS[name]
    with pytest.raises(gc.GraphError) as caught:
        call(given)
    assert f"{name}: {flag} is True or False, not {given!r}\n" in f"{caught.value}\n"
    assert "test_flags.py" in str(caught.value)


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_may_be_a_bool_of_numpy(name):
    for given in (True, False, np.True_, np.False_):
        FLAGS[name][1](given)
