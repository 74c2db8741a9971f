"""Contractions with prologues, through the session: the numbers of NumPy, and the same for any threads."""

import numpy as np
import pytest

import graphc as gc
from passes.record import recording
from tests.runtime.llvm.test_fused_contraction import ODD, agree, arrays


def taken(build, feeds):
    """How many decisions to compute an operand were accepted, and the reasons of the others."""
    with gc.Graph().as_default() as graph:
        placeholders = [gc.placeholder(str(x.dtype), x.shape, name=f"p{i}") for i, x in enumerate(feeds)]
        fetches = build(*placeholders)
        with recording() as log, gc.Session(graph=graph, backend="llvm", threads=1) as session:
            session.compile(fetches, placeholders)
    fusing = [d for d in log.decisions if d.kind == "fuse"]
    return sum(d.reason == "prologue" for d in fusing), {d.reason for d in fusing if not d.accepted}


def dequantised(x, w, scale):
    return [gc.nn.relu(x @ (gc.cast(w, "float32") * scale) + 1.0)]


def bytes_of(*shape):
    return np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)


@pytest.mark.parametrize(("m", "k", "n"), [*ODD, (300, 129, 70), (2, 1300, 33)])
def test_weights_of_bytes_are_scaled_where_they_are_read(m, k, n):
    x, scale = arrays((m, k), (n,))
    feeds = [x, bytes_of(k, n), scale * 0.01]
    agree(dequantised, feeds, 5e-5)
    assert m * k * n == 0 or taken(dequantised, feeds)[0] == 1


@pytest.mark.parametrize("m", [1, 4, 40, 200])
def test_transposed_weights(m):
    def build(x, w, scale):
        return [x @ gc.transpose(gc.cast(w, "float32") * scale), gc.sum(scale)]

    x, scale = arrays((m, 300), (70, 1))
    feeds = [x, bytes_of(70, 300), scale * 0.01]
    agree(build, feeds, 5e-5)
    assert taken(build, feeds)[0] == 1


@pytest.mark.parametrize(("m", "k", "n"), [(40, 33, 70), (130, 40, 65), (33, 200, 40)])
def test_a_mask_of_a_gradient(m, k, n):
    def build(x, g, z):
        return [gc.transpose(x) @ gc.where(z > 0.0, g, 0.0)]

    feeds = arrays((k, m), (k, n), (k, n))
    agree(build, feeds)
    assert taken(build, feeds)[0] == 1


def test_half_precision_in_and_out():
    def wide(x, w, b):
        return [gc.nn.gelu(x @ gc.cast(w, "float32") + b)]

    def narrow(x, w, b):
        return [x @ gc.cast(b * gc.cast(w, "float32"), "float16")]

    x, b = arrays((50, 40), (70,))
    (w,) = arrays((40, 70), dtype=np.float16)
    agree(wide, [x, w, b], 1e-4)
    agree(narrow, [x.astype(np.float16), w, b], 3e-2)
    assert taken(wide, [x, w, b])[0] == taken(narrow, [x.astype(np.float16), w, b])[0] == 1


def test_bfloat16_weights_lie_as_float32():
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder("float32", (5, 40), name="x")
        w = gc.placeholder("bfloat16", (40, 33), name="w")
        y, double = x @ gc.cast(w, "float32"), gc.cast(x, "float64") @ gc.cast(w, "float64")
    feeds = {x: arrays((5, 40))[0], w: np.round(arrays((40, 33), seed=3)[0] * 8) / 8}
    found = []
    for backend in ("numpy", "llvm"):
        with gc.Session(graph=graph, backend=backend) as session:
            found.append(session.run([y, double], feeds))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_what_two_products_use_is_not_made():
    def build(x, y, w):
        wide = gc.cast(w, "float32")
        return [x @ wide, y @ gc.transpose(wide)]

    x, y = arrays((9, 40), (9, 33))
    feeds = [x, y, bytes_of(40, 33)]
    agree(build, feeds)
    assert taken(build, feeds)[0] == 2


def test_columns_rows_numbers_and_both_operands_of_a_dot():
    def build(x, w, row, column):
        return [x @ (gc.maximum(w * row - column, -0.5) * 2.0), gc.sum(row)]

    def dot(x, y):
        return [(x * 2.0) @ (y + 1.0)]

    feeds = arrays((70, 40), (40, 33), (33,), (40, 1))
    agree(build, feeds)
    assert taken(build, feeds)[0] == 1
    agree(dot, arrays((700,), (700,)))
    assert taken(dot, arrays((700,), (700,)))[0] == 2


def test_batches_and_long_reductions():
    def batches(x, w, scale):
        return [x @ (gc.cast(w, "float32") * scale)]

    def long(x, w):
        return [gc.transpose(x) @ gc.cast(w, "float32") + 1.0]

    agree(batches, [*arrays((3, 40, 20)), bytes_of(3, 20, 33), *arrays((33,))], 1e-4)
    agree(batches, [*arrays((3, 40, 20)), bytes_of(20, 33), *arrays((33,))], 1e-4)
    agree(long, [*arrays((70_000, 3)), bytes_of(70_000, 5)], 1e-3)


def test_a_batch_known_at_the_run():
    graph = gc.Graph()
    with graph.as_default():
        x, w = gc.placeholder("float32", ("n", 40), name="x"), gc.placeholder("int8", (40, 70), name="w")
        y = gc.tanh(x @ (gc.cast(w, "float32") * 0.01))
        z = gc.gradients(gc.sum(y), [x])[0]
    weights = bytes_of(40, 70)
    with gc.Session(graph=graph, backend="numpy") as plain, gc.Session(graph=graph) as session:
        for n in (1, 7, 0, 130, 1000):
            feeds = {x: arrays((n, 40))[0], w: weights}
            for a, b in zip(plain.run([y, z], feeds), session.run([y, z], feeds), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        assert session.compile_count == 1


def test_attention_over_keys_that_are_cast():
    def build(q, k, v):
        wide = [gc.cast(k, "float32") * 0.5, gc.cast(v, "float32")]
        return [gc.nn.dot_product_attention(q, *wide, causal=True)]

    q, k, v = arrays((2, 3, 33, 16), (2, 3, 33, 16), (2, 3, 33, 16))
    agree(build, [q, k.astype(np.float16), v.astype(np.float16)], 1e-4)


def test_what_reads_one_element_at_a_time_takes_nothing():
    count, reasons = taken(lambda x, w: [gc.cast(x, "float32") @ w], [bytes_of(64, 40), *arrays((40, 33))])
    assert count == 0
    assert "packed" in reasons


def test_special_values_pass_through():
    x = np.eye(3, dtype=np.float32)
    w = np.array([[np.inf, -np.inf, np.nan], [0.0, -0.0, 1e-40], [-1.0, 65504.0, 1.0]], np.float16)
    agree(lambda x, w: [x @ gc.maximum(gc.cast(w, "float32"), -2.0)], [x, w])


def test_passes_are_checked_on_both_backends():
    with gc.Graph().as_default():
        x, w = gc.placeholder("float32", (3, 4), name="x"), gc.placeholder("int8", (4, 5), name="w")
        y = gc.nn.relu(x @ (gc.cast(w, "float32") * 0.5))
        report = gc.check_passes(y, {x: arrays((3, 4))[0], w: bytes_of(4, 5)})
    assert report.ok, report
