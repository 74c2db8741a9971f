"""The generator against its published vectors, the draws against their distributions."""

import numpy as np
import pytest
from scipy import special, stats

import graphc as gc
from graphc import philox
from graphc.types import as_dtype

# kat_vectors of the authors' library Random123, philox4x32 with 10 rounds: counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
STATE = np.array([3, 5], np.uint64)


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_known_answers(counter, key, result):
    words = tuple(np.array([int(w, 16)], np.uint64) for w in counter.split())
    made = philox.philox(words, tuple(int(w, 16) for w in key.split()))
    assert [f"{int(w[0]):08x}" for w in made] == result.split()


def test_any_part_of_a_draw_can_be_made_alone():
    long = philox.draw_words(STATE, 7, 200_001)
    np.testing.assert_array_equal(philox.draw_words(STATE, 7, 10), long[:10])
    assert (philox.draw_words(STATE + np.uint64(1), 7, 10) != long[:10]).any()
    assert (philox.draw_words(STATE, 8, 10) != long[:10]).any()


def test_the_logarithm():
    x = 10.0 ** np.random.default_rng(0).uniform(-30, 30, 10_000)
    np.testing.assert_allclose(philox.logarithm(x), np.log(x), rtol=1e-15, atol=4e-16)
    short = x.astype(np.float32)
    np.testing.assert_allclose(philox.logarithm(short), np.log(short.astype(float)), rtol=4e-7, atol=1e-7)


def test_draws_never_change():
    """These bits are the contract of saved models; a change here is a change of every seed."""
    assert philox.derive_key("seed", 0, 1) == 6705315714867891989
    short = philox.draw_normal(STATE, 7, 3, "float32").view(np.uint32)
    assert short.tolist() == [0xBE95D8E8, 0x3FB38A61, 0x3E2EFADC]
    long = philox.draw_normal(STATE, 7, 2, "float64").view(np.uint64)
    assert long.tolist() == [0x3FF6714BEA206E08, 0xBFE43947DA77C99B]


CONTINUOUS = [
    (gc.random_uniform, stats.uniform.cdf),
    (gc.random_normal, stats.norm.cdf),
    (gc.random_truncated_normal, stats.truncnorm(-2, 2).cdf),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("draw", "cdf"), CONTINUOUS, ids=[op.name for op, _ in CONTINUOUS])
def test_distributions(draw, cdf, dtype):
    x = draw.meaning(STATE, key=9, shape=(40_000,), dtype=as_dtype(dtype))
    assert x.dtype == dtype
    assert stats.kstest(x.astype(np.float64), cdf).pvalue > 1e-3


def test_normal_is_the_inverse_of_the_distribution():
    words = np.arange(0, 2**32, 65_521, dtype=np.uint64).astype(np.uint32)
    magnitude = (words & np.uint32(2**31 - 1)).astype(np.float64)
    expected = -special.ndtri((2.0**31 - magnitude - 0.5) / 2.0**32)
    expected = np.where(words >> np.uint32(31), -expected, expected)
    np.testing.assert_allclose(philox._normal(words, np.float32, False), expected, rtol=1e-6, atol=1e-9)


def runs(build, count=1, seed=None, graph_seed=0):
    with gc.Graph(seed=graph_seed).as_default():
        fetch = build()
        with gc.Session(seed=seed) as session:
            return [session.run(fetch) for _ in range(count)]


def test_what_a_draw_depends_on():
    one, two = runs(lambda: gc.random.normal((4,)), 2)
    assert (one != two).any()
    np.testing.assert_array_equal(one, runs(lambda: gc.random.normal((4,)))[0])
    assert (one != runs(lambda: gc.random.normal((4,)), graph_seed=1)[0]).any()
    pair = runs(lambda: [gc.random.normal((4,)), gc.exp(gc.random.normal((4,)))])[0]
    np.testing.assert_array_equal(one, pair[0])
    assert (np.exp(one) != pair[1]).any()
    seeded = runs(lambda: [gc.random.normal((4,), seed=1), gc.random.normal((4,), seed=1)])[0]
    np.testing.assert_array_equal(*seeded)


def test_another_op_changes_no_bit():
    def crowded():
        gc.random.uniform((9,), name="other")
        with gc.name_scope("elsewhere"):
            gc.random.uniform((9,))
        return gc.random.normal((4,))

    np.testing.assert_array_equal(runs(lambda: gc.random.normal((4,)))[0], runs(crowded)[0])


def test_shapes_and_ranges():
    def build():
        n = gc.constant(3)
        return [
            gc.random.uniform([n, 2], minval=-1, maxval=5),
            gc.random.uniform((1000,), "int32", minval=-2, maxval=3),
            gc.random.bernoulli((1000,), 0.25),
            gc.random.permutation(10),
            gc.random.categorical([[-np.inf, 0.0, np.log(3.0)]], 4000),
            gc.random.uniform((), "float16"),
        ]

    uniform, whole, coins, order, classes, half = runs(build)[0]
    assert uniform.shape == (3, 2)
    assert ((uniform >= -1) & (uniform < 5)).all()
    assert {*whole.tolist()} == {-2, -1, 0, 1, 2}
    assert coins.dtype == bool
    assert abs(coins.mean() - 0.25) < 0.06
    assert sorted(order.tolist()) == list(range(10))
    assert classes.shape == (1, 4000)
    assert classes.dtype == np.int64
    assert {*classes.ravel().tolist()} == {1, 2}
    assert abs((classes == 2).mean() - 0.75) < 0.04
    assert half.dtype == np.float16


def test_initializers():
    init = gc.initializers
    shape = (3, 3, 16, 32)

    def build():
        return [
            init.glorot_uniform(shape),
            init.he_normal(shape),
            init.lecun_normal(seed=3)(shape),
            init.orthogonal((20, 7)),
            init.orthogonal((7, 20), gain=2.0),
            init.zeros((2,)),
            init.ones((2,), "int32"),
            init.constant((2,), value=3.0),
            init.identity((2, 3)),
            init.orthogonal((9, 5), "float64"),
        ]

    glorot, he, lecun, tall, wide, zeros, ones, three, eye, exact = runs(build)[0]
    limit = np.sqrt(6 / (9 * 48))
    assert abs(glorot).max() <= limit
    assert glorot.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
    assert he.std() == pytest.approx(np.sqrt(2 / 144), rel=0.05)
    assert lecun.std() == pytest.approx(np.sqrt(1 / 144), rel=0.05)
    np.testing.assert_allclose(tall.T @ tall, np.eye(7), atol=1e-5)
    np.testing.assert_allclose(wide @ wide.T, 4 * np.eye(7), atol=1e-5)
    np.testing.assert_allclose(exact.T @ exact, np.eye(5), atol=1e-14)
    np.testing.assert_array_equal([*zeros, *ones, *three], [0, 0, 1, 1, 3, 3])
    np.testing.assert_array_equal(eye, np.eye(2, 3))


@pytest.mark.parametrize(
    ("mistake", "text"),
    [
        (lambda: gc.random.normal((2,), "int32"), "the draw is of floats, not of int32"),
        (lambda: gc.random.uniform((2,), "int32"), "whole numbers need ints minval < maxval"),
        (lambda: gc.random.uniform((-2,)), "a size is not negative"),
        (lambda: gc.random.uniform((2,), seed=1.5), "a seed is an int"),
        (lambda: gc.random.bernoulli((2,), 1.5), "a probability lies between 0 and 1"),
        (lambda: gc.initializers.zeros(("n",)), "an initial value has a known shape"),
        (lambda: gc.initializers.orthogonal((3,)), "a matrix has two sizes or more"),
    ],
)
def test_mistakes_are_told_at_definition(mistake, text):
    with gc.Graph().as_default(), pytest.raises(gc.GraphError, match=text):
        mistake()
