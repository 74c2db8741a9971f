"""Every backend means the same: one suite for all of them, against NumPy in float64."""

import numpy as np
import pytest

import graphc as gc
from tests.passes import test_cases
from tests.passes.test_cases import numbers

pytestmark = pytest.mark.parametrize("backend", gc.backends())


CASES = [case.values[0] for case in test_cases.CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.stem}: {case.title}")
def test_the_cases_of_passes(backend, case):
    if case.after.startswith("error"):
        with pytest.raises(gc.GraphError):
            numbers(case.before, case, backend)
        return
    for text in (case.before, case.after)[: 1 if case.after == "unchanged" else 2]:
        try:
            expected = numbers(text, case, "numpy")
        except (gc.DivisionError, gc.ShapeError) as refused:  # drawn numbers that the case cannot take
            with pytest.raises(type(refused)):
                numbers(text, case, backend)
            continue
        for (name, a), (_, b) in zip(numbers(text, case, backend), expected, strict=True):
            assert np.asarray(a).dtype == np.asarray(b).dtype
            last_bits = {np.float32: 1e-6, np.float16: 2e-3}.get(np.asarray(b).dtype.type, 1e-12)
            np.testing.assert_allclose(a, b, rtol=last_bits, atol=last_bits / 4, err_msg=name)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def session(backend):
    with gc.Graph(seed=1).as_default(), gc.Session(backend=backend) as opened:
        yield opened


TOLERANCE = {"float64": {"rtol": 1e-10, "atol": 1e-12}, "float32": {"rtol": 2e-4, "atol": 2e-5}}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("batch", [1, 7, 0])
def test_perceptron_with_gradients(session, rng, dtype, batch):
    x = gc.placeholder(dtype, ("batch", 5), name="x")
    labels = gc.placeholder("int64", ("batch",), name="labels")
    a, b = rng.normal(size=(5, 4)), rng.normal(size=(4, 3))
    bias = rng.normal(size=4)
    w, v, c = gc.Variable(a, dtype), gc.Variable(b, dtype), gc.Variable(bias, dtype)
    logits = gc.tanh(x @ w + c) @ v
    loss = gc.sum(gc.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits))
    session.run(gc.global_variables_initializer())
    data, truth = rng.normal(size=(batch, 5)), rng.integers(0, 3, batch)
    found = session.run([loss, *gc.gradients(loss, [w, v, c, x])], {x: data, labels: truth})

    hidden = np.tanh(data @ a + bias)
    chances = softmax(hidden @ b) if batch else np.zeros((0, 3))
    slope = chances - np.eye(3)[truth]
    inner = (slope @ b.T) * (1 - hidden**2)
    expected = [
        -np.log(chances[np.arange(batch), truth]).sum(),
        data.T @ inner,
        hidden.T @ slope,
        inner.sum(0),
        inner @ a.T,
    ]
    for value, right in zip(found, expected, strict=True):
        assert value.dtype == dtype
        np.testing.assert_allclose(value, right, **TOLERANCE[dtype])


def convolved(x, f):
    """SAME, stride 1, NHWC and HWIO, by the definition."""
    n, h, w, _ = x.shape
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    result = np.zeros((n, h, w, f.shape[3]))
    for i in range(3):
        for j in range(3):
            result += padded[:, i : i + h, j : j + w] @ f[i, j]
    return result


def test_convolutional_net(session, rng):
    images, filters = rng.normal(size=(2, 6, 4, 3)), rng.normal(size=(3, 3, 3, 2))
    x = gc.placeholder("float64", (None, 6, 4, 3), name="x")
    f = gc.Variable(filters)
    y = gc.nn.max_pool(gc.nn.relu(gc.nn.conv2d(x, f)), 2, strides=2, padding="VALID")
    session.run(f.initializer)
    value, slope = session.run([y, gc.gradients(gc.sum(y), [f])[0]], {x: images})

    rectified = np.maximum(convolved(images, filters), 0)
    blocks = rectified.reshape(2, 3, 2, 2, 2, 2)  # n, h, ih, w, iw, c
    np.testing.assert_allclose(value, blocks.max((2, 4)), rtol=1e-12)
    assert value.shape == (2, 3, 2, 2)
    chosen = (blocks == blocks.max((2, 4), keepdims=True)) & (blocks > 0)
    g = chosen.astype(float).reshape(rectified.shape)
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
    for i in range(3):
        for j in range(3):
            right = np.einsum("nhwi,nhwo->io", padded[:, i : i + 6, j : j + 4], g)
            np.testing.assert_allclose(slope[i, j], right, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("value", [-2.0, 3.0])
def test_branches(session, value):
    x = gc.placeholder("float64", (), name="x")
    w = gc.Variable(10.0, dtype="float64", name="w")
    session.run(w.initializer)
    y = gc.cond(x > 0, lambda: w.assign(x * w), lambda: gc.exp(x))
    found = session.run([y, *gc.gradients(y, [x])], {x: value})
    right = [value * 10, 10.0] if value > 0 else [np.exp(value)] * 2
    np.testing.assert_allclose(found, right, rtol=1e-14)
    assert session.run(w) == (value * 10 if value > 0 else 10)


def test_a_while_loop(session):
    x = gc.placeholder("float64", (), name="x")
    limit = gc.placeholder("int32", (), name="limit")
    _, power = gc.while_loop(lambda i, p: i < limit, lambda i, p: (i + 1, p * x), [0, gc.ones((), "float64")])
    fetches = [power, *gc.gradients(power, [x])]
    for n in (0, 1, 5):
        np.testing.assert_allclose(
            session.run(fetches, {x: 1.5, limit: n}), [1.5**n, n * 1.5 ** max(n - 1, 0)]
        )
    assert session.compile_count == 1


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan(session, rng, reverse):
    xs = gc.placeholder("float64", ("time", 2), name="xs")
    a = rng.normal(size=(2, 2))
    last, all_ = gc.scan(
        lambda h, x: (gc.tanh(h @ a + x),) * 2, gc.zeros((2,), "float64"), xs, reverse=reverse
    )
    (slope,) = gc.gradients(gc.sum(last), [xs])
    data = rng.normal(size=(4, 2))
    end, every, found = session.run([last, all_, slope], {xs: data})

    order = range(4)[:: -1 if reverse else 1]
    h, states = np.zeros(2), {}
    for t in order:
        h = states[t] = np.tanh(h @ a + data[t])
    g, right = np.ones(2), np.zeros((4, 2))
    for t in reversed(order):
        right[t] = g * (1 - states[t] ** 2)
        g = right[t] @ a.T
    np.testing.assert_allclose(end, h, rtol=1e-12)
    np.testing.assert_allclose(every, [states[t] for t in range(4)], rtol=1e-12)
    np.testing.assert_allclose(found, right, rtol=1e-10, atol=1e-14)


def test_training_and_its_state(session, rng):
    data, target = rng.normal(size=(20, 3)), rng.normal(size=20)
    w = gc.Variable(np.zeros(3), name="w")
    loss = gc.mean(gc.square(gc.constant(data) @ w - target))
    step = gc.train.Momentum(0.1, momentum=0.5).minimize(loss)
    session.run(gc.global_variables_initializer())
    weights, speed = np.zeros(3), np.zeros(3)
    for _ in range(5):
        session.run(step)
        speed = 0.5 * speed + 2 / 20 * data.T @ (data @ weights - target)
        weights = weights - 0.1 * speed
    np.testing.assert_allclose(session.run(w), weights, rtol=1e-12)


def test_sizes_known_at_the_run_only(session):
    x = gc.placeholder("float64", (None,), name="x")
    kept = gc.boolean_mask(x, x > 0)
    values, where = gc.unique(x, return_inverse=True)
    fetches = [kept, gc.sum(kept), gc.gradients(gc.sum(kept * kept), [x])[0], values, where, gc.nonzero(x)[0]]
    for data in (np.array([1.0, -2, 3, 1]), np.zeros(0), np.array([-1.0])):
        found = session.run(fetches, {x: data})
        positive = data[data > 0]
        right = [
            positive,
            positive.sum(),
            np.where(data > 0, 2 * data, 0),
            *np.unique(data, return_inverse=True),
        ]
        for a, b in zip(found, [*right, np.nonzero(data)[0]], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int32", "int64", "uint64", "float16", "bfloat16", "float32"]
)
def test_arithmetic_of_each_dtype(session, dtype):
    held = "float32" if dtype == "bfloat16" else dtype
    a, b = np.array([100, 3, 7, 0], held), np.array([100, 2, 3, 5], held)
    x, y = gc.placeholder(dtype, (4,), name="x"), gc.placeholder(dtype, (4,), name="y")
    found = session.run([x + y, x * y, gc.maximum(x, y), x < y, gc.sum(x)], {x: a, y: b})
    with np.errstate(over="ignore"):
        right = [a + b, a * b, np.maximum(a, b), a < b, a.sum()]
    for value, wanted in zip(found, right, strict=True):
        assert value.dtype == wanted.dtype
        np.testing.assert_allclose(value, wanted, rtol=2**-8 if dtype == "bfloat16" else 0)


def test_an_effect_around_a_branch_runs_whichever_is_taken(session):
    w = gc.Variable(0.0, name="w")
    added = w.assign_add(1.0)
    p = gc.placeholder("bool", ())
    for predicate, feeds in ((gc.constant(True), {}), (p, {p: True}), (p, {p: False})):
        y = gc.cond(predicate, lambda: gc.constant(1.0), lambda: added * 1.0)
        session.run(w.initializer)
        session.run(y, feeds)
        assert session.run(w) == 1.0


def test_an_effect_in_a_branch_that_is_known_runs_once(session, capsys):
    def loud():
        gc.print("here")
        return gc.constant(1.0)

    def inner():
        return gc.cond(gc.constant(True), loud, lambda: gc.constant(2.0))

    p = gc.placeholder("bool", ())
    session.run(gc.cond(p, inner, lambda: gc.constant(3.0)), {p: True})
    seen = capsys.readouterr()
    assert (seen.out + seen.err).count("here") == 1


def test_fetching_what_is_made_behind_an_assignment_runs_it(session):
    w = gc.Variable(0.0, name="w")
    with gc.control_dependencies([w.assign(5.0)]):
        for made in (gc.constant(1.0), gc.zeros((2,)), gc.identity(3), gc.group(), w.value()):
            session.run(w.initializer)
            session.run(made)
            assert session.run(w) == 5.0, made
