"""Passes on text: what stands before ``--->`` becomes what stands after it, and both give the same numbers.

A file ``cases/<name>.gir`` belongs to the pass that `PASSES` names, and holds cases one after another:

    # case: a title
    graph(...) { ... }
    --->
    graph(...) { ... }

``unchanged`` in place of the second graph: the very same Function comes back. ``error: ...``: the pass
raises, with that in its text. ``pytest --update-cases`` writes what the passes do now into the files.
"""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc.function import Function
from graphc.sizes import symbols
from passes.target import Target
from tests.passes.gir import plain, read, write

FOLDER = Path(__file__).parent / "cases"


def cut(function, target):
    """Cutting at what is named ``fed...``, behind the inputs."""
    from passes.cutting import cut_feeds

    fed = [node for node in function.nodes() if node.name and node.name.startswith("fed")]
    feeds = (*function.inputs, *(node for node in fed if node not in function.inputs))
    result = cut_feeds(function, feeds)[0]
    return function if result.inputs == function.inputs and result.outputs == function.outputs else result


def size(function, target):
    """Sizing by the nodes that bind sizes."""
    from passes.sizing import bind_sizes

    return bind_sizes(function, [node for node in function.nodes() if node.op.binds])


def take_epilogues(function, target):
    """Epilogues, for a backend whose contractions are matmul, einsum and sums, with code for all ops."""
    from graphc.op import OPS
    from passes.epilogues import fuse_epilogues

    names = frozenset(name for name, op in OPS.items() if op.family == "elementwise")
    contracts = frozenset(("matmul", "einsum", "sum"))
    return fuse_epilogues(
        function, Target("llvm", fusible=names, contracts=lambda node: node.op.name in contracts)
    )


def take_prologues(function, target):
    """As epilogues, where the second operand of a product is packed once."""
    from graphc.op import OPS
    from passes.epilogues import fuse_epilogues
    from passes.target import Reading

    names = {name for name, op in OPS.items() if op.family == "elementwise"} | {"sum"}
    return fuse_epilogues(
        function,
        Target(
            "llvm",
            fusible=frozenset(names),
            contracts=lambda node: node.op.name == "matmul",
            reads=lambda node, number: Reading(1, True) if number == 1 else None,
        ),
    )


def fuse_to_blocks(function, target):
    """Fusion, for a backend whose contractions are products, and two of them with the rows in between."""
    from graphc.op import OPS
    from passes.fusion import REDUCTIONS, fuse

    names = {name for name, op in OPS.items() if op.family == "elementwise"}
    names |= {op.name for op in REDUCTIONS}

    def contracts(node):
        if node.op.name != "fused":
            return node.op.name == "matmul"
        inner = [n.op.name for n in node.attrs["body"].nodes()]
        return inner.count("fused") + inner.count("matmul") >= 2

    return fuse(function, Target("llvm", fusible=frozenset(names), contracts=contracts))


def fuse_rows(function, target):
    """Fusion, for a backend whose rows hold elementwise ops, views, reductions and labels."""
    from graphc.op import OPS
    from passes.fusion import PICK, PUT, REDUCTIONS, fuse

    names = {name for name, op in OPS.items() if op.family == "elementwise"}
    names |= {op.name for op in (*REDUCTIONS, PICK, PUT)} | {
        "reshape",
        "broadcast_to",
        "expand_dims",
        "squeeze",
    }
    return fuse(function, Target("llvm", fusible=frozenset(names)))


def flatten(function, target):
    """Flattening, for a backend that fuses elementwise ops and whose contractions are products."""
    from graphc.op import OPS
    from passes.flattening import flatten

    names = frozenset(name for name, op in OPS.items() if op.family == "elementwise") | {"sum", "reshape"}
    return flatten(function, Target("llvm", fusible=names, contracts=lambda node: node.op.name == "matmul"))


def sort_distinct(function, target):
    """Distinct elements, for a backend with kernels."""
    from passes.distinct import sort_distinct

    return sort_distinct(function, Target("llvm", fusible=frozenset(("add",))))


def open_overlaps(function, target):
    """Overlaps, for a backend that contracts."""
    from passes.overlaps import open_overlaps

    return open_overlaps(function, Target("llvm", contracts=lambda node: True))


def open_apart(function, target):
    """Windows side by side, for a backend whose contractions are products."""
    from passes.apart import open_apart

    contracts = frozenset(("matmul", "einsum"))
    return open_apart(
        function, Target("llvm", contracts=lambda node: node.op.name in contracts, has_cells=True)
    )


def fuse_cells(function, target):
    """Fusion of cells, for a backend with code for all elementwise ops, whose contractions are products."""
    from graphc.op import OPS
    from passes.fusion import fuse_cells

    names = frozenset(name for name, op in OPS.items() if op.family == "elementwise") | {"sum", "max"}
    contracts = frozenset(("matmul", "einsum"))
    return fuse_cells(
        function,
        Target("llvm", fusible=names, contracts=lambda node: node.op.name in contracts, has_cells=True),
    )


def store_in_frames(function, target):
    """Frames, for a backend whose contractions are products."""
    from passes.frames import store_in_frames

    contracts = frozenset(("matmul", "einsum"))
    return store_in_frames(
        function, Target("llvm", contracts=lambda node: node.op.name in contracts, has_cells=True)
    )


# By the stem of the file: (Function, Target) -> Function, or where one stands. Merging loops asks for
# nodes that two bodies share, which no text can say: test_loop_merging.py has its tests.
PASSES = {
    "apart": open_apart,
    "blocks": fuse_to_blocks,
    "branches": "passes.branches:resolve_branches",
    "cells": fuse_cells,
    "constant_folding": "passes.constant_folding:fold_constants",
    "cutting": cut,
    "dead_results": "passes.dead_results:drop_dead_results",
    "deduplication": "passes.deduplication:deduplicate",
    "distinct": sort_distinct,
    "differentiation": "passes.differentiation:differentiate",
    "epilogues": take_epilogues,
    "flattening": flatten,
    "frames": store_in_frames,
    "fusion": fuse_rows,
    "overlaps": open_overlaps,
    "layout": "passes.layout:lay_out",
    "lifting": "passes.lifting:lift_assignments",
    "loop_invariants": "passes.loop_invariants:hoist_invariants",
    "loop_operands": "passes.loop_operands:turn_operands",
    "prologues": take_prologues,
    "rematerialisation": "passes.rematerialisation:rematerialise",
    "simplification": "passes.simplification:simplify",
    "sizing": size,
    "state": "passes.state:thread_state",
}

TARGETS = {"rematerialisation": Target(memory_budget=15_000)}  # plain for all others


def pass_of(stem):
    found = PASSES[stem]
    if callable(found):
        return found
    module, _, name = found.partition(":")
    return getattr(import_module(module), name)


FILES = sorted(FOLDER.glob("*.gir"))
CASES = [pytest.param(case, id=f"{case.stem}: {case.title}") for path in FILES for case in read(path)[1]]


def outcome(case):
    """The text of what the pass makes of `case`; the checks that need no expectation."""
    before = gc.parse(case.before).function
    gc.verify(before)
    step = pass_of(case.stem)
    try:
        result = step(before, TARGETS.get(case.stem, Target()))
    except gc.GraphError as error:
        return None, f"error: {str(error).splitlines()[0]}"
    if result is before:
        return before, "unchanged"
    gc.verify(result)
    return result, plain(gc.show(result))


@pytest.mark.parametrize("case", CASES)
def test_case(case):
    assert plain(gc.show(gc.parse(case.before))) == case.before
    result, text = outcome(case)
    assert text == case.after
    if result is None:
        return
    assert isinstance(result, Function)
    assert pass_of(case.stem)(result, TARGETS.get(case.stem, Target())) is result
    if text != "unchanged":
        for (kind, a), (_, b) in zip(numbers(case.before, case), numbers(case.after, case), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, err_msg=kind)


def numbers(text, case, backend="numpy"):
    """What a run of `text` gives: its outputs, and the variables afterwards.

    Placeholders, what is named ``fed...``, and variables get values drawn by their names.
    """
    graph = gc.parse(text, seed=0)
    before = gc.parse(case.before).function
    extents = {}
    with graph.as_default(), gc.Session(backend=backend) as session:
        for name, variable in sorted(graph.variables.items()):
            session.run(variable.assign(drawn(name, variable.type, extents)))
        feeds = {}
        for node in sorted(before.nodes(), key=lambda node: node.name or ""):
            if node.name and (node in before.inputs or node.name.startswith("fed")):
                feeds[node.name] = drawn(node.name, node.result, extents)
        feeds = {name: value for name, value in feeds.items() if name in graph.tensors}
        function = graph.function
        values = session.run([*function.outputs, *function.effects], feeds)[: len(function.outputs)]
        found = [(f"output {i}", value) for i, value in enumerate(values)]
        return found + [(name, session.run(name)) for name in sorted(graph.variables)]


def drawn(name, type, extents):
    """An array of `type`; sizes of one name are alike, and bigger than one."""
    rng = np.random.default_rng(list(name.encode()))
    shape = []
    for extent in type.sizes:
        if not isinstance(extent, int):
            (symbol,) = symbols(extent)
            extent = extents.setdefault(symbol.name, 2 + len(extents))
        shape.append(extent)
    if type.dtype.kind == "f":
        return rng.uniform(0.5, 2.0, shape).astype(type.dtype.numpy)
    if type.dtype.kind == "b":
        return rng.random(shape) < 0.5
    return rng.integers(0, 3, shape).astype(type.dtype.numpy)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_update(path, request):
    """With ``--update-cases`` this writes; without, it holds that each title stands once."""
    head, cases = read(path)
    assert len({case.title for case in cases}) == len(cases)
    if request.config.getoption("--update-cases"):
        for case in cases:
            case.before = plain(gc.show(gc.parse(case.before)))
            case.after = outcome(case)[1]
        write(path, head, cases)
