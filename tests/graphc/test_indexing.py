"""Indexing, gathering, scattering, sorting and segments against NumPy; what they refuse, and how."""

import numpy as np
import pytest

import graphc as gc

X = np.arange(2 * 3 * 4 * 5, dtype=np.float64).reshape(2, 3, 4, 5)
MASK = X[0, :, 0] % 3 == 0
K, J = np.array([2, 0, -1, 1, 1, 0]), np.array([[0], [3]])
S = slice


def run(fetches, feeds=None):
    with gc.Session(backend="numpy") as session:
        return session.run(fetches, feeds)


KEYS = [
    *((1,), (-1, 2), (..., -5), (0, 1, 2, 3), (np.int8(1), np.array(2))),
    *((None,), (..., None), (None, 0, None, ..., None, 1), (S(None), None, 1), (...,)),
    *(
        (S(1, None),),
        (S(None, -1), S(-2, None)),
        (..., S(None, None, -1)),
        (S(5, 0, -2), ..., S(4, None, -3)),
    ),
    *((S(None), S(7, 9)), (S(None), S(-9, 2)), (S(None), S(2, 1), 0), (..., S(0, 0, -1), None)),
    *((S(None), S(None), S(3, -9, -1), S(1, None, 3)), (1, ..., S(-1, -6, -2))),
    *((S(None), K), (..., K), (J % 2,), (0, K), (S(None), [2, 0], S(None, None, 2), None), ([],)),
    *((None, 0, J - 2), (S(None), K, J[0]), (S(None), J[:, 0] % 3, None, S(None, None, -1))),
    *(
        (S(None), K % 2, K),
        (S(None), K, S(None), K),
        (K % 2, K),
        (S(None), J % 3, ..., K),
        (S(None), 0, K, J),
    ),
    *((S(None), K, None, K), (0, S(None), K), (0, ..., K, 1), (S(None), 0, None, K), (..., K, K)),
    *((K % 2, K, K, K), (K % 2, S(None), 1, J), (J % 2, S(None), None, K, S(None, None, -2))),
    *((X > 50,), (X[:, :, 0, 0] > 30,), (np.array([True, False]),), (S(None), np.array([True, False, True]))),
    *((0, MASK.T[:3, :2].repeat(2, 1)), (..., MASK[0]), (S(None), S(None), 0, MASK[0], None)),
    *((0, MASK[:, :1].repeat(4, 1), S(1, 3)), (S(None), np.array([True, False, True]), S(None), MASK[0][:5])),
    *((True,), (S(None), False), (S(None), np.array([True, False, True]), 2), (X > 500,), ([True, False],)),
    *((np.array([1, 0]), S(None), np.array([True, False, True, False]), 0),),
]


@pytest.mark.parametrize("shape", [X.shape, ("a", None, "c", None)], ids=["known", "later"])
@pytest.mark.parametrize("key", KEYS, ids=lambda key: repr(key).replace("\n", ""))
def test_index_is_numpys(key, shape):
    x = gc.placeholder("float64", shape)
    y, wanted = x[key], X[key]
    value = run(y, {x: X})
    np.testing.assert_array_equal(value, wanted)
    assert all(a in (b, None) or isinstance(a, str) for a, b in zip(y.shape, wanted.shape, strict=True))


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_gradient_of_index_puts_ones_back(key):
    x = gc.placeholder("float64", ("a", None, "c", None))
    (slope,) = gc.gradients(gc.sum(x[key] * x[key]), x)
    counts = np.zeros(X.shape)
    np.add.at(counts, key, 1)
    np.testing.assert_array_equal(run(slope, {x: X}), 2 * X * counts)


BOUNDS = [(1, 3), (-3, None), (None, -1), (9, 2), (-9, 9), (3, 3), (4, 0), (None, None)]


@pytest.mark.parametrize("step", [1, 3, -1, -2])
@pytest.mark.parametrize(("start", "stop"), BOUNDS)
@pytest.mark.parametrize("shape", [(5, 2), (None, 2)])
def test_slices_bounded_by_tensors(start, stop, step, shape):
    line = np.arange(10.0).reshape(5, 2)
    x = gc.placeholder("float64", shape)
    a, b = gc.placeholder("int32", ()), gc.placeholder("int64", ())
    y = x[None if start is None else a : None if stop is None else b : step, ::-1]
    feeds = {x: line} | ({} if start is None else {a: start}) | ({} if stop is None else {b: stop})
    np.testing.assert_array_equal(run(y, feeds), line[start:stop:step, ::-1])
    (slope,) = gc.gradients(gc.sum(y), x)
    if slope is not None:
        marks = np.zeros((5, 2))
        marks[start:stop:step] = 1
        np.testing.assert_array_equal(run(slope, feeds), marks)


def test_scalar_tensors_and_variables_index():
    x, i = gc.placeholder("float64", (None, 3)), gc.placeholder("uint8", ())
    v = gc.Variable(X[0, 0])
    np.testing.assert_array_equal(
        run([x[i], x[i, None, -1], x[:, i]], {x: X[0, 0, :, :3], i: 2})[1], [X[0, 0, 2, 2]]
    )
    with gc.Session(backend="numpy") as session:
        session.run(gc.global_variables_initializer())
        np.testing.assert_array_equal(session.run(v[i, 1:], {i: 3}), X[0, 0, 3, 1:])


@pytest.mark.parametrize(
    ("key", "error", "text"),
    [
        (7, gc.IndexOutOfRangeError, "index 7 is out of range for axis 0 of size 3"),
        ((0, -5), gc.IndexOutOfRangeError, "index -5 is out of range for axis 1 of size 4"),
        ([0, 3], gc.IndexOutOfRangeError, "index 3 is out of range for axis 0 of size 3"),
        ((0, 1, 2), gc.ShapeError, "too many indices: 3 for the 2 axes of f64[3,4]"),
        (1.5, gc.DTypeError, "an index is an integer, a slice, None, ... or bool, not 1.5"),
        (np.ones(2), gc.DTypeError, "not f64[2]"),
        ("a", gc.ArgumentError, "an index is an int, a slice, None, ... or integers, not 'a'"),
        ((..., ...), gc.ArgumentError, "only one ellipsis"),
        (slice(0, 2, 0), gc.ArgumentError, "the step of a slice is not 0"),
        (slice(0.5, 2), gc.DTypeError, "a bound of a slice is an integer, not 0.5"),
        (np.array([True, False]), gc.ShapeError, "the mask must be bool[3], not bool[2]"),
        ((0, np.ones((4, 1), bool)), gc.ShapeError, "too many indices"),
    ],
)
def test_index_refuses(key, error, text):
    x = gc.placeholder("float64", (3, 4), name="x")
    with pytest.raises(error) as caught:
        x[key]
    message = str(caught.value)
    assert text in message
    assert "x is placeholder 'x'" in message
    assert "f64[3,4]" in message
    assert "test_indexing.py" in message


@pytest.mark.parametrize(
    "make",
    [
        lambda x, i: x[i],
        lambda x, i: gc.gather(x, i),
        lambda x, i: gc.gather_nd(x, gc.reshape(i, [1])),
        lambda x, i: gc.scatter_add(x, i, 1.0),
        lambda x, i: gc.scatter_update(x, i, 1.0),
        lambda x, i: gc.take_along_axis(x, gc.reshape(i, [1, 1]), 0),
        lambda x, i: gc.scatter_nd(gc.reshape(i, [1]), x[0], (3, 2)),
    ],
)
@pytest.mark.parametrize("bad", [3, -4])
def test_an_index_out_of_range_fails_the_run(make, bad):
    x, i = gc.placeholder("float32", (None, 2)), gc.placeholder("int32", ())
    with pytest.raises(gc.IndexOutOfRangeError, match=f"index {bad} is out of range for axis 0 of size 3"):
        run(make(x, i), {x: np.zeros((3, 2), np.float32), i: bad})


@pytest.mark.parametrize("key", [3, -4])
def test_a_known_index_beyond_a_size_known_later_fails_the_run(key):
    x = gc.placeholder("float32", (None, 2))
    with pytest.raises(gc.IndexOutOfRangeError):
        run(x[key], {x: np.zeros((3, 2), np.float32)})


def test_scatters_are_numpys():
    x = X[0, 0]
    at, rows = np.array([3, 1, -1, 1]), X[1, 0]
    added, put = x.copy(), x.copy()
    np.add.at(added, at, rows)
    put[at] = rows
    wide = x.copy()
    wide[:, [0, 2]] = 7
    got = run(
        [
            gc.scatter_add(x, at, rows),
            gc.scatter_update(x, at, rows),
            gc.scatter_update(x, [0, 2], 7, axis=1),
            gc.scatter_add(np.arange(3, dtype=np.uint8), [0, 0], [255, 2]),
            gc.scatter_nd([[1], [1]], [1.5, 2.0], (gc.size(x), 1)[:1]),
        ]
    )
    for value, wanted in zip(got[:3], [added, put, wide], strict=True):
        np.testing.assert_array_equal(value, wanted)
    assert got[3].dtype == np.uint8
    assert got[3].tolist() == [1, 1, 2]
    assert got[4].shape == (20,)
    assert got[4][1] == 3.5


def test_float_updates_are_summed_in_double():
    n = 100_000
    total = run(gc.scatter_add(np.zeros(1, np.float32), np.zeros(n, np.int32), np.full(n, 0.1, np.float32)))
    assert total[0] == np.float32(n * np.float64(np.float32(0.1)))


def test_only_the_last_of_duplicate_updates_has_a_gradient():
    x, u = gc.placeholder("float64", (3,)), gc.placeholder("float64", (4,))
    y = gc.scatter_update(x, [0, 2, 0, -1], u)
    dx, du = gc.gradients(gc.sum(y * y), [x, u])
    values = run([y, dx, du], {x: [1, 2, 3], u: [4, 5, 6, 7]})
    assert [v.tolist() for v in values] == [[6, 2, 7], [0, 4, 0], [0, 0, 12, 14]]


@pytest.mark.parametrize("array", [np.array([2, 0, 1, 0]), np.array([0.5, np.nan, -1, 0.5, np.inf])])
def test_descending_order_is_stable_with_nan_last(array):
    order = run(gc.argsort(array, descending=True)).tolist()
    assert order == sorted(range(len(array)), key=lambda i: (np.isnan(array[i]), -array[i]))
    np.testing.assert_array_equal(run(gc.sort(array, descending=True)), array[order])
    np.testing.assert_array_equal(run(gc.sort(array)), np.sort(array))


def test_sort_and_argsort_without_an_axis_are_flat():
    x = gc.placeholder("int32", (None, None))
    values, order = run([gc.sort(x, axis=None), gc.argsort(x, axis=None)], {x: [[3, 1], [2, 1]]})
    assert values.tolist() == [1, 1, 2, 3]
    assert order.tolist() == [1, 3, 2, 0]
    assert order.dtype == np.int64


def test_top_k_takes_the_lower_index_first_and_nan_as_the_largest():
    values, indices = run(gc.top_k(np.array([[1, 5, 5, 2], [7, 0, 7, 7]]), 2))
    assert values.tolist() == [[5, 5], [7, 7]]
    assert indices.tolist() == [[1, 2], [0, 2]]
    assert indices.dtype == np.int64
    values, indices = run(gc.top_k([1.0, np.nan, np.inf], 2))
    assert indices.tolist() == [1, 2]
    with pytest.raises(gc.ShapeError, match="the 4 largest of only 3 elements"):
        gc.top_k([1, 2, 3], 4)
    x = gc.placeholder("float32", (None,))
    with pytest.raises(gc.ShapeError, match="the 4 largest of only 3 elements"):
        run(gc.top_k(x, 4), {x: [1, 2, 3]})


@pytest.mark.parametrize(
    "array", [np.array([[3, 1], [3, 2]], np.int32), np.zeros((0,)), np.array([np.nan, 1, np.nan])]
)
def test_unique_and_nonzero_are_numpys(array):
    x = gc.placeholder(array.dtype, (None,) * array.ndim)
    found = run([*gc.unique(x, True, True), gc.unique(x)], {x: array})
    values, index, inverse = np.unique(array, return_index=True, return_inverse=True)
    for a, b in zip(found, (values, index, inverse.reshape(array.shape), values), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(run(gc.nonzero(x), {x: array}), np.nonzero(array), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.int64


def test_sizes_known_only_to_a_result_serve_what_follows():
    x = gc.placeholder("float64", (None, 2))
    kept = x[gc.greater(x[:, 0], 0)]
    y = gc.sum(kept * kept, axis=1) + gc.cast(gc.shape(kept)[0], "float64")
    (slope,) = gc.gradients(gc.sum(y), x)
    line = np.array([[1.0, 2], [-1, 3], [4, 5]])
    values = run([y, slope], {x: line})
    assert values[0].tolist() == [7, 43]
    assert values[1].tolist() == [[2, 4], [0, 0], [8, 10]]


def test_segments():
    x, ids = gc.placeholder("float64", (None, 2)), gc.placeholder("int32", (None,))
    total, counted, mean = gc.segment_sum(x, ids), gc.segment_sum(x, ids, 4), gc.segment_mean(x, ids, 4)
    (slope,) = gc.gradients(gc.sum(total * total), x)
    feeds = {x: [[1, 2], [3, 4], [5, 6], [7, 8]], ids: [0, 0, -1, 2]}
    got = run([total, counted, mean, slope], feeds)
    assert got[0].tolist() == [[4, 6], [0, 0], [7, 8]]
    assert got[1].tolist() == [[4, 6], [0, 0], [7, 8], [0, 0]]
    assert got[2].tolist() == [[2, 3], [0, 0], [7, 8], [0, 0]]
    assert got[3].tolist() == [[8, 12], [8, 12], [0, 0], [14, 16]]
    empty = {x: np.zeros((0, 2)), ids: np.zeros(0, np.int32)}
    assert run(total, empty).shape == (0, 2)
    with pytest.raises(gc.IndexOutOfRangeError, match="segment id 4 is out of range for 4 segments"):
        run(counted, {x: [[1, 2]], ids: [4]})
    with pytest.raises(gc.IndexOutOfRangeError, match="segment id 9 is out of range for 3 segments"):
        gc.segment_sum(x, [0, 9], 3)


def test_one_hot():
    i = np.array([[0, 2], [-1, 3]])
    eye = np.eye(3)[[0, 2, 0, 0]].reshape(2, 2, 3)
    eye[1] = 0
    np.testing.assert_array_equal(run(gc.one_hot(i, 3)), eye)
    assert gc.one_hot(i, 3).dtype == "float32"
    np.testing.assert_array_equal(run(gc.one_hot(i, 3, axis=0)), eye.transpose(2, 0, 1))
    np.testing.assert_array_equal(run(gc.one_hot(i, 3, axis=1, dtype="bool")), eye.transpose(0, 2, 1) == 1)
    np.testing.assert_array_equal(run(gc.one_hot(i, 3, 5, -1, dtype="int8")), np.where(eye, 5, -1))
    depth = gc.placeholder("int32", ())
    assert run(gc.one_hot(gc.constant(1, "uint64"), depth), {depth: 2}).tolist() == [0, 1]
    with pytest.raises(gc.DTypeError, match="one_hot: indices are integers, not float32"):
        gc.one_hot([0.5], 3)


@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_take_along_axis_is_numpys(axis):
    x = X[0, 0, :3, :3]
    i = np.array([2, 0, -1]) if axis is None else np.array([[2, 0, -1]])
    if axis == 0:
        i = i[:, :1]
    np.testing.assert_array_equal(run(gc.take_along_axis(x, i, axis)), np.take_along_axis(x, i, axis))


def test_gather_of_an_unknown_rank():
    x = gc.placeholder("float64", None)
    fetches = [gc.gather(x, [1, 0], axis=-1), x[-1], x[...], x[[0, 0]]]
    got = run(fetches, {x: X[0]})
    for value, wanted in zip(got, [X[0][..., [1, 0]], X[0][-1], X[0], X[0][[0, 0]]], strict=True):
        np.testing.assert_array_equal(value, wanted)
    with pytest.raises(gc.ShapeError, match="ensure_shape"):
        x[[1], [0]]


def test_updates_that_do_not_fit_are_refused():
    x = gc.placeholder("float32", (3, 2))
    with pytest.raises(gc.ShapeError, match=r"updates must be f32\[2,2\], not f32\[2,3\]"):
        gc.scatter_add(x, [0, 1], np.zeros((2, 3), np.float32))
    with pytest.raises(gc.DTypeError, match="updates of float64 do not fit float32"):
        gc.scatter_update(x, [0, 1], np.zeros((2, 2)))
    with pytest.raises(gc.DTypeError, match="indices are integers, not bool"):
        gc.gather(x, [True, False])
    with pytest.raises(gc.ShapeError, match="3 coordinates for the 2 axes"):
        gc.gather_nd(x, [[0, 1, 2]])


def test_scattering_into_an_unknown_rank_leaves_it_unknown():
    x, i, u = gc.placeholder("float64"), gc.placeholder("int32"), gc.placeholder("float64")
    y = gc.scatter_add(x, i, u)
    assert y.shape is None
    line = X[0, 0]
    value = run(y, {x: line, i: [1, 1], u: line[:2]})
    np.testing.assert_array_equal(value[1], line[1] + line[0] + line[1])


def test_variables_are_scattered_into():
    v = gc.Variable(np.zeros((3, 2), np.float32), name="v")
    steps = v.scatter_add([0, 0, -1], [[1, 2], [3, 4], [5, 6]])
    with gc.Session(backend="numpy") as session:
        session.run(gc.global_variables_initializer())
        assert session.run(steps).tolist() == [[4, 6], [0, 0], [5, 6]]
        assert session.run(v.scatter_update(1, 7)).tolist() == [[4, 6], [7, 7], [5, 6]]
        assert session.run(v).tolist() == [[4, 6], [7, 7], [5, 6]]


def test_nan_is_the_largest_to_what_is_of_max_and_comes_last_in_what_is_sorted(each_backend):
    for dtype in ("float16", "float32", "float64"):
        x = gc.constant(np.array([[1, np.nan, np.inf, np.nan, -np.inf]], dtype))
        values, indices = gc.top_k(x, 5)
        found = gc.Session().run(
            [values, indices, gc.max(x, -1), gc.argmax(x, -1), gc.sort(x), gc.sort(x, descending=True)]
        )
        np.testing.assert_array_equal(found[0], np.array([[np.nan, np.nan, np.inf, 1, -np.inf]], dtype))
        np.testing.assert_array_equal(found[1], [[1, 3, 2, 0, 4]])
        np.testing.assert_array_equal(found[2], found[0][:, 0])
        np.testing.assert_array_equal(found[3], found[1][:, 0])
        np.testing.assert_array_equal(found[4], np.array([[-np.inf, 1, np.inf, np.nan, np.nan]], dtype))
        np.testing.assert_array_equal(found[5], np.array([[np.inf, 1, -np.inf, np.nan, np.nan]], dtype))
