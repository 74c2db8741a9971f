"""Order of work: what other threads can do is given to them before this one does what is left."""

import numpy as np

import graphc as gc
from runtime.llvm_backend import backend
from runtime.llvm_backend.native import native_lowering, native_steps
from runtime.llvm_backend.table.steptable import TableBuilder


def layers():
    """A product and a softmax, which no other test compiles; and what is fed."""
    rng = np.random.default_rng(5)
    x = gc.placeholder("float32", [None, 37], name="x")
    w = gc.constant(rng.standard_normal((37, 53)).astype(np.float32))
    y = gc.nn.softmax(gc.cos(x @ w))
    value = rng.standard_normal((9, 37)).astype(np.float32)
    h = np.exp(np.cos(value @ w.attrs["value"]))
    return y, x, value, h / h.sum(axis=-1, keepdims=True)


def test_codes_are_asked_for_as_they_are_written_and_awaited_last(monkeypatch):
    told = []

    def noted(module, name, what):
        inner = getattr(module, name)

        def call(*given, **more):
            told.append(what)
            return inner(*given, **more)

        monkeypatch.setattr(module, name, call)

    noted(backend, "expect", "rows asked for")
    noted(native_steps, "choose_kernel", "product written")
    noted(native_steps, "expect", "asked for")
    noted(TableBuilder, "parallel", "step written")
    noted(native_lowering, "load", "awaited")
    noted(TableBuilder, "build", "table built")
    y, x, value, wanted = layers()
    with gc.Session(backend="llvm", threads=1) as session:
        np.testing.assert_allclose(session.run(y, {x: value}), wanted, 1e-5)
    firsts = [told.index(what) for what in ("rows asked for", "product written", "asked for", "step written")]
    assert firsts == sorted(firsts)
    assert told[-2:] == ["awaited", "table built"]
