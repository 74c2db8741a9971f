"""Recurrent networks against plain loops in float64."""

import numpy as np
import pytest

import graphc as gc

pytestmark = pytest.mark.usefixtures("each_backend")

TIME, BATCH, FEATURES, UNITS = 5, 3, 4, 2


def run(fetches, feeds=None):
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        return session.run(fetches, feeds)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(x, state, k, r, b):
    h, c = state
    i, f, g, o = np.split(x @ k + h @ r + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(x, state, k, r, b):
    (h,) = state
    b = b if b.ndim == 2 else np.stack([b, 0 * b])
    xz, xr, xn = np.split(x @ k + b[0], 3, axis=-1)
    hz, hr, hn = np.split(h @ r + b[1], 3, axis=-1)
    z = sigmoid(xz + hz)
    return (z * h + (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn),)


def rnn_step(x, state, k, r, b):
    return (np.tanh(x @ k + state[0] @ r + b),)


CELLS = {"lstm": (lstm_step, 4, 2), "gru": (gru_step, 3, 1), "rnn": (rnn_step, 1, 1)}


def looped(name, x, k, r, b, state, lengths, reverse):
    """Each sequence on its own, step by step: outputs [batch, time, units] and the last state."""
    step = CELLS[name][0]
    outputs = np.zeros((BATCH, TIME, UNITS))
    last = [np.zeros((BATCH, UNITS)) for _ in state]
    for n in range(BATCH):
        now = tuple(part[n] for part in state)
        order = range(lengths[n])
        for t in reversed(order) if reverse else order:
            now = step(x[n, t], now, k, r, b)
            outputs[n, t] = now[0]
        for part, value in zip(last, now, strict=True):
            part[n] = value
    return outputs, last


def drawn(name, two_biases=False):
    rng = np.random.default_rng(1)
    gates, parts = CELLS[name][1:]
    bias = (2, gates * UNITS) if two_biases else (gates * UNITS,)
    shapes = [(BATCH, TIME, FEATURES), (FEATURES, gates * UNITS), (UNITS, gates * UNITS), bias]
    return [rng.normal(size=s) for s in shapes], [rng.normal(size=(BATCH, UNITS)) for _ in range(parts)]


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [5, 0, 3]])
@pytest.mark.parametrize("known", [True, False])
def test_steps_are_those_of_a_plain_loop(name, reverse, lengths, known):
    (x, k, r, b), state = drawn(name)
    fed = gc.placeholder("float64", x.shape if known else (None, None, FEATURES), name="x")
    sizes = None if lengths is None else gc.placeholder("int32", (None,), name="lengths")
    start = tuple(state) if len(state) > 1 else state[0]
    outputs, last = getattr(gc.nn, name)(fed, k, r, b, start, lengths=sizes, reverse=reverse)
    feeds = {fed: x} if sizes is None else {fed: x, sizes: lengths}
    found, ends = run([outputs, last], feeds)
    expected, expected_ends = looped(name, x, k, r, b, state, lengths or [TIME] * BATCH, reverse)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    for a, e in zip(ends if name == "lstm" else [ends], expected_ends, strict=True):
        np.testing.assert_allclose(a, e, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_time_may_come_first_and_the_state_starts_at_zero(name):
    (x, k, r, b), state = drawn(name)
    outputs = getattr(gc.nn, name)(np.swapaxes(x, 0, 1), k, r, time_major=True)[0]
    zeros = [np.zeros_like(part) for part in state]
    expected = looped(name, x, k, r, np.zeros_like(b), zeros, [TIME] * BATCH, False)[0]
    np.testing.assert_allclose(run(outputs), np.swapaxes(expected, 0, 1), atol=1e-12)


def test_gru_with_two_biases():
    (x, k, r, b), state = drawn("gru", two_biases=True)
    outputs, _ = gc.nn.gru(x, k, r, b, state[0])
    expected = looped("gru", x, k, r, b, state, [TIME] * BATCH, False)[0]
    np.testing.assert_allclose(run(outputs), expected, atol=1e-12)


def test_activation_of_the_simple_network():
    (x, k, r, b), _ = drawn("rnn")
    outputs, last = gc.nn.rnn(x, k, r, b, activation=gc.nn.relu)
    found, end = run([outputs, last])
    assert found.min() == 0
    np.testing.assert_array_equal(found[:, -1], end)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("every", [0, 2])
def test_gradients_with_lengths(name, every):
    (x, k, r, b), _ = drawn(name)

    def loss(x, k, r, b):
        network = getattr(gc.nn, name)
        outputs, last = network(x, k, r, b, lengths=np.array([5, 0, 3]), checkpoint_every=every)
        return outputs, last[1] if name == "lstm" else last

    gc.check_gradient(loss, x, k, r, b)


def test_inputs_past_the_length_have_no_gradient():
    (x, k, r, b), _ = drawn("lstm")
    fed = gc.placeholder("float64", x.shape, name="x")
    outputs, (h, c) = gc.nn.lstm(fed, k, r, b, lengths=[5, 0, 3])
    (slope,) = gc.gradients(gc.sum(outputs) + gc.sum(h * c), [fed])
    found = run(slope, {fed: x})
    moved = np.abs(found).sum(-1) > 0
    assert moved.tolist() == [[True] * 5, [False] * 5, [True] * 3 + [False] * 2]


def test_what_does_not_fit_is_an_error_at_definition():
    (x, k, r, b), state = drawn("lstm")
    with pytest.raises(gc.ShapeError, match="4 gates of u units"):
        gc.nn.lstm(x, k[:, :6], r, b)
    with pytest.raises(gc.ShapeError, match="bias"):
        gc.nn.lstm(x, k, r, b[:4])
    with pytest.raises(gc.ShapeError, match="3 axes"):
        gc.nn.lstm(x[0], k, r, b)
    with pytest.raises(gc.ArgumentError, match="initial state"):
        gc.nn.lstm(x, k, r, b, initial_state=(state[0],))
    with pytest.raises(gc.DTypeError, match="lengths"):
        gc.nn.lstm(x, k, r, b, lengths=[1.0, 2.0, 3.0])
    with pytest.raises(gc.DTypeError, match="floats"):
        gc.nn.lstm(x.astype(np.int32), k, r, b)
