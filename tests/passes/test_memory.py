"""The memory plan: no value is overwritten while it is needed, and the arena is hardly too large."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc import nesting
from graphc.conversion import as_tensor
from graphc.function import Function, topological
from graphc.op import OPS
from graphc.ops.source import _placeholder
from graphc.sizes import evaluate, named, symbols
from passes.memory import ALIGNMENT, MANY, _last_uses, _packed, plan_memory
from passes.packing import Life, guessed_total, in_order
from passes.pipeline import Request, prepare
from passes.program import plan
from passes.scheduling import schedule
from passes.target import Target
from passes.weight import bytes_of, guess_bytes, parts_of

ROWS = {"sum", "max", "min", "mean", "reshape", "broadcast_to", "expand_dims", "squeeze"}
FUSING = Target("llvm", False, frozenset(n for n, op in OPS.items() if op.family == "elementwise") | ROWS)
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAME_MEMORY = {"reshape", "expand_dims", "squeeze", "identity", "after"}


def views(step):
    node = step.node
    if node.op.name == "pick":
        return {0: (step.inputs[0], node.attrs["index"])}
    return {0: (step.inputs[0], 0)} if node.op.name in SAME_MEMORY else {}


def program_of(fetches):
    outputs = tuple(as_tensor(leaf) for leaf in nesting.flatten(fetches))
    feeds = tuple(node for node in topological(outputs) if node.op is _placeholder)
    prepared = prepare(Request(outputs, feeds), FUSING)
    return plan(prepared.function, prepared.guards)


def sizes_of(program, size):
    return dict.fromkeys(
        {
            symbol
            for node in program.nodes
            for type in parts_of(node.type)
            for each in type.sizes
            for symbol in symbols(each)
        },
        size,
    )


def simulate(program, memory, known):
    """Stamps every value on its bytes of the arena, and looks for the stamp wherever it is read."""
    *offsets, total = memory.offsets(known)
    arena = np.zeros(total, np.int64)
    counts = {step.output: len(parts_of(step.node.type)) for step in program.steps}

    def place(cell):
        root = memory.roots.get(cell, cell)
        return root, None if root in memory.outside else offsets[memory.slot_of[root]]

    sizes = {}
    for step in program.steps:
        for buffer in step.inputs:
            for part in range(counts.get(buffer, 1)):
                root, begin = place((buffer, part))
                if begin is not None:
                    stamp = 1 + root[0] * 100 + root[1]
                    assert (arena[begin : begin + sizes[root]] == stamp).all(), f"{step.node} reads rubbish"
        for part, type in enumerate(parts_of(step.node.type)):
            cell = (step.output, part)
            if cell in memory.slot_of:
                begin = offsets[memory.slot_of[cell]]
                sizes[cell] = evaluate(bytes_of(type), known)
                assert begin + sizes[cell] <= total
                arena[begin : begin + sizes[cell]] = 1 + cell[0] * 100 + part


def training():
    x = gc.placeholder("float32", ("batch", 12), name="x")
    h = x
    for i in range(4):
        w = gc.Variable(np.eye(12, dtype=np.float32), name=f"w{i}")
        h = gc.nn.layer_norm(gc.tanh(h @ w) + gc.nn.softmax(h))
    loss = gc.mean(h * h)
    return loss, gc.train.Adam(0.01).minimize(loss)


@pytest.mark.parametrize("size", [1, 3, 64, 200])
def test_no_value_is_overwritten_before_its_last_use(size):
    program = program_of(training())
    simulate(program, plan_memory(program, views), sizes_of(program, size))


def test_a_plan_that_forgets_a_use_is_found():
    program = program_of(training())
    memory = plan_memory(program, lambda step: {})  # views without a lifetime of their own
    forgetful = replace(memory, slots=memory.slots[:1], slot_of=dict.fromkeys(memory.slot_of, 0))
    with pytest.raises(AssertionError, match="reads rubbish"):
        simulate(program, forgetful, sizes_of(program, 8))


def peak_of_live(program, plan, known):
    """The most bytes of the arena's cells that are alive at once: what no plan can go below."""
    dies = _last_uses(program, plan.roots)
    alive = peak = 0
    held = {}
    for number, step in enumerate(program.steps):
        for part, type in enumerate(parts_of(step.node.type)):
            if (step.output, part) in plan.slot_of:
                size = -(-evaluate(bytes_of(type), known) // ALIGNMENT) * ALIGNMENT
                held[step.output, part] = size
                alive += size
        peak = max(peak, alive)
        for cell in dies.get(number, ()):
            alive -= held.pop(cell, 0)
    return peak


@pytest.mark.parametrize("example", ["digits", "char_lstm", "newton", "gradients"])
def test_the_arena_of_every_example_is_close_to_what_is_alive(example):
    with gc.Graph(seed=0).as_default():
        fetches = runpy.run_path(str(EXAMPLES / f"{example}.py"))["build"]()
    program = program_of(fetches)
    memory = plan_memory(program, views)
    known = sizes_of(program, 32)
    simulate(program, memory, known)
    live = peak_of_live(program, memory, known)
    assert memory.offsets(known)[-1] <= 1.15 * live


def test_what_is_packed_by_size_takes_less_than_step_by_step():
    sizes = {lines: named("n") * (64 * lines) for lines in (2, 4, 6, 8, 14, 16)}
    alive = [(2, 0, 3), (8, 1, 1), (4, 2, 3), (6, 3, 5)]  # lines, from and up to which step
    cells = [Life((i, 0), sizes[x], guess_bytes(sizes[x]), *steps) for i, (x, *steps) in enumerate(alive)]
    assert guessed_total(in_order(cells)[0]) == guess_bytes(sizes[16])
    assert guessed_total(_packed(None, cells, False)[0]) == guess_bytes(sizes[14])


def test_long_programs_are_planned_too():
    x = gc.placeholder("float32", ("n",), name="x")
    y = x
    for _ in range(3600):
        y = gc.tanh(y)
    program = program_of(gc.gradients(gc.sum(y), [x]))  # all 3,600 are alive before the first is needed
    assert len(program.steps) > MANY
    memory = plan_memory(program, views)
    assert len(memory.slots) > 100
    simulate(program, memory, sizes_of(program, 4))


def test_the_schedule_keeps_less_alive():
    x = gc.placeholder("float32", (1000,), name="x")
    wide = [gc.tanh(x * float(i + 1)) for i in range(20)]
    total = gc.zeros((), "float32")
    for each in wide:  # defined so that a walk from the result meets all of `wide` on the left first
        total = gc.sum(each) + total
    function = Function((x,), (total,))
    order = schedule(function)
    assert sorted(map(id, order)) == sorted(map(id, function.nodes()))
    place = {node: i for i, node in enumerate(order)}
    assert all(place[i] < place[node] for node in order for i in node.inputs)
    sums = [place[node] for node in order if node.op.name == "sum"]
    tanhs = [place[node] for node in order if node.op.name == "tanh"]
    assert all(s == t + 1 for s, t in zip(sorted(sums), sorted(tanhs), strict=True))


def over_any(step):
    """As if every kernel read each element of all its operands before it writes there."""
    return {0: tuple(range(len(step.inputs)))}


def in_place(fetches):
    program = program_of(fetches)
    plan = plan_memory(program, views, overwrites=over_any)
    name = {step.output: step.node.op.name for step in program.steps}
    return {name[cell[0]]: name[old[0]] for cell, old in plan.over.items()}


def test_a_result_takes_the_place_of_what_dies_with_its_step():
    x = gc.placeholder("float32", (6, 6), name="x")
    y = gc.sort(x)
    assert in_place([gc.sort(gc.cumsum(y, axis=0), axis=0) @ x]) == {"cumsum": "sort", "sort": "cumsum"}
    assert in_place([gc.cumsum(y, axis=0) @ y]) == {}  # the product reads y too


def test_what_a_step_reads_twice_is_not_written_over():
    """Its kernel has read an element in one of two places when it writes there, not yet in the other."""
    x = gc.placeholder("float32", (6, 6), name="x")
    y = gc.sort(x)
    assert in_place([gc.matmul(y, y) @ x]) == {}
    assert in_place([gc.matmul(y, gc.reshape(gc.reshape(y, (36,)), (6, 6))) @ x]) == {}


def test_only_as_many_bytes_are_written_over():
    x = gc.placeholder("float32", (6, 6), name="x")
    assert in_place([gc.argsort(gc.sort(x)) + 1]) == {}  # i64 over f32


def test_what_is_assigned_is_not_in_the_arena():
    v = gc.Variable(np.zeros((6, 6), np.float32), name="v")
    program = program_of([v.assign(gc.sort(gc.cumsum(v, axis=0)))])
    plan = plan_memory(
        program, lambda step: {0: (step.inputs[0], 0)} if step.node.op.name == "assign" else views(step)
    )
    (buffer,) = (buffer for _, buffer in program.assignments)
    assert plan.roots[buffer, 0] in plan.outside
    assert plan.roots[buffer, 0] not in plan.slot_of
