"""Ranks that only the run knows: those of what a step in Python gives that declares a dtype alone."""

import numpy as np
import pytest

import graphc as gc

X = np.array([1.0, -2.0, 3.0])
pytestmark = pytest.mark.usefixtures("each_backend")


def run(fetches, feeds):
    with gc.Session() as session:
        return session.run(fetches, feeds)


def cube_in_python(type):
    """``x**3`` as a step in Python whose result is declared as `type`, with its gradient."""

    @gc.custom_gradient
    def cube(x):
        return gc.py_func(lambda a: a**3, [x], type), lambda dy: dy * 3 * x * x

    return cube


@pytest.mark.parametrize(
    "follow",
    [
        gc.sum,
        gc.mean,
        gc.min,
        gc.var,
        gc.nn.softmax,
        lambda y: gc.sum(y, axis=-1, keepdims=True),
        lambda y: gc.mean(y, axis=-1, keepdims=True),
        lambda y: gc.boolean_mask(y, y > 0.0) * 2.0,
        lambda y: gc.reshape(y, (-1,)) + gc.reshape(y, (1, -1)),
        lambda y: gc.cond(gc.sum(y) > 0.0, lambda: y * 2.0, lambda: y),
        lambda y: gc.expand_dims(y[-1], (0, 1)),
    ],
)
def test_values_of_a_rank_that_only_the_run_knows(follow):
    x = gc.placeholder("float64", (3,), name="x")
    results = [follow(gc.py_func(np.square, [x], type)) for type in ("float64", ("float64", (3,)))]
    np.testing.assert_allclose(*run(results, {x: X}), rtol=1e-14, strict=True)


@pytest.mark.parametrize(
    "follow",
    [
        gc.sum,
        gc.mean,
        gc.max,
        gc.logsumexp,
        lambda y: gc.sum(gc.tanh(y / 30.0) * 2.0 - 1.0),
        lambda y: gc.sum(gc.mean(y * y + 1.0, keepdims=True)),
        lambda y: gc.cond(gc.sum(y) > 0.0, lambda: gc.sum(y) * 2.0, lambda: gc.sum(y)),
        lambda y: gc.ensure_shape(y, (3,)) * X,
    ],
)
def test_slopes_through_a_rank_that_only_the_run_knows(follow):
    x = gc.placeholder("float64", (3,), name="x")
    found = []
    for type in ("float64", ("float64", (3,))):
        y = follow(cube_in_python(type)(x))
        found.append(run([y, *gc.gradients(y, [x])], {x: X}))
    for unknown, known in zip(*found, strict=True):
        np.testing.assert_allclose(unknown, known, rtol=1e-14, strict=True)


@pytest.mark.parametrize("follow", [gc.prod, gc.var, lambda y: gc.sum(y, -1), lambda y: y * X])
def test_a_slope_that_needs_a_rank_which_only_the_run_knows_says_so(follow):
    x = gc.placeholder("float64", (3,), name="x")
    y = follow(cube_in_python("float64")(x))
    with pytest.raises(gc.ShapeError, match=r"(?s)needs the rank of .*ensure_shape.*test_unknown_ranks.py:"):
        run(gc.gradients(y, [x])[0], {x: X})


@pytest.mark.parametrize(
    "take",
    [
        lambda x: x[..., 0],
        lambda x: x[..., [1, 0, -1]],
        lambda x: x[1, ...],
        lambda x: x[None],
        lambda x: x[..., None],
        lambda x: x[...],
        lambda x: x[..., 0, 1],
    ],
)
def test_an_index_of_a_fed_rank(take):
    x = gc.placeholder("float64", None, name="x")
    for fed in (np.arange(6.0).reshape(2, 3), np.arange(8.0).reshape(2, 2, 2)):
        np.testing.assert_array_equal(run(take(x), {x: fed}), take(fed), strict=True)
    for refused in (lambda: x[[0], [1]], lambda: x[..., gc.constant([True, False])]):
        with pytest.raises(gc.ShapeError, match="ensure_shape"):
            refused()


@pytest.mark.parametrize(
    "take",
    [
        lambda y: y[1:],
        lambda y: y[:, None],
        lambda y: y[0, 1],
        lambda y: y[:, :, 1],
        lambda y: y[::-1, 1:-1],
        lambda y: y[..., 1:, 0],
        lambda y: y[1:, ..., None, ::2],
        lambda y: y[None, -1, ..., -1:],
        lambda y: y[5:],
        lambda y: gc.flip(y, 1) * gc.flip(y, (0, -1)),
        lambda y: gc.matrix_transpose(y),
        lambda y: gc.pad(y, [(1, 0), (0, 2), (1, 1)], "reflect"),
        lambda y: gc.pad(y, np.array([(1, 0), (0, 2), (1, 1)]), "symmetric"),
        lambda y: gc.pad(y, [(1, 2), (0, 1), (2, 0)], constant_values=7),
        lambda y: gc.pad(y, gc.constant([(1, 0), (0, 2), (1, 1)])),
        lambda y: gc.slice(y, (0, 1, 1), (-1, 2, 2)),
    ],
)
def test_what_is_taken_of_a_rank_that_is_fed(take):
    fed = np.arange(24.0).reshape(2, 3, 4)
    found = []
    for shape in (None, fed.shape):
        x = gc.placeholder("float64", shape)
        y = take(x)
        found.append(run([y, *gc.gradients(gc.sum(gc.sin(y)), [x])], {x: fed}))
    for unknown, known in zip(*found, strict=True):
        np.testing.assert_allclose(unknown, known, rtol=1e-14, strict=True)


def test_a_key_that_needs_the_rank_and_one_of_too_many_axes():
    x = gc.placeholder("float64")
    with pytest.raises(gc.ShapeError, match="ensure_shape"):
        x[[0, 1], [1, 0]]
    with pytest.raises(gc.ShapeError, match="axis 0 is out of range"):
        run(x[0, 0], {x: X})


WAITING = {
    "roll": lambda x: gc.roll(x, 1),
    "roll along an axis": lambda x: gc.roll(x, 4, axis=-1),
    "roll along two": lambda x: gc.roll(x, (1, -1), axis=(0, 1)),
    "tile": lambda x: gc.tile(x, 2),
    "tile by an array": lambda x: gc.tile(x, np.array([2, 1, 3])),
    "tril": gc.tril,
    "triu": lambda x: gc.triu(x, 1),
    "split": lambda x: gc.concat(gc.split(x, 2, 0)[::-1], 0),
    "split by sizes": lambda x: gc.concat(gc.split(x, [1, -1], -1)[::-1], -1),
    "unstack": lambda x: gc.stack(gc.unstack(x, num=2)[::-1]),
    "tensordot": lambda x: gc.tensordot(x, np.arange(6.0).reshape(3, 2), 1),
    "tensordot of axes": lambda x: gc.tensordot(np.arange(4.0).reshape(2, 2), x, ((0,), (0,))),
    "flip": gc.flip,
}


@pytest.mark.parametrize("name", WAITING)
def test_functions_that_depend_on_the_rank_wait_for_it(name):
    value, follow = np.arange(1.0, 7.0).reshape(2, 3), WAITING[name]
    x, known = gc.placeholder("float64", shape=None), gc.placeholder("float64", (2, 3))
    results, slopes = [], []
    for given in (x, known):
        y = follow(given)
        results.append(y)
        slopes += gc.gradients(gc.sum(y * y), given)
    found = run([results, slopes], {x: value, known: value})
    np.testing.assert_array_equal(*found[0], strict=True)
    np.testing.assert_array_equal(*found[1], strict=True)
    in_python = follow(gc.py_func(lambda a: a, [known], "float64"))  # of which only the run knows the rank
    np.testing.assert_array_equal(run(in_python, {known: value}), found[0][0], strict=True)
    assert gc.show(gc.parse(gc.show(in_python))) == gc.show(in_python)


def test_what_waits_for_a_rank_leaves_nothing_behind_once_it_is_known():
    x = gc.placeholder("float32", shape=None)
    with gc.Session() as session:
        session.run(gc.sum(gc.roll(x, 1) * gc.tril(x)), {x: np.ones((3, 3), np.float32)})
    y = gc.roll(x, 1, name="y")
    with gc.Session() as session:
        np.testing.assert_array_equal(session.run(y, {x: np.float32([1, 2])}), [2, 1])
        np.testing.assert_array_equal(session.run("y", {x: np.float32([[1, 2]])}), [[2, 1]])
        assert session.compile(y, {x: np.float32([1, 2])}).function.nodes()
        for node in session.compile(y, {x: np.float32([1, 2])}).function.nodes():
            assert node.op.name != "at_rank"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: gc.tril(x), "two axes, not"),
        (lambda x: gc.split(x, 2, 3), "axis 3"),
        (lambda x: gc.split(x, 2, 0), "2 parts do not divide|do not make up axis 0"),
        (lambda x: gc.unstack(x, num=2), "sizes differ: . = 3 and 2|has not 2 parts"),
    ],
)
def test_a_rank_that_does_not_fit_is_an_error_once_it_is_known(call, says):
    x, known = gc.placeholder("float64", shape=None), gc.placeholder("float64", (3,))
    with pytest.raises(gc.ShapeError, match=says):
        run(call(x), {x: X})
    with pytest.raises(gc.ShapeError, match=says):
        run(call(gc.py_func(lambda a: a, [known], "float64")), {known: X})


def test_what_needs_the_rank_at_definition_says_which():
    x = gc.placeholder("float64", shape=None)
    with pytest.raises(
        gc.ShapeError, match=r"nonzero: the rank of x must be known.* gc.ensure_shape states it"
    ):
        gc.nonzero(x)
    with pytest.raises(gc.ShapeError, match=r"unstack: .* give num"):
        gc.unstack(x)
    with pytest.raises(
        gc.ArgumentError, match=r"roll: with an argument that is a tensor, .* gc.ensure_shape"
    ):
        gc.roll(x, gc.constant(1))


@pytest.mark.parametrize("rank_is_fed", [True, False])
def test_an_op_that_accepts_one_rank_alone_tells_the_sizes_of_its_result(rank_is_fed):
    """What follows knows them: ``x.T[1:]`` begins where a row ends."""
    fed = gc.placeholder("float64", None if rank_is_fed else (2, 3))
    x = fed if rank_is_fed else gc.py_func(np.copy, [fed], "float64")
    turned = gc.transpose(x, (1, 0))
    array = np.arange(6.0).reshape(2, 3)
    wanted = [array.T[1:], array.T.reshape(1, -1), np.minimum(array.T, 2.0)[::-1, 1:]]
    found = run([turned[1:], gc.reshape(turned, [1, -1]), gc.minimum(turned, 2.0)[::-1, 1:]], {fed: array})
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_one_broadcasts_where_a_fed_rank_tells_it():
    x, y = gc.placeholder("float64", None), gc.placeholder("float64", (None,))
    total = gc.transpose(x, (1, 0)) + y
    array = np.arange(2.0).reshape(2, 1)
    np.testing.assert_array_equal(run(total[:, 1:], {x: array.T, y: [1.0]}), (array + 1.0)[:, 1:])
    np.testing.assert_array_equal(run(total[:, 1:], {x: array.T, y: np.ones(4)}), (array + np.ones(4))[:, 1:])
    np.testing.assert_array_equal(run(total, {x: np.ones((3, 2)), y: [1.0]}), np.full((2, 3), 2.0))


def test_ranks_are_tried_once(monkeypatch):
    """A call tries each rank that an operand may have, and does not ask again what it found."""
    tried = []

    def counted(*operands, rule=gc.sum.rule, **attrs):
        tried.append(len(operands[0].type.shape))
        return rule(*operands, **attrs)

    monkeypatch.setattr(gc.sum, "rule", counted)
    gc.sum(gc.placeholder("float32", None), axis=0)
    assert tried == list(range(1, 7))
