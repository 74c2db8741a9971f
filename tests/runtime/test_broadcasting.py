"""Unknown sizes that meet: taken as equal, and where a run feeds 1 for one of them, broadcast."""

import numpy as np
import pytest

import graphc as gc

FED = [([1], [0, 1, 2]), ([0, 1, 2], [1]), ([1, 2, 3], [0, 1, 2]), ([1], [2]), ([1], []), ([], [])]


def spread(fed, slope):
    """`slope` as the gradient of what was fed: summed where that was repeated."""
    return slope.sum(keepdims=True) if len(fed) == 1 != len(slope) else slope


# What is done with u + v in the graph, and in NumPy.
USES = {
    "reversed": (lambda z: z[::-1], lambda z: z[::-1]),
    "without first": (lambda z: z[1:], lambda z: z[1:]),
    "last two": (lambda z: z[-2:], lambda z: z[-2:]),
    "every second": (lambda z: z[::2], lambda z: z[::2]),
    "reshape": (lambda z: gc.reshape(z, [-1, 1]), lambda z: z.reshape(-1, 1)),
    "reshape by shape": (lambda z: gc.reshape(z, [1, gc.shape(z)[0]]), lambda z: z.reshape(1, -1)),
    "tile": (lambda z: gc.tile(z, [2]), lambda z: np.tile(z, 2)),
    "pad": (lambda z: gc.pad(z, [[1, 2]]), lambda z: np.pad(z, (1, 2))),
    "roll": (lambda z: gc.roll(z, 1), lambda z: np.roll(z, 1)),
    "concat": (lambda z: gc.concat([z, z], 0), lambda z: np.concatenate([z, z])),
    "half of two": (lambda z: gc.split(gc.concat([z, z], 0), 2)[1], lambda z: z),
    "ones_like": (lambda z: gc.ones_like(z), np.ones_like),
    "zeros": (lambda z: z + gc.zeros(gc.shape(z)), lambda z: z),
    "full": (lambda z: gc.full([gc.size(z), 2], 1.5), lambda z: np.full((z.size, 2), 1.5, np.float32)),
    "arange": (lambda z: gc.arange(gc.size(z)), lambda z: np.arange(z.size)),
    "eye": (lambda z: gc.eye(gc.shape(z)[0]), lambda z: np.eye(len(z), dtype=np.float32)),
    "shape": (lambda z: gc.shape(z), lambda z: np.array(z.shape)),
    "draw": (lambda z: gc.random.uniform(gc.shape(z)) * 0.0, np.zeros_like),
    "mask": (lambda z: gc.boolean_mask(z, z > 1), lambda z: z[z > 1]),
    "cumsum": (lambda z: gc.cumsum(z, 0), np.cumsum),
}


@pytest.mark.parametrize("use", USES)
def test_sizes_of_a_result_that_broadcasts(use):
    in_graph, in_numpy = USES[use]
    with gc.Graph(seed=0).as_default(), gc.Session(backend="numpy") as session:
        u, v = (gc.placeholder("float32", (None,), name=name) for name in "uv")
        result = in_graph(u + v)
        for a, b in FED:
            x, y = np.array(a, np.float32), np.array(b, np.float32)
            found, expected = session.run(result, {u: x, v: y}), in_numpy(x + y)
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, err_msg=f"{a} {b}")


def test_gradients_through_sizes_of_a_result():
    with gc.Graph().as_default(), gc.Session(backend="numpy") as session:
        u, v = (gc.placeholder("float32", (None,), name=name) for name in "uv")
        z = u + v
        slopes = gc.gradients(gc.sum(z[::-1] * z * gc.ones(gc.shape(z))), [u, v])
        for a, b in FED:
            x, y = np.array(a, np.float32), np.array(b, np.float32)
            slope = 2 * (x + y)[::-1]
            found = session.run(slopes, {u: x, v: y})
            np.testing.assert_allclose(found[0], spread(x, slope))
            np.testing.assert_allclose(found[1], spread(y, slope))


def test_sizes_of_one_placeholder_stay_symbols():
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (None, 6), name="x")
        h = gc.tanh(x @ gc.ones([6, 4]) + gc.ones([4]))
        y = gc.reshape(h, [gc.shape(h)[0] * 2, -1])
        assert y.shape[1] == 2
        assert "extent" not in gc.show(y)


def test_a_size_computed_of_a_name_broadcasts_and_the_name_does_not(each_backend):
    with gc.Graph().as_default():
        x, other = gc.placeholder("float64", ("batch", 2)), gc.placeholder("float64", ("other", 2))
        y = x - x[:1]
        (slope,) = gc.gradients(gc.sum(y * y), [x])
        with gc.Session() as session:
            for count in (4, 1, 0, 3, 4):
                value = np.arange(2.0 * count).reshape(count, 2) ** 2
                less = value - value[:1]
                towards = 2 * less
                towards[:1] -= 2 * less.sum(0)
                found = session.run([y, slope], {x: value})
                np.testing.assert_array_equal(found[0], less)
                np.testing.assert_allclose(found[1], towards)
            with pytest.raises(gc.ShapeError, match="batch = 3 and other = 1"):
                session.run(x + other, {x: np.ones((3, 2)), other: np.ones((1, 2))})


def test_a_one_that_is_fed_meets_a_size_that_only_the_run_knows(each_backend):
    x, y = gc.placeholder("float64", (None,)), gc.placeholder("float64", (None,))
    kept = gc.boolean_mask(x, x > 0) * y
    count = gc.Variable(0, name="count")
    fetches = [kept, *gc.gradients(gc.sum(kept), [x, y]), count.assign_add(1)]
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        step = session.make_callable(fetches, [x, y])

        def found(*feeds):
            return [value.tolist() for value in step(*feeds)]

        assert found([1.0, 2.0, -1.0], [1.0, 2.0]) == [[1, 4], [1, 2, 0], [1, 2], 1]
        built = session.compile_count
        assert found([1.0, 2.0, -1.0], [5.0]) == [[5, 10], [5, 5, 0], [3], 2]
        assert found([1.0, 2.0, 3.0], [5.0]) == [[5, 10, 15], [5, 5, 5], [6], 3]
        assert found([1.0, -1.0], [5.0]) == [[5], [5, 0], [1], 4]
        assert session.compile_count == built + 1
        for few in ([1.0, -1.0], [1.0, 2.0, 3.0]):  # what is not fed broadcasts only where it is known to
            with pytest.raises(gc.ShapeError, match="mul: sizes differ"):
                step(few, [5.0, 6.0])
        assert session.run(count) == 4


def test_a_name_does_not_broadcast_against_a_size_that_only_the_run_knows(each_backend):
    x, y = gc.placeholder("float64", (None,)), gc.placeholder("float64", ("n",))
    with gc.Session() as session, pytest.raises(gc.ShapeError, match="mul: sizes differ"):
        session.run(gc.boolean_mask(x, x > 0) * y, {x: [1.0, 2.0], y: [5.0]})


def test_a_one_that_is_fed_does_not_fit_where_nothing_broadcasts(each_backend):
    x, y = gc.placeholder("float64", (None,)), gc.placeholder("float64", (None,))
    with gc.Session() as session, pytest.raises(gc.ShapeError, match=r"matmul: .*sizes differ"):
        session.run(gc.boolean_mask(x, x > 0) @ y, {x: [1.0, 2.0], y: [5.0]})


def test_what_runs_by_its_meaning_meanwhile_broadcasts_too():
    x, y = gc.placeholder("float64", (None,)), gc.placeholder("float64", (None,))
    with gc.Session(tiered=True) as session:
        for _ in range(3):
            kept = session.run(gc.boolean_mask(x, x > 0) * y, {x: [1.0, 2.0], y: [5.0]})
            assert kept.tolist() == [5, 10]


@pytest.mark.parametrize("use", USES)
def test_a_computed_size_that_is_one_broadcasts(use, each_backend):
    """What follows has the size of the result, as that of the operand is written in it."""
    made, meant = USES[use]
    x, y = gc.placeholder("float64", ("A",)), gc.placeholder("float64", (None,))
    long, short = np.arange(6.0), np.array([10.0, 20.0, 30.0])
    for part in (lambda v: v[:-3:-2], lambda v: v[5:], lambda v: v[2:3]):
        with gc.Session() as session:
            found = session.run(made(part(x) + y), {x: long, y: short})
        np.testing.assert_array_equal(found, meant(part(long) + short))


def test_a_one_broadcasts_where_others_must_be_ones_too(each_backend):
    """With the first 1 alone, the other size would have to be two more than itself."""
    x, y = gc.placeholder("float64", (None,)), gc.placeholder("float64", (None,))
    three = gc.concat([x, y, x], 0)
    with gc.Session() as session:
        found = session.run([three + y, x + three], {x: [1.0], y: [2.0]})
    np.testing.assert_array_equal(found, [[3.0, 4.0, 3.0], [2.0, 3.0, 2.0]])


# Parts of what is joined: of as many as all that is joined, less a number.
PARTS = {
    "behind": slice(5, None),
    "backwards": slice(None, 1, -1),
    "the last": slice(-6, None),
    "every third": slice(1, None, 3),
}


@pytest.mark.parametrize("part", PARTS)
def test_what_is_joined_of_what_broadcast_and_what_did_not_has_its_size(part, each_backend):
    x, y = (gc.placeholder("float32", (None,), name=name) for name in "xy")
    z = x + y
    result = gc.concat([z, x, z], 0)[PARTS[part]] * 2.0
    with gc.Session(backend=each_backend) as session:
        for a, b in (([1.0], [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], [5.0]), ([1.0, 2.0], [3.0, 4.0])):
            one, other = np.array(a, np.float32), np.array(b, np.float32)
            expected = np.concatenate([one + other, one, one + other])[PARTS[part]] * 2
            np.testing.assert_array_equal(session.run(result, {x: one, y: other}), expected)


def test_a_size_that_is_equal_only_at_the_run_repeats_nothing(each_backend):
    x, like = gc.placeholder("int32", (1, 8)), gc.placeholder("float32", (None, None))
    spread = gc.broadcast_to(x, gc.shape(like))
    row = np.arange(8, dtype=np.int32)[None]
    with gc.Session() as session:
        found = session.run([spread[:3], gc.roll(spread, 2, 0)], {x: row, like: np.zeros((4, 8))})
    np.testing.assert_array_equal(found[0], np.repeat(row, 3, 0))
    np.testing.assert_array_equal(found[1], np.repeat(row, 4, 0))


def test_bodies_begin_with_what_was_broadcast(each_backend):
    """A loop hands on a value of the size that its start has then; so do the branches of a cond."""
    u, z, xs = (gc.placeholder("float64", (None,)) for _ in range(3))
    least = gc.minimum(u, z)
    fetches = [
        gc.while_loop(lambda i, h: i < 3, lambda i, h: (i + 1, h * 2.0), [gc.constant(0), least])[1][1:],
        gc.scan(lambda h, e: (h * e, h), least, xs)[0][::-1],
        gc.cond(gc.sum(u) > 0.0, lambda: least * 2.0, lambda: z)[1:],
    ]
    slopes = gc.gradients(sum(gc.sum(fetch * fetch) for fetch in fetches), [u, z])
    many = np.array([2.0, 3.0, 4.0])
    with gc.Session() as session:
        for one in ([1.0], [-1.0], [1.0] * 3):
            found = session.run([*fetches, *slopes], {u: one, z: many, xs: [2.0, 0.5, 3.0]})
            start = np.minimum(one, many)
            tail = start * 2.0 if one[0] > 0 else many
            for a, b in zip(found, [start[1:] * 8.0, start[::-1] * 3.0, tail[1:]], strict=False):
                np.testing.assert_array_equal(a, b)
            assert found[3].shape == (len(one),)


@pytest.mark.parametrize("taken", [True, False])
def test_a_branch_that_broadcasts_beside_one_that_does_not(taken, each_backend):
    """Their results are of one size as defined, and of two where a 1 is fed."""
    w, v = gc.placeholder("float64", (None, None)), gc.placeholder("float64", (None,))
    p = gc.placeholder("bool", ())
    chosen = gc.cond(p, lambda: gc.tanh(w) + v, lambda: -w)
    slopes = gc.gradients(gc.sum(chosen[:, 1:]), [w, v])
    with gc.Session() as session:
        for width, other in ((1, 4), (4, 4), (4, 1), (1, 1)):
            wide, line = np.ones((3, width)), np.arange(float(other))
            feeds = {w: wide, v: line, p: taken}
            found = session.run([chosen, chosen[:, 1:] * 2.0, gc.ones_like(chosen), *slopes], feeds)
            meant = np.tanh(wide) + line if taken else -wide
            for a, b in zip(found, [meant, meant[:, 1:] * 2.0, np.ones_like(meant)], strict=False):
                np.testing.assert_allclose(a, b, rtol=1e-12, strict=True)
            assert [slope.shape for slope in found[3:]] == [wide.shape, line.shape]


def test_what_is_asked_of_a_tensor_has_its_sizes(each_backend):
    """A triangle and a dropout are of what the 1 was broadcast to, not of the 1, in a body too."""
    u, v = gc.placeholder("float64", (None,)), gc.placeholder("float64", ("rows", None))
    met = gc.maximum(u, v)
    fetches = [gc.tril(met), gc.triu(met), gc.map_fn(lambda row: gc.triu(met), met)]
    dropped = gc.nn.dropout(gc.ones_like(met), 0.5, seed=1)
    square = np.arange(1.0, 65.0).reshape(8, 8)
    with gc.Session() as session:
        for one in ([0.0], np.zeros(8)):
            low, high, many, kept = session.run([*fetches, dropped], {u: one, v: square})
            np.testing.assert_array_equal(low, np.tril(square))
            np.testing.assert_array_equal(high, np.triu(square))
            np.testing.assert_array_equal(many, np.tile(np.triu(square), (8, 1, 1)))
            assert any(len(set(row)) == 2 for row in kept.tolist())


def test_a_size_that_a_rank_tells_is_no_size_of_the_run(each_backend):
    """Once the rank is fed, arithmetic on shapes is known: what it gives broadcasts, in a body too."""
    x, rows = gc.placeholder("float64", None), gc.placeholder("float64", (None,))
    merged = gc.reshape(x, gc.stack([gc.shape(x)[0], gc.prod(gc.shape(x)[1:])]))
    square = merged + x
    (slope,) = gc.gradients(gc.sum(square * square), [x])
    cut = gc.placeholder("float64", (4,)) * x[2:-1]
    stacked = gc.sinh(gc.map_fn(lambda row: x[:-1] * row, rows))
    line, one = np.arange(4.0), np.array([2.0])
    with gc.Session() as session:
        found = session.run([square, slope, cut, stacked], {x: line, rows: one, cut.inputs[0]: line})
        np.testing.assert_array_equal(found[0], line[:, None] + line)
        np.testing.assert_array_equal(found[1], 24.0 + 16.0 * line)
        np.testing.assert_array_equal(found[2], 2.0 * line)
        np.testing.assert_allclose(found[3], np.sinh(2.0 * line[None, :3]), rtol=1e-14)
        with pytest.raises(gc.GraphError, match="sizes differ"):
            session.run(cut, {x: np.arange(6.0), cut.inputs[0]: line})


@pytest.mark.parametrize("taken", [True, False])
def test_branches_of_an_unknown_rank_that_are_of_two_sizes(taken, each_backend):
    x, wide = gc.placeholder("float64", None), gc.placeholder("float64", (None, None))
    p = gc.placeholder("bool", ())
    chosen = gc.cond(p, lambda: (x + wide) * 2.0, lambda: gc.tanh(x) + wide[:1])
    cut = gc.cond(p, lambda: x[:1], lambda: x) * 3.0
    (slope,) = gc.gradients(gc.sum(chosen), [x])
    line, many = np.arange(3.0)[:, None], np.arange(12.0).reshape(3, 4)
    with gc.Session() as session:
        found = session.run([chosen, cut, slope], {x: line, wide: many, p: taken})
    meant = (line + many) * 2.0 if taken else np.tanh(line) + many[:1]
    np.testing.assert_allclose(found[0], meant, rtol=1e-14, strict=True)
    np.testing.assert_array_equal(found[1], (line[:1] if taken else line) * 3.0)
    np.testing.assert_allclose(found[2], 8.0 + 0.0 * line if taken else 4.0 / np.cosh(line) ** 2, rtol=1e-14)


def test_the_slope_of_a_stack_that_met_a_name(each_backend):
    """What a product hands back is as wide as the name says; how many were stacked is known."""
    x, weights = gc.placeholder("float64", (None,)), gc.placeholder("float64", ("rows", 3))
    product = gc.matmul(gc.stack([x, x * 2.0], 1), weights)
    (slope,) = gc.gradients(gc.sum(product * product), [x])
    with gc.Session() as session:
        found = session.run(slope, {x: np.arange(3.0), weights: np.ones((2, 3))})
    np.testing.assert_array_equal(found, 54.0 * np.arange(3.0))


IMAGE_FUNCTIONS = {
    "average": lambda t: gc.nn.avg_pool(t, 2, padding="SAME"),
    "largest": lambda t: gc.nn.max_pool(t, 2, padding="SAME"),
    "largest and where": lambda t: gc.nn.max_pool_with_argmax(t, 2, strides=2, padding="SAME"),
    "put back": lambda t: gc.nn.max_unpool(*gc.nn.max_pool_with_argmax(t, 1), gc.shape(t)[1:3]),
    "resized": lambda t: gc.nn.resize_nearest(t, (3, 4)),
    "padded": lambda t: gc.pad(t, [[0, 0], [1, 2], [0, 0], [0, 0]], constant_values=2.5),
}


@pytest.mark.parametrize("name", IMAGE_FUNCTIONS)
def test_images_that_a_one_was_broadcast_to_have_their_own_height(name, each_backend):
    function = IMAGE_FUNCTIONS[name]
    row, grid = gc.placeholder("float64", (None, None, None, 1)), gc.placeholder("float64", (None,) * 4)
    whole = gc.placeholder("float64", (2, 4, 5, 3))
    ones, steps = np.ones((2, 1, 5, 1)), np.arange(60.0).reshape(1, 4, 5, 3)
    found, expected = [], []
    with gc.Session() as session:
        for x, inputs, into, feeds in (
            (row + grid, [row, grid], found, {row: ones, grid: steps}),
            (whole, [whole], expected, {whole: ones + steps}),
        ):
            y = function(x)
            results = list(y) if isinstance(y, tuple) else [y]
            into.extend(session.run([*results, *gc.gradients(gc.sum(gc.sin(results[0])), inputs)], feeds))
    *expected, slope = expected
    summed = slope.sum((1, 3), keepdims=True), slope.sum(0, keepdims=True)
    for one, other in zip(found, (*expected, *summed), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


EQUATIONS = (
    "ij,ij->ij",
    "ij,ij->i",
    "ij,jk->ik",
    "abc,abc->b",
    "iij,jjk->k",
    "...ij,...jk->...ik",
    "i,i",
    "ij,ij,ij->j",
)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("equation", EQUATIONS)
def test_axes_of_one_letter_broadcast_as_in_numpy(equation, known, each_backend):
    terms = equation.split("->")[0].split(",")
    letters = sorted(set("".join(terms)) - {"."})
    for chosen in range(len(terms)):
        for letter in [x for x in letters if x in terms[chosen]]:
            shapes = [
                (2,) * ("..." in term)
                + tuple(1 if (n, x) == (chosen, letter) else 2 + letters.index(x) for x in term.strip("."))
                for n, term in enumerate(terms)
            ]
            arrays = [np.random.default_rng(n).normal(size=shape) for n, shape in enumerate(shapes)]
            with gc.Graph().as_default(), gc.Session() as session:
                xs = [gc.placeholder("float64", a.shape if known else (None,) * a.ndim) for a in arrays]
                y = gc.einsum(equation, *xs)
                feeds = dict(zip(xs, arrays, strict=True))
                value, slopes = session.run([y, gc.gradients(gc.sum(gc.sin(y)), xs)], feeds)
            np.testing.assert_allclose(value, np.einsum(equation, *arrays), rtol=1e-12, strict=True)
            for n, (slope, array) in enumerate(zip(slopes, arrays, strict=True)):
                assert slope.shape == array.shape
                at, eps = (0,) * array.ndim, 1e-6
                ends = []
                for step in (eps, -eps):
                    moved = [a.copy() for a in arrays]
                    moved[n][at] += step
                    ends.append(np.sin(np.einsum(equation, *moved)).sum())
                np.testing.assert_allclose(slope[at], (ends[0] - ends[1]) / (2 * eps), rtol=1e-6, atol=1e-8)


ALIKE = {
    "tensordot": (lambda x, y: gc.tensordot(x, y, 1), [(2, 1), (3, 2)]),
    "attention of another depth": (
        lambda q, k: gc.nn.dot_product_attention(q, k, k),
        [(3, 1), (3, 2)],
    ),
    "attention of other values": (lambda k, v: gc.nn.dot_product_attention(k, k, v), [(3, 2), (1, 2)]),
    "convolution": (gc.nn.conv2d, [(1, 4, 4, 1), (2, 2, 3, 2)]),
    "convolution by channels": (gc.nn.depthwise_conv2d, [(1, 4, 4, 1), (2, 2, 3, 2)]),
}


@pytest.mark.parametrize("name", ALIKE)
def test_what_an_einsum_is_made_for_does_not_broadcast_its_letters(name, each_backend):
    function, shapes = ALIKE[name]
    x, y = (gc.placeholder("float64", (None,) * len(shape)) for shape in shapes)
    z = function(x, y)
    with gc.Session() as session, pytest.raises(gc.ShapeError):
        session.run(z, {x: np.ones(shapes[0]), y: np.ones(shapes[1])})
    with pytest.raises(gc.ShapeError):
        function(gc.placeholder("float64", shapes[0]), gc.placeholder("float64", shapes[1]))


def test_products_that_are_infinite_are_those_of_elements(each_backend):
    """What one operand alone has is not summed before it is multiplied."""
    x, y = gc.placeholder("float32", (2, None, None)), gc.placeholder("float32", (None, None))
    big = np.full((2, 3, 4), 3e38, np.float32)
    with gc.Session() as session:
        product = gc.einsum("abc,cd->bd", x, y)
        found = session.run(product, {x: big, y: np.full((4, 2), 1e-30)})
        np.testing.assert_allclose(found, np.full((3, 2), 24e8), rtol=1e-6)
        np.testing.assert_array_equal(session.run(product, {x: big, y: np.zeros((4, 2))}), np.zeros((3, 2)))
