"""The mathematical functions against multiprecision: random bits of the whole range, and edges."""

import ctypes

import mpmath
import numpy as np
import pytest

import graphc as gc
from graphc.conversion import round_to_bfloat16
from graphc.op import OPS
from graphc.types import BFLOAT16, FLOAT16, FLOAT32, FLOAT64
from runtime.llvm_backend.engine import library
from runtime.llvm_backend.ir.scalars import emit_op
from runtime.llvm_backend.ir.text import Emitter, Module, Target
from tests.runtime.llvm.elementwise_kernels import Body, Input, Operation, elementwise_kernel, host_target

BOUNDS = {FLOAT32: 2.5, FLOAT64: 2.0}
SMALLEST = {FLOAT32: (24, -149), FLOAT64: (53, -1074)}  # bits, and the exponent of the last denormal
# The function, where it is busy, and beyond which |x| or for which x only its NumPy meaning is asked.
FUNCTIONS = {
    "exp": (mpmath.exp, (-750, 720), lambda x: abs(x) > 5000),
    "expm1": (mpmath.expm1, (-40, 720), lambda x: abs(x) > 5000 or x == 0),
    "log": (mpmath.log, (0, 4), lambda x: x <= 0),
    "log1p": (mpmath.log1p, (-1, 4), lambda x: x <= -1 or x == 0),
    "tanh": (mpmath.tanh, (-3, 3), lambda x: abs(x) > 5000 or x == 0),
    "sigmoid": (lambda x: 1 / (1 + mpmath.exp(-x)), (-40, 40), lambda x: abs(x) > 5000),
    "softplus": (lambda x: mpmath.log1p(mpmath.exp(x)), (-50, 50), lambda x: abs(x) > 5000),
    "erf": (mpmath.erf, (-4, 4), lambda x: abs(x) > 100 or x == 0),
    "erfc": (mpmath.erfc, (-3, 27), lambda x: abs(x) > 100),
    "normal_cdf": (lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2, (-38, 9), lambda x: abs(x) > 100),
    "sin": (mpmath.sin, (-20, 20), lambda x: x == 0),
    "cos": (mpmath.cos, (-20, 20), lambda x: False),
    "tan": (mpmath.tan, (-20, 20), lambda x: x == 0),
    "asin": (mpmath.asin, (-1, 1), lambda x: abs(x) > 1 or x == 0),
    "acos": (mpmath.acos, (-1, 1), lambda x: abs(x) > 1),
    "atan": (mpmath.atan, (-6, 6), lambda x: x == 0),
    "sinh": (mpmath.sinh, (-20, 20), lambda x: abs(x) > 5000 or x == 0),
    "cosh": (mpmath.cosh, (-20, 20), lambda x: abs(x) > 5000),
    "asinh": (mpmath.asinh, (-6, 6), lambda x: x == 0),
    "acosh": (mpmath.acosh, (1, 6), lambda x: x < 1),
    "atanh": (mpmath.atanh, (-1, 1), lambda x: abs(x) >= 1 or x == 0),
    "sqrt": (mpmath.sqrt, (0, 9), lambda x: x <= 0),
    "rsqrt": (lambda x: 1 / mpmath.sqrt(x), (0, 9), lambda x: x <= 0),
    "reciprocal": (lambda x: 1 / x, (-9, 9), lambda x: x == 0),
}
EDGES = [
    *(
        0.0,
        1.0,
        0.5,
        0.625,
        2.0,
        3.9999998,
        4.0,
        6.0,
        28.0,
        9.2,
        10.05,
        26.5,
        27.2,
        88.72283,
        88.7229,
        89.4,
        89.5,
    ),
    *(87.3365, 103.97, 103.98, 104.0, 709.782712893384, 709.7827128933841, 710.4758600739439, 745.13, 745.14),
    *(
        np.pi,
        np.pi / 2,
        1e5,
        96079.33,
        100001.0,
        1e6,
        1000001.0,
        1e10,
        1e22,
        1e30,
        2.0**30,
        2.0**60,
        1e-5,
        1e-9,
        1e-20,
    ),
    *(
        np.inf,
        np.nan,
        6381956970095103 * 2.0**797,
        1e300,
        1 + 2.0**-23,
        1 - 2.0**-24,
        1 + 2.0**-52,
        1 - 2.0**-53,
    ),
]
TARGETS = {"host": None, "plain": Target(vector_bits=128)}  # without fused multiply-add, exact in other ways
if host_target().masks:  # and scaled by an instruction, of either width
    TARGETS["256"] = Target(vector_bits=256, fma=True, half=True, masks=True)


def compiled(name, dtype, operands, target):
    step = Operation(name, tuple(range(operands)), dtype)
    kernel = elementwise_kernel(Body((Input(dtype),) * operands, (step,), (operands,)), target=target)
    code = library.load([library.Module("k", kernel.text, (kernel.name,))])
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * kernel.pointers, ctypes.c_int64)
    function = signature(code.address("k", kernel.name))

    def run(*arrays):
        assert code  # holds what function points to
        out = np.empty_like(arrays[0])
        function(out.ctypes.data, *[x.ctypes.data for x in arrays], out.size)
        return out

    return run


def compute(name, dtype, *arrays):
    """What each of `TARGETS` makes of them: its numbers side by side, so that the exact one is found once."""
    found = (compiled(name, dtype, len(arrays), target)(*arrays) for target in TARGETS.values())
    return zip(*found, strict=True)


def edges_of(dtype):
    info = np.finfo(dtype.numpy)
    with np.errstate(over="ignore"):
        edges = np.array([*EDGES, info.max, info.tiny, info.smallest_subnormal]).astype(dtype.numpy)
    return np.concatenate([edges, -edges])


def random_bits(dtype, size, rng):
    return rng.integers(0, 256, (size, dtype.itemsize), np.uint8).view(dtype.numpy)[:, 0]


def arguments(dtype, busy, rng):
    low, high = (np.clip(limit, -104, 90) if dtype is FLOAT32 else limit for limit in busy)
    near_zero = rng.uniform(-1, 1, 300) * 2.0 ** rng.uniform(-30, 1, 300)
    turns = np.rint(rng.uniform(-7e5, 7e5, 300)) * np.pi / 2  # where angles cancel
    parts = (rng.uniform(low, high, 400), rng.uniform(-1, 1, 300), near_zero, turns, turns / 10)
    parts = [part.astype(dtype.numpy) for part in parts]
    return np.concatenate([random_bits(dtype, 500, rng), *parts, edges_of(dtype)])


def precise(function, *x):
    """With bits enough for what cancels: angles, and what is near 0."""
    largest, least = max(map(abs, x)), min(map(abs, x))
    spare = max(0, mpmath.mag(largest)) + 2 * max(0, -mpmath.mag(least) if least else 0)
    with mpmath.workprec(150 + spare):
        return mpmath.mpf(mpmath.re(function(*map(mpmath.mpf, x))))


def furthest(found, exact, dtype):
    """The distance of that number among `found` which is furthest from the exact one."""
    return max(distance(value, exact, dtype) for value in set(found))


def within(allowed, found, exact):
    return all(abs(mpmath.mpf(float(value)) - exact) <= allowed for value in set(found))


def distance(found, exact, dtype):
    """In units of the last place; 0 where both are infinite."""
    bits, last = SMALLEST[dtype]
    limit = mpmath.mpf(float(np.finfo(dtype.numpy).max))
    if np.isinf(found):
        return 0.0 if abs(exact) > limit * (1 - mpmath.mpf(2) ** (1 - bits)) and found * exact > 0 else np.inf
    if np.isnan(found):
        return np.inf
    unit = mpmath.mpf(2) ** max(mpmath.mag(exact) - bits if exact else last, last)
    return float(abs(mpmath.mpf(float(found)) - exact) / unit)


def same(found, expected):
    """Whether all of `found` are what is expected, NaN and the sign of 0 among it."""
    if np.isnan(expected):
        return all(map(np.isnan, found))
    return all(value == expected and np.signbit(value) == np.signbit(expected) for value in found)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_accurate(name, dtype):
    function, busy, left_out = FUNCTIONS[name]
    x = arguments(dtype, busy, np.random.default_rng(0))
    with np.errstate(all="ignore"):
        numpy = OPS[name].meaning(x)
    for given, found, expected in zip(x, compute(name, dtype, x), numpy, strict=True):
        if not np.isfinite(given) or left_out(given):
            assert same(found, expected), (name, given, found, expected)
            continue
        units = furthest(found, precise(function, float(given)), dtype)
        assert units <= BOUNDS[dtype], (name, given, found, units)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
@pytest.mark.parametrize(("name", "function"), [("lgamma", mpmath.loggamma), ("digamma", mpmath.digamma)])
def test_gamma_is_accurate_but_near_its_roots(name, function, dtype):
    """There, and where terms cancel, in units of 1; poles and what is not finite as NumPy has them."""
    rng = np.random.default_rng(0)
    parts = (
        rng.uniform(0, 3, 300),
        rng.uniform(3, 40, 300),
        -rng.uniform(0, 20, 300),
        2.0 ** rng.uniform(-40, 90, 200),
    )
    x = np.concatenate([*(part.astype(dtype.numpy) for part in parts), np.arange(-5, 20, 0.5, dtype.numpy)])
    x = np.concatenate([x, edges_of(dtype)])
    with np.errstate(all="ignore"):
        numpy = OPS[name].meaning(x)
    for given, found, expected in zip(x, compute(name, dtype, x), numpy, strict=True):
        if not np.isfinite(expected):
            assert same(found, expected), (name, given, found, expected)
            continue
        exact = precise(function, float(given))
        turn = abs(float(given) - np.rint(float(given))) if given < 0 else 1.0
        allowed = 2.5 * np.finfo(dtype.numpy).eps * max(abs(exact), 1.0)
        if dtype is FLOAT64:  # a reflection takes up the error of x - rint(x), and a sum that of its terms
            allowed *= 4 + 1 / turn
        assert within(allowed, found, exact), (name, given, found, exact)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
@pytest.mark.parametrize("order", [1, 2, 3, 4, 7, 30])
def test_polygamma_is_accurate(order, dtype):
    """Within the bounds where x is positive; elsewhere with the error of what is reflected."""
    rng = np.random.default_rng(0)
    parts = (
        rng.uniform(0, 3, 150),
        rng.uniform(3, 60, 150),
        2.0 ** rng.uniform(-5, 20, 100),
        2.0 ** rng.uniform(-1000 / (order + 1), 1000 / (order + 1), 100),
        -rng.uniform(0, 20, 150),
    )
    with np.errstate(over="ignore", under="ignore"):
        x = np.concatenate([*(part.astype(dtype.numpy) for part in parts), edges_of(dtype)])
    x = np.concatenate([x, np.arange(-5, 20, 0.5, dtype.numpy)])
    with np.errstate(all="ignore"):
        numpy = OPS["polygamma"].meaning(x, n=order)
    for given, found, expected in zip(x, compute(f"polygamma {order}", dtype, x), numpy, strict=True):
        if not np.isfinite(given) or (given <= 0 and not np.isfinite(expected)):
            next_to_0 = -1e-9 < given < 0  # where NumPy's polynomial of the cotangent is inf - inf
            beyond = next_to_0 and not np.isfinite(found).any()
            assert same(found, expected) or beyond, (given, found, expected)
            continue
        exact = precise(lambda x: mpmath.polygamma(order, x), float(given))
        if given > 0:
            assert furthest(found, exact, dtype) <= BOUNDS[dtype], (given, found, exact)
            continue
        turn = abs(float(given) - np.rint(float(given)))
        opposite = precise(lambda x: mpmath.polygamma(order, 1 - x), float(given))
        steep = precise(lambda x: mpmath.polygamma(order + 1, x), float(given))
        allowed = np.finfo(dtype.numpy).eps * max(abs(exact), abs(opposite)) * (10 + order / turn)
        allowed += 4 * np.finfo(np.float64).eps * turn * abs(steep)
        assert within(allowed, found, exact), (given, found, exact)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
@pytest.mark.parametrize("name", ["power", "atan2"])
def test_functions_of_two_are_accurate(name, dtype):
    rng = np.random.default_rng(0)
    special = [0.0, 1.0, 0.5, 2.0, 3.0, np.inf, np.nan, np.finfo(dtype.numpy).max]
    edges = np.array([*special, np.finfo(dtype.numpy).smallest_subnormal]).astype(dtype.numpy)
    edges = np.concatenate([edges, -edges])
    x, y = (part.ravel() for part in np.meshgrid(edges, edges))
    near_one = 1 + rng.uniform(-1, 1, 400) * 2.0 ** -rng.uniform(1, 20, 400)
    x = [x, random_bits(dtype, 400, rng), near_one, rng.uniform(0, 50, 400), -rng.uniform(0, 5, 200)]
    large = rng.uniform(-1, 1, 400) * 2.0 ** rng.uniform(1, 20, 400)
    y = [y, random_bits(dtype, 400, rng), large, rng.uniform(-60, 180, 400), rng.integers(-40, 40, 200)]
    x, y = (np.concatenate([part.astype(dtype.numpy) for part in parts]) for parts in (x, y))
    with np.errstate(all="ignore"):
        numpy = OPS[name].meaning(x, y)
    for a, b, found, expected in zip(x, y, compute(name, dtype, x, y), numpy, strict=True):
        if name == "power":
            odd = a == 0 or b == 0 or not np.isfinite(a) or not np.isfinite(b) or (a < 0 and b != np.rint(b))
            odd = odd or abs(float(b) * float(mpmath.log(abs(float(a))))) > 2000
        else:
            odd = a == 0 or b == 0 or not np.isfinite(a) or not np.isfinite(b)
        if odd:
            assert same(found, expected), (name, a, b, found, expected)
            continue
        function = mpmath.power if name == "power" else mpmath.atan2
        units = furthest(found, precise(function, float(a), float(b)), dtype)
        assert units <= BOUNDS[dtype], (name, a, b, found, units)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
def test_edges_change_no_power_beside_them(dtype, target):
    """A vector that holds one takes another way."""
    rng = np.random.default_rng(3)
    x, y = (rng.uniform(*ends, 1000).astype(dtype.numpy) for ends in ((0.1, 9), (-9, 9)))
    raised = compiled("power", dtype, 2, TARGETS[target])
    usual = raised(x, y)
    edges = np.arange(0, 1000, 11)
    x[edges[::2]] = rng.choice([0, -0.0, -3, np.inf, np.nan, np.finfo(dtype.numpy).smallest_subnormal], 46)
    y[edges[1::2]] = rng.choice([np.inf, -np.inf, np.nan], 45)
    mixed, others = raised(x, y), np.setdiff1d(np.arange(1000), edges)
    np.testing.assert_array_equal(mixed[others], usual[others])
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(mixed, x**y, rtol=1e-6)


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_half_precision_is_right_for_every_number(name, dtype):
    """All 65,536 of them; the meaning in float64 is the reference. NumPy rounds a float16's root twice."""
    stored = np.arange(65536).astype(np.uint16)
    found = compiled(name, dtype, 1, None)(stored)
    if dtype is FLOAT16:
        x, value, unit = stored.view(np.float16), found.view(np.float16), np.finfo(np.float16)
    else:
        x, value, unit = widened(stored), widened(found), np.finfo(np.float32)
    with np.errstate(all="ignore"):
        exact = OPS[name].meaning(x.astype(np.float64))
        rounded = exact.astype(np.float16) if dtype is FLOAT16 else round_to_bfloat16(exact)
        spacing = 1 if dtype is FLOAT16 else 2.0**16
        below = np.nextafter(unit.max, unit.dtype.type(0))  # there is no number after the largest
        step = np.spacing(np.minimum(np.abs(rounded), below)).astype(np.float64) * spacing
        error = np.abs(value.astype(np.float64) - exact) / step
    finite = np.isfinite(rounded) & np.isfinite(value)
    np.testing.assert_array_equal(value[~finite], rounded[~finite])
    assert error[finite].max() <= (1.5 if name == "rsqrt" else 0.51)


def widened(stored):
    return (stored.astype(np.uint32) << 16).view(np.float32)


def test_polygamma_of_each_order_in_one_kernel():
    """Alone and behind a product; of every kind of dtype; orders are told apart."""
    x = gc.placeholder("float64", (None, 4), name="x")
    w = gc.constant(np.linspace(0.1, 1.0, 20).reshape(4, 5))
    fetches = [
        gc.polygamma(x @ w, n=1) - gc.polygamma(x @ w, n=3),
        gc.polygamma(x, n=2) * gc.polygamma(x, n=5),
    ]
    fetches += [gc.polygamma(gc.cast(x, dtype), n=2) for dtype in ("int32", "float16", "float32", "bfloat16")]
    (slope,) = gc.gradients(gc.sum(gc.digamma(x)), [x])
    fetches += [slope, gc.gradients(gc.sum(slope * slope), [x])[0]]
    given = {x: np.linspace(1.0, 9.0, 28).reshape(7, 4)}
    results = []
    for backend in gc.backends():
        with gc.Session(backend=backend) as session:
            results.append(session.run(fetches, given))
            if backend == "llvm":
                assert not session.compile(fetches, [x]).record["fallbacks"]
    for a, b, fetch in zip(*results, fetches, strict=True):
        rtol = {"float16": 2e-3, "float32": 1e-6, "bfloat16": 1e-2}.get(fetch.dtype.name, 1e-12)
        np.testing.assert_allclose(a, b, rtol=rtol)


@pytest.mark.parametrize("order", [0, 171, 1.0, True])
def test_orders_of_polygamma(order):
    with pytest.raises(gc.ArgumentError, match="1 to 170"):
        gc.polygamma(1.0, n=order)
    assert gc.polygamma(1.0, n=170).dtype.name == "float32"


@pytest.mark.parametrize("target", TARGETS)
def test_tanh_of_float_is_accurate_around_where_its_intervals_meet(target):
    """Against NumPy's of float64, whose error is none of a float's."""
    run = compiled("tanh", FLOAT32, 1, TARGETS[target])
    edges = np.float32([0, *np.arange(0.25, 1, 0.25), *np.arange(1, 3, 0.5), *range(3, 8), 9, 10, 1e30])
    bits = edges.view(np.int32)[:, None] + np.arange(-1000, 1001, dtype=np.int32)
    x = np.abs(bits.astype(np.uint32).view(np.float32).ravel())
    x = np.concatenate([x, np.logspace(-38, 1, 100_000, dtype=np.float32)])
    x = x[np.isfinite(x)]
    found, exact = run(x), np.tanh(x.astype(np.float64))
    error = np.abs(found - exact) / np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert error.max() <= (1.4 if host_target().masks and target != "plain" else 2.5)
    assert found.max() == 1
    np.testing.assert_array_equal(run(-x), -found)


@pytest.mark.parametrize("name", ["power", "exp", "tanh"])
def test_floats_that_are_widened_fill_registers_that_there_are(name: str) -> None:
    """Eight doubles are two registers of AVX2: an instruction of AVX-512 would end the process."""
    module = Module(Target(256, fma=True, half=True, assembly=True))
    em = Emitter(module, 8)
    emit_op(em, name, ["%x", "%y"][: len(OPS[name].operands)], [FLOAT32] * len(OPS[name].operands), FLOAT32)
    assert "avx512" not in "\n".join((module.text, *em.lines))
