"""Elements that are chosen at the run: how many, in memory of that size, without a return into Python."""

import numpy as np
import pytest

import graphc as gc
from graphc.types import BFLOAT16, DTYPES
from runtime.llvm_backend.native.late_memory import Growth
from tests.runtime.llvm.levels import run_at_level
from tests.runtime.llvm.test_late_sizes import draw, expect_same

COUNTS = (0, 1, 15, 16, 17, 63, 64, 65, 1000, 16_384, 16_385, 70_001)


def some(dtype, count, share=0.4):
    """Numbers of which about that share is not 0; floats with NaN and -0.0 among them."""
    random = np.random.default_rng(count)
    kind = np.float32 if dtype is BFLOAT16 else dtype.numpy
    found = np.where(random.random(count) < share, random.integers(1, 100, count), 0).astype(kind)
    if dtype.is_floating and count:
        found[:: max(count // 5, 1)] = np.nan
        found[1 :: max(count // 7, 1)] = -0.0
    return found


def run(build, arrays, dtypes, threads=2, known=False):
    """What is fetched; no step is in Python."""
    with gc.Graph().as_default() as graph:
        shapes = [a.shape if known else (None,) * a.ndim for a in arrays]
        given = [gc.placeholder(dtype, shape) for dtype, shape in zip(dtypes, shapes, strict=True)]
        fetches = build(*given)
        with gc.Session(graph, backend="llvm", threads=threads) as session:
            record = session.compile(fetches, given).record
            assert record["native"] == {"reason": None, "returns": 0, "regions": []}
            return session.run(fetches, dict(zip(given, arrays, strict=True)))


def check_kinds(counts):
    for dtype in DTYPES:
        for count in counts:
            x = some(dtype, count)
            (found,) = run(gc.nonzero, [x], [dtype])
            np.testing.assert_array_equal(found, np.flatnonzero(x))
            mask = np.random.default_rng(1).random(count) < 0.5
            kept = run(gc.boolean_mask, [x, mask], [dtype, "bool"])
            np.testing.assert_array_equal(kept, x[mask])
            if dtype.is_floating:
                np.testing.assert_array_equal(np.signbit(kept), np.signbit(x[mask]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_all_dtypes(dtype):
    for count in (0, 1, 17, 100):
        x = some(dtype, count)
        (found,) = run(gc.nonzero, [x], [dtype], known=True)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, np.flatnonzero(x))


@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_words_of_a_level(level):
    run_at_level(level, "from tests.runtime.llvm.test_choices import *; check_kinds((65, 1000))")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("count", COUNTS)
def test_counts_around_words_and_chunks(count, share):
    random = np.random.default_rng(count)
    x, mask = random.standard_normal(count), random.random(count) < share

    def build(x, mask):
        return [gc.boolean_mask(x, mask), *gc.nonzero(mask), gc.size(gc.boolean_mask(x, mask))]

    for threads in (1, 2, 4):
        kept, places, many = run(build, [x, mask], ["float64", "bool"], threads)
        np.testing.assert_array_equal(kept, x[mask])
        np.testing.assert_array_equal(places, np.flatnonzero(mask))
        assert many == np.count_nonzero(mask)


@pytest.mark.parametrize("shape", [(3, 5), (70, 300), (2, 3, 4), (7, 1, 30, 11), (0, 4), (4, 0)])
@pytest.mark.parametrize("known", [True, False])
def test_a_row_of_indices_for_each_axis(shape, known):
    x = np.random.default_rng(3).integers(-1, 2, shape).astype(np.int16)
    for found, wanted in zip(run(gc.nonzero, [x], ["int16"], known=known), np.nonzero(x), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("shape", "axes"), [((40, 3), 1), ((6, 7, 5), 2), ((6, 7), 2), ((300, 2, 0), 1), ((5,), 0)]
)
def test_slices_that_a_mask_keeps(shape, axes):
    random = np.random.default_rng(4)
    for dtype in ("float16", "int64", "bool"):
        x = random.integers(0, 2, shape).astype(dtype)
        mask = np.asarray(random.random(shape[:axes]) < 0.6)
        for known in (True, False):
            found = run(gc.boolean_mask, [x, mask], [dtype, "bool"], known=known)
            assert found.shape == x[mask].shape
            np.testing.assert_array_equal(found, x[mask])


def test_slices_of_a_size_that_another_choice_gives():
    x, y = gc.placeholder("float64", (None,), name="x"), gc.placeholder("float64", (None,), name="y")
    rows = gc.boolean_mask(x, x > 0.0)
    table = gc.expand_dims(y, 1) * gc.expand_dims(rows, 0)
    chosen = gc.boolean_mask(table, y > 0.5)
    with gc.Session(backend="llvm") as session:
        assert session.compile([chosen, gc.sum(chosen)], [x, y]).record["native"]["returns"] == 0
        for m, n in ((5, 40), (200, 3), (0, 5), (31, 77)):
            a, b = draw(m), draw(n)
            wanted = (b[:, None] * a[a > 0.0])[b > 0.5]
            found, total = session.run([chosen, gc.sum(chosen)], {x: a, y: b})
            np.testing.assert_array_equal(found, wanted)
            np.testing.assert_allclose(total, wanted.sum(), atol=1e-12)


def test_memory_is_taken_again_only_for_more(monkeypatch):
    taken, take = [], Growth.run
    monkeypatch.setattr(Growth, "run", lambda self, *given: (taken.append(self), take(self, *given)))
    x = gc.placeholder("float64", (None,), name="x")
    kept = gc.sum(gc.boolean_mask(x, x > 0.0))
    with gc.Session(backend="llvm") as session:
        session.run(kept, {x: np.ones(1000)})
        for count, more in (
            (1000, False),
            (1200, False),
            (30, False),
            (0, False),
            (2000, True),
            (1999, False),
        ):
            taken.clear()
            assert session.run(kept, {x: np.ones(count)}) == count
            assert bool(taken) == more


def test_a_training_step_on_rows_that_are_chosen():
    """Its loss, and the update of its weights."""
    with gc.Graph(seed=1).as_default():
        x, y = gc.placeholder("float32", (None, 6)), gc.placeholder("float32", (None,))
        w = gc.Variable(np.linspace(-1, 1, 6, dtype=np.float32), name="w")
        rows, wanted = gc.boolean_mask(x, y > 0.0), gc.boolean_mask(y, y > 0.0)
        loss = gc.mean(gc.square(gc.einsum("ij,j->i", rows, w) - wanted))
        step = gc.train.SGD(0.1).minimize(loss, [w])
        losses = {}
        for backend in gc.backends():
            with gc.Session(backend=backend) as session:
                session.run(gc.global_variables_initializer())
                given = [
                    {x: draw(n, 6).astype(np.float32), y: draw(n).astype(np.float32)} for n in (40, 9, 333)
                ]
                losses[backend] = [session.run([loss, step], feeds)[0] for feeds in given]
                if backend == "llvm":
                    record = session.compile([loss, step], [x, y]).record
                    assert record["native"] == {"reason": None, "returns": 0, "regions": []}
                    assert not record["fallbacks"]
    np.testing.assert_allclose(losses["llvm"], losses["numpy"], rtol=1e-5)


def test_a_fed_value_says_how_many_are_chosen():
    """Then the gradient, which chooses again, must find as many."""
    x = gc.placeholder("float64", (None,), name="x")
    kept = gc.boolean_mask(x, x > 0.0)
    (slope,) = gc.gradients(gc.sum(kept * kept), [x])
    (whole,) = gc.nonzero(x)
    again = gc.gather(whole, gc.nonzero(x > 0.0)[0])
    expect_same([slope, again], x, [draw(n) for n in (5, 70, 3, 20_000)], 0)
    for backend in gc.backends():
        with gc.Session(backend=backend) as session:
            found = session.run(slope, {x: [1.0, -1.0, 2.0], kept: [5.0, 6.0]})
            assert found.tolist() == [10.0, 0.0, 12.0]
            for wrong in ([5.0], [5.0, 6.0, 7.0]):
                with pytest.raises((ValueError, gc.ShapeError)):  # as the walk fails
                    session.run(slope, {x: [1.0, -1.0, 2.0], kept: wrong})


def test_its_own_memory_is_not_given_away():
    x = gc.placeholder("float64", (None,), name="x")
    kept = gc.boolean_mask(x, x > 0.0)
    with gc.Session(backend="llvm") as session:
        call = session.make_callable([kept, gc.reshape(kept, [-1, 1])], [x])
        first, second = call(np.array([1.0, -1.0, 2.0]))
        call(np.array([7.0, 8.0, 9.0]))
        assert first.tolist() == [1.0, 2.0]
        assert second.tolist() == [[1.0], [2.0]]


WANTED = [(), ("return_index",), ("return_inverse",), ("return_index", "return_inverse")]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_distinct_elements(wanted, dtype):
    """Of -0.0 and 0.0 the first is shown; NaN are one."""
    for shape in ((0,), (1,), (2,), (17,), (1000,), (9, 40)):
        x = some(dtype, int(np.prod(shape))).reshape(shape)
        if dtype.name not in ("bool", "bfloat16"):
            x = x // x.dtype.type(9)
        expected = np.unique(x, **dict.fromkeys(("return_index", "return_inverse"), True))
        found = run(lambda x: gc.unique(x, **dict.fromkeys(wanted, True)), [x], [dtype])
        found = found if wanted else [found]
        right = [x.ravel()[expected[1]]]
        right += [expected[1]] if "return_index" in wanted else []
        right += [expected[2].reshape(shape)] if "return_inverse" in wanted else []
        for a, b in zip(found, right, strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            np.testing.assert_array_equal(a, b)
        if dtype.is_floating:
            np.testing.assert_array_equal(np.signbit(found[0]), np.signbit(right[0]))


def test_many_distinct_elements_for_all_threads():
    x = np.random.default_rng(7).integers(0, 30_000, 200_000)
    expected = np.unique(x, return_index=True, return_inverse=True)
    for threads in (1, 2, 4):
        found = run(lambda x: gc.unique(x, True, True), [x], ["int64"], threads)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_nobody_asks_of_distinct_elements_is_not_computed():
    x = gc.placeholder("float32", (None,), name="x")
    values, index, inverse = gc.unique(x, return_index=True, return_inverse=True)
    with gc.Session(backend="llvm") as session:

        def ops(fetches):
            return [s["op"] for s in session.compile(fetches, [x]).record["program"]["steps"]]

        assert {"argsort", "run_numbers"}.isdisjoint(ops([values]))
        assert "run_numbers" not in ops([values, index])
        assert {"argsort", "run_starts", "run_numbers"} <= {*ops([inverse])}
        assert session.compile([gc.size(values)], [x]).record["native"]["returns"] == 0
        assert session.run(gc.size(values), {x: [1.0, 2.0, 1.0]}) == 2


def test_distinct_elements_in_a_body_are_walked():
    xs = gc.placeholder("int64", (4, 6), name="xs")
    counts = gc.map_fn(lambda x: gc.size(gc.unique(x)), xs)
    data = np.random.default_rng(8).integers(0, 4, (4, 6))
    with gc.Session(backend="llvm") as session:
        assert session.run(counts, {xs: data}).tolist() == [len(np.unique(row)) for row in data]
        (region,) = session.compile(counts, [xs]).record["native"]["regions"]
        assert "unique" in region["reason"]
