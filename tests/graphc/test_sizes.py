"""Sizes are polynomials: equal ones are one, and they are the numbers that Python's integers give."""

import operator
import random

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
