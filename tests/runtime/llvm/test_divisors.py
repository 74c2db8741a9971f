"""Integers divided by one number: a multiplication and shifts, exactly what NumPy gives."""

import numpy as np
import pytest

import graphc as gc
from graphc.errors import DivisionError

DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


def divisors(info, rng):
    """Small ones, those beside powers of two, the ends of the range, and some of any size."""
    near = {sign * ((1 << k) + i) for k in range(64) for i in (-1, 0, 1) for sign in (1, -1)}
    found = {3, 5, 7, 10, 100, 641, info.max, info.min, info.min + 1, *near}
    found |= {
        int(x) >> int(rng.integers(0, info.bits)) for x in rng.integers(info.min, info.max, 30, info.dtype)
    }
    return sorted(d for d in found if info.min <= d <= info.max and d)


def numbers(info, d, rng):
    """Multiples of `d` and their neighbours, the ends of the range, and some of any size."""
    beside = [k * d + i for k in range(-40, 41) for i in (-1, 0, 1)]
    many = rng.integers(info.min, info.max, 200, info.dtype, endpoint=True)
    few = many >> many.dtype.type(info.bits // 2)
    last = info.max // abs(d) * d
    beside += [last - 1, last, last + 1, info.min, info.min + 1, info.max - 1, info.max]
    inside = np.array([x for x in beside if info.min <= x <= info.max], info.dtype)
    return np.concatenate([many, few, inside])


def quotients(x, d):
    return [x // d, gc.remainder(x, d), gc.fmod(x, d)]


def agree(found, x, d):
    with np.errstate(over="ignore"):
        for a, b in zip(found, (x // d, x % d, np.fmod(x, d)), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b, err_msg=str(d))


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_divisors_give_what_numpy_gives(dtype):
    rng, info = np.random.default_rng(0), np.iinfo(dtype)
    with gc.Graph().as_default() as graph:
        x, d = gc.placeholder(dtype, ("n",)), gc.placeholder(dtype, ())
        with gc.Session(graph=graph, backend="llvm") as session:
            run = session.make_callable(quotients(x, d), [x, d])
            for number in divisors(info, rng):
                given = numbers(info, number, rng)
                agree(run(given, np.array(number, dtype)), given, np.array(number, dtype))
            for n in (0, 1, 2, 15, 16, 17, 63, 64, 65, 129):
                agree(run(given[:n], np.array(7, dtype)), given[:n], np.array(7, dtype))
            with pytest.raises(DivisionError):
                run(given, np.array(0, dtype))
            assert all(r.size == 0 for r in run(given[:0], np.array(0, dtype)))


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint64"])
def test_rows_and_sums_are_divided_by_one_number_too(dtype):
    x = np.arange(-60, 90).astype(dtype).reshape(10, 15)
    with gc.Graph().as_default() as graph:
        given, d = gc.placeholder(dtype, (10, 15)), gc.placeholder(dtype, (1, 1))
        made = [
            gc.sum(given // 7, axis=1),
            gc.sum(given % d),
            given // gc.expand_dims(given[:, 0] * 0 + 3, 1),
        ]
        with gc.Session(graph=graph, backend="llvm") as session:
            for number in (1, 5, 100):
                by = np.full((1, 1), number, dtype)
                rows, whole, other = session.run(made, {given: x, d: by})
                np.testing.assert_array_equal(rows, np.sum(x // x.dtype.type(7), axis=1))
                np.testing.assert_array_equal(whole, np.sum(x % by))
                np.testing.assert_array_equal(other, x // x.dtype.type(3))
