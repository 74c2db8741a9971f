"""Prologues: what the kernels of contractions compute on their operands, what they leave and why."""

from dataclasses import replace

import numpy as np
import pytest

import graphc as gc
from passes.epilogues import fuse_epilogues
from passes.fusion import fuse
from passes.prologues import MOST_NODES, MOST_REPEATED
from passes.reasons import REASONS
from passes.record import rewrite_limit
from passes.target import Reading, Target
from tests.passes import test_epilogues
from tests.passes.test_epilogues import ELEMENTWISE
from tests.passes.test_fusion import (
    TARGET,
    centred,
    chosen,
    gated,
    grown,
    is_acyclic,
    numbers,
    prepared,
)

ONCE = Reading(1, True)


def target(reading=ONCE, number=1):
    """Whose products read that operand so, and the other one element at a time."""
    return Target(
        "llvm",
        fusible=ELEMENTWISE | TARGET.fusible,
        contracts=lambda node: node.op.name in ("matmul", "einsum"),
        reads=lambda node, which: reading if which == number else None,
    )


def fused(fetches, feeds, arrays=None, to=None):
    """As for epilogues, on `to`."""
    return test_epilogues.fused(fetches, feeds, arrays, to or target())


def square(name="x", dtype="float64"):
    return gc.placeholder(dtype, (4, 4), name=name)


def chain(w, many):
    for i in range(many):
        w = gc.tanh(w) if i % 2 else gc.square(w)
    return w


@pytest.mark.parametrize(
    ("build", "reason", "to"),
    [
        (lambda x, w: (x * 2.0) @ w, "packed", target()),
        (lambda x, w: [x @ (w * 2.0), gc.exp(w * 2.0)], "used", target()),
        (lambda x, w: [x @ (w * 2.0), (w * 2.0) @ x], "packed", target()),  # one takes it, one does not
        (lambda x, w: x @ chain(w, MOST_NODES + 1), "size", target()),
        (lambda x, w: x @ (w * 2.0), "repeats", target(Reading(MOST_REPEATED + 2, True))),
        (lambda x, w: x @ gc.tanh(w), "repeats", target(Reading(4, True))),
        (lambda x, w: x @ gc.tanh(w), "registers", target(Reading(1, False))),
        (lambda x, w: x @ (w * x), "registers", target(Reading(1, False))),
        (lambda x, w: x @ (w * x + gc.transpose(x)), "traffic", target(Reading(3, True))),
        (lambda x, w: [x @ (w * 2.0), w * 2.0], "used", target()),  # it is fetched
        (lambda x, w: [x @ gc.transpose(w * 2.0), gc.sort(gc.transpose(w * 2.0))], "used", target()),
        (lambda x, w: [x @ gc.tanh(w), (x + 1.0) @ gc.tanh(w)], "repeats", target(Reading(3, True))),
        (
            lambda x, w: x @ (w * x + gc.transpose(x)),
            "traffic",
            target(Reading(2, True)),
        ),  # as much as is saved
        (lambda x, w: x @ (w / gc.sum(w, axis=1, keepdims=True)), None, target()),
        (lambda x, w: x @ (gc.exp(w) / gc.sum(gc.exp(w), axis=1, keepdims=True)), "rows", target()),
        (lambda x, w: gc.cast(x, "bfloat16") @ (gc.cast(w, "bfloat16") * 2.0), "dtype", target()),
        (lambda x, w: gc.cast(x, "int8") @ gc.cast(w, "int8"), "dtype", target()),
    ],
)
def test_what_is_left_out_has_a_reason(build, reason, to):
    x, w = square(), square("w")
    built = build(x, w)
    fetches = built if isinstance(built, list) else [built]
    values = np.random.default_rng(0).random((4, 4))
    names, reasons = fused(fetches, [x, w], [values, values], to)
    if reason is None:
        assert len(names) == 1
    else:
        assert reason in reasons
        assert reason in REASONS["fuse"]


def test_ops_are_repeated_as_often_as_they_are_worth():
    """The first time costs nothing: eight cheap ops are computed three times, and not four times."""
    x, w = square(), square("w")
    cheap = w
    for i in range(MOST_NODES):
        cheap = gc.square(cheap) if i % 2 else gc.minimum(cheap, 0.5 + i)
    most = MOST_REPEATED // MOST_NODES + 1
    for times, reasons in ((most, set()), (most + 1, {"repeats"})):
        assert fused([x @ cheap], [x, w], to=target(Reading(times, True)))[1] == reasons


def test_what_is_refused_is_as_it_was():
    x, w = square(), square("w")
    before = prepared([x @ (w * 2.0)], [x, w])
    assert fuse_epilogues(before, target(None)) is before


def test_what_several_contractions_use_each_computes_for_itself():
    x, w = square(), square("w", "float16")
    wide = gc.cast(w, "float64")
    arrays = [np.eye(4) * 3, np.arange(16).reshape(4, 4).astype(np.float16)]
    names, reasons = fused([x @ wide, (x + 1.0) @ wide, x @ gc.transpose(wide)], [x, w], arrays)
    assert len(names) == 3
    assert all("cast" in each for each in names)
    assert reasons == {"packed"}  # what is added to x


def test_an_epilogue_and_a_prologue_are_one_node():
    x, w, b = square(dtype="float32"), square("w", "float16"), gc.placeholder("float32", (4,), name="b")
    arrays = [np.ones((4, 4), np.float32), np.eye(4, dtype=np.float16), np.arange(4, dtype=np.float32)]
    names, _ = fused([gc.nn.relu(x @ gc.cast(w, "float32") + b)], [x, w, b], arrays)
    assert names == [["cast", "matmul", "add", "relu"]]


def both_packed():
    """Whose products pack both operands, as dot instructions do."""
    return replace(target(), reads=lambda node, which: ONCE)


def test_bytes_are_packed_together_though_others_need_the_casts():
    x, w = square(dtype="uint8"), square("w", "int8")
    a, b = gc.cast(x, "int32"), gc.cast(w, "int32")
    arrays = [np.full((4, 4), 200, np.uint8), np.arange(-8, 8, dtype=np.int8).reshape(4, 4)]
    fetches = [a @ gc.transpose(b) + gc.sum(b, axis=0), a * 3, gc.matmul(a, a)]
    names, reasons = fused(fetches, [x, w], arrays, both_packed())
    assert names == [["cast", "cast", "einsum", "cast", "add"], ["cast", "matmul"]]
    assert not reasons - {"op"}


@pytest.mark.parametrize(
    "build",
    [
        lambda x, w: gc.matmul(gc.cast(x, "int32"), gc.cast(w, "int32") + 1),
        lambda x, w: gc.matmul(gc.cast(x, "int32"), gc.cast(gc.cast(w, "int16"), "int32")),
        lambda x, w: gc.matmul(gc.cast(x, "float32"), gc.cast(w, "float32")),
    ],
)
def test_what_is_no_pair_of_bytes_is_taken_alone(build):
    x, w = square(dtype="uint8"), square("w", "int8")
    names, reasons = fused([build(x, w)], [x, w])
    assert "packed" in reasons
    assert len(names) == 1


def test_one_operand_of_bytes_is_no_pair():
    x, w = square(dtype="int32"), square("w", "int8")
    wide = gc.cast(w, "int32")
    names, reasons = fused([gc.matmul(x, wide), gc.sort(wide)], [x, w], to=both_packed())
    assert names == []
    assert "used" in reasons


def test_what_an_epilogue_has_is_no_prologue():
    x, w = square(), square("w")
    names, _ = fused([w @ ((x @ w) * 2.0)], [x, w], [np.ones((4, 4)), np.eye(4)])
    assert names == [["matmul", "mul"]]


def test_bfloat16_is_read_to_be_cast():
    x, w = square(dtype="float32"), square("w", "bfloat16")
    arrays = [np.ones((4, 4), np.float32), np.eye(4, dtype=np.float32)]
    names, _ = fused([x @ gc.cast(w, "float32")], [x, w], arrays)
    assert names == [["cast", "matmul"]]


def test_a_limit_leaves_the_rest_apart():
    x, w = square(), square("w")
    before = prepared([x @ (w * 2.0)], [x, w])
    with rewrite_limit(0):
        assert fuse_epilogues(before, target()) is before


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_stay_acyclic_and_mean_the_same(seed):
    def product(a, b):
        return gc.matmul(a, b * 0.5) * 0.01

    def turned(a, b):
        return gc.matmul(gc.transpose(a), gc.transpose(gc.maximum(b, 0.1)))

    rng = np.random.default_rng(seed)
    x = gc.placeholder("float64", (3, 3), name="x")
    before = prepared(grown(rng, x, 8, product, centred, turned, chosen, gated, gated), [x])
    after = fuse(before, target())
    gc.verify(after)
    assert fuse(after, target()) is after
    assert is_acyclic(after)
    array = rng.random((3, 3))
    for a, b in zip(numbers(before, [array]), numbers(after, [array]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_may_fail_stays_where_it_fails():
    x, w = square(dtype="int64"), square("w", "int64")
    before = prepared([x @ gc.floor_divide(w, w)], [x, w])
    assert fuse_epilogues(before, target()) is before


def test_integers_made_of_bfloat16_are_an_array():
    x, w = square(dtype="int32"), square("w", "bfloat16")
    names, reasons = fused([x @ gc.cast(w, "int32")], [x, w])
    assert names == []
    assert "dtype" in reasons
