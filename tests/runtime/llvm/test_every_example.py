"""What is promised of every example as the LLVM backend compiles it: lines, reasons, a tight arena."""

from importlib import import_module
from pathlib import Path

import pytest

import graphc as gc
from graphc.function import bodies
from graphc.sizes import evaluate, symbols
from passes import memory
from passes.epilogues import fuse_epilogues
from passes.fusion import fuse
from passes.memory import ALIGNMENT, _last_uses
from passes.optimization import as_request
from passes.pipeline import prepare
from passes.program import plan
from passes.record import recording
from passes.rewrite import transform_bodies
from passes.target import PLAIN, Target
from passes.weight import bytes_of, parts_of
from runtime.backend import BACKENDS, target_of
from runtime.execution import bind
from runtime.llvm_backend.native import cells
from runtime.llvm_backend.native.native_regions import plan_scope

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def native():
    return target_of(BACKENDS["llvm"](2, False))


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def fetches(request):
    with gc.Graph(seed=0).as_default():
        yield import_module(f"examples.{request.param.stem}").build()


def nodes_of(function, kernels=True):
    """Those of `function`, function by function, with those of its bodies."""
    pending = [function]
    while pending:
        current = pending.pop()
        yield current
        for node in current.nodes():
            if kernels or node.op.name != "fused":
                pending += [body for _, body in bodies(node)]


def test_every_node_carries_a_users_line(fetches):
    states = []
    prepare(as_request(fetches), native(), lambda name, function: states.append((name, function)))
    rooms = tuple(str(ROOT / room) for room in ("graphc", "passes", "runtime"))
    for name, state in states:
        for function in nodes_of(state):
            for node in function.nodes():
                assert node.loc is not None, (name, node)
                assert node.loc.line, (name, node)
                assert not node.loc.filename.startswith(rooms), (name, node)


def unexplained(function, target):
    """The edges of `function` that are in no kernel and have no reason in the record."""
    with recording() as log:
        fuse(function, target)
    kernels = [set(c.decision.nodes) for c in log.changes if c.decision.kind == "fuse"]
    refused = {d.nodes for d in log.decisions if d.kind == "fuse" and not d.accepted}
    return [
        (operand.op.name, node.op.name)
        for node in function.nodes()
        if node not in function.inputs and node.op.name != "pick"
        for operand in node.inputs
        if operand.inputs and not any(node in kernel and operand in kernel for kernel in kernels)
        if (operand, node) not in refused
    ]


def alone(target):
    """`target` without contractions: what is left for rows once those have taken what follows them."""
    return Target(target.backend, False, target.fusible)


def test_every_edge_that_is_not_fused_has_a_reason(fetches):
    states, target = [], native()
    prepare(as_request(fetches), target, lambda name, function: states.append((name, function)))
    names = [name for name, _ in states]
    before = states[names.index("fuse") - 1][1]
    for function in nodes_of(before, kernels=False):
        function = transform_bodies(function, lambda body: fuse(body, target))
        taken = transform_bodies(fuse_epilogues(function, target), lambda body: fuse(body, alone(target)))
        assert unexplained(taken, alone(target)) == []


def test_edges_across_the_parts_of_a_long_chain_have_a_reason():
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (3,), name="x")
        y, z = gc.tanh(x), gc.sin(x)
        for _ in range(60):
            y, z = gc.tanh(y) * z, y  # each reads the two before: several edges cross where it is cut
        function = prepare(as_request([y]), PLAIN).function
    assert unexplained(function, alone(native())) == []


def live_bytes(program, found, works, known):
    """The most bytes alive at once of what is in the arena, the arenas of bodies among it."""
    dies = _last_uses(program, found.roots)
    alive = peak = 0
    held = {}
    for number, step in enumerate(program.steps):
        for part, type in enumerate(parts_of(step.node.type)):
            cell = (step.output, part)
            if cell in found.over:  # the same bytes
                alive -= held.pop(found.over[cell])
            if cell in found.slot_of:
                held[cell] = lines(evaluate(bytes_of(type), known))
                alive += held[cell]
        peak = max(peak, alive + sum(lines(evaluate(size, known)) for size in works(step)))
        alive -= sum(held.pop(cell, 0) for cell in dies.get(number, ()))
    return peak


def lines(size):
    return -(-size // ALIGNMENT) * ALIGNMENT


@pytest.mark.parametrize("size", [32, 256])
def test_the_arena_is_close_to_what_is_alive_also_in_bodies(fetches, size, monkeypatch):
    planned = []

    def noted(program, views, works, overwrites, stacks):
        found = memory.plan_memory(program, views, works, overwrites, stacks)
        planned.append((program, found, works))
        return found

    monkeypatch.setattr(cells, "plan_memory", noted)
    prepared = prepare(as_request(fetches), native())
    program = plan(prepared.function, prepared.guards)
    known = dict.fromkeys(symbols_of(program), size)
    bound = bind(program, BACKENDS["llvm"](1, False), False)
    plan_scope(program, bound, frozenset(known), lambda program, cells: None)
    assert len(planned) >= 1 + any(node.op.name == "loop" for node in program.nodes)
    for each, found, works in planned:
        arena, live = found.offsets(known)[-1], live_bytes(each, found, works, known)
        assert live <= arena <= 1.15 * live, each.function


def symbols_of(program):
    return {
        s for n in program.nodes for type in parts_of(n.type) for each in type.sizes for s in symbols(each)
    }


def test_fusing_what_is_fused_changes_nothing():
    with gc.Graph().as_default():
        q, k, v = (gc.placeholder("float32", (2, "n", 16), name=name) for name in "qkv")
        scores = gc.einsum("bqd,bkd->bqk", q, k) * 0.25
        attended = gc.einsum("bqk,bkd->bqd", gc.nn.softmax(scores), v)
        function = prepare(as_request([attended]), native()).function
    body = next(node for node in function.nodes() if node.op.name == "fused").attrs["body"]
    assert any(node.op.name == "fused" for node in body.nodes())  # a block
    assert fuse(function, native()) is function
