"""What the passes count: the same on every machine, and linear in the size of the graph."""

from functools import cache

import pytest

import graphc as gc
from passes.optimization import as_request
from passes.pipeline import PIPELINE, REQUIRED, define
from passes.record import recording
from passes.running import walk
from passes.simplification import RULES, simplifying
from passes.target import PLAIN, Target
from runtime.backend import BACKENDS, target_of
from runtime.benchmark.families import FAMILIES
from runtime.benchmark.peers.graphc_peer import Graphc

SMALL = {"chain": 200, "wide": 100, "fibonacci": 100, "lstm": 4}
both = pytest.mark.parametrize("backend", ["numpy", "llvm"])
families = pytest.mark.parametrize("family", SMALL)


@cache
def target_for(backend):
    return PLAIN if backend == "numpy" else target_of(BACKENDS[backend]())


def defined(name, size):
    """A graph of the benchmark, ready for the pipeline."""
    family = FAMILIES[name]
    graph, fetches, _, _ = Graphc(1, "numpy").define(family, size, *family.make(size))
    with graph.as_default():
        return define(as_request(fetches), PLAIN, lambda name, function: None)


def counted(function, target):
    with recording() as log:
        for _ in walk((*REQUIRED, *PIPELINE), function, target):
            pass
    return log.counters.as_dict()


def visits(function, target):
    """How many nodes each stage visits, what of it there was before, and whether it found nothing."""
    found = []
    with recording() as log:
        before = 0
        for stage in walk((*REQUIRED, *PIPELINE), function, target):
            visited = log.counters.nodes_visited - before
            found.append((stage.name, visited, len(stage.before.nodes()), stage.before is stage.after))
            before = log.counters.nodes_visited
    return found


@both
@families
def test_a_pass_visits_each_node_once(family, backend):
    """Rewriting visits them once more where its rules were told of users that are gone since."""
    for name, visited, nodes, unchanged in visits(defined(family, SMALL[family]), target_for(backend)):
        often = 1 if unchanged or name not in ("simplify", "lay_out", "open_overlaps") else 3
        assert visited <= nodes * often, name


# nodes, nodes_visited, rules_tried, rules_fired, nodes_made
EXACT = {
    ("chain", "numpy"): (235, 1109, 204, 0, 0),
    ("wide", "numpy"): (301, 1200, 299, 1, 0),
    ("fibonacci", "numpy"): (302, 906, 0, 0, 0),
    ("chain", "llvm"): (235, 1513, 204, 0, 0),
    ("wide", "llvm"): (301, 1798, 299, 1, 0),
    ("fibonacci", "llvm"): (302, 1510, 0, 0, 0),
}


@pytest.mark.parametrize(("family", "backend"), EXACT)
def test_what_is_counted(family, backend):
    function = defined(family, SMALL[family])
    counts = counted(function, target_for(backend))
    assert (len(function.nodes()), *counts.values()) == EXACT[family, backend]


@both
@families
def test_counters_are_the_same_each_time(family, backend):
    first, second = (counted(defined(family, SMALL[family]), target_for(backend)) for _ in range(2))
    assert first == second


@both
@families
def test_counters_grow_linearly(family, backend):
    """Between 4 and 8 and 16 times some nodes, each counter grows by the same for each node."""
    functions = [defined(family, SMALL[family] * times) for times in (4, 8, 16)]
    sizes = [len(function.nodes()) for function in functions]
    counts = [counted(function, target_for(backend)) for function in functions]
    for name in counts[0]:
        a, b, c = (count[name] for count in counts)
        first, second = (b - a) / (sizes[1] - sizes[0]), (c - b) / (sizes[2] - sizes[1])
        assert second <= first * 1.02 + 0.01, name


@pytest.mark.parametrize(
    ("family", "tried", "fired"), [("chain", 34, 0), ("wide", 100, 1), ("fibonacci", 0, 0)]
)
def test_rules_are_tried_where_they_can_begin(family, tried, fired):
    """With one rule, of `mul` by a number, exactly those products are tried, and each once."""
    (rule,) = [each for each in RULES if each.name == "multiply_by_one"]
    function = defined(family, SMALL[family])
    with recording() as log:
        simplifying((rule,))(function, Target())
    assert log.counters.as_dict() == {
        "nodes_visited": len(function.nodes()),
        "rules_tried": tried,
        "rules_fired": fired,
        "nodes_made": 0,
    }


def test_rules_are_not_tried_where_operands_cannot_be_theirs():
    x = gc.placeholder("float32", (3,))
    y = gc.placeholder("float32", (3,))
    function = define(as_request(gc.tanh(x) * y + gc.exp(y)), PLAIN, lambda name, function: None)
    with recording() as log:
        simplifying(RULES)(function, PLAIN)
    assert log.counters.rules_tried == 0
