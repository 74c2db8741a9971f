"""What is alike is written, compiled and planned once: counted, not timed."""

import ctypes

import numpy as np
import pytest

import graphc as gc
from passes import program as programs
from passes.stages import listening
from runtime.llvm_backend import backend
from runtime.llvm_backend.contractions import kernel_choice
from runtime.llvm_backend.engine import library
from runtime.llvm_backend.native import native_steps


@pytest.fixture(autouse=True)
def graph(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path))
    kernel_choice.choose_kernel.cache_clear()
    monkeypatch.setattr(backend, "_texts", {})
    with gc.Graph(seed=3).as_default() as opened:
        yield opened


def counted(monkeypatch, module, name):
    calls = []
    inner = getattr(module, name)

    def noted(*given, **more):
        calls.append(name)
        return inner(*given, **more)

    monkeypatch.setattr(module, name, noted)
    return calls


def tower(layers, size):
    h = x = gc.placeholder("float32", (5, size), name="x")
    for i in range(layers):
        w = gc.constant(np.random.default_rng(i).normal(size=(size, size)).astype(np.float32))
        h = gc.tanh(h @ w * (1.0 + i / 7)) - h
    return x, gc.nn.softmax(h)


def test_equal_layers_are_written_once(monkeypatch):
    written = {}
    for layers in (3, 40):
        rows = counted(monkeypatch, backend, "write_rows")
        contractions = counted(monkeypatch, kernel_choice, "emit_contraction")
        kernel_choice.choose_kernel.cache_clear()
        monkeypatch.setattr(backend, "_texts", {})
        x, y = tower(layers, 20 + layers)
        session = gc.Session(backend="llvm", threads=1)
        session.run(y, {x: np.ones(x.shape, np.float32)})
        written[layers] = len(rows), len(contractions)
    assert written[40] == written[3]


@pytest.mark.parametrize("turned", [False, True], ids=["dense", "strided"])
def test_alike_steps_are_lowered_once(monkeypatch, turned):
    made = {}
    x, w = gc.placeholder("float32", (5, 20), name="x"), gc.placeholder("float32", (20, 20), name="w")
    random = np.random.default_rng(0)
    feeds = {x: random.normal(size=x.shape), w: random.normal(size=w.shape) / 9}
    feeds = {key: value.astype(np.float32) for key, value in feeds.items()}
    for layers in (5, 40):
        drafted = counted(monkeypatch, native_steps.StepWriter, "_draft")
        patterns = counted(monkeypatch, native_steps.StepWriter, "_make_patterns")
        h = x
        for i in range(layers):
            scaled = gc.sin(w * (1 + i / layers))
            h = gc.tanh(h @ (gc.transpose(scaled) if turned else scaled)) * 0.5
        found = gc.Session(backend="llvm", threads=2).run(h, feeds)
        meant = gc.Session(backend="numpy").run(h, feeds)
        np.testing.assert_allclose(found, meant, atol=1e-6)
        made[layers] = len(drafted), len(patterns)
    assert made[40] == made[5]


def test_bodies_of_kernels_are_not_planned(monkeypatch):
    plans = counted(monkeypatch, programs, "plan")
    x, y = tower(6, 31)
    gc.Session(backend="llvm", threads=1).run(y, {x: np.ones((5, 31), np.float32)})
    assert not plans  # the program itself is planned by who imported the function


def test_all_fills_of_a_width_share_a_kernel():
    filled = [
        gc.zeros(shape, dtype) for shape in ((3,), (4, 50), (2, 3, 4)) for dtype in ("float32", "int32")
    ]
    filled += [gc.ones((70000,), "float32"), gc.zeros((5, 0), "float32"), gc.full((9, 9), -2.5, "float32")]
    session = gc.Session(backend="llvm", threads=2)
    with listening() as heard:
        results = session.run(filled)
    assert heard.counts["modules compiled"] <= 2  # with the copies of the engine
    for result, tensor in zip(results, filled, strict=True):
        assert result.shape == tensor.shape
        assert len(np.unique(result)) <= 1
    np.testing.assert_array_equal(results[-1], np.full((9, 9), -2.5, np.float32))
    np.testing.assert_array_equal(results[-3], np.ones(70000, np.float32))


# One number of many, which is read where it lies.
NUMBERS = {
    "a slice": (lambda x: x[2:3, 1:2], lambda x: x[2:3, 1:2]),
    "a slice backwards": (lambda x: x[::-1, ::-1][:1, :1], lambda x: x[-1:, -1:]),
    "a slice of a transpose": (lambda x: gc.transpose(x)[1:2, 2:3], lambda x: x[2:3, 1:2]),
    "an element": (lambda x: x[3, 2], lambda x: x[3, 2]),
}


@pytest.mark.parametrize("count", [1, 7, 1000])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_that_lies_among_others_is_repeated(number, count):
    in_graph, in_numpy = NUMBERS[number]
    x, one = gc.placeholder("float32", (4, 3)), gc.placeholder("float32", (1, 1))
    fed = np.arange(12, dtype=np.float32).reshape(4, 3)
    right = np.broadcast_to(in_numpy(fed), (5, count))
    alone, beside = (gc.broadcast_to(of, (5, count)) for of in (in_graph(x), one))
    with gc.Session(backend="llvm") as session:
        np.testing.assert_array_equal(session.run(alone, {x: fed}), right)
        for result in session.run([alone, beside], {x: fed, one: right[:1, :1]}):
            np.testing.assert_array_equal(result, right)


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "bfloat16", "float64", "uint64"])
@pytest.mark.parametrize("count", [1, 63, 64, 65, 5000, 1 << 18])
def test_fills_of_every_width(dtype, count):
    session = gc.Session(backend="llvm", threads=2)
    result = session.run(gc.broadcast_to(gc.cast(gc.constant(1), dtype), (count,)))
    np.testing.assert_array_equal(result, np.ones(count, result.dtype))


def test_fills_of_sizes_known_at_the_run():
    x = gc.placeholder("float32", ("n", 3), name="x")
    y = gc.zeros_like(x) + 2.0
    session = gc.Session(backend="llvm", threads=1)
    for n in (0, 1, 100, 40000):
        np.testing.assert_array_equal(session.run(y, {x: np.zeros((n, 3), np.float32)}), np.full((n, 3), 2.0))


def test_codegen_that_nobody_waits_for_ends_by_itself():
    text = "define void @kernel(ptr %block) {{\n  store i64 {0}, ptr %block\n  ret void\n}}\n"
    modules = [library.Module(f"stores {i}", text.format(100 + i)) for i in range(7)]
    library.expect(modules)
    library.expect(modules)
    code = library.load(modules)
    word = np.zeros(1, np.int64)

    for i, module in enumerate(modules):
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(code.address(module.name))(word.ctypes.data)
        assert word[0] == 100 + i


def test_a_text_that_is_not_valid_is_named_where_it_is_needed():
    module = library.Module("wrong", "define void @kernel(ptr %block) { nonsense }")
    library.expect([module])
    with pytest.raises(gc.errors.VerificationError, match="kernel wrong"):
        library.load([module])
