"""Loop kernels mean what NumPy means: sizes from nothing up, all dtypes, indices that are out of range."""

import llvmlite.binding as llvm
import numpy as np
import pytest

import graphc as gc
from graphc.ops.sampling import random_bits
from graphc.ops.source import outer_run_state
from graphc.types import as_dtype

DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64"),
]
SIZES = (0, 1, 17, 5000)


def drawn(shape, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    held = as_dtype(dtype).numpy
    if held.kind == "b":
        return rng.random(shape) < 0.5
    return rng.integers(0, 100, shape).astype(held)


def agree(fetches, feeds, threads=2, exact=True):
    """Runs on both backends; returns how many returns into Python the native program makes."""
    fetches = list(fetches)
    with gc.Session(backend="llvm", threads=threads) as session, gc.Session(backend="numpy") as reference:
        found, expected = session.run(fetches, feeds), reference.run(fetches, feeds)
        for a, b in zip(found, expected, strict=True):
            assert (np.shape(a), np.asarray(a).dtype) == (np.shape(b), np.asarray(b).dtype)
            if exact:
                np.testing.assert_array_equal(a, b)
            else:
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        record = session.compile(fetches, list(feeds)).record
        assert record["native"]["reason"] is None
        return record["native"]["returns"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_gather_and_concat_of_all_dtypes(dtype):
    x = gc.placeholder(dtype, ("n", 6))
    i = gc.placeholder("int32", (None,))
    fetches = [
        gc.gather(x, i), gc.gather(x, i % 6, axis=1), gc.concat([x, x, x], 1), gc.concat([x, x]),
        gc.stack([x, x], -1), gc.stack([x, x]),
    ]  # fmt: skip
    for n in SIZES[1:]:
        for count in (0, 1, 300):
            given = {x: drawn((n, 6), dtype), i: np.random.default_rng(0).integers(-n, n, count)}
            assert agree(fetches, given) == 0
    part = np.zeros((40, 12), np.float64).astype(as_dtype(dtype).numpy)[::2, ::-2]
    assert agree(fetches, {x: part, i: [3, -1]}) == 0


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_an_index_out_of_range_says_which(dtype):
    x, i = gc.placeholder("float32", ("n",), name="x"), gc.placeholder(dtype, (None,), name="i")
    y = gc.gather(x, i) + 1.0
    with gc.Session(backend="llvm") as session:
        run = session.make_callable(y, [x, i])
        values = np.arange(5, dtype=np.float32)
        for bad in (5, 100, -6, -100, 2**63):
            info = np.iinfo(dtype)
            if info.min <= bad <= info.max:
                with pytest.raises(gc.IndexOutOfRangeError, match=f"index {bad} is out of range") as raised:
                    run(values, np.array([0, bad, 1], dtype))
                assert "gather" in str(raised.value)
                assert "test_loops.py" in str(raised.value)
            assert run(values, np.array([4, 0], dtype)).tolist() == [5, 1]
        with pytest.raises(gc.IndexOutOfRangeError):
            run(values[:0], np.array([0], dtype))
        assert run(values[:0], np.zeros(0, dtype)).tolist() == []


def placed(n, rank, shape):
    """Indices of any sign into an axis of size n."""
    return np.random.default_rng(n).integers(-n, n, shape).astype("int64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_indexed_reads_and_writes_of_all_dtypes(dtype):
    x, u = gc.placeholder(dtype, ("n", 6)), gc.placeholder(dtype, ("k", 6))
    i, j = gc.placeholder("int64", ("k",)), gc.placeholder("int16", ("n", 2))
    square, y = gc.transpose(u), gc.transpose(x)
    fetches = [
        gc.scatter_add(x, i, u), gc.scatter_update(x, i, u),
        gc.scatter_add(y, i, square, axis=1), gc.scatter_update(y, i, square, axis=1),
        gc.take_along_axis(x, j, axis=1), gc.take_along_axis(x, gc.expand_dims(i, 1), axis=0),
        gc.gather_nd(x, gc.expand_dims(i, 1)), gc.scatter_nd(gc.expand_dims(i, 1), u, gc.shape(x)),
        gc.segment_sum(u, gc.abs(i) - 2, gc.shape(x)[0]),
    ]  # fmt: skip
    for n in SIZES[1:]:
        for k in (0, 1, 400):
            given = {x: drawn((n, 6), dtype), u: drawn((k, 6), dtype, 1), i: placed(n, 1, k)}
            columns = np.random.default_rng(1).integers(-6, 6, (n, 2))
            kept = fetches if n > 1 else fetches[:-1]
            assert agree(kept, {**given, j: columns}, exact=dtype not in ("float16", "bfloat16")) == 0


def test_sums_of_many_updates_are_exact_and_the_same_for_all_threads():
    n = 300_000
    x, i, u = (
        gc.placeholder("float32", (None,)),
        gc.placeholder("int32", (None,)),
        gc.placeholder("float32", (None,)),
    )
    y = gc.scatter_add(x, i, u)
    values = np.random.default_rng(0).normal(size=n).astype("f4")
    where = np.random.default_rng(1).integers(0, 1000, n)
    bits = set()
    for threads in (1, 2, 4):
        with gc.Session(backend="llvm", threads=threads) as session:
            bits.add(session.run(y, {x: np.ones(1000, "f4"), i: where, u: values}).tobytes())
            ones = session.run(y, {x: np.zeros(3), i: np.full(n, 1), u: np.ones(n)})
            assert ones.tolist() == [0, n, 0]
    assert len(bits) == 1


@pytest.mark.parametrize("call", [
    lambda x, i: gc.gather_nd(x, gc.stack([i, i], 1)),
    lambda x, i: gc.take_along_axis(x, gc.expand_dims(i, 1), axis=1),
    lambda x, i: gc.scatter_add(x, i, gc.gather(x, gc.zeros_like(i))),
    lambda x, i: gc.scatter_update(x, i, gc.gather(x, gc.zeros_like(i)), axis=0),
    lambda x, i: gc.scatter_nd(gc.expand_dims(i, 1), gc.ones_like(i), (3,)),
    lambda x, i: gc.segment_sum(gc.ones_like(i), i, 3),
    lambda x, i: gc.losses.sparse_softmax_cross_entropy(labels=i, logits=x),
])  # fmt: skip
def test_every_index_is_checked(call):
    x, i = gc.placeholder("float32", (3, 3)), gc.placeholder("int64", (3,))
    v = gc.Variable(np.zeros((), np.float32))
    y = call(x, i)
    with gc.Session(backend="llvm") as session, gc.Session(backend="numpy") as reference:
        session.run(v.initializer)
        step = v.assign_add(1.0)
        good = {x: drawn((3, 3)), i: [0, 2, 1]}
        np.testing.assert_allclose(session.run(y, good), reference.run(y, good), rtol=1e-6)
        with pytest.raises(gc.IndexOutOfRangeError, match="77") as raised:
            session.run([y, step], {x: drawn((3, 3)), i: [0, 77, 1]})
        assert "test_loops.py" in str(raised.value)
        assert session.run(v) == 0  # nothing was committed


REDUCTIONS = [gc.mean, gc.max, gc.min, gc.sum, gc.logsumexp]


@pytest.mark.parametrize("shape", [(70, 300), (300, 70), (3, 50_001), (9, 5, 777), (2, 30, 1100)])
@pytest.mark.parametrize("odd", [0, 1, 10**9])
def test_whether_any_or_all_hold_of_many(shape, odd):
    """Bytes fill whole vectors: one of them is otherwise, at either end or in the midst."""
    for axis in (0, tuple(range(1, len(shape))), tuple(range(len(shape)))):
        x = gc.placeholder("bool", shape)
        few = np.zeros(shape, bool)
        few.flat[min(odd, few.size - 1)] = True
        for value in (few, ~few, few * False):
            assert (
                agree([gc.any(x, axis), gc.all(x, axis), gc.max(x, axis), gc.min(x, axis)], {x: value}) == 0
            )


@pytest.mark.parametrize("dtype", DTYPES)
def test_reductions_of_all_dtypes_over_any_axes(dtype):
    x = gc.placeholder(dtype, ("a", 5, "b"))
    fetches = [gc.argmax(x, axis=a) for a in (0, 1, 2, None)] + [
        gc.argmin(x, axis=a) for a in (0, 1, 2, None)
    ]
    reductions = [gc.any, gc.all, gc.max, gc.sum] if dtype == "bool" else REDUCTIONS
    fetches += [f(x, axis=a) for f in reductions for a in (0, 1, 2, (0, 2), (1, 2), None)]
    products = [gc.prod(x, axis=a) for a in (0, 1, 2, (0, 2), None)]
    loose = {"float16": 2e-2, "bfloat16": 4e-2}.get(dtype, 1e-5)
    for a, b in ((1, 1), (17, 3), (3, 17), (90, 33)):
        values = drawn((a, 5, b), dtype)
        if values.dtype.kind == "f":
            values = np.random.default_rng(b).normal(size=(a, 5, b)).astype(values.dtype)
        special = values.copy()
        if values.dtype.kind == "f":
            special[0, 0, 0], special[-1, -1, -1] = np.inf, np.nan
        with gc.Session(backend="llvm") as session, gc.Session(backend="numpy") as reference:
            for given, wanted in ((special, fetches), (values, products)):
                found, expected = session.run(wanted, {x: given}), reference.run(wanted, {x: given})
                for p, q in zip(found, expected, strict=True):
                    assert (p.shape, p.dtype) == (q.shape, q.dtype)
                    np.testing.assert_allclose(p, q, rtol=loose, atol=loose if loose > 1e-3 else 1e-6)


@pytest.mark.parametrize("n", SIZES)
def test_empty_and_long_lines(n):
    x = gc.placeholder("float32", (None, 3))
    fetches = [
        gc.cumsum(x, 0), gc.cumsum(x, 1, exclusive=True), gc.cumprod(x, 0, reverse=True),
        gc.cumsum(x, 0, exclusive=True, reverse=True), gc.cumsum(x), gc.cumsum(x > 0.1, 0),
        gc.sort(x, 0), gc.argsort(x, 0, descending=True), gc.sort(x, -1, descending=True),
        gc.top_k(x, 2)[0], gc.top_k(x, 2)[1], gc.sort(x, None), gc.mean(x, 1), gc.mean(x, 0),
        gc.prod(x, 0), gc.logsumexp(x, 0), gc.any(x > 0, 0), gc.all(x > 0, 1), gc.shape(x), gc.size(x),
        gc.searchsorted(gc.sort(x, None), x), gc.searchsorted(gc.sort(x, None), x, side="right"),
    ]  # fmt: skip
    values = np.random.default_rng(n).normal(size=(n, 3)).round(1).astype("f4")
    if n > 2:
        values[1] = np.nan, -0.0, np.inf
    slots = np.zeros((2 * n, 6), "f4")
    slots[::2, ::-2] = values
    for given in (values, slots[::2, ::-2]):
        agree(fetches, {x: given}, exact=False)


@pytest.mark.parametrize("dtype", DTYPES)
def test_lines_of_all_dtypes(dtype):
    x = gc.placeholder(dtype, ("n", 3))
    fetches = [
        gc.cumsum(x, 0), gc.cumprod(x, 1), gc.sort(x, 0), gc.sort(x, 1, descending=True), gc.argsort(x, 0),
        *gc.top_k(x, 3), gc.argsort(x, 0, descending=True), gc.searchsorted(gc.sort(x, None), x),
    ]  # fmt: skip
    assert agree(fetches, {x: drawn((70, 3), dtype)}, exact=not dtype.endswith("16")) == 0


@pytest.mark.parametrize("n", [0, 1, 3, 4, 17, 4096, 9001])
def test_draws_are_the_same_bits(n):
    fetches = [
        random_bits(outer_run_state(), key=7, shape=(n,), dtype=dtype) for dtype in ("uint32", "uint64")
    ] + [
        draw((n,), dtype=dtype)
        for draw in (gc.random.uniform, gc.random.normal, gc.random.truncated_normal)
        for dtype in ("float16", "bfloat16", "float32", "float64")
    ]  # fmt: skip
    with gc.Session(backend="llvm", seed=5) as session, gc.Session(backend="numpy", seed=5) as reference:
        for _ in range(2):
            for a, b in zip(session.run(fetches), reference.run(fetches), strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)


def test_kernels_are_shared_and_valid():
    """One text whatever the sizes (of lines to sort: of one class); LLVM verifies each."""
    texts = {}
    for n, m in ((4, 300), (9, 1000)):
        x, i = gc.placeholder("float32", (n, m)), gc.placeholder("int32", (n,))
        fetches = [
            gc.gather(x, i), gc.cumsum(x, 0), gc.sort(x, 1), gc.argmax(x, 0), gc.scatter_add(x, i, x),
            gc.concat([x, x], 1), gc.logsumexp(x, 0), gc.random.normal((n, m), seed=n), gc.prod(x, (0, 1)),
            gc.take_along_axis(x, gc.argsort(x, 1), 1),
        ]  # fmt: skip
        with gc.Session(backend="llvm") as session:
            kernels = session.compile(fetches, [x, i]).kernels
        texts[n] = {kernel.text for kernel in kernels}
        for text in texts[n]:
            llvm.parse_assembly(text).verify()
    assert texts[4] == texts[9]


def test_sizes_that_meet_are_one_kernel():
    x, y = gc.placeholder("float32", (None, None)), gc.placeholder("float32", (None,))
    z = gc.placeholder("float32", (None, 4))
    fetches = [x + y, gc.where(x > y, x, z)]
    for n in SIZES:
        assert agree(fetches, {x: drawn((n, 4)), y: drawn(4), z: drawn((n, 4), seed=2)}) == 0
    with gc.Session(backend="llvm") as session:
        assert session.run(fetches[0], {x: np.ones((2, 4)), y: np.ones(1)}).tolist() == [[2.0] * 4] * 2
        with pytest.raises(gc.ShapeError):
            session.run(fetches[0], {x: np.ones((2, 4)), y: np.ones(3)})
