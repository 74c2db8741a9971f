"""Sizes are polynomials: equal ones are one, and they are the numbers that Python's integers give."""

import operator
import random

import numpy as np
import pytest

import graphc as gc
from graphc.sizes import Symbol, evaluate, maximum, meet, meetings, minimum, named, solve, substitute, unknown

N, M = named("n"), named("m")
KNOWN = {Symbol("n"): 0, Symbol("m"): 0}
ACTIONS = {
    operator.add: operator.add,
    operator.mul: operator.mul,
    maximum: max,
    minimum: min,
    lambda x, y: maximum(x - y, 0): lambda x, y: max(x - y, 0),
    lambda x, y: x // (y + 1): lambda x, y: x // (y + 1),
    lambda x, y: x % (y + 1): lambda x, y: x % (y + 1),
    lambda x, y: (6 * x + 4) // 4 + y: lambda x, y: (6 * x + 4) // 4 + y,
}


@pytest.mark.parametrize("seed", range(20))
def test_they_are_the_numbers_that_integers_give(seed):
    chance = random.Random(seed)
    values = [dict(zip(KNOWN, (chance.randrange(7), chance.randrange(7)), strict=True)) for _ in range(5)]
    made = [(N, [v[Symbol("n")] for v in values]), (M, [v[Symbol("m")] for v in values]), (3, [3] * 5)]
    for _ in range(10):  # products of products grow
        (x, xs), (y, ys) = chance.choices(made[:6], k=2)
        action, plain = chance.choice(list(ACTIONS.items()))
        size, numbers = action(x, y), [plain(a, b) for a, b in zip(xs, ys, strict=True)]
        assert [evaluate(size, v) for v in values] == numbers
        half = [substitute(size, {Symbol("n"): v[Symbol("n")]}) for v in values]
        assert [substitute(each, v) for each, v in zip(half, values, strict=True)] == numbers
        made.append((size, numbers))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ((N + 1) * (M + 2), N * M + M + 2 * N + 2),
        ((4 * N + 3) // 2, 2 * N + 1),
        ((N + 1) // (N + 1), 1),
        ((N * M + 2 * N) // N, M + 2),
        ((6 * N) % 3, 0),
        ((N + 1) % (N + 1), 0),
        (maximum(N, 1), maximum(N - 1, 0) + 1),
        (maximum(4, N + 3), maximum(N, 1) + 3),
        (maximum(N, M), maximum(M, N)),
        (minimum(N, M), minimum(M, N)),
        (maximum(N + M, N), N + M),
        (N - N, 0),
    ],
)
def test_equal_ones_are_one(x, y):
    assert x == y
    assert hash(x) == hash(y)


def test_what_meets_takes_the_number_then_the_name_then_the_first():
    u, v = unknown(), unknown()
    with meetings() as told:
        assert [meet(u, N), meet(N, u), meet(u, 3), meet(3, u), meet(N, M), meet(u, v)] == [N, N, 3, 3, N, u]
        assert meet(N + 1, N) is None
        assert meet(N, N) == N
    assert told == [(u, N), (N, u), (u, 3), (3, u), (N, M), (u, v)]
    x, y = gc.placeholder("float32", (None, 2)), gc.placeholder("float32", ("n", 2))
    assert (x + y).shape == (y + x).shape == ("n", 2)


def test_one_open_symbol_is_solved_for():
    n, m = Symbol("n"), Symbol("m")
    assert solve(2 * N + 1, 7, {}) == (n, 3)
    assert solve(2 * N + M, 7, {m: 1}) == (n, 3)
    assert solve(2 * N + 1, 8, {}) is None  # no whole number
    assert solve(N + M, 7, {}) is None
    assert solve(N * N, 4, {}) is None
    assert solve(N // 2, 4, {}) is None
    assert solve(N + 1, 5, {n: 4}) is None


X = np.arange(24.0).reshape(2, 3, 4)
IMAGES = np.arange(64.0).reshape(1, 4, 4, 4)
FILTERS = np.ones((2, 2, 4, 2))


class Counting:
    """Neither an int nor NumPy's, and yet a whole number."""

    def __init__(self, number):
        self.number = number

    def __index__(self):
        return self.number


TAKE_INTEGERS = {
    "sum": lambda n: gc.sum(X, [n(0), n(-1)]),
    "unstack": lambda n: gc.unstack(X, n(1), n(3)),
    "split": lambda n: gc.split(X, n(2), n(2)),
    "split by sizes": lambda n: gc.split(X, [n(1), n(3)], n(2)),
    "tile": lambda n: gc.tile(X, [n(1), n(2), n(1)]),
    "slice": lambda n: gc.slice(X, [n(0)] * 3, [n(1), n(-1), n(2)]),
    "one_hot": lambda n: gc.one_hot([0, 2], n(4), axis=n(0)),
    "top_k": lambda n: gc.top_k(X, n(2)),
    "zeros": lambda n: [gc.zeros(n(3)), gc.full([n(2), n(1)], 1.0), gc.eye(n(2), n(3))],
    "tril": lambda n: gc.tril(X, n(1)),
    "reshape": lambda n: gc.reshape(X, [n(6), n(-1)]),
    "tensordot": lambda n: gc.tensordot(X, X.T, n(1)),
    "segment_sum": lambda n: gc.segment_sum(X, [0, 1], n(3)),
    "linspace": lambda n: gc.linspace(0.0, 1.0, n(5)),
    "conv2d": lambda n: gc.nn.conv2d(
        IMAGES, FILTERS[:, :, :2], strides=n(2), padding=((n(1), n(0)), (n(0), n(1))), groups=n(2)
    ),
    "max_pool": lambda n: gc.nn.max_pool(IMAGES, n(2), strides=(n(1), n(2))),
    "resize_nearest": lambda n: gc.nn.resize_nearest(IMAGES, (n(3), n(5))),
    "uniform": lambda n: gc.random.uniform([n(9)], "int32", seed=n(1), minval=n(-2), maxval=n(7)),
    "glorot_uniform": lambda n: gc.initializers.glorot_uniform([n(2), n(3)], seed=n(1)),
    "while_loop": lambda n: gc.while_loop(
        lambda i: i < 9, lambda i: i + 1, gc.constant(0), maximum_iterations=n(3), checkpoint_every=n(2)
    ),
}


@pytest.mark.parametrize("integer", [np.int64, np.int8, np.array, Counting])
@pytest.mark.parametrize("name", TAKE_INTEGERS)
def test_integers_of_all_kinds_count(name, integer):
    if (name, integer) == ("while_loop", Counting):
        pytest.skip("a bound is a tensor too, and no array is made of such a one")
    options = {"threads": integer(1), "seed": integer(2)}
    with gc.Session(backend="numpy", **options) as session:
        expected, found = session.run([TAKE_INTEGERS[name](kind) for kind in (int, integer)])
    one, other = (v if isinstance(v, list | tuple) else [v] for v in (expected, found))
    for x, y in zip(one, other, strict=True):
        np.testing.assert_array_equal(x, y, strict=True)
