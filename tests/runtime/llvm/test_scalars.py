"""Every elementwise op as machine code against its NumPy meaning: all dtypes, lengths about a vector's."""

import ctypes
import random
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

import graphc as gc
from graphc.conversion import round_to_bfloat16
from graphc.op import OPS
from graphc.types import BFLOAT16, BOOL, DTYPES, FLOAT16, FLOAT32, FLOAT64, INT8, INT32
from runtime.llvm_backend.engine import library
from runtime.llvm_backend.ir import integers
from runtime.llvm_backend.ir.scalars import has_code
from runtime.llvm_backend.ir.text import Target
from tests.runtime.llvm.elementwise_kernels import Body, Input, Operation, elementwise_kernel, host_target

ELEMENTWISE = sorted(
    name for name, op in OPS.items() if op.family == "elementwise" and op.__module__.startswith("graphc.ops")
)
# Units in the last place by which machine code and NumPy may differ; all other ops agree to the last bit.
ROUNDED = {
    **dict.fromkeys(["exp", "expm1", "log", "log1p", "sinh", "cosh", "tanh", "tan", "sin", "cos"], 4),
    **dict.fromkeys(["asin", "acos", "atan", "atan2", "asinh", "acosh", "atanh", "power", "sigmoid"], 4),
    **dict.fromkeys(["softplus", "erf"], 4),
    **dict.fromkeys(["erfc", "normal_cdf"], 60),  # their NumPy meanings are off in the tail
}
ATTRIBUTED = {"cast", "polygamma"}  # which have tests of their own
NEAR_ROOTS = {"lgamma", "digamma"}  # where units say little: test_vecmath has their bounds
SCALAR = Target(vector_bits=128)  # no masks, no fused multiply-add, no conversion of halves


class Compiled:
    def __init__(self, body, target=None):
        self.body, self.kernel = body, elementwise_kernel(body, target=target)
        self.library = library.load([library.Module("k", self.kernel.text, (self.kernel.name,))])
        pointers = [ctypes.c_void_p] * self.kernel.pointers
        signature = ctypes.CFUNCTYPE(None, *pointers, ctypes.c_int64)
        self.function = signature(self.library.address("k", self.kernel.name))

    def __call__(self, *arrays):
        """The outputs on arrays as graphc holds them, and the flag."""
        size = max([x.size for x in arrays if x.shape], default=1)
        if any(x.size == 0 for x in arrays):
            size = 0
        dtypes = self.body.dtypes
        held = [pack(x, given.dtype) for x, given in zip(arrays, self.body.inputs, strict=True)]
        outs = [np.full(size, 85, memory(dtypes[i])) for i in self.body.outputs]
        flag = np.zeros(1, np.int32)
        flags = [flag] if self.kernel.fallible else []
        self.function(*[x.ctypes.data for x in (*outs, *held, *flags)], size)
        return [unpack(x, dtypes[i]) for x, i in zip(outs, self.body.outputs, strict=True)], int(flag[0])


def memory(dtype):
    return np.dtype(np.uint16) if dtype is BFLOAT16 else np.dtype(np.uint8) if dtype is BOOL else dtype.numpy


def pack(x, dtype):
    x = np.ascontiguousarray(x)
    return (x.view(np.uint32) >> 16).astype(np.uint16) if dtype is BFLOAT16 else x.view(memory(dtype))


def unpack(x, dtype):
    if dtype is BFLOAT16:
        return (x.astype(np.uint32) << 16).view(np.float32)
    if dtype is BOOL:
        assert x.max(initial=0) <= 1
    return x.view(dtype.numpy)


@cache
def result_dtype(name, dtype):
    """The dtype of the op on operands of `dtype`; None where it takes none."""
    op = OPS[name]
    with gc.Graph().as_default():
        x = gc.placeholder(dtype, (None,))
        operands = [gc.placeholder("bool", (None,)), x, x] if name == "where" else [x] * len(op.operands)
        try:
            return op(*operands).dtype
        except gc.GraphError:
            return None


CASES = [(n, d) for n in ELEMENTWISE if n not in ATTRIBUTED for d in DTYPES if result_dtype(n, d)]


def specials(dtype):
    if dtype is BOOL:
        return np.array([False, True])
    if dtype.is_integer:
        limits = np.iinfo(dtype.numpy)
        values = [0, 1, 2, 3, 7, limits.bits - 1, limits.bits, limits.bits + 1]
        values += [limits.max, limits.max - 1, limits.min, limits.min + 1]
        return np.array(values + [-1, -2, -7] * (dtype.kind == "i"), dtype.numpy)
    limits = np.finfo(np.float16 if dtype is FLOAT16 else np.float32 if dtype is not FLOAT64 else np.float64)
    positive = [
        0,
        1,
        2,
        0.5,
        3,
        1.5,
        2.5,
        7,
        1e-3,
        np.inf,
        limits.max,
        limits.tiny,
        limits.smallest_subnormal,
    ]
    values = np.array([*positive, *(-x for x in positive), np.nan]).astype(dtype.numpy)
    return round_to_bfloat16(values) if dtype is BFLOAT16 else values


def sample(dtype, size, seed):
    """Special values, small numbers and random bits."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 256, (size, dtype.numpy.itemsize), np.uint8)
    if dtype is BOOL:
        values = bits[:, 0] & 1 == 1
    elif dtype.is_integer:
        small = rng.integers(0, 20, size).astype(dtype.numpy)
        values = np.where(rng.random(size) < 0.5, small, bits.view(dtype.numpy)[:, 0])
    else:
        small = (rng.normal(size=size) * 3).astype(dtype.numpy)
        values = np.where(rng.random(size) < 0.6, small, bits.view(dtype.numpy)[:, 0])
        values = round_to_bfloat16(values) if dtype is BFLOAT16 else values
    picks = rng.choice(specials(dtype), size)
    return np.where(rng.random(size) < 0.3, picks, values)


def meaning(name, *operands, result=None, **attrs):
    with np.errstate(all="ignore"):
        value = np.asarray(OPS[name].meaning(*operands, **attrs))
    return round_to_bfloat16(value) if result is BFLOAT16 else value


def units(found, expected, dtype):
    """The distance in units of the last place of `expected`."""
    kind = np.float16 if dtype is FLOAT16 else expected.dtype.type
    with np.errstate(all="ignore"):  # the largest numbers
        step = np.spacing(np.minimum(np.abs(expected), np.finfo(kind).max / 2).astype(kind)).astype(
            np.float64
        )
    step = step * (65536.0 if dtype is BFLOAT16 else 1.0)
    return np.abs(found.astype(np.float64) - expected.astype(np.float64)) / step


def check(name, found, expected, dtype, note):
    assert found.dtype == dtype.numpy, note
    if dtype.is_floating and name in ROUNDED:
        odd = ~(np.isfinite(found) & np.isfinite(expected))
        beyond = np.finfo(expected.dtype).max / 1.000001 <= np.abs(np.nan_to_num(found))  # at the edge to inf
        np.testing.assert_array_equal(found[odd & ~beyond], expected[odd & ~beyond], note)
        worst = units(found[~odd], expected[~odd], dtype).max(initial=0)
        assert worst <= (1 if dtype.itemsize == 2 else ROUNDED[name]), (note, worst)
    elif name in NEAR_ROOTS:
        tolerance = {2: 1e-2, 4: 2e-2 if dtype is BFLOAT16 else 1e-6}.get(dtype.numpy.itemsize, 1e-9)
        np.testing.assert_allclose(found, expected, tolerance, tolerance / 1000, err_msg=note)
    else:
        np.testing.assert_array_equal(found, expected, note)


def operands_for(name, dtype, size, seed):
    count = len(OPS[name].operands)
    operands = [sample(dtype, size, seed + 17 * i) for i in range(count)]
    if name == "where":
        operands[0] = sample(BOOL, size, seed)
    if name in ("floor_divide", "remainder", "fmod") and dtype.is_integer:
        operands[1] = np.where(operands[1] == 0, dtype.numpy.type(1), operands[1])
    if name == "power" and dtype.is_integer:
        operands[1] = np.abs(operands[1] % dtype.numpy.type(40))
    return operands


def single(name, dtype, result, count):
    given = [Input(dtype)] * count
    if name == "where":
        given[0] = Input(BOOL)
    return Body(tuple(given), (Operation(name, tuple(range(count)), result),), (count,))


def test_all_elementwise_ops_have_code():
    assert [name for name in ELEMENTWISE if not has_code(name)] == []


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_ops_agree_with_their_meaning(name):
    for dtype in [dtype for other, dtype in CASES if other == name]:
        result, count = result_dtype(name, dtype), len(OPS[name].operands)
        for target in (None, SCALAR):
            compiled = Compiled(single(name, dtype, result, count), target)
            width = compiled.kernel.width
            for size in (0, 1, width - 1, width, width + 1, 1000):
                operands = operands_for(name, dtype, size, size)
                (found,), flag = compiled(*operands)
                note = f"{name} of {dtype}[{size}] {target or ''}"
                assert flag == 0, note
                check(name, found, meaning(name, *operands, result=result), result, note)


@pytest.mark.parametrize("given", DTYPES, ids=str)
def test_casts(given):
    edges = [-129.0, -128.5, 127.5, 255.9, 256, 32767.5, 65519.99, 65520, 2.0**31, 2.0**32, 2.0**63, 2.0**64]
    for wanted in DTYPES:
        for target in (None, SCALAR):
            compiled = Compiled(single("cast", given, wanted, 1), target)
            x = sample(given, 3000, 5)
            if given.is_floating:
                with np.errstate(all="ignore"):
                    near = np.array(edges + [-e for e in edges]).astype(given.numpy)
                x[: 2 * len(edges)] = round_to_bfloat16(near) if given is BFLOAT16 else near
            if given is FLOAT64:  # halfway between two float16: a second rounding would be seen
                halves = np.array([1 + 2.0**-11 + 2.0**-30, 1 + 2.0**-11 - 2.0**-30, 2.0**-25 * 1.0000000001])
                x[-3:] = halves
            (found,), _ = compiled(x)
            expected = meaning("cast", x, dtype=wanted, result=wanted)
            np.testing.assert_array_equal(found, expected, f"{given} to {wanted} {target or ''}")


@pytest.mark.parametrize("name", ["floor_divide", "remainder", "fmod"])
@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.is_integer], ids=str)
def test_division_by_zero_is_told_and_gives_zero(name, dtype):
    compiled = Compiled(single(name, dtype, dtype, 2))
    x, y = np.arange(40).astype(dtype.numpy), np.ones(40, dtype.numpy)
    assert compiled(x, y)[1] == 0  # the lanes beyond the end are no failure
    y[39] = 0
    (found,), flag = compiled(x, y)
    assert (found[39], flag) == (0, integers.DIVISION)


def test_a_negative_power_is_told():
    compiled = Compiled(single("power", INT32, INT32, 2))
    y = np.array([2, -1, 0], np.int32)
    (found,), flag = compiled(np.array([3, 3, 3], np.int32), y)
    assert (found.tolist(), flag) == ([9, 0, 1], integers.NEGATIVE_POWER)


def test_several_outputs_scalars_and_in_place():
    body = Body(
        (Input(FLOAT32), Input(FLOAT32, single=True), Input(INT8)),
        (
            Operation("mul", (0, 1), FLOAT32),
            Operation("greater", (3, 0), BOOL),
            Operation("cast", (2,), FLOAT64),
            Operation("cast", (3,), FLOAT64),
            Operation("where", (4, 5, 6), FLOAT64),
        ),
        (3, 4, 7),
    )
    compiled = Compiled(body)
    x, b = np.linspace(-3, 3, 101, dtype=np.float32), np.arange(101).astype(np.int8)
    (product, larger, chosen), _ = compiled(x, np.float32(2.5).reshape(()), b)
    np.testing.assert_array_equal(product, x * np.float32(2.5))
    np.testing.assert_array_equal(larger, product > x)
    np.testing.assert_array_equal(chosen, np.where(larger, b.astype(float), product.astype(float)))
    add = Compiled(single("add", FLOAT32, FLOAT32, 2))
    y = x.copy()
    add.function(y.ctypes.data, y.ctypes.data, x.ctypes.data, y.size)
    np.testing.assert_array_equal(y, x + x)


def test_text_is_written_with_little_work_and_is_the_same_twice(calls_of):
    body = single("tanh", FLOAT32, FLOAT32, 1)
    text = elementwise_kernel(body).text
    again, calls = calls_of(lambda: elementwise_kernel(body).text)
    assert again == text
    assert calls < 20 * text.count("\n")


def random_body(rng):
    """An expression of random ops on values of random dtypes."""
    inputs = [Input(rng.choice(DTYPES), rng.random() < 0.2) for _ in range(rng.randint(1, 4))]
    dtypes, steps = [given.dtype for given in inputs], []
    for _ in range(rng.randint(1, 12)):
        if rng.random() < 0.3:
            steps.append(Operation("cast", (rng.randrange(len(dtypes)),), rng.choice(DTYPES)))
            dtypes.append(steps[-1].dtype)
            continue
        name, dtype = rng.choice(CASES)
        places = [i for i, other in enumerate(dtypes) if other is dtype]
        bools = [i for i, other in enumerate(dtypes) if other is BOOL]
        if not places or (name == "where" and not bools):
            continue
        operands = [rng.choice(places) for _ in OPS[name].operands]
        if name == "where":
            operands[0] = rng.choice(bools)
        steps.append(Operation(name, tuple(operands), result_dtype(name, dtype)))
        dtypes.append(steps[-1].dtype)
    outputs = tuple(rng.randrange(len(dtypes)) for _ in range(rng.randint(1, 3)))
    return Body(tuple(inputs), tuple(steps), outputs)


def fuzz(count, seed):
    """Compiles and runs random bodies; malformed text would end the process."""
    rng = random.Random(seed)
    for _ in range(count):
        body = random_body(rng)
        compiled = Compiled(body, rng.choice([None, SCALAR, Target(256, fma=True, half=True)]))
        size = rng.choice([0, 1, 5, 64, 131])
        given = body.inputs
        arrays = [sample(x.dtype, 1, 3).reshape(()) if x.single else sample(x.dtype, size, 3) for x in given]
        compiled(*arrays)


def test_random_expressions_never_end_the_process():
    program = f"import sys; sys.path[:0] = {sys.path!r}; import importlib.util as u; "
    program += f"s = u.spec_from_file_location('t', {__file__!r}); m = u.module_from_spec(s); "
    program += "s.loader.exec_module(m); m.fuzz(60, 1); print('done')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.stdout == "done\n", done.stderr[-2000:]


def test_the_host_is_known():
    target = host_target()
    assert target.vector_bits in (128, 256, 512)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_power_of_one_number_by_itself_reaches_its_edges(dtype):
    """A single number is computed without vectors, and scaled in two steps."""
    x, y = gc.placeholder(dtype, ()), gc.placeholder(dtype, ())
    with gc.Session(backend="llvm") as session:
        step = session.make_callable(x**y, [x, y])
        for base in (0.0, -0.0, 1e-6, 0.5, 2.0, np.inf):
            for exponent in (0.5, 2.5, -0.5, 300.0, -300.0, 1e4, -1e4):
                with np.errstate(all="ignore"):
                    wanted = np.power([base] * 2, [exponent] * 2, dtype=dtype)[0]
                np.testing.assert_allclose(
                    step(base, exponent), wanted, rtol=1e-3 if dtype == "float16" else 1e-6
                )
