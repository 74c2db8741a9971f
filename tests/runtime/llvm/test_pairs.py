"""Products of bfloat16 and of bytes: by dot instructions, and as any CPU has them."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest

import graphc as gc
from graphc.conversion import round_to_bfloat16
from graphc.sizes import Symbol, named
from graphc.types import BFLOAT16, INT8, UINT8
from runtime.llvm_backend.contractions.pair_kernel import emit_pairs
from runtime.llvm_backend.contractions.pairs import PAIRS, QUADRUPLES, ROUNDED, has_dots
from runtime.llvm_backend.engine.machine import host
from tests.runtime.llvm import contracts
from tests.runtime.llvm.contracts import Loaded, make_buffers, view
from tests.runtime.llvm.frontends import matmul
from tests.runtime.llvm.levels import run_at_level

M, N, B = (named(name) for name in "MNB")
needs_pairs = pytest.mark.skipif(not has_dots(host(), PAIRS), reason="the CPU has no vdpbf16ps")
needs_bytes = pytest.mark.skipif(not has_dots(host(), QUADRUPLES), reason="the CPU has no vpdpbusd")

SHAPES = [
    (2, 2, 2),
    (3, 70, 5),
    (70, 3, 65),
    (8, 16, 7),
    (17, 33, 29),
    (31, 64, 4),
    (65, 130, 70),
    (70, 69, 131),
]
FORMS = {
    **{f"{shape}": (matmul(*shape), {}) for shape in SHAPES},
    "x transposed": (matmul(37, 50, 43, transpose_x=True), {}),
    "y transposed": (matmul(37, 50, 43, transpose_y=True), {}),
    "both transposed": (matmul(37, 50, 43, transpose_x=True, transpose_y=True), {}),
    "squares of x": (matmul(37, 50, 171, transpose_x=True), {}),
    "squares of y": (matmul(37, 230, 171, transpose_y=True), {}),
    "batch": (matmul(9, 20, 11, batch=[(2, True, True), (3, True, True)]), {}),
    "batch of rows": (matmul(9, 20, 11, batch=[(5, True, False)]), {}),
    "sizes at the run": (matmul(M, N, 29), {"M": 23, "N": 75}),
    "one row at the run": (matmul(M, 40, 30), {"M": 1}),
    "no row at the run": (matmul(M, 40, 30), {"M": 0}),
    "batch at the run": (matmul(M, 40, 30, batch=[(B, True, True)], transpose_y=True), {"M": 10, "B": 3}),
}


def of_bfloat16(contract):
    return replace(contract, epilogue=ROUNDED, values=BFLOAT16)


def of_bytes(contract, dtype):
    ins = tuple(replace(access, dtype=dtype) for access in contract.ins)
    return replace(contract, ins=ins, out=replace(contract.out, dtype=dtype))


def load(contract, width):
    """The kernel by dot instructions, however small."""
    machine = replace(host(), vector_bytes=width)

    def emit(contract, _, target):
        made = emit_pairs(contract, machine, target=target, always=True)
        assert made is not None
        return made

    with patch.object(contracts, "emit_contraction", emit):
        return Loaded(contract)


def exact(contract, buffers, values, kind):
    """The sums, in `kind`; the operands lie as `contract` says."""
    sizes = {dim.name: contracts.number(dim.size, values) for dim in contract.dims}
    letters = dict(zip(sizes, "abcdefgh", strict=False))
    arrays, terms = [], []
    for access in contract.ins:
        steps = [contracts.number(stride, values) for stride in access.strides.values()]
        shape = [sizes[name] for name in access.strides]
        data = buffers[access.buffer].astype(kind)
        apart = [step * data.itemsize for step in steps]
        strided = np.lib.stride_tricks.as_strided(data, shape, apart)
        arrays.append(strided if 0 not in shape else np.zeros(shape, kind))
        terms.append("".join(letters[name] for name in access.strides))
    result = "".join(letters[dim.name] for dim in contract.output_dims)
    return np.einsum(f"{','.join(terms)}->{result}", *arrays)


@needs_pairs
@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("form", FORMS)
def test_pairs_of_bfloat16(form, width):
    contract, sizes = FORMS[form]
    contract = of_bfloat16(contract)
    values = {Symbol(name): size for name, size in sizes.items()}
    loaded = load(contract, width)
    assert "dpbf16ps" in loaded.kernel.text
    buffers = make_buffers(contract, values)
    for access in contract.ins:
        buffers[access.buffer] = round_to_bfloat16(buffers[access.buffer])
    loaded(buffers, values)
    found = view(contract, buffers["out"], values)
    wanted = exact(contract, buffers, values, np.float64)
    assert np.array_equal(found, round_to_bfloat16(np.ascontiguousarray(found)))
    np.testing.assert_allclose(found, wanted, rtol=2**-8, atol=1e-5)


@needs_bytes
@pytest.mark.parametrize(("dtype", "width"), [(INT8, 64), (UINT8, 32)], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_quadruples_of_bytes_wrap(form, dtype, width):
    contract, sizes = FORMS[form]
    contract = of_bytes(contract, dtype)
    values = {Symbol(name): size for name, size in sizes.items()}
    loaded = load(contract, width)
    assert "vpdpbusd" in loaded.kernel.text
    buffers = make_buffers(contract, values)
    random, limits = np.random.default_rng(1), np.iinfo(dtype.numpy)
    for access in contract.ins:
        size = buffers[access.buffer].size
        buffers[access.buffer] = random.integers(limits.min, limits.max + 1, size).astype(dtype.numpy)
    loaded(buffers, values)
    wanted = exact(contract, buffers, values, np.int64).astype(dtype.numpy)
    np.testing.assert_array_equal(view(contract, buffers["out"], values), wanted)


@needs_pairs
def test_nan_and_infinity_are_those_of_float32():
    contract = of_bfloat16(matmul(24, 40, 10))
    x, y = np.ones((24, 10), np.float32), np.ones((10, 40), np.float32)
    x[1, 3], x[2, 4], x[3, 5], x[3, 6] = np.nan, np.inf, np.inf, -np.inf
    y[7, 5], y[4, 6] = np.inf, 0
    x[4] = y[:, 9] = 3e38
    out = np.empty((24, 40), np.float32)
    load(contract, 64)({"x": x.ravel(), "y": y.ravel(), "out": out.reshape(-1)})
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(out, round_to_bfloat16(round_to_bfloat16(x) @ round_to_bfloat16(y)))


@needs_pairs
def test_denormals_count_as_zero_in_dot_instructions_alone():
    tiny, big = np.float32(2.0**-130), np.float32(2.0**120)
    x, y = np.full((16, 8), tiny), np.full((8, 32), big)
    contract = of_bfloat16(matmul(16, 32, 8))
    buffers = {"x": x.ravel(), "y": y.ravel(), "out": np.empty(16 * 32, np.float32)}
    load(contract, 64)(buffers)
    assert (buffers["out"] == 0).all()
    Loaded(contract)(buffers)
    assert (buffers["out"] == 8 * 2.0**-10).all()


def test_only_products_that_are_worth_it_and_can_be_are_packed():
    if not (has_dots(host(), PAIRS) and has_dots(host(), QUADRUPLES)):
        assert emit_pairs(of_bfloat16(matmul(128, 128, 128)), replace(host(), bf16=False)) is None
        return
    assert emit_pairs(of_bfloat16(matmul(128, 128, 128)), host()) is not None
    for contract in (
        matmul(128, 128, 128),  # float32
        of_bfloat16(matmul(16, 16, 16)),
        of_bfloat16(matmul(4, 2000, 2000)),
        of_bfloat16(matmul(128, 128, 70_000)),  # its sums are cut in parts
        of_bfloat16(matmul(128, 128, M)),
        of_bfloat16(matmul(128, 0, 128)),
        of_bytes(matmul(1, 128, 10_000), INT8),
    ):
        assert emit_pairs(contract, host()) is None
    assert emit_pairs(of_bfloat16(matmul(128, 128, 128)), replace(host(), bf16=False)) is None
    widened = emit_pairs(of_bytes(matmul(128, 128, 128), UINT8), replace(host(), int8=False))
    assert "pmadd" in widened.text
    assert "vpdpbusd" not in widened.text


# Through sessions: what the machine has, and what every machine of a level has.


def multiply(x, y, dtype, threads=2):
    with gc.Graph().as_default() as graph:
        given = [gc.placeholder(dtype, a.shape) for a in (x, y)]
        result = gc.matmul(*given)
        with gc.Session(graph, backend="llvm", threads=threads) as session:
            executable = session.compile(result, given)
            assert not [s for s in executable.record["program"]["steps"] if s.get("kind") == "meaning"]
            return session.run(result, dict(zip(given, (x, y), strict=True)))


def check_products(sizes):
    random = np.random.default_rng(0)
    for m, n, k in sizes:
        x, y = (round_to_bfloat16(random.standard_normal(s).astype(np.float32)) for s in ((m, k), (k, n)))
        found, wanted = multiply(x, y, "bfloat16"), x.astype(np.float64) @ y
        assert found.dtype == np.float32
        assert np.array_equal(found, round_to_bfloat16(found))
        np.testing.assert_allclose(found, wanted, rtol=2**-8, atol=1e-5 * max(k, 1) ** 0.5)
        for dtype in ("int8", "uint8"):
            x, y = (random.integers(0, 256, s).astype(dtype) for s in ((m, k), (k, n)))
            wanted = (x.astype(np.int64) @ y.astype(np.int64)).astype(dtype)
            np.testing.assert_array_equal(multiply(x, y, dtype), wanted)


SIZES = [(1, 1, 1), (0, 3, 4), (3, 0, 4), (3, 4, 0), (7, 70, 33), (69, 1, 70), (70, 67, 69), (97, 101, 103)]


def test_products_of_sessions():
    check_products(SIZES)


@pytest.mark.parametrize("level", ["x86-64-v3", "x86-64-v4"])
def test_products_of_a_level(level):
    run_at_level(level, "from tests.runtime.llvm.test_pairs import *; check_products(SIZES)")


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_threads_do_not_change_bits(dtype):
    random = np.random.default_rng(3)
    x, y = (random.standard_normal(shape).astype(np.float32) for shape in ((300, 257), (257, 190)))
    if dtype == "bfloat16":
        x, y = round_to_bfloat16(x), round_to_bfloat16(y)
    else:
        x, y = (40 * x).astype(np.int8), (40 * y).astype(np.int8)
    first, *others = (multiply(x, y, dtype, threads) for threads in (1, 2, 4))
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_rows_known_at_the_run_only():
    random = np.random.default_rng(5)
    weights = round_to_bfloat16(random.standard_normal((64, 50)).astype(np.float32))
    with gc.Graph().as_default() as graph:
        x = gc.placeholder("bfloat16", (None, 64))
        result = gc.matmul(x, gc.constant(weights, dtype="bfloat16"))
        with gc.Session(graph, backend="llvm") as session:
            for rows in (0, 1, 5, 70, 333):
                given = round_to_bfloat16(random.standard_normal((rows, 64)).astype(np.float32))
                found = session.run(result, {x: given})
                np.testing.assert_allclose(found, given.astype(np.float64) @ weights, rtol=2**-8, atol=1e-4)


def test_gradients_of_bfloat16_products():
    random = np.random.default_rng(6)
    x, y = (round_to_bfloat16(random.standard_normal(s).astype(np.float32)) for s in ((90, 80), (80, 100)))
    with gc.Graph().as_default() as graph:
        given = [gc.placeholder("bfloat16", a.shape) for a in (x, y)]
        fetches = gc.gradients(gc.sum(gc.matmul(*given)), given)
        with gc.Session(graph, backend="llvm") as session:
            found = session.run(fetches, dict(zip(given, (x, y), strict=True)))
    ones = np.ones((90, 100))
    for value, wanted in zip(found, (ones @ y.T, x.T @ ones), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=2**-7, atol=1e-3)


def test_rounding_of_bfloat16_is_no_disagreement():
    """Sums in another order may be rounded to the other neighbour, 2**-8 away."""
    x = round_to_bfloat16(np.random.default_rng(8).standard_normal((150, 150)).astype(np.float32))
    with gc.Graph().as_default() as graph:
        given = gc.placeholder("bfloat16", x.shape)
        once = gc.matmul(given, given)
        fetches = [once, gc.matmul(once, given), gc.cast(once, "float32") - 0.5]
        assert gc.check_passes(fetches, {given: x}, backend="llvm").ok
        with gc.Session(graph, backend="llvm", tiered=True) as session:
            session.run(fetches, {given: x})
            for tier in session._compilation._tiers.values():
                tier.thread.join()
            session.run(fetches, {given: x})
            assert [tier.chosen for tier in session._compilation._tiers.values()] == ["compiled"]
