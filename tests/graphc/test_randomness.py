"""Random ops: their distributions, and what their bits depend on (scipy is the judge)."""

import numpy as np
import pytest
from scipy import stats

import graphc as gc

N = 40_000
LEAST = 1e-4  # of the probability that a fair source looks worse; seeds are fixed, so nothing flickers


def draw(define, seed=1, runs=1, graph_seed=0):
    """What ``define()`` gives in each of some runs of one session."""
    with (
        gc.Graph(seed=graph_seed).as_default() as graph,
        gc.Session(graph=graph, backend="numpy", seed=seed) as session,
    ):
        fetches = define()
        values = [session.run(fetches) for _ in range(runs)]
    return values if runs > 1 else values[0]


def look_alike(sample, distribution):
    return stats.kstest(np.ravel(sample), distribution).pvalue > LEAST


# Distributions.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_uniform_and_normal(dtype, seed):
    uniform, normal = draw(lambda: [gc.random.uniform((N,), dtype), gc.random.normal((N,), dtype)], seed)
    assert look_alike(uniform, stats.uniform.cdf)
    assert look_alike(normal, stats.norm.cdf)
    assert 0 <= uniform.min() < uniform.max() < 1
    for moment, expected in [(1, 0), (2, 1), (3, 0), (4, 3)]:
        error = np.sqrt(stats.norm.moment(2 * moment) / N)
        assert abs(np.mean(normal.astype(np.float64) ** moment) - expected) < 4.5 * error


def test_scaled():
    uniform, normal, whole = draw(
        lambda: [
            gc.random.uniform((N,), minval=-2.0, maxval=3.0),
            gc.random.normal((N,), mean=1.0, stddev=0.5),
            gc.random.uniform((N,), "int32", minval=-3, maxval=4),
        ]
    )
    assert look_alike(uniform, stats.uniform(-2, 5).cdf)
    assert look_alike(normal, stats.norm(1, 0.5).cdf)
    values, counts = np.unique(whole, return_counts=True)
    assert values.tolist() == list(range(-3, 4))
    assert stats.chisquare(counts).pvalue > LEAST


def test_truncated_normal():
    sample = draw(lambda: gc.random.truncated_normal((N,), "float64"))
    assert np.abs(sample).max() <= 2
    assert look_alike(sample, stats.truncnorm(-2, 2).cdf)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_bernoulli(p):
    sample = draw(lambda: gc.random.bernoulli((N,), p))
    assert sample.dtype == bool
    assert abs(sample.mean() - p) <= 4.5 * np.sqrt(p * (1 - p) / N)


def test_bernoulli_of_many_probabilities():
    chances = np.linspace(0.1, 0.9, 5)
    sample = draw(lambda: gc.random.bernoulli((N, 5), gc.constant(chances), "float32"))
    assert np.abs(sample.mean(0) - chances).max() < 4.5 * 0.5 / np.sqrt(N)


def test_categorical():
    chances = np.array([[0.1, 0.2, 0.7, 0.0], [0.25, 0.25, 0.25, 0.25]])
    with np.errstate(divide="ignore"):
        logits = np.log(chances) + 3
    sample = draw(lambda: gc.random.categorical(gc.constant(logits), N))
    assert sample.shape == (2, N)
    assert sample.dtype == np.int64
    for row, chance in zip(sample, chances, strict=True):
        counts = np.bincount(row, minlength=4)
        assert counts[chance == 0].sum() == 0
        assert stats.chisquare(counts[chance > 0], N * chance[chance > 0]).pvalue > LEAST


def test_permutation():
    def define():
        return gc.map_fn(lambda _: gc.random.permutation(4), gc.zeros(4800))

    sample = draw(define)
    assert (np.sort(sample, 1) == np.arange(4)).all()
    _, counts = np.unique(sample @ [64, 16, 4, 1], return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > LEAST


def test_dropout():
    x = np.ones((200, 200), np.float32)
    out, none = draw(lambda: [gc.nn.dropout(gc.constant(x), 0.3), gc.nn.dropout(gc.constant(x), 0.0)])
    assert set(np.unique(out)) == {0, np.float32(1 / 0.7)}
    assert abs((out == 0).mean() - 0.3) < 4.5 * np.sqrt(0.21 / x.size)
    assert abs(np.corrcoef((out == 0)[:-1].ravel(), (out == 0)[1:].ravel())[0, 1]) < 0.03
    np.testing.assert_array_equal(none, x)


def test_dropout_has_the_gradient_of_what_it_kept():
    with gc.Graph(seed=0).as_default(), gc.Session(backend="numpy") as session:
        x = gc.placeholder("float32", (100,), name="x")
        y = gc.nn.dropout(x, 0.5)
        out, slope = session.run([y, gc.gradients(y, [x])[0]], {x: np.ones(100)})
        np.testing.assert_array_equal(out, slope)


# Independence.


def independent(x, y):
    return stats.pearsonr(x, y).pvalue > LEAST and stats.kendalltau(x[:2000], y[:2000]).pvalue > LEAST


def test_ops_are_independent():
    a, b, c = draw(lambda: [gc.random.normal((N,)), gc.random.normal((N,)), gc.random.normal((N,), seed=5)])
    assert independent(a, b)
    assert independent(a, c)
    assert independent(a[:-1], a[1:])


def test_runs_are_independent():
    first, second, third = draw(lambda: gc.random.normal((N,)), runs=3)
    assert independent(first, second)
    assert independent(second, third)


def test_steps_of_loops_are_independent():
    inner = lambda _: gc.random.normal((4000,))
    rows = draw(lambda: gc.map_fn(lambda _: gc.map_fn(inner, gc.zeros(3)), gc.zeros(3))).reshape(9, 4000)
    for i in range(9):
        for j in range(i):
            assert independent(rows[i], rows[j])
    assert look_alike(rows, stats.norm.cdf)


def test_many_short_draws_are_as_good_as_one_long():
    rows = draw(lambda: gc.map_fn(lambda _: gc.random.uniform((3,), "float64"), gc.zeros(3000)))
    assert look_alike(rows, stats.uniform.cdf)
    assert all(look_alike(column, stats.uniform.cdf) for column in rows.T)


def test_sessions_of_other_seeds_are_independent():
    assert independent(draw(lambda: gc.random.normal((N,)), 1), draw(lambda: gc.random.normal((N,)), 2))


# What the bits depend on.


def alike(a, b):
    return np.array_equal(np.ravel(a), np.ravel(b))


def test_every_run_draws_anew_and_a_seed_gives_the_same_stream():
    stream = draw(lambda: gc.random.uniform((8,)), runs=3)
    assert len({value.tobytes() for value in stream}) == 3
    for a, b in zip(stream, draw(lambda: gc.random.uniform((8,)), runs=3), strict=True):
        assert alike(a, b)
    assert not alike(stream[0], draw(lambda: gc.random.uniform((8,)), graph_seed=1))


def test_unrelated_edits_change_no_bit():
    def plain():
        with gc.name_scope("layer"):
            return gc.random.normal((5,), name="noise")

    def edited():
        gc.random.normal((5,), name="other")
        with gc.name_scope("before"):
            gc.random.normal((5,))
        x = gc.exp(gc.constant([1.0, 2.0]))
        with gc.name_scope("layer"):
            noise = gc.random.normal((5,), name="noise")
        gc.sum(x) + gc.random.uniform(())
        return noise

    assert alike(draw(plain), draw(edited))
    for x in (1, 2):
        seeded = [
            draw(lambda x=x: [gc.random.uniform((x,)), gc.random.uniform((4,), seed=7)][1]),
            draw(lambda: gc.random.uniform((4,), seed=7)),
        ]
        assert alike(*seeded)


def test_a_draw_in_a_loop_does_not_depend_on_the_rest_of_the_body():
    def define(extra):
        def step(c, z):
            noise = gc.random.normal((), name="noise")
            return c + (gc.exp(z) * c if extra else z), noise

        return gc.scan(step, 0.0, gc.zeros(6))[1]

    assert alike(draw(lambda: define(False)), draw(lambda: define(True)))


def test_fetching_more_changes_no_bit():
    def define():
        a = gc.random.normal((4,), name="a")
        return a, gc.exp(a), gc.random.uniform((4,), name="b")

    a, e, b = draw(define)
    assert alike(draw(lambda: define()[0]), a)
    assert alike(draw(lambda: define()[2]), b)
    np.testing.assert_allclose(np.exp(a), e, rtol=1e-6)


def test_a_failed_run_does_not_advance():
    with gc.Graph(seed=0).as_default() as graph:
        fine = gc.placeholder("bool", (), name="fine")
        noise = gc.random.uniform((4,))
        with gc.control_dependencies([gc.check(fine)]):
            checked = gc.identity(noise)
        with gc.Session(graph=graph, backend="numpy", seed=3) as session:
            session.run(noise)
            with pytest.raises(gc.CheckError):
                session.run(checked, {fine: False})
            after_failure = session.run(checked, {fine: True})
        with gc.Session(graph=graph, backend="numpy", seed=3) as session:
            session.run(noise)
            assert alike(session.run(checked, {fine: True}), after_failure)


def test_one_draw_is_one_value_wherever_it_is_used():
    def define():
        x = gc.random.normal((3,), "float64")
        return (
            x,
            gc.gradients(gc.sum(x * x * gc.constant(2.0, "float64")), [x])[0],
            gc.cond(True, lambda: x, lambda: -x),
        )

    x, slope, same = draw(define)
    np.testing.assert_array_equal(slope, 4 * x)
    np.testing.assert_array_equal(x, same)


def test_categorical_draws_once_where_no_number_is_asked_for(each_backend):
    logits = np.log(np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], np.float32) + 1e-30)
    one, many = gc.random.categorical(logits, seed=3), gc.random.categorical(logits, 5, seed=3)
    assert one.shape == (2,)
    assert many.shape == (2, 5)
    with gc.Session() as session:
        found, several = session.run([one, many])
    np.testing.assert_array_equal(found, [1, 2])
    np.testing.assert_array_equal(several, [[1] * 5, [2] * 5])


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("float16", 1, 2), ("bfloat16", 0.1, 0.3), ("float16", 3, -1)]
)
def test_uniform_stays_below_its_upper_bound_where_it_rounds_up(each_backend, dtype, low, high):
    with gc.Graph(seed=0).as_default(), gc.Session(seed=1) as session:
        bound = gc.constant(high, dtype)
        number, tensor = session.run(
            [gc.random.uniform((N,), dtype, minval=low, maxval=given) for given in (high, bound)]
        )
        top, bottom = session.run([bound, gc.constant(low, dtype)])
    for drawn in (number, tensor):
        assert not (drawn == top).any()
        assert min(top, bottom) <= drawn.min() < drawn.max() <= max(top, bottom)


@pytest.mark.parametrize(
    "define",
    [
        lambda name: gc.random.uniform((3,), name=name),
        lambda name: gc.random.uniform((3,), minval=5, maxval=6, name=name),
        lambda name: gc.random.uniform((3,), "int32", minval=5, maxval=60, name=name),
        lambda name: gc.random.normal((3,), mean=100, stddev=2, name=name),
        lambda name: gc.random.truncated_normal((3,), stddev=100, name=name),
        lambda name: gc.random.bernoulli((3,), name=name),
        lambda name: gc.random.categorical([[1.0, 2.0]], 3, name=name),
        lambda name: gc.random.permutation(5, name=name),
        lambda name: gc.random.permutation(gc.arange(5), name=name),
    ],
)
def test_a_name_is_that_of_what_is_drawn(define):
    with gc.Graph(seed=0).as_default() as graph, gc.Session(seed=1, backend="numpy") as session:
        drawn = define("drawn")
        assert drawn.name == "drawn"
        assert graph.get_tensor("drawn") is drawn
        np.testing.assert_array_equal(*session.run([drawn, "drawn"]))


def test_a_seed_may_be_an_int_of_numpy():
    found = []
    for kind in (int, np.int64, np.uint8):
        with gc.Graph(seed=kind(7)).as_default() as graph:
            drawn = [gc.random.normal((3,)), gc.random.normal((3,), seed=kind(5))]
        with gc.Session(graph, seed=kind(3), backend="numpy") as session:
            found.append(session.run(drawn))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize(
    "define",
    [
        gc.random.normal,
        lambda shape: gc.random.uniform(shape, "float64", minval=-2.0, maxval=3.0),
        lambda shape: gc.random.uniform(shape, "int32", minval=0, maxval=9),
        gc.random.bernoulli,
    ],
)
def test_a_shape_of_any_rank_changes_no_bit(each_backend, define):
    def drawn(shape, kind):
        with gc.Graph(seed=0).as_default(), gc.Session(seed=1) as session:
            if kind == "numbers":
                return session.run(define(shape))
            like, sizes = gc.placeholder("float32"), gc.placeholder("int64", (None,))
            return session.run(
                define(gc.shape(like) if kind == "of a rank that is fed" else sizes),
                {like: np.zeros(shape), sizes: shape},
            )

    for shape in ((2, 3), (), (0, 2)):
        expected = drawn(shape, "numbers")
        for kind in ("of a rank that is fed", "fed"):
            np.testing.assert_array_equal(drawn(shape, kind), expected, strict=True)


def test_a_negative_size_of_a_shape_of_any_length_is_refused(each_backend):
    sizes = gc.placeholder("int64", (None,))
    with gc.Session() as session:
        for shape in ([-1, 2], [-1, -1], [-2, -3], [-4]):
            with pytest.raises(gc.GraphError, match=r"test_randomness\.py:"):
                session.run(gc.random.normal(sizes), {sizes: shape})
