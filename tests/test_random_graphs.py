"""Random graphs, evaluated by NumPy while they are drawn; their texts, and their gradients."""

import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import graphc as gc
from graphc.sizes import symbols
from graphc.text import as_function

EFFORT = settings(
    max_examples=100, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
DTYPES = ["float64", "float32", "float16", "int8", "int32", "int64", "uint8", "uint64", "bool"]
FLOATS = ("float64", "float32", "float16")
SIZES = st.sampled_from([0, 1, 1, 2, 3, 5])
EDGES = st.sampled_from([0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 127, 128, 130, 1000, 4999])
MOST = 5000  # elements of an input
STEP = 1e-5


class NothingFitsError(Exception):
    """No array drawn so far is what a step needs."""


class Drawing:
    """A graph that grows by random steps, each beside the array that NumPy says it is."""

    def __init__(self, data, dtypes, sizes=SIZES):
        self.draw, self.dtypes, self.sizes = data.draw, dtypes, sizes
        self.rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
        self.pairs, self.feeds = [], {}

    def value(self, dtype, shape):
        kind = np.dtype(dtype).kind
        if kind == "f":
            return self.rng.uniform(-2, 2, shape).astype(dtype)
        if kind == "b":
            return self.rng.random(shape) < 0.5
        return self.rng.integers(0 if kind == "u" else -4, 5, shape).astype(dtype)

    def placeholder(self):
        """A new input; of its sizes some are known, some are not."""
        dtype = self.draw(st.sampled_from(self.dtypes))
        shape = tuple(self.draw(st.lists(self.sizes, max_size=3)))
        while math.prod(shape) > MOST:
            shape = shape[1:]
        array = self.laid_out(np.asarray(self.value(dtype, shape)))
        if self.draw(st.booleans()):
            declared = shape
        else:
            hide = self.draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
            declared = tuple(None if h else n for h, n in zip(hide, shape, strict=True))
        x = gc.placeholder(dtype, declared, name=f"x{len(self.feeds)}")
        self.feeds[x] = array
        return self.add(x, array)

    def laid_out(self, array):
        """The same elements, side by side or apart, backwards, or with another axis innermost."""
        way = self.draw(st.sampled_from(["plain", "plain", "apart", "backwards", "turned"]))
        if way == "plain" or not array.ndim:
            return array
        if way == "turned":
            return np.asfortranarray(array)
        room = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        part = room[..., ::2] if way == "apart" else room[..., array.shape[-1] :][..., ::-1]
        part[...] = array
        return part

    def add(self, tensor, array):
        self.pairs.append((tensor, np.asarray(array)))
        return self.pairs[-1]

    def is_fed(self, tensor):
        """Whether the sizes of `tensor` follow from those of the inputs, and not from a value."""
        fed = {symbol for x in self.feeds for size in x.result.sizes for symbol in symbols(size)}
        return all(symbol in fed for size in tensor.result.sizes for symbol in symbols(size))

    def pick(self, wanted=lambda a: True):
        fitting = [i for i, (_, array) in enumerate(self.pairs) if wanted(array)]
        if not fitting:
            raise NothingFitsError
        return self.pairs[self.draw(st.sampled_from(fitting))]

    def step(self):
        kind = self.draw(st.sampled_from(sorted(STEPS)))
        with np.errstate(all="ignore"), suppress(NothingFitsError):
            STEPS[kind](self)


STEPS = {}


def step(function):
    STEPS[function.__name__] = function
    return function


def axis_of(d, a):
    return d.draw(st.integers(-a.ndim, a.ndim - 1))


@step
def binary(d):
    x, a = d.pick()
    y, b = d.pick(lambda b: b.dtype == a.dtype and broadcasts(a, b))
    if a.shape != b.shape and not (d.is_fed(x) and d.is_fed(y)):
        return  # only what is fed broadcasts by a size that is 1 in this run
    names = ["logical_and", "logical_or", "equal", "maximum"]
    if a.dtype.kind != "b":
        names = ["add", "sub", "mul", "maximum", "minimum", "less", "equal", "greater_equal", "not_equal"]
    name = d.draw(st.sampled_from(names))
    ufunc = {"sub": "subtract", "mul": "multiply"}.get(name, name)
    d.add(getattr(gc, name)(x, y), getattr(np, ufunc)(a, b))


def broadcasts(a, b):
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return False
    return True


@step
def scalar(d):
    x, a = d.pick(lambda a: a.dtype.kind in "fiu")
    if a.dtype.kind == "f":
        number = d.draw(st.sampled_from([2, 0.5, -1.5, -0.0]))
    else:
        number = d.draw(st.sampled_from([0, 1, 3]))
    d.add(x * number, a * a.dtype.type(number))


@step
def unary(d):
    x, a = d.pick(lambda a: a.dtype.kind in "fi")
    name = d.draw(st.sampled_from(["neg", "abs", "sign", "square"]))
    ufunc = {"neg": "negative", "abs": "absolute"}.get(name, name)
    d.add(getattr(gc, name)(x), getattr(np, ufunc)(a))


@step
def smooth(d):
    x, a = d.pick(lambda a: a.dtype.kind == "f")
    name = d.draw(st.sampled_from(["sin", "cos", "tanh"]))
    d.add(getattr(gc, name)(x), getattr(np, name)(a))


@step
def reduction(d):
    x, a = d.pick(lambda a: a.dtype.kind != "b" and a.dtype != np.float16)
    axes = tuple(sorted(set(d.draw(st.lists(st.integers(0, a.ndim - 1), max_size=2))))) if a.ndim else ()
    axis = d.draw(st.sampled_from([None, axes]))
    keep = d.draw(st.booleans())
    reduced = [a.shape[i] for i in (range(a.ndim) if axis is None else axis)]
    names = ["sum", "prod"] if 0 in reduced else ["sum", "max", "min"]
    if a.dtype.kind == "f" and 0 not in reduced:
        names.append("mean")
    name = d.draw(st.sampled_from(names))
    d.add(getattr(gc, name)(x, axis=axis, keepdims=keep), getattr(np, name)(a, axis=axis, keepdims=keep))


@step
def position(d):
    x, a = d.pick(lambda a: a.ndim and a.dtype.kind != "b" and a.size)
    axis = axis_of(d, a)
    name = d.draw(st.sampled_from(["argmax", "argmin", "cumsum", "sort"]))
    if name != "cumsum" or a.dtype != np.float16:
        d.add(getattr(gc, name)(x, axis=axis), getattr(np, name)(a, axis=axis))


@step
def any_all(d):
    x, a = d.pick(lambda a: a.dtype.kind == "b")
    name = d.draw(st.sampled_from(["any", "all"]))
    d.add(getattr(gc, name)(x), getattr(np, name)(a))


@step
def transpose(d):
    x, a = d.pick()
    axes = d.draw(st.permutations(range(a.ndim)))
    d.add(gc.transpose(x, axes), np.transpose(a, axes))


@step
def flatten(d):
    x, a = d.pick()
    if a.size:
        d.add(gc.reshape(x, (-1,)), a.reshape(-1))
    else:
        d.add(gc.expand_dims(x, 0), a[None])


@step
def joined(d):
    x, a = d.pick(lambda a: a.ndim)
    axis = axis_of(d, a)
    if d.draw(st.booleans()):
        d.add(gc.concat([x, x], axis=axis), np.concatenate([a, a], axis))
    else:
        d.add(gc.stack([x, x], axis=axis), np.stack([a, a], axis))


@step
def basic_index(d):
    x, a = d.pick(lambda a: a.ndim)
    bound = st.one_of(st.none(), st.integers(-6, 6))
    kinds = [st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, -1, -2])), st.none()]
    if a.shape[0]:
        kinds.append(st.integers(-a.shape[0], a.shape[0] - 1))
    first = d.draw(st.one_of(kinds))
    key = (first, ..., d.draw(kinds[0])) if a.ndim > 1 else (first,)
    d.add(x[key], a[key])


@step
def gathered(d):
    x, a = d.pick(lambda a: a.ndim and a.shape[0])
    indices = d.rng.integers(-a.shape[0], a.shape[0], d.draw(st.sampled_from([(), (0,), (3,), (2, 2)])))
    d.add(gc.gather(x, indices, axis=0), np.take(a, indices, axis=0))


@step
def masked(d):
    x, a = d.pick(lambda a: a.ndim == 1 and a.dtype.kind != "b")
    d.add(gc.boolean_mask(x, x > 0), a[a > 0])


@step
def selected(d):
    x, a = d.pick(lambda a: a.dtype.kind != "b")
    d.add(gc.where(x > 0, x, x * 2), np.where(a > 0, a, a * a.dtype.type(2)))


@step
def cast(d):
    x, a = d.pick(lambda a: a.dtype.kind in "bi" or a.dtype == np.float32)
    dtype = d.draw(st.sampled_from(["float64", "int64"] if a.dtype.kind != "f" else ["float64", "float32"]))
    d.add(gc.cast(x, dtype), a.astype(dtype))


@step
def branch(d):
    x, a = d.pick(lambda a: a.dtype.kind == "f")
    condition = (a.sum(dtype="float64") if a.size else 0.0) > 0
    test = gc.sum(gc.cast(x, "float64")) > 0
    d.add(gc.cond(test, lambda: x * 3, lambda: -x), a * a.dtype.type(3) if condition else -a)


@step
def product(d):
    x, a = d.pick(lambda a: a.ndim == 2 and a.dtype in (np.float64, np.int64, np.int32))
    d.add(x @ gc.matrix_transpose(x), a @ a.T)


def drawn(data, dtypes=tuple(DTYPES), steps=10, sizes=SIZES):
    d = Drawing(data, dtypes, sizes)
    for _ in range(data.draw(st.integers(1, 3))):
        d.placeholder()
    for _ in range(data.draw(st.integers(1, steps))):
        d.step()
    return d


def assert_same(found, right, text):
    narrow = any(array.dtype == np.float32 for array in right)  # and some of it cast to float64
    for value, wanted in zip(found, right, strict=True):
        value = np.asarray(value)
        assert value.dtype == wanted.dtype, text
        assert value.shape == wanted.shape, text
        loose = {"float16": 1e-2, "float32": 1e-4}.get(str(wanted.dtype), 1e-4 if narrow else 1e-9)
        scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=1) if wanted.dtype.kind == "f" else 1
        np.testing.assert_allclose(value, wanted, rtol=loose, atol=loose * scale, err_msg=text)


@pytest.mark.parametrize("sizes", [SIZES, EDGES], ids=["small", "edges of vectors"])
@pytest.mark.parametrize("backend", gc.backends())
@EFFORT
@given(st.data())
def test_a_run_is_what_numpy_says(backend, sizes, data):
    with gc.Graph(seed=0).as_default():
        d = drawn(data, sizes=sizes)
        tensors, right = [t for t, _ in d.pairs], [a for _, a in d.pairs]
        with gc.Session(backend=backend) as session:
            assert_same(session.run(tensors, d.feeds), right, gc.show(tensors))


@EFFORT
@given(st.data())
def test_text_round_trips_and_means_the_same(data):
    with gc.Graph(seed=0).as_default():
        d = drawn(data)
    tensors, right = [t for t, _ in d.pairs], [a for _, a in d.pairs]
    gc.verify(as_function(tensors))
    text, beside = gc.show_with_data(tensors)
    graph = gc.parse(text, data=beside)
    assert gc.show_with_data(graph)[0] == text
    with gc.Session(graph=graph) as session:
        feeds = {x.name: array for x, array in d.feeds.items()}
        assert_same(session.run(list(graph.function.outputs), feeds), right, text)


@EFFORT
@given(st.data())
def test_a_gradient_is_the_slope(data):
    with gc.Graph(seed=0).as_default() as graph:
        d = drawn(data, ("float64",), steps=5, sizes=st.sampled_from([1, 2, 3]))
        xs = list(d.feeds)
        d.rng = np.random.default_rng(0)
        total = gc.constant(0.0, "float64")
        for tensor, array in d.pairs:
            if array.dtype == np.float64:
                total = total + gc.sum(gc.sin(tensor) * d.rng.uniform(0.5, 1.5, array.shape))
        slopes = gc.gradients(total, xs, unconnected="zero")
        text = gc.show(total)
        with gc.Session(graph=graph) as session:
            found = session.run(slopes, d.feeds)
            for x, slope in zip(xs, found, strict=True):
                assert slope.shape == d.feeds[x].shape, text
                for place in list(np.ndindex(slope.shape))[:4]:
                    ends = []
                    for sign in (1, -1, 2, -2):
                        moved = d.feeds[x].copy()
                        moved[place] += sign * STEP
                        ends.append(session.run(total, {**d.feeds, x: moved}))
                    near, far = (ends[0] - ends[1]) / (2 * STEP), (ends[2] - ends[3]) / (4 * STEP)
                    if abs(near - far) > 1e-4 * (1 + abs(near)):
                        continue  # a kink or a jump lies in between
                    np.testing.assert_allclose(slope[place], near, rtol=1e-4, atol=1e-4, err_msg=text)
