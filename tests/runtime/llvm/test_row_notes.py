"""The CPU's notes: made wherever an op makes what is not finite, never for nothing, of one chunk alone."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.op import OPS
from graphc.types import BOOL, DTYPES, FLOAT32, FLOAT64, DType
from runtime.llvm_backend.engine import library
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.notes import FLAGS
from runtime.llvm_backend.ir.scalars import emit_op
from runtime.llvm_backend.ir.text import Emitter, Module, target_of
from runtime.llvm_backend.ir.values import register_bytes, register_scalar
from runtime.llvm_backend.rows import row_notes, row_wave
from runtime.llvm_backend.rows.row_notes import TELLING, is_untouched
from tests.runtime.llvm.levels import run_at_level

Array = np.ndarray[Any, Any]
notes = pytest.mark.skipif(not target_of(host()).notes, reason="the CPU's notes are not read")
_TESTS = frozenset(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"))
_TESTS |= frozenset(("isnan", "isinf", "isfinite", "logical_not"))


def _noted(name: str, dtype: DType, result: DType, *operands: Array) -> tuple[Array, Array]:
    """What vectors of an op's code give of each number, in all lanes, and whether anything is noted of it."""
    module = Module(target_of(host()))
    width = module.target.vector_bits // 8 // register_bytes(dtype)
    em = Emitter(module, width)
    given, made = register_scalar(dtype), register_scalar(result)
    names = [f"%x{i}" for i in range(len(operands))]
    loads = [
        f"  {x}.at = getelementptr {given}, ptr %in{i}, i64 %i\n  {x}.one = load {given}, ptr {x}.at\n"
        f"  {x}.first = insertelement {em.type(given)} poison, {given} {x}.one, i32 0\n"
        f"  {x} = shufflevector {em.type(given)} {x}.first, {em.type(given)} poison, "
        f"<{width} x i32> zeroinitializer"
        for i, x in enumerate(names)
    ]
    value = emit_op(em, name, names, [dtype] * len(operands), result)
    parameters = ", ".join(f"ptr %in{i}" for i in range(len(operands)))
    body = "\n".join(
        [
            *loads,
            *em.lines,
            f"  %one = extractelement {em.type(made)} {value}, i32 0",
            f"  %at = getelementptr {made}, ptr %out, i64 %i",
            f"  store {made} %one, ptr %at",
        ]
    )
    for what in ("stmxcsr", "ldmxcsr"):
        module.declare(what, f"declare void @llvm.x86.sse.{what}(ptr)")
    text = f"""{module.text}
define internal void @one({parameters}, ptr %out, i64 %i) noinline {{
entry:
{body}
  ret void
}}
define void @all({parameters}, ptr %out, ptr %notes, i64 %n) {{
entry:
  %clear = alloca i32
  store i32 8064, ptr %clear
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  call void @llvm.x86.sse.ldmxcsr(ptr %clear)
  call void @one({parameters}, ptr %out, i64 %i)
  %note = getelementptr i32, ptr %notes, i64 %i
  call void @llvm.x86.sse.stmxcsr(ptr %note)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}"""
    loaded = library.load([library.Module("notes", text, ("all",))])
    kinds = [ctypes.c_void_p] * (len(operands) + 2)
    function = ctypes.CFUNCTYPE(None, *kinds, ctypes.c_int64)(loaded.address("notes", "all"))
    count = len(operands[0])
    found = np.zeros(count, np.uint8 if result is BOOL else result.numpy)
    status = np.zeros(count, np.int32)
    function(*(x.ctypes.data for x in operands), found.ctypes.data, status.ctypes.data, count)
    return found, (status & FLAGS) != 0


def _numbers(dtype: DType) -> Array:
    """Finite numbers of all sizes."""
    random, limits = np.random.default_rng(1), np.finfo(dtype.numpy)
    exponents = random.uniform(limits.minexp, limits.maxexp, 1000)
    edges = [0, limits.tiny, limits.max, limits.smallest_subnormal, 1, 0.5, 2, 88.7, 88.73, 709.7, 710, 2**31]
    huge = np.repeat(limits.max, 40)
    near = [random.standard_normal(500) * 3, random.uniform(0, 120, 500), random.uniform(700, 711, 200)]
    found = np.concatenate([2.0**exponents, *near, huge, edges]).astype(dtype.numpy)
    return np.concatenate([found, -found])


_WITH_CODE = sorted((TELLING | row_notes.SILENT) - {"cast", "sum", "mean", "prod", "where", "clip"})


def _cases() -> list[tuple[str, DType]]:
    return [(name, dtype) for name in _WITH_CODE for dtype in (FLOAT32, FLOAT64)]


def check_op(name: str, dtype: DType) -> None:
    """What is not finite is noted, if the op tells; of numbers that are not huge nothing else is."""
    x = _numbers(dtype)
    operands = [x, np.roll(x, 3) * (-1 if name == "sub" else 1)][: len(OPS[name].operands)]
    if name.startswith("logical"):
        return  # of bool alone
    found, noted = _noted(name, dtype, BOOL if name in _TESTS else dtype, *operands)
    wrong = np.zeros(len(x), bool) if name in _TESTS else ~np.isfinite(found)
    if name in TELLING:
        assert wrong.any()
        assert not (wrong & ~noted).any(), name
    usual = np.all([np.abs(x) < 1e10 for x in operands], axis=0)
    assert not (noted & ~wrong & usual).any(), name


def check_casts() -> None:
    """Those to what is shorter tell, and no other is noted."""
    for dtype in (FLOAT32, FLOAT64):
        x = _numbers(dtype)
        for result in DTYPES:
            if result.is_floating and result not in (FLOAT32, FLOAT64):
                continue
            found, noted = _noted("cast", dtype, result, x)
            wrong = ~np.isfinite(found) if result.is_floating else np.zeros(len(x), bool)
            assert not (wrong & ~noted).any()
            assert not (noted & ~wrong & (np.abs(x) < 1e9)).any()


PROGRAM = """
from tests.runtime.llvm import test_row_notes as own
for case in own._cases():
    own.check_op(*case)
own.check_casts()
"""


@notes
@pytest.mark.parametrize(("name", "dtype"), _cases())
def test_ops_tell_rightly(name: str, dtype: DType) -> None:
    check_op(name, dtype)


@notes
def test_casts_tell_rightly() -> None:
    check_casts()


@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3"])
def test_ops_of_other_levels_tell_rightly(level: str) -> None:
    run_at_level(level, PROGRAM)


@notes
@pytest.mark.parametrize("name", sorted((row_notes._UNTOUCHED | {"exp"}) - {"where", "cast", "sum", "mean"}))
def test_of_nan_nothing_is_noted(name: str) -> None:
    with gc.Graph().as_default():
        operands = [gc.placeholder("float32", (5,)) for _ in OPS[name].operands]
        if not is_untouched(OPS[name](*operands)):
            pytest.skip("its operand is limited first")
    nan = np.float32(np.nan)
    others = np.float32([1, np.inf, nan, 0, -3e38])
    for given in ([np.full(5, nan), others], [others, np.full(5, nan)]):
        if len(operands) == 1:
            given = [np.full(5, nan)]
        _, noted = _noted(name, FLOAT32, BOOL if name in _TESTS else FLOAT32, *given)
        assert not noted.any()


def _native(make: Any, *given: Array, threads: int = 1) -> Any:
    with gc.Graph().as_default() as graph:
        feeds = [gc.placeholder(str(x.dtype), x.shape) for x in given]
        session = gc.Session(graph=graph, backend="llvm", threads=threads, check_numerics=True)
        return session.compile(make(*feeds), feeds).native


@pytest.mark.parametrize("length", [1, 3, 16, 17, 31, 33, 63, 1025])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 5])
def test_lanes_that_no_element_is_in_count_for_nothing(length: int, dtype: str, rows: int) -> None:
    """Of 0 they would be quotients, and powers of a largest element far away."""
    x = np.random.default_rng(1).uniform(1, 2, (rows, length)).astype(dtype)
    softly = _native(lambda x: gc.nn.softmax(x * 3.0 - 1000.0), x)
    assert softly.call(x) is not NotImplemented
    native = _native(lambda x, y: (x / y, gc.rsqrt(y), gc.sum(x / y, -1)), x, x)
    assert native.call(x, x) is not NotImplemented
    for row in range(rows):
        for column in sorted({0, length // 2, length - 1}):
            y = x.copy()
            y[row, column] = 0
            assert native.call(x, y) is NotImplemented


@pytest.mark.parametrize("threads", [1, 2])
def test_what_was_noted_before_does_not_count(threads: int) -> None:
    x = np.ones((512, 300), np.float32)
    native = _native(lambda x: gc.nn.layer_norm(x) * x, x, threads=threads)
    large = x.copy()
    large[400, 299] = 3e38
    for _ in range(3):
        assert native.call(x) is not NotImplemented
        with np.errstate(all="ignore"):
            assert np.isinf(large * large).any()
        assert native.call(x) is not NotImplemented
        assert native.call(large) is NotImplemented
        assert native.call(x) is not NotImplemented


def test_what_is_not_chosen_is_seen() -> None:
    """A quotient of one number a row, which need not be made where it is not chosen."""
    x = np.ones((7, 40), np.float32)
    native = _native(
        lambda x: x * gc.where((s := gc.sum(x, -1, keepdims=True)) > 0.0, 1.0 / gc.maximum(s, 0.0), 2.0), x
    )
    assert native.call(x) is not NotImplemented
    x[5] = -1
    assert native.call(x) is NotImplemented


KINDS = {
    "softmax": gc.nn.softmax,
    "layer norm": lambda x: gc.nn.layer_norm(x),
    "chain": lambda x: gc.maximum(gc.maximum(x * x + 0.5, x) * x - x, 0.5 * x),
    "variance": lambda x: gc.var(x, -1),
}


@notes
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_looked_at(kind: str) -> None:
    """As a multiply-add for each vector, which a chain of twenty ops shows."""
    x = np.ones((300, 1024), np.float32)
    (kernel,) = _native(KINDS[kind], x).kernels
    if kind == "softmax" and not host().masks:
        pytest.skip("its exp limits its operand")
    assert "stmxcsr" in kernel.text
    assert not re.search(r"fmuladd\.v\d+f32\(<\d+ x float> %v1, <\d+ x float> splat \(float 0x0", kernel.text)
    assert "fsub float %s" not in kernel.text.partition("@kernel.inside")[0]


@notes
def test_pretexts_of_a_wave_are_noted_only_where_nothing_is_noted_of_them(monkeypatch: Any) -> None:
    monkeypatch.setattr(row_wave, "_SMALLEST", 0)
    x = np.random.default_rng(2).standard_normal((29, 300)).astype(np.float32) + 500
    for make in (gc.nn.softmax, gc.nn.log_softmax, lambda x: gc.nn.softmax(gc.cast(x, "float64"))):
        native = _native(make, x)
        assert native.call(x) is not NotImplemented
        for row in (0, 1, 28):
            y = x.copy()
            y[row, 77], y[row, 78] = 3e38, -3e38
            assert native.call(y) is NotImplemented or make is not gc.nn.softmax


@notes
@pytest.mark.parametrize("op", [lambda x: gc.power(x, 0.3), gc.tan, lambda x: gc.cast(x, "float16")])
def test_what_is_not_known_to_tell_is_looked_at(op: Any) -> None:
    (kernel,) = _native(lambda x: gc.cast(op(x * x), "float32") * x, np.ones((300, 1024), np.float32)).kernels
    assert "stmxcsr" not in kernel.text
