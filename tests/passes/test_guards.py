"""What must not leave loops, be merged or be spread: each guard on a program that it keeps right."""

import numpy as np
import pytest

import graphc as gc

STEPS, BATCH, IN, WIDE = 5, 3, 2, 4
BACKENDS = pytest.mark.parametrize("backend", gc.backends())


def given(**shapes):
    """Placeholders by these names, and numbers for each."""
    tensors = [gc.placeholder("float64", shape, name=name) for name, shape in shapes.items()]
    arrays = [np.random.default_rng(i).normal(size=shape) for i, shape in enumerate(shapes.values())]
    return (*tensors, dict(zip(tensors, arrays, strict=True)))


def values(backend, fetches, feeds=None):
    with gc.Session(backend=backend) as session:
        return session.run(fetches, feeds or {})


def close(found, right):
    assert found.shape == right.shape
    np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-14)


def ops_of(function):
    return [node.op.name for node in function.nodes()]


def loop_in(fetches):
    (made,) = (node for node in gc.optimize(fetches).nodes() if node.op.name == "loop")
    return made


# Sums.


@BACKENDS
def test_a_sum_that_a_step_reads_is_carried(backend):
    x, w, start, feeds = given(x=(STEPS, BATCH, IN), w=(BATCH, WIDE), start=(IN, WIDE))
    last, before = gc.scan(lambda c, z: (c + gc.transpose(gc.tanh(z)) @ w, c), start, x)
    shares = np.einsum("tbi,bw->tiw", np.tanh(feeds[x]), feeds[w])
    sums = feeds[start] + np.concatenate([np.zeros((1, IN, WIDE)), np.cumsum(shares, 0)])
    for found, right in zip(values(backend, [last, before], feeds), (sums[-1], sums[:-1]), strict=True):
        close(found, right)


@BACKENDS
def test_sums_over_axes_are_over_those_axes_of_all_steps(backend):
    x, u, feeds = given(x=(STEPS, BATCH, IN), u=(IN, WIDE))

    def step(carry, z):
        h, product, rows, columns, wide = carry
        new = gc.tanh(z @ u + h)
        share = gc.transpose(z) @ new
        sums = (rows + gc.sum(new, axis=1), columns + gc.sum(new, axis=0))
        return (new, product + share, *sums, wide + gc.sum(new, axis=1, keepdims=True)), None

    shapes = ((BATCH, WIDE), (IN, WIDE), (BATCH,), (WIDE,), (BATCH, 1))
    (_, *sums), _ = gc.scan(step, tuple(gc.zeros(shape, "float64") for shape in shapes), x)
    h, states = np.zeros((BATCH, WIDE)), []
    for z in feeds[x]:
        h = np.tanh(z @ feeds[u] + h)
        states.append(h)
    s = np.stack(states)
    right = (
        np.einsum("tbi,tbw->iw", feeds[x], s),
        s.sum((0, 2)),
        s.sum((0, 1)),
        s.sum((0, 2))[:, None],
    )
    for a, b in zip(values(backend, sums, feeds), right, strict=True):
        close(a, b)
    assert "sum" not in ops_of(loop_in(sums).attrs["body"])


@BACKENDS
def test_the_gradient_of_a_bias_of_rows(backend):
    shapes = {"x": (STEPS, BATCH, IN), "w": (IN, WIDE), "u": (WIDE, WIDE)}
    x, w, u, b, c, feeds = given(**shapes, b=(BATCH, 1), c=(WIDE,))
    last, _ = gc.scan(
        lambda h, z: (gc.tanh(z @ w + h @ u + b + c), None), gc.zeros((BATCH, WIDE), "float64"), x
    )
    slopes = gc.gradients(gc.sum(last * last), [w, u, b, c])
    xs, w_, u_, b_, c_ = feeds.values()
    states = [np.zeros((BATCH, WIDE))]
    for z in xs:
        states.append(np.tanh(z @ w_ + states[-1] @ u_ + b_ + c_))
    right = [np.zeros_like(each) for each in (w_, u_, b_, c_)]
    g = 2 * states[-1]
    for t in reversed(range(STEPS)):
        dz = g * (1 - states[t + 1] ** 2)
        shares = (xs[t].T @ dz, states[t].T @ dz, dz.sum(1, keepdims=True), dz.sum(0))
        right = [total + share for total, share in zip(right, shares, strict=True)]
        g = dz @ u_.T
    for found, each in zip(values(backend, slopes, feeds), right, strict=True):
        close(found, each)


@BACKENDS
def test_a_sum_of_bfloat16_is_rounded_at_every_step(backend):
    x = gc.placeholder("bfloat16", (STEPS, BATCH, IN), name="x")
    w = gc.placeholder("bfloat16", (BATCH, WIDE), name="w")
    start = gc.placeholder("bfloat16", (IN, WIDE), name="start")
    total = gc.scan(lambda c, z: (c + gc.transpose(z) @ w, None), start, x)[0]
    feeds = {x: np.ones((STEPS, BATCH, IN)), w: np.eye(BATCH, WIDE), start: np.full((IN, WIDE), 256.0)}
    found = values(backend, gc.cast(total, "float64"), feeds)
    # A step adds 1 or 0; 257 lies between 256 and 258, so each step goes back to 256.
    np.testing.assert_array_equal(found, np.full((IN, WIDE), 256.0))


# Traces.


def walk(x, u, start):
    """What h and ``h @ u`` are at each step, and the last h, of ``h = tanh(h @ u + x)``."""
    h, states, products = start, [], []
    for z in x:
        states.append(h)
        products.append(h @ u)
        h = np.tanh(products[-1] + z)
    return np.stack(states), np.stack(products), h


@BACKENDS
def test_a_trace_with_other_attributes_is_computed(backend):
    x, u, start, feeds = given(x=(STEPS, BATCH, WIDE), u=(WIDE, WIDE), start=(BATCH, WIDE))

    def step(h, z):
        product = h @ u
        return gc.tanh(product + z), (h, gc.cast(product, "float32"))

    _, (states, narrow) = gc.scan(step, start, x)
    again = gc.cast(states @ u, "int64")
    _, products, _ = walk(*feeds.values())
    found, whole = values(backend, [narrow, again], feeds)
    np.testing.assert_allclose(found, products, rtol=1e-6)
    assert whole.dtype == np.int64
    np.testing.assert_array_equal(whole, np.trunc(products).astype(np.int64))
    assert "matmul" not in ops_of(gc.optimize([narrow, again]))  # the product is the loop's


@BACKENDS
def test_the_last_of_what_is_carried_is_no_trace(backend):
    x, u, start, feeds = given(x=(STEPS, BATCH, WIDE), u=(WIDE, WIDE), start=(BATCH, WIDE))

    def step(h, z):
        product = h @ u
        new = gc.tanh(product + z)
        return new, (h, new + product)

    last, (states, sums) = gc.scan(step, start, x)
    again = last + states @ u
    _, products, h = walk(*feeds.values())
    found, whole = values(backend, [sums, again], feeds)
    close(found, np.tanh(products + feeds[x]) + products)
    close(whole, h + products)


# Invariants.


@BACKENDS
def test_what_has_a_size_of_the_steps_stays_in_them(backend):
    w, start, feeds = given(w=(), start=(2,))

    def step(i, v):
        return i + 1, gc.concat([v + gc.cumsum(gc.full_like(v, w)), v[-1:]], 0)

    _, grown = gc.while_loop(lambda i, v: i < 3, step, (0, start), shape_invariants=((), (None,)))
    right = feeds[start]
    for _ in range(3):
        right = np.concatenate([right + np.cumsum(np.full_like(right, feeds[w])), right[-1:]])
    close(values(backend, grown, feeds), right)


# Equal regions.


@BACKENDS
@pytest.mark.parametrize("region", ["cond", "while_loop"])
def test_equal_regions_that_print_all_print(backend, region, capfd):
    flag = gc.placeholder("bool", (), name="flag")

    def loud(i=0):
        gc.print("loud")
        return i + 1

    def one():
        if region == "cond":
            return gc.cond(flag, lambda: loud(gc.constant(2)), lambda: gc.constant(0))
        return gc.while_loop(lambda i: i < 1, loud, gc.constant(0))

    assert values(backend, [one(), one()], {flag: True}) == ([3, 3] if region == "cond" else [1, 1])
    assert capfd.readouterr().err.count("loud") == 2


@BACKENDS
def test_equal_regions_that_assign_or_draw_all_do(backend):
    flag = gc.placeholder("bool", (), name="flag")
    v = gc.Variable(np.float64(1.0), name="v")

    def add():
        return gc.cond(flag, lambda: v.assign_add(2.0), lambda: v.value())

    def draw():
        zeros = gc.zeros((4,), "float64")
        return gc.cond(flag, lambda: gc.random.normal((4,), dtype="float64"), lambda: zeros)

    first = add()
    with gc.control_dependencies([first]):
        second = add()
    with gc.Session(backend=backend) as session:
        session.run(gc.global_variables_initializer())
        a, b, one, other = session.run([first, second, draw(), draw()], {flag: True})
        assert (a, b, session.run(v)) == (3.0, 5.0, 5.0)
    assert not np.any(one == other)


# Overlaps.


@BACKENDS
def test_a_spread_product_of_bfloat16_is_rounded_before_it_is_added(backend):
    g = gc.placeholder("bfloat16", (1, 3, 2), name="g")
    w = gc.placeholder("bfloat16", (3, 1, 2), name="w")
    spread = gc.einsum("nho,ico->nhic", g, w)
    rows = gc.overlap_add(spread, shape=(1, 5, 1), axes=(1,), strides=(1,), dilations=(1,))
    feeds = {g: np.tile([256.0, 1.0], (1, 3, 1)), w: np.ones((3, 1, 2))}
    found = values(backend, gc.cast(rows, "float64"), feeds)
    counts = np.convolve(np.ones(3), np.ones(3))  # each share is 257, which is 256: 3 * 257 would be 772
    np.testing.assert_array_equal(found.ravel(), 256 * counts)


@BACKENDS
def test_windows_of_bfloat16_side_by_side_are_moved_only(backend):
    x = gc.placeholder("bfloat16", (2, 2, 3, 4), name="x")
    rows = gc.overlap_add(x, shape=(2, 7, 4), axes=(1,), strides=(3,), dilations=(1,))
    given = np.arange(1.0, 49).reshape(2, 2, 3, 4)
    found = values(backend, gc.cast(rows, "float64"), {x: given})
    np.testing.assert_array_equal(found, np.pad(given.reshape(2, 6, 4), ((0, 0), (0, 1), (0, 0))))
    with gc.Session(backend=backend) as session:
        assert not session.compile(rows, [x]).record["fallbacks"]
