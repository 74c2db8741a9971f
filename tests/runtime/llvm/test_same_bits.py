"""Functions give the same bits at every width: a value may lie in a vector here and alone there."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from graphc.types import FLOAT32, FLOAT64, DType
from runtime.llvm_backend.engine.library import Module as Code
from runtime.llvm_backend.engine.library import load as link
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.scalars import emit_op
from runtime.llvm_backend.ir.text import Emitter, Module, target_of
from runtime.llvm_backend.ir.values import load, register_scalar, store

NAMES = ["exp", "expm1", "tanh", "sigmoid", "softplus", "erf", "log", "sin", "sinh", "cosh", "rsqrt"]
COUNT = 4096


def _at_width(name: str, dtype: DType, width: int, x: np.ndarray) -> np.ndarray:
    module = Module(target_of(host()))
    em = Emitter(module, width)
    em.do("br label %top")
    em.begin("top")
    em.do("%i = phi i64 [0, %entry], [%next, %last]")
    y = emit_op(em, name, [load(em, dtype, "%x", "%i")], [dtype], dtype)
    store(em, dtype, y, "%y", "%i")
    em.do("br label %last")
    em.begin("last")
    em.do(f"%next = add i64 %i, {width}")
    em.do(f"%more = icmp slt i64 %next, {COUNT}")
    em.do("br i1 %more, label %top, label %out")
    em.begin("out")
    body = "\n".join(em.lines)
    module.define("f", lambda: f"define void @f(ptr %x, ptr %y) {{\nentry:\n{body}\n  ret void\n}}")
    library = link([Code("f", module.text, ("f",))])
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(library.address("f", "f"))
    result = np.empty_like(x)
    function(x.ctypes.data, result.ctypes.data)
    return result


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
def test_every_width_gives_the_same_bits(name: str, dtype: DType) -> None:
    random = np.random.default_rng(8)
    x = random.uniform(-30, 30, COUNT)
    x[:512] = random.uniform(-110, 90, 512)
    x[512:520] = [0.0, -0.0, np.inf, -np.inf, 1e-40, 88.72, -103.9, -87.4]
    x = x.astype(dtype.numpy)
    widths = [w for w in (1, 2, 4, 8, 16) if w * x.itemsize <= host().vector_bytes]
    found = [_at_width(name, dtype, width, x) for width in widths]
    assert register_scalar(dtype) in ("float", "double")
    for other in found[1:]:
        assert np.array_equal(found[0], other, equal_nan=True)
