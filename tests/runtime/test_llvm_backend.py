"""The LLVM backend agrees with NumPy, and says what it ran by meaning."""

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
        assert sorted(".".join(k.name for k in executable.kernels).split(".")) == sorted(fetches)
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
    large = gc.exp(x) * x > 2.0
    y = gc.sum(gc.cast(gc.matmul(large, gc.reshape(large, [3, 2])), "float32"), axis=0)
    found, expected = both(y, {x: np.ones((2, 3))})
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with gc.Session(backend="llvm") as session:
        record = session.compile(y, [x]).record
    kinds = {step["op"]: step["kernel"] for step in record["steps"]}
    assert kinds["fused"] == "llvm"
    assert kinds["matmul"] == "meaning"
    assert record["fallbacks"] == {"matmul": 1}
    assert record["native"] == {"reason": None, "returns": 1, "regions": []}


def test_equal_kernels_share_their_code(graph):
    x = gc.placeholder("float32", ("n",), name="x")
    y = gc.placeholder("float32", ("m", 3), name="y")
    with gc.Session(backend="llvm") as session:
        kernels = session.compile([gc.exp(x) * 2.0, gc.exp(y) * 3.0], [x, y]).kernels
    assert len(kernels) == 2
    assert kernels[0].address == kernels[1].address  # rank, sizes and constants are no part of it


def test_a_failing_op_in_a_kernel_says_how(graph):
    x = gc.placeholder("int32", ("n",), name="x")
    y = (x + 7) // (x - 2)
    with gc.Session(backend="llvm") as session:
        assert session.run(y, {x: [3, 0]}).tolist() == [10, -4]
        with pytest.raises(gc.DivisionError, match=r"floor_divide(.|\n)*test_llvm_backend.py"):
            session.run(y, {x: [3, 2]})


@pytest.mark.parametrize("n", [0, 1, 5, 15, 16, 17, 33, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_rows_of_every_length(graph, n, dtype):
    x = gc.placeholder(dtype, ("m", "n"), name="x")
    shift = gc.placeholder(dtype, ("n",), name="shift")
    y = x * shift + gc.mean(gc.abs(x), axis=-1, keepdims=True)
    z = gc.sum(gc.exp(y), axis=-1), gc.sum(y * y, axis=-1, keepdims=True) - y
    random = np.random.default_rng(n)
    feeds = {x: random.uniform(-1, 1, (3, n)), shift: random.uniform(-1, 1, n)}
    tolerance = {"float32": 1e-6, "float64": 1e-12, "float16": 2e-3, "bfloat16": 2e-2}[dtype]
    for found, expected in zip(*both([y, *z], feeds), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_a_row_kept_for_later_beside_one_that_is_a_result(graph):
    x = gc.placeholder("float32", ("batch", 4), name="x")
    labels = gc.placeholder("int64", ("batch",), name="labels")
    h = gc.tanh(x)
    loss = gc.mean(gc.losses.sparse_softmax_cross_entropy(labels=labels, logits=h))
    feeds = {x: np.random.default_rng(0).normal(size=(3, 4)), labels: [0, 3, 1]}
    slope = gc.gradients(loss, [x])[0]
    for fetches in ([slope, loss], [slope, h], [slope, h * 2.0, loss]):
        for found, expected in zip(*both(fetches, feeds), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_masks_that_repeat_over_some_axes(graph):
    x = gc.placeholder("float32", ("b", "h", "t", "t"), name="x")
    mask = gc.placeholder("bool", ("b", 1, "t", "t"), name="mask")
    y = gc.nn.softmax(gc.where(mask, x, -1e9))
    random = np.random.default_rng(0)
    feeds = {x: random.normal(size=(2, 3, 5, 5)), mask: random.random((2, 1, 5, 5)) < 0.5}
    found, expected = both(y, feeds)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


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
    from runtime.llvm_backend.engine.machine import describe_machine

    described = describe_machine()
    assert set(described) == {"cpu", "vector width", "llvm", "cache"}
    assert all(described.values())
