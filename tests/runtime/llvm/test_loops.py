"""Loop kernels mean what NumPy means: sizes from nothing up, all dtypes, indices that are out of range."""

import numpy as np
import pytest

import graphc as gc
from graphc.types import as_dtype

DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64"),
]
SIZES = (0, 1, 17, 5000)


@pytest.fixture(autouse=True)
def graph():
    with gc.Graph(seed=3).as_default() as opened:
        yield opened


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
