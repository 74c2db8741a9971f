"""The LLVM backend agrees with NumPy to the last bit, and says what it ran by meaning."""

import subprocess
import sys

import numpy as np
import pytest

import graphc as gc

BINARY = {
    "add": gc.add,
    "sub": gc.sub,
    "mul": gc.mul,
    "div": gc.div,
    "maximum": gc.maximum,
    "minimum": gc.minimum,
}
UNARY = {
    "neg": gc.neg,
    "sqrt": gc.sqrt,
    "abs": gc.abs,
    "square": gc.square,
    "floor": gc.floor,
    "ceil": gc.ceil,
}
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -1.5, 1e-42, 3.0, np.nan, 2.5]


@pytest.fixture
def graph():
    with gc.Graph().as_default() as opened:
        yield opened


def both(fetches, feeds):
    with gc.Session(backend="llvm") as fast, gc.Session(backend="numpy") as reference:
        return fast.run(fetches, feeds), reference.run(fetches, feeds)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_agree_with_numpy(graph, dtype):
    x, y = (gc.placeholder(dtype, ("n",), name=name) for name in "xy")
    fetches = {name: f(x, y) for name, f in BINARY.items()} | {name: f(x) for name, f in UNARY.items()}
    random = np.random.default_rng(0)
    for n in (0, 1, 7, 8, 9, 41):
        a, b = (random.normal(size=n).astype(dtype) for _ in range(2))
        a[: len(SPECIAL)] = SPECIAL[:n]
        b[: len(SPECIAL)] = SPECIAL[::-1][:n] if n >= len(SPECIAL) else 0.5
        found, expected = both(fetches, {x: a, y: b})
        for name in fetches:
            np.testing.assert_array_equal(found[name], expected[name], name)
            assert found[name].dtype == dtype
    with gc.Session(backend="llvm") as session:
        executable = session.compile(fetches, [x, y])
        assert executable.record["fallbacks"] == {}
        assert {kernel.name for kernel in executable.kernels} == {f"{name}.{dtype}" for name in fetches}
        assert "define void @kernel" in executable.kernels[0].text


def test_any_layout(graph):
    x = gc.placeholder("float32", (None, None), name="x")
    array = np.arange(24, dtype="float32").reshape(4, 6)
    for given in (
        array.T,
        array[::-1, ::2],
        np.broadcast_to(array[:1], (3, 6)),
        array[:0],
        np.asfortranarray(array),
    ):
        found, expected = both(x + gc.sqrt(x), {x: given})
        np.testing.assert_array_equal(found, expected)


def test_what_has_no_kernel_runs_by_its_meaning_and_the_record_says_so(graph):
    x = gc.placeholder("float32", (2, 3), name="x")
    y = gc.sum(gc.exp(x) * x + gc.constant([1.0, 2.0, 3.0]), axis=0)
    found, expected = both(y, {x: np.ones((2, 3))})
    np.testing.assert_array_equal(found, expected)
    with gc.Session(backend="llvm") as session:
        record = session.compile(y, [x]).record
    kinds = {step["op"]: step["kernel"] for step in record["steps"]}
    assert kinds["mul"] == "llvm"
    assert kinds["sum"] == kinds["exp"] == "meaning"
    assert record["fallbacks"] == {"exp": 1, "add": 1, "sum": 1}  # that add broadcasts


def test_a_kernel_is_compiled_once_in_a_process(graph):
    x = gc.placeholder("float32", ("n",), name="x")
    with gc.Session(backend="llvm") as one, gc.Session(backend="llvm") as two:
        (first,) = one.compile(x + x, [x]).kernels
        (second,) = two.compile((x + x) + x, [x]).kernels
    assert first is second


def test_bodies_use_kernels_too(graph):
    x = gc.placeholder("float32", (3,), name="x")
    which = gc.placeholder("bool", (), name="which")
    y = gc.cond(which, lambda: x * x, lambda: x + x)
    with gc.Session(backend="llvm") as session:
        assert session.run(y, {x: [1, 2, 3], which: True}).tolist() == [1, 4, 9]
        assert len(session.compile(y, [x, which]).kernels) == 2


def test_numpy_sessions_never_load_llvm():
    code = (
        "import sys, graphc as gc\n"
        "with gc.Session(backend='numpy') as s: s.run(gc.constant(1.0) + 1.0)\n"
        "assert not {'llvmlite', 'networkx', 'safetensors'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_machine_is_described():
    from runtime.llvm_backend.machine import describe_machine

    described = describe_machine()
    assert set(described) == {"cpu", "vector width", "llvm", "cache"}
    assert all(described.values())
