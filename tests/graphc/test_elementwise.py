"""Values of elementwise ops against independent references; the examples check types and gradients."""

import inspect

import mpmath
import numpy as np
import pytest
import scipy.special
from numpy.testing import assert_allclose, assert_array_equal

import graphc as gc
from graphc.errors import ArgumentError, DivisionError, DTypeError
from graphc.op import OPS
from graphc.types import as_dtype

INT32_MIN = -(2**31)


def value(name, *operands, **attrs):
    with np.errstate(all="ignore"):
        return np.asarray(OPS[name].meaning(*map(np.asarray, operands), **attrs))


def exact(function, xs):
    with mpmath.workdps(40):
        return np.array([float(function(mpmath.mpf(float(x)))) for x in xs])


# Functions that NumPy lacks.


@pytest.mark.parametrize("scale", [1e-300, 0.3, 1.0, 3.0, 6.0])
def test_erf_is_exact_to_the_last_bits(scale):
    xs = np.linspace(-scale, scale, 41)
    assert_allclose(value("erf", xs), exact(mpmath.erf, xs), rtol=5e-16)


def test_gelu_is_exact_in_the_tail(each_backend):
    """Where an error of the quotient by the root of 2 would be a thousand times as large."""
    xs = np.concatenate([-np.linspace(0.001, 37, 500), np.linspace(0, 9, 100)])
    with gc.Graph().as_default(), gc.Session() as session:
        x = gc.placeholder("float64", (None,))
        found = session.run(gc.nn.gelu(x), {x: xs})
    assert_allclose(found, exact(lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2, xs), rtol=1e-15)


def test_erfc_is_exact_in_the_tail():
    xs = np.concatenate([np.linspace(-3, 3, 41), np.linspace(3, 26, 24)])
    assert_allclose(value("erfc", xs), exact(mpmath.erfc, xs), rtol=1e-15)


def log_gamma(x):
    return mpmath.log(abs(mpmath.gamma(x)))


@pytest.mark.parametrize(
    ("low", "high"), [(1e-9, 0.6), (0.9, 1.1), (1.9, 2.1), (2.1, 13), (13, 400), (-9.9, -3.1)]
)
def test_lgamma_and_its_derivatives(low, high):
    xs = np.random.default_rng(0).uniform(low, high, 25)
    assert_allclose(value("lgamma", xs), exact(log_gamma, xs), rtol=1e-14)
    assert_allclose(value("digamma", xs), exact(mpmath.digamma, xs), rtol=1e-13, atol=3e-15)
    for n in (1, 2, 3):
        wanted = exact(lambda x, n=n: mpmath.psi(n, x).real, xs)
        assert_allclose(value("polygamma", xs, n=n), wanted, rtol=1e-12)


def test_special_functions_at_their_poles_and_ends():
    ends = np.array([0.0, -0.0, -1, -2, 1, 2, np.inf, np.nan])
    assert_array_equal(value("lgamma", ends), scipy.special.gammaln(ends))
    assert_allclose(value("digamma", ends), scipy.special.digamma(ends), rtol=1e-14)
    ends = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 30, -30])
    assert_array_equal(value("erf", ends), scipy.special.erf(ends))
    assert_array_equal(np.signbit(value("erf", ends)), np.signbit(scipy.special.erf(ends)))
    assert_array_equal(value("erfc", ends), scipy.special.erfc(ends))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_sigmoid_and_softplus_hold_in_the_tails(dtype):
    xs = np.array([-1e4, -740, -100, -30, -16, -9, -1, 0, 1, 9, 16, 100, 1e4], dtype)
    near = {"rtol": 4 * float(np.finfo(dtype).eps), "atol": float(np.finfo(dtype).smallest_subnormal)}
    sigmoid = exact(lambda x: 1 / (1 + mpmath.exp(-x)), xs).astype(dtype)
    softplus = exact(lambda x: mpmath.log1p(mpmath.exp(x)), xs).astype(dtype)
    assert_allclose(value("sigmoid", xs), sigmoid, **near)
    assert_allclose(value("softplus", xs), softplus, **near)
    assert value("sigmoid", xs).dtype == dtype
    ends = np.array([np.inf, -np.inf, np.nan], dtype)
    assert_array_equal(value("sigmoid", ends), [1, 0, np.nan])
    assert_array_equal(value("softplus", ends), [np.inf, 0, np.nan])


def test_the_tails_raise_no_overflow():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for name in ("sigmoid", "softplus"):
            OPS[name].meaning(np.array([-1e3, 1e3], np.float32))


# Casts.


def cast(array, dtype):
    return value("cast", array, dtype=as_dtype(dtype))


def test_float_to_integer_saturates():
    given = np.array([1.9, -1.9, -0.5, np.nan, np.inf, -np.inf, 1e30, -1e30])
    for dtype in ("int8", "int32", "int64", "uint8", "uint64"):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        wanted = np.array([1, max(low, -1), 0, 0, high, low, high, low], dtype)
        assert_array_equal(cast(given, dtype), wanted)
        assert_array_equal(cast(given.astype(np.float32), dtype), wanted)
    assert_array_equal(cast(np.array([127.9, -128.9, 128]), "int8"), np.int8([127, -128, 127]))
    assert cast(np.float64(2.0**63), "int64") == 2**63 - 1
    assert cast(np.float64(2.0**63), "uint64") == 2**63
    assert cast(np.float32(2.0**31), "int32") == 2**31 - 1


def test_other_casts():
    assert_array_equal(cast(np.int32([300, -1]), "uint8"), np.uint8([44, 255]))
    assert_array_equal(cast(np.array([0.0, -0.0, 0.5, np.nan]), "bool"), [False, False, True, True])
    assert_array_equal(cast(np.array([True, False]), "float32"), np.float32([1, 0]))
    assert cast(np.float32(1 + 2**-8), "bfloat16") == 1  # a tie, to even
    assert cast(np.float32(1 + 3 * 2**-8), "bfloat16") == np.float32(1 + 2**-6)
    assert cast(np.float64(70000), "float16") == np.inf


# Integers.


def test_shifts_past_the_width():
    counts = np.int32([0, 1, 31, 32, 1000, -1])
    assert_array_equal(value("left_shift", np.int32(-5), counts), np.int32([-5, -10, INT32_MIN, 0, 0, 0]))
    assert_array_equal(value("right_shift", np.int32(-5), counts), np.int32([-5, -3, -1, -1, -1, -1]))
    assert_array_equal(value("right_shift", np.int32(5), counts), np.int32([5, 2, 0, 0, 0, 0]))
    assert_array_equal(value("right_shift", np.uint8(255), np.uint8([7, 8])), np.uint8([1, 0]))


def test_integers_wrap():
    assert value("add", np.int32(2**31 - 1), np.int32(1)) == INT32_MIN
    assert value("neg", np.uint8(1)) == 255
    assert value("abs", np.int32(INT32_MIN)) == INT32_MIN
    assert value("floor_divide", np.int32(INT32_MIN), np.int32(-1)) == INT32_MIN
    assert value("remainder", np.int32(INT32_MIN), np.int32(-1)) == 0
    assert value("power", np.int32(3), np.int32(40)) == (3**40 + 2**31) % 2**32 - 2**31


@pytest.mark.parametrize("name", ["floor_divide", "remainder", "fmod"])
def test_an_integer_divided_by_zero_is_named(name):
    with pytest.raises(DivisionError, match=r"42 at \[0, 1\] is divided by zero"):
        value(name, np.int32([[7], [42]]).T, np.int32([1, 0]))
    with pytest.raises(ZeroDivisionError, match="7 is divided"):
        value(name, np.uint8(7), np.uint8(0))
    assert value(name, np.zeros(0, np.int32), np.int32(0)).shape == (0,)
    assert value(name, np.float32(1), np.float32(0)).dtype == np.float32


def test_signs_of_remainders():
    x, y = np.int32([7, -7, 7, -7]), np.int32([3, 3, -3, -3])
    assert_array_equal(value("floor_divide", x, y), [2, -3, -3, 2])
    assert_array_equal(value("remainder", x, y), [1, 2, -2, -1])
    assert_array_equal(value("fmod", x, y), [1, -1, 1, -1])


def test_true_division_of_integers_is_float64(graph):
    x = gc.placeholder("int8", (2,))
    assert (x / x).dtype == "float64"
    assert_array_equal(value("div", np.int8([1, -1, 0]), np.int8([2, 0, 0])), [0.5, -np.inf, np.nan])


def test_an_integer_to_a_negative_power():
    with pytest.raises(ArgumentError, match="-3"):
        value("power", np.int32([2, 1]), np.int32([1, -3]))


# NaN and the kinds of operands.


def test_nan_goes_through():
    with_nan, plain = np.array([np.nan, 1, np.nan]), np.array([0.0, np.nan, np.nan])
    for name in ("maximum", "minimum"):
        assert np.isnan(value(name, with_nan, plain)).all()
    for name in ("relu", "sign", "abs", "floor", "round", "sigmoid", "softplus", "erf"):
        assert np.isnan(value(name, np.float32("nan")))
    assert np.isnan(value("clip", np.nan, -1.0, 1.0))
    assert not value("equal", np.nan, np.nan)
    assert value("not_equal", np.nan, np.nan)


def test_round_is_half_to_even():
    assert_array_equal(value("round", [-1.5, -0.5, 0.5, 1.5, 2.5]), [-2, -0.0, 0, 2, 2])


def test_guarded_multiply():
    x, slope = np.array([0, 0, 0, 1, 2.0]), np.array([np.inf, np.nan, 3, np.inf, 3])
    assert_array_equal(value("guarded_multiply", x, slope), [0, 0, 0, np.inf, 6])


def test_integers_of_real_functions_are_float64(graph):
    for name in ("exp", "sqrt", "sin", "erf", "lgamma", "sigmoid"):
        assert OPS[name](gc.placeholder("int8", (3,))).dtype == "float64"
        assert value(name, np.int8([1, 2])).dtype == np.float64


@pytest.mark.parametrize("name", ["exp", "neg", "sign", "relu", "square", "sqrt"])
def test_bool_is_no_number(graph, name):
    with pytest.raises(DTypeError, match=name):
        OPS[name](gc.placeholder("bool", (3,)))


def test_kinds_that_do_not_fit(graph):
    f, i, b = (gc.placeholder(dtype, (3,)) for dtype in ("float32", "int32", "bool"))
    with pytest.raises(DTypeError, match="sub: bools"):
        b - b
    with pytest.raises(DTypeError, match="logical_and: bool is wanted"):
        OPS["logical_and"](b, i)
    with pytest.raises(DTypeError, match="bitwise_and: an integer or bool"):
        f & f
    with pytest.raises(DTypeError, match="where: the condition is bool"):
        OPS["where"](i, f, f)
    with pytest.raises(DTypeError, match="left_shift"):
        b << b
    with pytest.raises(DTypeError, match="cast"):
        f + i
    assert OPS["where"](b, f, 0).dtype == "float32"
    assert OPS["clip"](f, 0, 1).dtype == "float32"


def test_lists_of_numbers_take_the_dtype_of_what_they_meet():
    x = gc.placeholder("float32", (2,))
    whole = gc.placeholder("int32", (2,))
    assert gc.add(x, [1, 2]).dtype == "float32"
    assert ([1, 2] * whole).dtype == "int32"
    assert gc.add([1, 2], [0.5, 1]).dtype == "float32"
    assert gc.add(x, [np.float64(1), 2]).dtype == "float64"  # NumPy's numbers keep theirs
    with pytest.raises(gc.DTypeError, match="do not mix"):
        gc.add(whole, [0.5, 1])


def test_clip_without_a_bound():
    x = gc.placeholder("float32", (3,))
    whole = gc.placeholder("int8", (3,))
    with gc.Session() as session:
        feeds = {x: [-5, 0.5, np.nan], whole: [-128, 0, 127]}
        low, high, open_ended = session.run(
            [gc.clip(x, 0, None), gc.clip(x, None, 0), gc.clip(whole, None, None)], feeds
        )
    np.testing.assert_array_equal(low, np.float32([0, 0.5, np.nan]))
    np.testing.assert_array_equal(high, np.float32([-5, 0, np.nan]))
    assert open_ended.tolist() == [-128, 0, 127]


def test_an_op_shows_how_it_is_called():
    assert repr(gc.matmul) == "<graphc op matmul(x, y)>"
    assert repr(gc.exp) == "<graphc op exp(x)>"


def test_a_name_comes_last(graph):
    x = gc.constant([1.0, 2.0])
    assert gc.identity(x, "same").name == "same"
    assert gc.add(x, x, "twice").name == "twice"
    assert gc.argmax(x, 0, False, "place").name == "place"
    assert list(inspect.signature(gc.identity).parameters) == ["x", "name"]
    assert inspect.signature(gc.identity).parameters["name"].default is None
    assert str(inspect.signature(gc.add_n)).endswith(" = None) -> 'Tensor'")
    with pytest.raises(TypeError, match="exp\\(\\) takes 1 at most, not 2"):
        gc.exp(x, 2)


@pytest.mark.parametrize(
    ("number", "dtype"),
    [
        (2**31 - 1, "int32"),
        (2**31, "int64"),
        (INT32_MIN, "int32"),
        (INT32_MIN - 1, "int64"),
        (2**63, "uint64"),
    ],
)
def test_a_number_of_python_has_the_least_of_its_dtypes(number, dtype):
    assert str(gc.constant(number).dtype) == str(gc.constant([0, number]).dtype) == dtype


def test_whole_numbers_are_never_taken_for_floats():
    large = [[0, 1], [2**63, 2**64 - 1]]
    assert gc.constant(large).attrs["value"].tolist() == large
    x = gc.placeholder("uint64", [2, 2])
    assert gc.Session().run(x + gc.constant(large, "uint64"), {x: [[0, 0], [0, 2**63]]}).tolist() == [
        [0, 1],
        [2**63, 2**63 - 1],
    ]
    for wrong in ([-1, 2**63], [0, 2**64]):
        with pytest.raises(gc.GraphError):
            gc.constant(wrong)
    assert str(gc.constant([0, 2**63, 0.5]).dtype) == str(gc.constant([[], []]).dtype) == "float32"
