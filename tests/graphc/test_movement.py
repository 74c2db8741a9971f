"""Movement: shapes as texts, values against NumPy, sizes that are tensors."""

import numpy as np
import pytest

import graphc as gc
from graphc.dynamic_sizes import as_sizes, symbolic_value
from graphc.ops.slicing import slice_bounds
from graphc.sizes import named

A = np.arange(24.0).reshape(2, 3, 4)


def run(fetches, feeds=None):
    with gc.Session(backend="numpy") as session:
        return session.run(fetches, feeds)


def images():
    return gc.placeholder("float32", ("batch", 28, 28))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda x: gc.reshape(x, (-1, 784)), "f32[batch,784]"),
        (lambda x: gc.reshape(x, -1), "f32[784*batch]"),
        (lambda x: gc.reshape(x, [gc.shape(x)[0], -1]), "f32[batch,784]"),
        (lambda x: gc.reshape(x, [gc.shape(x)[0] * 28, 28]), "f32[28*batch,28]"),
        (lambda x: gc.reshape(x, gc.concat([gc.shape(x)[:1], [-1]])), "f32[batch,784]"),
        (lambda x: x[1:], "f32[max(batch-1,0),28,28]"),
        (lambda x: x[:, ::-1, 2:20:3], "f32[batch,28,6]"),
        (lambda x: gc.transpose(x), "f32[28,28,batch]"),
        (lambda x: gc.transpose(x, (1, 2, -3)), "f32[28,28,batch]"),
        (lambda x: gc.matrix_transpose(x[:, :2]), "f32[batch,28,2]"),
        (lambda x: gc.expand_dims(x, -1), "f32[batch,28,28,1]"),
        (lambda x: gc.expand_dims(x, (0, 2)), "f32[1,batch,1,28,28]"),
        (lambda x: gc.squeeze(x[:, :1]), "f32[batch,28]"),
        (lambda x: gc.squeeze(x, 0), "f32[28,28]"),
        (lambda x: gc.concat([x, x]), "f32[2*batch,28,28]"),
        (lambda x: gc.concat([x, gc.zeros((3, 28, 28))]), "f32[batch+3,28,28]"),
        (lambda x: gc.stack([x, x], axis=-1), "f32[batch,28,28,2]"),
        (lambda x: gc.split(x, [1, -1])[1], "f32[batch-1,28,28]"),
        (lambda x: gc.split(x, 4, axis=2)[3], "f32[batch,28,7]"),
        (lambda x: gc.unstack(x, axis=1)[27], "f32[batch,28]"),
        (lambda x: gc.tile(x, [2, 1, 3]), "f32[2*batch,28,84]"),
        (lambda x: gc.flip(x, 0), "f32[batch,28,28]"),
        (lambda x: gc.roll(x, -1, 0), "f32[batch,28,28]"),
        (lambda x: gc.pad(x, [(1, 2), (0, 0), (3, 3)]), "f32[batch+3,28,34]"),
        (lambda x: gc.slice(x, [0, 2, 3], [-1, 4, -1]), "f32[batch,4,25]"),
        (lambda x: gc.zeros_like(x), "f32[batch,28,28]"),
        (lambda x: gc.zeros([gc.shape(x)[0], 10]), "f32[batch,10]"),
        (lambda x: gc.broadcast_to(1.0, gc.shape(x)), "f32[batch,28,28]"),
        (lambda x: gc.eye(gc.shape(x)[0]), "f32[batch,batch]"),
        (lambda x: gc.arange(gc.shape(x)[0]), "i64[batch]"),
        (lambda x: gc.tril(x), "f32[batch,28,28]"),
        (lambda x: gc.shape(x), "i64[3]"),
    ],
)
def test_symbolic_types(make, expected):
    assert str(make(images()).type) == expected


@pytest.mark.parametrize(
    ("graphed", "computed"),
    [
        (lambda x: gc.reshape(x, (4, -1)), lambda a: a.reshape(4, -1)),
        (lambda x: gc.transpose(x, [2, 0, 1]), lambda a: a.transpose(2, 0, 1)),
        (lambda x: gc.swap_axes(x, 0, -1), lambda a: a.swapaxes(0, -1)),
        (lambda x: gc.flip(x), np.flip),
        (lambda x: gc.flip(x, (0, -1)), lambda a: np.flip(a, (0, -1))),
        (lambda x: gc.roll(x, 5), lambda a: np.roll(a, 5)),
        (lambda x: gc.roll(x, (1, -5), (0, 2)), lambda a: np.roll(a, (1, -5), (0, 2))),
        (lambda x: gc.roll(x, gc.constant(-2), 1), lambda a: np.roll(a, -2, 1)),
        (lambda x: gc.tile(x, (2, 1, 3)), lambda a: np.tile(a, (2, 1, 3))),
        (lambda x: gc.tile(x, 2), lambda a: np.tile(a, 2)),
        (lambda x: gc.tile(x, (2, 1, 1, 1)), lambda a: np.tile(a, (2, 1, 1, 1))),
        (lambda x: gc.slice(x, (0, 1, 2), (1, -1, 2)), lambda a: a[:1, 1:, 2:4]),
        (lambda x: gc.concat(gc.split(x, [1, 2], 1)[::-1], 1), lambda a: np.roll(a, 2, 1)),
        (lambda x: gc.stack(gc.unstack(x, 2), 2), lambda a: a),
        (lambda x: gc.tril(x, 1), lambda a: np.tril(a, 1)),
        (lambda x: gc.triu(x, -1), lambda a: np.triu(a, -1)),
        (lambda x: gc.full_like(x, 7), lambda a: np.full_like(a, 7)),
        (lambda x: gc.pad(x, 1), lambda a: np.pad(a, 1)),
        (lambda x: gc.pad(x, (1, 2), constant_values=5), lambda a: np.pad(a, (1, 2), constant_values=5)),
        (lambda x: gc.ensure_shape(x, (2, None, 4)), lambda a: a),
    ],
)
@pytest.mark.parametrize("shape", [(2, 3, 4), ("a", "b", "c"), (None, None, None)])
def test_values(graphed, computed, shape):
    x = gc.placeholder("float64", shape)
    if "unstack" in graphed.__code__.co_names and shape != A.shape:
        pytest.skip("the number of parts must be known")
    np.testing.assert_array_equal(run(graphed(x), {x: A}), computed(A))


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@pytest.mark.parametrize("widths", [((1, 1), (0, 2), (3, 0)), ((0, 5), (9, 1), (0, 0))])
def test_mirrored_padding(mode, widths):
    np.testing.assert_array_equal(run(gc.pad(A, widths, mode)), np.pad(A, widths, mode))


@pytest.mark.parametrize("value", [0.0, -0.0, False, np.float32(-0.0)])
def test_padding_has_the_sign_of_its_zero(value, each_backend):
    x = gc.placeholder("float32", ("n",))
    with gc.Session() as session:
        found = session.run(gc.pad(x, [(1, 0)], constant_values=value), {x: [1.0]})
        assert np.signbit(found).tolist() == [bool(np.signbit(value)), False]
        whole = gc.pad(gc.cast(x, "int32"), [(1, 0)], constant_values=value)
        assert session.run(whole, {x: [1.0]}).tolist() == [0, 1]


@pytest.mark.parametrize("value", [None, "", "0"])
def test_padding_is_with_numbers(value):
    with pytest.raises(gc.GraphError):
        gc.pad(gc.constant([1.0]), 1, constant_values=value)


def test_mirrored_padding_of_symbolic_sizes():
    x, width = gc.placeholder("float64", ("n", 4)), gc.placeholder("int32", ())
    y = gc.pad(x, [(width, 2), (0, 1)], "reflect")
    np.testing.assert_array_equal(run(y, {x: A[0], width: 1}), np.pad(A[0], [(1, 2), (0, 1)], "reflect"))


@pytest.mark.parametrize("size", [0, 1, 5])
@pytest.mark.parametrize("step", [None, 1, 2, -1, -3])
def test_slice_bounds_clamp_as_python_does(size, step):
    n = named("n")
    for start in (None, 0, 2, 7, -1, -9):
        for stop in (None, 0, 3, 9, -2, -9):
            wanted = range(size)[start:stop:step]
            first, count = slice_bounds(size, start, stop, step)
            assert count == len(wanted)
            assert not count or first == wanted[0]
            symbolic = [
                gc.sizes.evaluate(s, {gc.sizes.sole_symbol(n): size})
                for s in slice_bounds(n, start, stop, step)
            ]
            assert symbolic[1] == count
            assert not count or symbolic[0] == first


def test_slice_bounds_stay_short():
    n = named("n")
    assert slice_bounds(n, None, None, None) == (0, n)
    assert slice_bounds(n, 0, -1, 1) == (0, gc.sizes.maximum(n - 1, 0))
    assert slice_bounds(n * 2, None, None, 2) == (0, n)


def test_shape_arithmetic_is_known_when_defined():
    x = images()
    rows = gc.shape(x)[0]
    assert as_sizes([rows * 2 + 1, gc.size(x) // rows]) == ((named("batch") * 2 + 1, 784), ())
    assert symbolic_value(gc.cast(gc.stack([rows, 3]), "int32")).tolist() == [named("batch"), 3]
    fed = gc.placeholder("int64", ())
    (size,), (witness,) = as_sizes([fed])
    assert witness.attrs["shape"] == (size,)


def test_shapes_given_by_tensors():
    x = gc.placeholder("float64", (None,))
    n = gc.placeholder("int64", ())
    shape = gc.placeholder("int32", (2,))
    a = np.arange(12.0)
    feeds = {x: a, n: 3, shape: [4, 3]}
    values = run(
        {
            "rows": gc.reshape(x, [n, -1]),
            "vector": gc.reshape(x, shape),
            "zeros": gc.zeros([n, 2]),
            "range": gc.arange(n),
            "down": gc.arange(n, -3, -2),
            "part": gc.slice(x, [n], [2]),
            "rest": gc.slice(x, [n], [-1]),
            "tiled": gc.tile(x, [n]),
            "padded": gc.pad(x, [[n, 1]]),
            "split": gc.split(x, [n, -1])[1],
            "eye": gc.eye(n),
            "line": gc.linspace(0.0, 1.0, n),
            "summed": gc.gradients(gc.sum(gc.reshape(x, [n, -1]) * 2.0), x)[0],
        },
        feeds,
    )
    expected = {
        "rows": a.reshape(3, -1),
        "vector": a.reshape(4, 3),
        "zeros": np.zeros((3, 2)),
        "range": np.arange(3),
        "down": np.arange(3, -3, -2),
        "part": a[3:5],
        "rest": a[3:],
        "tiled": np.tile(a, 3),
        "padded": np.pad(a, (3, 1)),
        "split": a[3:],
        "eye": np.eye(3),
        "line": [0, 0.5, 1],
        "summed": np.full(12, 2.0),
    }
    for name, value in expected.items():
        np.testing.assert_array_equal(values[name], value, err_msg=name)


def test_a_rank_known_only_at_the_run():
    x = gc.placeholder("float64", None)
    y = gc.reshape(x, (-1, 4))
    stated = gc.ensure_shape(x, (None, 3, 4))
    assert y.shape == (None, 4)
    assert stated.shape == (None, 3, 4)
    flat, reversed_axes, same = run([y, gc.transpose(x), stated], {x: A})
    np.testing.assert_array_equal(flat, A.reshape(-1, 4))
    np.testing.assert_array_equal(reversed_axes, A.T)
    np.testing.assert_array_equal(same, A)
    for axis in ((2, 0), (-1, -3), ()):
        np.testing.assert_array_equal(run(gc.expand_dims(x, axis), {x: A}), np.expand_dims(A, axis))
    with pytest.raises(gc.ShapeError, match="the rank must be known"):
        gc.expand_dims(x, (0, -1))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: gc.reshape(A, (5, -1)), gc.ShapeError),
        (lambda: gc.reshape(A, (-1, -1)), gc.ArgumentError),
        (lambda: gc.broadcast_to(A, (2, 3, 5)), gc.ShapeError),
        (lambda: gc.transpose(A, (0, 1, 1)), gc.ShapeError),
        (lambda: gc.expand_dims(A, 5), gc.ShapeError),
        (lambda: gc.squeeze(A, 0), gc.ShapeError),
        (lambda: gc.concat([A, A[:, :2]]), gc.ShapeError),
        (lambda: gc.concat([1.0, 2.0]), gc.ShapeError),
        (lambda: gc.stack([A, A[0]]), gc.ShapeError),
        (lambda: gc.stack([]), gc.ArgumentError),
        (lambda: gc.split(A, 2, 1), gc.ShapeError),
        (lambda: gc.split(A, [1, 1], 1), gc.ShapeError),
        (lambda: gc.slice(A, (0, 0, 2), (1, 1, 3)), gc.ShapeError),
        (lambda: gc.unstack(images()), gc.ShapeError),
        (lambda: gc.pad(A, -1), gc.ShapeError),
        (lambda: gc.pad(A, 1, "wrap"), gc.ArgumentError),
        (lambda: gc.zeros((-2,)), gc.ShapeError),
        (lambda: gc.reshape(A, [gc.constant(2.0), -1]), gc.DTypeError),
        (lambda: gc.ensure_shape(A, (2, 3)), gc.ShapeError),
        (lambda: gc.arange(1, 5, 0), gc.ArgumentError),
    ],
)
def test_refused_when_defined(make, error):
    with pytest.raises(error):
        make()


def test_refused_at_the_run():
    x = gc.placeholder("float64", ("n",))
    n = gc.placeholder("int64", ())
    for bad in (
        gc.split(x, 2)[0],
        gc.reshape(x, (n, 2)),
        gc.slice(x, [n], [1]),
        gc.zeros([n - 6]),
        gc.squeeze(x, 0),
        gc.ensure_shape(x, (4,)),
    ):
        with pytest.raises(gc.GraphError):
            run(bad, {x: np.zeros(5), n: 5})


@pytest.mark.parametrize(
    ("arguments", "dtype"),
    [
        ((5,), "int32"),
        ((1, 6, 2), "int32"),
        ((6, 0, -4), "int32"),
        ((3, 1), "int32"),
        ((0, 1, 0.25), "float32"),
        ((2**40, 2**40 + 3), "int64"),
        ((np.float64(2.5),), "float64"),
    ],
)
def test_arange(arguments, dtype):
    made = gc.arange(*arguments)
    assert made.dtype == dtype
    np.testing.assert_array_equal(run(made), np.arange(*arguments).astype(dtype))


def test_filling():
    np.testing.assert_array_equal(run(gc.eye(2, 4, k=1)), np.eye(2, 4, k=1))
    np.testing.assert_array_equal(run(gc.linspace(-1, 1, 7)), np.linspace(-1, 1, 7, dtype="float32"))
    assert run(gc.linspace(2.0, 3.0, 1)).tolist() == [2.0]
    assert run(gc.full((2,), True)).tolist() == [True, True]
    assert gc.ones((2, 0), "int8").dtype == "int8"
    assert run(gc.zeros(())) == 0
    assert gc.zeros((1000, 1000)).op.name == "broadcast_to"


def test_operands_of_joins_meet_in_one_dtype():
    assert gc.stack([np.float64(1), 2]).dtype == "float64"
    assert gc.concat([np.int8([1]), np.int32([2])]).dtype == "int32"
    with pytest.raises(gc.DTypeError):
        gc.concat([np.int32([1]), np.float32([2])])


def test_unknown_sizes_that_broadcast():
    x, y = gc.placeholder("float64", (None,)), gc.placeholder("float64", (None,))
    z = x + y
    fetches = [gc.reshape(z, (-1, 2)), gc.zeros_like(z), z[1:], gc.flip(z), gc.tile(z, 2), gc.mean(z)]
    a, b = np.ones(1), np.arange(6.0)
    c = a + b
    for made, expected in zip(
        run(fetches, {x: a, y: b}),
        [c.reshape(-1, 2), np.zeros(6), c[1:], c[::-1], np.tile(c, 2), c.mean()],
        strict=True,
    ):
        np.testing.assert_array_equal(made, expected)


def test_gradients_through_sizes_bound_at_the_run():
    x, n = gc.placeholder("float64", (None,)), gc.placeholder("int64", ())
    w = gc.placeholder("float64", (1,))
    (one,) = gc.gradients(gc.mean(gc.broadcast_to(w, [n]) * 1.0), w)
    (part,) = gc.gradients(gc.mean(x[n:]), x)
    assert run(one, {w: [1.0], n: 3}).tolist() == [1.0]
    np.testing.assert_allclose(run(part, {x: np.arange(5.0), n: 2}), [0, 0, 1 / 3, 1 / 3, 1 / 3])


@pytest.mark.parametrize("shape", [(4, 3), None])
def test_parts_bear_the_name_that_they_are_given(shape):
    x = gc.placeholder("float32", shape)
    parts = [*gc.split(x, 2, name="half"), *gc.split(x, [1, 3], name="piece")]
    parts += gc.unstack(x, num=4, name="row")
    expected = ["half", "half_1", "piece", "piece_1", "row", "row_1", "row_2", "row_3"]
    assert [part.name for part in parts] == expected
    feed = np.arange(12.0).reshape(4, 3)
    with gc.Session() as session:
        np.testing.assert_array_equal(session.run("row_2", {x: feed}), feed[2])
        np.testing.assert_array_equal(session.run("piece_1", {x: feed}), feed[1:])


def test_padding_by_nothing_bears_its_name():
    x = gc.placeholder("float32", (2,))
    for mode in ("constant", "reflect"):
        padded = gc.pad(x, 0, mode, constant_values=1, name=f"by_{mode}")
        assert padded.name == f"by_{mode}"
    assert x.name == "placeholder"
