"""The drill: wrong rules and passes, planted one at a time; each is caught and named automatically."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import ops
from graphc.function import Function, rebuild, with_inputs
from graphc.op import OPS
from passes import (
    branches,
    constant_folding,
    dead_results,
    deduplication,
    fusion,
    loop_invariants,
    loop_merging,
    memory,
    state,
)
from passes.pipeline import PIPELINE
from passes.rewrite import rule
from passes.simplification import simplifying
from runtime.llvm_backend.contractions import fused_contraction
from runtime.llvm_backend.ir import scalars
from runtime.llvm_backend.native import cells

strided_slice, broadcast_to = OPS["strided_slice"], OPS["broadcast_to"]
constant, loop, after, random_uniform = OPS["constant"], OPS["loop"], OPS["after"], OPS["random_uniform"]


def caught(fetches, feeds=None, wrong=None, planted=None, backend="numpy"):
    """What is found, with the rule `wrong` in a pass of its own, or with the pass `planted` before all."""
    extra = (simplifying((wrong,)),) if wrong else (planted,) if planted else ()
    report = gc.check_passes(fetches, feeds, pipeline=(*extra, *PIPELINE), backend=backend)
    assert not report.ok
    assert report.finding.name in str(report)
    return report.finding


# Rules: the finding names the pass, the rule, the user's line, and makes a reproducer.


@dataclass
class Wrong:
    rule: Any
    build: Any
    feed: Any = None


WRONG = {}


def wrong(build, feed=None, *ops):
    def declare(apply):
        WRONG[apply.__name__] = Wrong(rule(*ops)(apply), build, feed)
        return apply

    return declare


SQUARE = np.arange(9.0).reshape(3, 3)


@wrong(lambda x: gc.exp(-x), SQUARE, ops.neg)
def sign(match):
    """``-x -> x``."""
    return match.inputs[0]


@wrong(lambda x: gc.sum(x, axis=1), SQUARE, OPS["sum"])
def axis(match):
    """``sum(x, 1) -> sum(x, 0)``."""
    if match.attrs["axis"] == (1,):
        return ops.sum(match.inputs[0], axis=0)
    return None


@wrong(lambda x: x[:2] * 2.0, SQUARE, strided_slice)
def off_by_one(match):
    """``x[a:b] -> x[a+1:b+1]``."""
    starts = match.attrs["starts"]
    if starts[0] == 0:
        return strided_slice(match.inputs[0], **{**match.attrs, "starts": (1, *starts[1:])})
    return None


@wrong(lambda x: gc.exp(x) - gc.tanh(x), SQUARE, ops.sub)
def swapped(match):
    """``exp(x) - y -> y - exp(x)``."""
    x, y = match.inputs
    return ops.sub(y, x) if x.op is ops.exp else None


@wrong(lambda x: gc.broadcast_to(x[0], (3, 3)) * 1.5, SQUARE, broadcast_to)
def down_instead_of_across(match):
    """``broadcast(x) -> transpose(broadcast(x))``."""
    x = match.inputs[0]
    if x.op is not OPS["identity"] and match.node.result.rank == 2:
        return ops.transpose(broadcast_to(ops.identity(x), match.node.result.sizes), axes=(1, 0))
    return None


@wrong(lambda x: gc.cast(gc.cast(x / 3.0, "float32"), "float64"), SQUARE, ops.cast)
def lossy_cast(match):
    """``f64(f32(x)) -> x``."""
    inner = match.inputs[0]
    return inner.inputs[0] if inner.op is ops.cast else None


@wrong(lambda x: x + 0.0, np.array([-0.0, 1.0]), ops.add)
def negative_zero(match):
    """``x + 0 -> x``, of which -0 is no case."""
    x, zero = match.inputs
    return x if zero.op is constant and not zero.attrs["value"].any() else None


@wrong(lambda x: gc.maximum(x, 0.5), np.array([np.nan, 1.0]), ops.maximum)
def lost_nan(match):
    """``maximum(x, y) -> where(x > y, x, y)``."""
    x, y = match.inputs
    return ops.where(ops.greater(x, y), x, ops.broadcast_to(y, x.result.sizes))


@wrong(lambda x: gc.reshape(x, (9,)) * 2.0, SQUARE, OPS["reshape"])
def order_of_reshape(match):
    """``reshape(x) -> reshape(transpose(x))``."""
    x = match.inputs[0]
    if x.op is OPS["transpose"]:
        return None
    return ops.reshape(ops.transpose(x, axes=(1, 0)), match.node.result.sizes)


@wrong(lambda x: gc.matmul(x, gc.matrix_transpose(x)), SQUARE, ops.matmul)
def lost_transpose(match):
    """``x @ y.T -> x @ y``."""
    x, y = match.inputs
    return ops.matmul(x, y.inputs[0]) if y.op is OPS["transpose"] else None


@wrong(
    lambda x: gc.random.uniform((3,), dtype="float64") - gc.random.uniform((3,), dtype="float64"),
    None,
    ops.sub,
)
def one_draw(match):
    """``draw - draw -> 0``."""
    x, y = match.inputs
    return ops.sub(x, x) if x is not y and x.op is random_uniform else None


@wrong(lambda x: gc.where(x > 4.0, x, -x), SQUARE, ops.where)
def other_arm(match):
    """``where(c, x, y) -> where(c, y, x)``."""
    c, x, y = match.inputs
    return ops.where(c, y, x) if y.op is ops.neg else None


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_named(name):
    case = WRONG[name]
    feed = case.feed if case.feed is not None else np.zeros(1)
    x = gc.placeholder("float64", feed.shape, name="x")
    fetch = case.build(x)
    found = caught(fetch, {x: feed}, wrong=case.rule)
    assert found.name == "simplify"
    assert found.decision.subject == name
    assert found.decision.loc.filename == __file__
    assert case.rule.equation in str(found)
    assert found.before
    assert found.after
    assert found.reproducer.count("\n") < 20
    assert "gc.check_passes(graph" in found.reproducer
    assert "gc.parse" in found.reproducer


def test_a_rule_of_another_type_is_named():
    x = gc.placeholder("float64", (3, 3), name="x")

    @rule(ops.exp)
    def narrowed(match):
        """``exp(x) -> f32(exp(x))``."""
        return ops.cast(ops.tanh(match.inputs[0]), "float32")

    found = caught(gc.exp(x), {x: SQUARE}, wrong=narrowed)
    assert "the rule narrowed" in found.what
    assert found.decision.subject == "narrowed"


# Passes: faults planted inside those that stand in the pipeline.


def test_effects_are_lost():
    x = gc.placeholder("float64", (3, 3), name="x")
    with gc.control_dependencies([gc.print("now", x)]):
        y = gc.exp(x)

    found = caught(y, {x: SQUARE}, planted=forgetful)
    assert found.name == "forgetful"
    assert "effects" in found.what


def forgetful(function, target):
    """Drops what nothing computes with."""

    def make(node, inputs):
        return inputs[0] if node.op is after else with_inputs(node, inputs)

    outputs = rebuild(function, make)[0].outputs
    return (
        function
        if outputs == function.outputs and not function.effects
        else Function(function.inputs, outputs)
    )


def test_an_assignment_is_lost():
    v = gc.Variable(np.zeros(2), name="v")
    with gc.control_dependencies([v.assign_add([1.0, 2.0])]):
        y = gc.constant(np.float64(1.0)) * 2.0
    found = caught(y, {}, planted=forgetful)
    assert found.name == "forgetful"
    assert "assigned" in found.what


def test_deduplication_ignores_attributes(monkeypatch):
    monkeypatch.setattr(deduplication, "attributes_key", lambda attrs: ())
    x = gc.placeholder("float64", (3, 3), name="x")
    found = caught([gc.max(x, axis=0), gc.max(x, axis=1)], {x: SQUARE})
    assert found.name == "deduplicate"
    assert found.decision.subject in ("max", "constant")


def test_random_draws_are_merged(monkeypatch):
    key = deduplication.attributes_key
    monkeypatch.setattr(
        deduplication, "attributes_key", lambda attrs: key({k: v for k, v in attrs.items() if k != "key"})
    )
    draws = [gc.random.uniform((4,), dtype="float64") for _ in range(2)]
    found = caught(draws, {})
    assert (found.name, found.decision.subject) == ("deduplicate", "random_uniform")


def test_folding_gives_another_dtype(monkeypatch):
    folded = constant_folding._folded

    def narrow(node, deadline):
        made = folded(node, deadline)
        if made is node or made.dtype != "float64":
            return made
        value = made.attrs["value"].astype("float32")
        return replace(made, attrs={**made.attrs, "value": value})

    monkeypatch.setattr(constant_folding, "_folded", narrow)
    x = gc.placeholder("float64", (3,), name="x")
    found = caught(x * (gc.constant(np.float64(1.0)) / gc.constant(np.float64(3.0))), {x: np.ones(3)})
    assert found.name == "fold_constants"


def test_folding_overflows_as_floats_do(monkeypatch):
    meaning = OPS["add"].meaning
    folded = constant_folding._folded

    def saturating(node, deadline):
        if node.op is not ops.add:
            return folded(node, deadline)
        monkeypatch.setattr(
            OPS["add"], "meaning", lambda x, y: np.clip(np.float64(x) + y, -(2**31), 2**31 - 1)
        )
        try:
            return folded(node, deadline)
        finally:
            monkeypatch.setattr(OPS["add"], "meaning", meaning)

    monkeypatch.setattr(constant_folding, "_folded", saturating)
    x = gc.placeholder("int32", (), name="x")
    found = caught(x - (gc.constant(np.int32(2**31 - 1)) + gc.constant(np.int32(5))), {x: 0})
    assert (found.name, found.decision.subject) == ("fold_constants", "add")


def test_what_may_fail_is_hoisted(monkeypatch):
    monkeypatch.setattr(loop_invariants, "is_movable", lambda node: True)
    table = gc.placeholder("float64", (3,), name="table")
    at = gc.placeholder("int32", (), name="at")
    stop = gc.placeholder("int32", (), name="stop")
    _, total = gc.while_loop(
        lambda i, t: i < stop, lambda i, t: (i + 1, t + gc.gather(table, at)), [0, gc.constant(np.float64(0))]
    )
    found = caught(total, {table: np.ones(3), at: 7, stop: 0})
    assert found.name == "hoist_invariants"
    assert found.decision.subject == "gather"
    assert "IndexOutOfRange" in found.what


def test_what_is_carried_is_held(monkeypatch):
    def hold(function, target):
        def make(node, inputs):
            made = with_inputs(node, inputs)
            if node.op is not loop:
                return made
            body = node.attrs["body"]
            held = replace(body, outputs=(body.outputs[0], body.inputs[1], *body.outputs[2:]))
            return made if held.outputs == body.outputs else replace(made, attrs={**made.attrs, "body": held})

        return rebuild(function, make)[0]

    x = gc.placeholder("float64", (3,), name="x")
    _, y = gc.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 2.0), [0, x])
    assert caught(y, {x: np.ones(3)}, planted=hold).name == "hold"


def test_a_living_loop_variable_is_dropped(monkeypatch):
    monkeypatch.setattr(dead_results, "_reached", lambda functions, outputs: set())
    x = gc.placeholder("float64", (3,), name="x")
    _, a, _ = gc.while_loop(lambda i, a, b: i < 3, lambda i, a, b: (i + 1, a + b, b * 2.0), [0, x, x])
    assert caught(a, {x: np.ones(3)}).name == "drop_dead_results"


def test_a_read_is_stale(monkeypatch):
    monkeypatch.setattr(state, "latest_assignment", lambda read, seen: None)
    v = gc.Variable(np.zeros(2), name="v")
    with gc.control_dependencies([v.assign([1.0, 2.0])]):
        y = v.value() * 3.0
    assert caught(y, {}).name == "thread_state"


def test_the_wrong_branch_is_taken(monkeypatch):
    decided = branches._decided

    def other(node):
        branch = decided(node)
        if branch is None:
            return None
        return node.attrs["orelse" if branch is node.attrs["then"] else "then"]

    monkeypatch.setattr(branches, "_decided", other)
    x = gc.placeholder("float64", (3,), name="x")
    y = gc.cond(gc.constant(True), lambda: x * 2.0, lambda: x * 3.0)
    found = caught(y, {x: np.ones(3)})
    assert (found.name, found.decision.subject) == ("resolve_branches", "cond")


def test_a_merged_loop_gives_its_neighbours_result(monkeypatch):
    place = loop_merging._place
    monkeypatch.setattr(loop_merging, "_place", lambda node, merged: max(place(node, merged) - 1, 0))
    x = gc.placeholder("float64", (3, 3), name="x")
    total, steps = gc.scan(lambda t, row: (t * row, gc.sin(t)), gc.constant(np.ones(3)), x)
    loss = gc.sum(total) + gc.sum(steps)
    found = caught([loss, *gc.gradients(loss, [x])], {x: SQUARE + 1})
    assert (found.name, found.decision.subject) == ("merge_loops", "loop")


def test_a_group_is_joined_past_what_stands_between(monkeypatch):
    def heedless(self, group, stage, early):
        own = self.leader(group[0])
        for node in group:
            for operand in node.inputs:
                if fusion._is_joined(operand, node, self._rows):
                    self._leader[self.leader(operand)] = own
        return stage

    monkeypatch.setattr(fusion._Groups, "_raised", heedless)
    x = gc.placeholder("float64", (3, 3), name="x")
    y = gc.exp(x)
    found = caught(y * gc.sum(y @ y), {x: SQUARE}, backend="llvm")
    assert found.name == "fuse"
    assert "needs itself" in found.what


# What is compiled: the finding names the plan of memory, or the node whose code is wrong.


def test_a_buffer_is_reused_too_early(monkeypatch):
    last_uses = memory._last_uses

    def forgetful(program, roots, outside):
        """What is alive dies with the step that makes it."""
        born = {(step.output, 0): number for number, step in enumerate(program.steps)}
        found = [cell for cells in last_uses(program, roots, outside).values() for cell in cells]
        dies = {}
        for cell in found:
            dies.setdefault(born.get(cell, 0), []).append(cell)
        return dies

    monkeypatch.setattr(memory, "_last_uses", forgetful)
    x = gc.placeholder("float32", (8, 8), name="x")
    early = x @ x
    late = (early @ x) @ x
    found = caught(late + early @ late, {x: np.random.default_rng(0).normal(size=(8, 8))}, backend="llvm")
    assert found.name == "plan_memory"
    assert found.decision.kind == "share"
    assert found.decision.loc.filename == __file__


def test_an_alias_is_broken(monkeypatch):
    monkeypatch.setattr(cells, "VIEWS", cells.VIEWS | {"sort"})
    x = gc.placeholder("float32", (3, 3), name="x")
    found = caught(gc.sort(x @ x, descending=True) @ x, {x: SQUARE}, backend="llvm")
    assert found.name == "llvm"
    assert "sort" in found.before
    assert "test_drill.py" in found.before


def test_a_kernel_is_wrong(monkeypatch):
    monkeypatch.setitem(scalars._TABLE, "sub", scalars._TABLE["add"])
    x = gc.placeholder("float32", (3, 3), name="x")
    found = caught(gc.exp(x - gc.tanh(x)) @ x, {x: SQUARE}, backend="llvm")
    assert found.name == "llvm"
    assert "fused" in found.before


def test_a_prologue_reads_another_column(monkeypatch):
    def shifted(self, number, base, x):
        access = along(self, number, base, x)
        return replace(access, strides={name: 2 * stride for name, stride in access.strides.items()})

    along = fused_contraction._Fused._along
    monkeypatch.setattr(fused_contraction._Fused, "_along", shifted)
    x, w = gc.placeholder("float32", (3, 3), name="x"), gc.placeholder("int8", (3, 3), name="w")
    found = caught(x @ gc.cast(w, "float32"), {x: SQUARE, w: np.eye(3, dtype=np.int8)}, backend="llvm")
    assert found.name == "llvm"
    assert "cast" in found.before


def test_a_pass_that_raises_is_named():
    def broken(function, target):
        raise KeyError("what")

    x = gc.placeholder("float64", (3,), name="x")
    found = caught(x * 2.0, {x: np.ones(3)}, planted=broken)
    assert found.name == "broken"
    assert "KeyError" in found.what


def test_there_are_twenty():
    planted = [name for name in globals() if name.startswith("test_")]
    assert len(WRONG) + len(planted) - 2 >= 20
