"""What the passes count: the same on every machine, and linear in the size of the graph."""

import importlib.util
from pathlib import Path

import pytest

from passes.pipeline import PIPELINE, REQUIRED
from passes.record import recording
from passes.running import walk
from passes.simplification import RULES, simplifying
from passes.target import Target

PATH = Path(__file__).parent.parent.parent / "benchmarks" / "pass_cost.py"
spec = importlib.util.spec_from_file_location("benchmark_pass_cost", PATH)
benchmark = importlib.util.module_from_spec(spec)
spec.loader.exec_module(benchmark)


def visits(function):
    """How many nodes each stage visits."""
    found = []
    with recording() as log:
        before = 0
        for stage in walk((*REQUIRED, *PIPELINE), function, Target()):
            found.append((stage.name, log.counters.nodes_visited - before, stage.before is stage.after))
            before = log.counters.nodes_visited
    return found


@pytest.mark.parametrize("family", benchmark.FAMILIES)
def test_a_pass_visits_each_node_once(family):
    """Rewriting visits them once more where its rules were told of users that are gone since."""
    function = benchmark.defined(family, 300)
    most = len(function.nodes())
    for name, visited, unchanged in visits(function):
        assert visited <= most * (1 if unchanged or name != "simplify" else 3), name


def test_a_graph_without_work_is_visited_once_by_each():
    """Three passes of `clean` in one round; what the second `clean` would see is settled."""
    function = benchmark.defined("fibonacci", 300)
    nodes = len(function.nodes())
    counted = benchmark.counted(function)
    assert counted["nodes_visited"] == 3 * nodes
    assert counted["rules_fired"] == counted["nodes_made"] == 0


@pytest.mark.parametrize("family", ["chain", "wide", "fibonacci"])
def test_nothing_fires_where_nothing_applies(family):
    assert benchmark.counted(benchmark.defined(family, 300))["rules_fired"] == 0


@pytest.mark.parametrize("family", benchmark.FAMILIES)
def test_counters_are_the_same_each_time(family):
    assert benchmark.counted(benchmark.defined(family, 200)) == benchmark.counted(
        benchmark.defined(family, 200)
    )


@pytest.mark.parametrize("family", benchmark.FAMILIES)
def test_counters_grow_linearly(family):
    """Between 10 and 20 and 40 times some nodes, each counter grows by the same for each node."""
    functions = [benchmark.defined(family, n) for n in (1200, 2400, 4800)]
    sizes = [len(function.nodes()) for function in functions]
    counts = [benchmark.counted(function) for function in functions]
    for name in counts[0]:
        a, b, c = (count[name] for count in counts)
        first, second = (b - a) / (sizes[1] - sizes[0]), (c - b) / (sizes[2] - sizes[1])
        assert second <= first * 1.02 + 0.01, name


@pytest.mark.parametrize(
    ("family", "nodes", "tried"), [("chain", 235, 34), ("wide", 300, 75), ("fibonacci", 302, 0)]
)
def test_rules_are_tried_where_they_can_begin(family, nodes, tried):
    """With one rule, of `mul` alone, exactly the products are tried, and each once."""
    (rule,) = [each for each in RULES if each.name == "multiply_by_one"]
    function = benchmark.defined(family, 300)
    with recording() as log:
        simplifying((rule,))(function, Target())
    assert log.counters.as_dict() == {
        "nodes_visited": nodes,
        "rules_tried": tried,
        "rules_fired": 0,
        "nodes_made": 0,
    }


def test_the_exponent_is_fitted():
    assert benchmark.exponent([100, 1000, 10000], [0.1, 1.0, 10.0]) == pytest.approx(1)
    assert benchmark.exponent([100, 1000], [0.1, 10.0]) == pytest.approx(2)


def test_the_benchmark_prints(capsys):
    benchmark.main(["--most", "100", "--family", "chain"])
    out = capsys.readouterr().out
    assert "us a node" in out
    assert "rules_tried" in out
