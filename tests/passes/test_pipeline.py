"""Running passes: any tuple of them, each failure named, each result verified, every node with its line."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc import ops
from graphc.function import Function, bodies
from graphc.text import as_function
from passes.optimization import as_request
from passes.pipeline import DEFINED, PIPELINE, REQUIRED, clean, prepare
from passes.rewrite import rule
from passes.running import Repeated, names_of, replaced, walk, without
from passes.simplification import RULES, simplifying
from passes.target import Target

EXAMPLES = sorted((Path(__file__).parent.parent.parent / "examples").glob("*.py"))


def example():
    x = gc.placeholder("float64", (3,), name="x")
    return x, gc.exp(x * 1.0) + gc.exp(x * 1.0)


# Which passes run.


def test_names():
    names = names_of((*DEFINED, *REQUIRED, *PIPELINE))
    assert {"differentiate", "thread_state", "clean", "simplify", "deduplicate"} <= set(names)


def test_a_pass_is_switched_off_by_its_name():
    _, y = example()
    for passes, kept in [
        (PIPELINE, 3),
        (without(PIPELINE, "simplify"), 5),
        (without(PIPELINE, "deduplicate"), 4),
        (without(PIPELINE, "clean"), 8),
        ((), 8),
    ]:
        function = gc.optimize(y, pipeline=passes)
        assert len(function.nodes()) == kept, gc.show(function)


def test_a_name_that_no_pass_bears_is_refused():
    with pytest.raises(gc.ArgumentError, match=r"no pass is named 'simplfy'; there are .*simplify"):
        without(PIPELINE, "simplfy")
    with pytest.raises(gc.ArgumentError):
        replaced(PIPELINE, "nothing", clean)


def test_a_rule_is_added_without_touching_the_package():
    @rule(ops.exp)
    def exp_to_tanh(match):
        """``exp(x) -> tanh(x)``, which is seen at once."""
        return ops.tanh(match.inputs[0])

    x, y = example()
    passes = replaced(PIPELINE, "simplify", simplifying((*RULES, exp_to_tanh)))
    with gc.Session(pipeline=passes) as own, gc.Session() as plain:
        np.testing.assert_allclose(own.run(y, {x: [1.0] * 3}), [2 * np.tanh(1.0)] * 3)
        np.testing.assert_allclose(plain.run(y, {x: [1.0] * 3}), [2 * np.exp(1.0)] * 3)


def test_a_pass_is_added_without_touching_the_package():
    seen = []

    def look(function, target):
        seen.append(target.backend)
        return function

    x, y = example()
    with gc.Session(pipeline=(*PIPELINE, look), backend="numpy") as session:
        session.run(y, {x: np.ones(3)})
    assert seen == ["numpy"]


def test_the_pipeline_is_part_of_the_key():
    assert Target(pipeline=()) != Target()
    assert len({Target(), Target(pipeline=(clean,)), Target(pipeline=(clean,)), Target(verify=True)}) == 3


@pytest.mark.parametrize("pipeline", ["simplify", [1], 5, {clean}])
def test_what_is_no_pipeline_is_refused(pipeline):
    with pytest.raises(gc.ArgumentError, match="a pipeline is a tuple of passes"):
        gc.Session(pipeline=pipeline)


# How they run.


def counting(name, change=lambda function: function):
    def step(function, target):
        step.runs += 1
        return change(function)

    step.__name__, step.runs = name, 0
    return step


def test_no_pass_is_run_on_what_it_has_settled():
    function = as_function(example()[1])
    a, b = counting("a"), counting("b")
    stages = list(walk((a, Repeated("both", (a, b)), b), function, Target()))
    assert [stage.name for stage in stages] == ["a", "a", "b", "b"]
    assert (a.runs, b.runs) == (1, 1)


def test_passes_are_repeated_until_none_finds_anything():
    left = [5]

    def find(function):
        left[0] -= 1
        return Function(function.inputs, function.outputs) if left[0] >= 0 else function

    a, b = counting("a", find), counting("b", find)
    both = Repeated("both", (a, b))
    function = as_function(example()[1])
    names = [stage.name for stage in walk((both,), function, Target())]
    assert names == ["a", "b"] * 4
    assert (a.runs, b.runs) == (3, 3)  # the fifth find was a's, and in the last round nothing is new
    left[0] = 1
    assert both(function, Target()).outputs == function.outputs
    assert left == [-1]


def test_a_failing_pass_is_named_and_those_before_it():
    def broken(function, target):
        raise ValueError("what")

    x, y = example()
    with gc.Session(pipeline=(clean, broken)) as session, pytest.raises(ValueError, match="what") as caught:
        session.run(y, {x: np.ones(3)})
    (note,) = caught.value.__notes__
    assert note.startswith("in the pass broken, after thread_state, fold_constants, simplify, deduplicate")


# Verification.


def narrowed(function, target):
    """Gives each output another dtype."""
    return replace(function, outputs=tuple(ops.cast(y, "float32") for y in function.outputs))


def mistyped(function, target):
    """Says of each output that it is of another type."""
    other = gc.placeholder("float32", (7,)).type
    return replace(function, outputs=tuple(replace(y, type=other) for y in function.outputs))


def unplaced(function, target):
    """Loses the user's line."""
    return replace(function, outputs=tuple(replace(y, loc=None) for y in function.outputs))


def fewer(function, target):
    """Loses an output."""
    return replace(function, outputs=function.outputs[:-1])


def other_input(function, target):
    """Has another input."""
    return replace(function, inputs=(gc.placeholder("float64", (3,)),))


def more_inputs(function, target):
    """Has an input that nothing reads."""
    return replace(function, inputs=(*function.inputs, gc.placeholder("float64", (3,))))


@pytest.mark.parametrize("wrong", [narrowed, mistyped, unplaced, fewer, other_input, more_inputs])
def test_the_verifier_names_the_pass(wrong, monkeypatch):
    x, y = example()
    with pytest.raises(gc.VerificationError) as caught:
        gc.optimize(y, pipeline=(clean, wrong), verify=True)
    assert f"in the pass {wrong.__name__}" in caught.value.__notes__[0]
    with (
        gc.Session(pipeline=(wrong,), verify=True) as session,
        pytest.raises(gc.VerificationError),
    ):
        session.compile(y, [x])
    monkeypatch.setenv("GRAPHC_VERIFY", "1")
    with gc.Session(pipeline=(wrong,)) as session, pytest.raises(gc.VerificationError):
        session.compile(y, [x])


def test_nothing_is_verified_unless_asked(monkeypatch):
    monkeypatch.delenv("GRAPHC_VERIFY", raising=False)
    _, y = example()
    assert gc.optimize(y, pipeline=(unplaced,)).outputs[0].loc is None


# Provenance.


def placeless(function):
    """The nodes of `function` and of its bodies that say no line, or one of graphc's own."""
    pending, found = [function], []
    rooms = tuple(str(EXAMPLES[0].parent.parent / room) for room in ("graphc", "passes", "runtime"))
    while pending:
        for node in pending.pop().nodes():
            pending.extend(body for _, body in bodies(node))
            if node.loc is None or not node.loc.line or node.loc.filename.startswith(rooms):
                found.append(node)
    return found


@pytest.mark.parametrize("fusible", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_node_of_every_example_carries_a_users_line(path, fusible):
    names = (
        frozenset(("add", "mul", "sub", "exp", "div", "sum", "max", "neg", "tanh"))
        if fusible
        else frozenset()
    )
    fetches = import_module(f"examples.{path.stem}").build()
    states = []
    prepare(
        as_request(fetches), Target(fusible=names), lambda name, function: states.append((name, function))
    )
    for name, function in states:
        assert placeless(function) == [], name


def test_every_node_of_a_gradient_carries_a_users_line():
    x = gc.placeholder("float32", (None, 4), name="x")
    w = gc.Variable(np.ones((4, 2), np.float32), name="w")

    def body(t, row):
        return gc.tanh(t + gc.sum(row)), gc.cond(gc.sum(t) > 0.0, lambda: t * 2.0, lambda: -t)

    last, ys = gc.scan(body, gc.zeros((2,)), x @ w)
    loss = gc.sum(last) + gc.sum(gc.nn.softmax(ys)) + gc.sum(gc.gather(ys, [0, 0]))
    (slope,) = gc.gradients(loss, [w])
    (second,) = gc.gradients(gc.sum(slope * slope), [w])
    function = gc.optimize([loss, slope, second, gc.train.Adam().minimize(loss)], verify=True)
    assert placeless(function) == []
    assert any(node.loc.backward for node in function.nodes())
