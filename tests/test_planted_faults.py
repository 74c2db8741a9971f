"""Checks that can fail: each fault, planted alone, is found by a check of this suite."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

import graphc as gc
from graphc.op import OPS
from graphc.text import as_function
from graphc.types import FLOAT32, TensorType
from runtime import recognition
from tests import test_ops
from tests.passes import test_cases

TESTS = Path(__file__).parent


def of_op(check, name):
    """Runs `check` of tests/test_ops.py on the examples of one op; the fault must fail one of them."""
    op = OPS[name]
    for example in op.examples:
        if check is not test_ops.test_gradient_is_the_slope or test_ops.is_smooth(example):
            check(op, example)


def of_pass(stem):
    for case in test_cases.read(test_cases.FOLDER / f"{stem}.gir")[1]:
        test_cases.test_case(case)


def run(fetches, feeds=None, **options):
    with gc.Session(backend="numpy", **options) as session:
        session.run(gc.global_variables_initializer())
        return session.run(fetches, feeds)


ARTICLES = ("a", "an", "assignments", "errors", "reads", "results")


# Each of these plants one fault, and returns the check that has to find it.


def a_gradient_with_a_wrong_sign(plant):
    plant.setattr(OPS["cos"], "gradient_rule", lambda g, out, x: (g * gc.sin(x),))
    return lambda: of_op(test_ops.test_gradient_is_the_slope, "cos")


def a_gradient_that_forgets_an_operand(plant):
    plant.setattr(OPS["mul"], "gradient_rule", lambda g, out, x, y: (g * y, None))
    return lambda: of_op(test_ops.test_gradient_is_the_slope, "mul")


def a_gradient_right_only_in_first_order(plant):
    rule = OPS["sin"].gradient_rule
    plant.setattr(
        OPS["sin"],
        "gradient_rule",
        lambda g, out, x: (g * gc.stop_gradient(rule(gc.ones_like(g), out, x)[0]),),
    )
    return lambda: of_op(test_ops.test_gradient_is_the_slope, "sin")


def a_type_rule_that_lies_about_the_dtype(plant):
    rule = OPS["argmax"].rule
    plant.setattr(OPS["argmax"], "rule", lambda *a, **k: TensorType(FLOAT32, rule(*a, **k).sizes))
    return lambda: of_op(test_ops.test_meaning_has_the_declared_dtype, "argmax")


def a_type_rule_that_lies_about_the_shape(plant):
    rule = OPS["tanh"].rule
    plant.setattr(OPS["tanh"], "rule", lambda x: TensorType(rule(x).dtype, (*rule(x).sizes[:-1], 99)))
    return lambda: of_op(test_ops.test_type_rule_tells_the_truth, "tanh")


def a_meaning_with_swapped_operands(plant):
    plant.setenv("GRAPHC_BACKEND", "numpy")
    plant.setattr(OPS["sub"], "meaning", lambda x, y: np.subtract(y, x))
    return lambda: of_op(test_ops.test_gradient_is_the_slope, "sub")


def a_meaning_of_another_dtype(plant):
    plant.setattr(OPS["exp"], "meaning", lambda x: np.exp(x.astype("float64")))
    return lambda: of_op(test_ops.test_meaning_has_the_declared_dtype, "exp")


def an_op_without_an_example(plant):
    plant.setattr(OPS["tanh"], "examples", [])
    return test_ops.test_every_op_has_an_example


def an_op_without_a_stated_gradient(plant):
    plant.setattr(OPS["tanh"], "gradient_stated", False)
    return test_ops.test_every_op_states_its_gradient


def a_docstring_without_shapes(plant):
    plant.setattr(OPS["tanh"], "__doc__", "The hyperbolic tangent.")
    return lambda: test_ops.test_docstring_gives_shapes(OPS["tanh"])


def a_text_that_loses_the_sign_of_zero(plant):
    from graphc.literals import Speller

    value = Speller.value
    plant.setattr(Speller, "value", lambda self, *a, **k: value(self, *a, **k).replace("-0.0", "0.0"))

    def check():
        c = gc.constant([-0.0, 1.0])
        again = gc.parse(gc.show(c)).function.outputs[0]
        assert np.signbit(run_text(again)[0]) == np.signbit(run(c)[0])

    return check


def run_text(output):
    with gc.Session(graph=output.owner) as session:
        return session.run(output)


def a_text_that_loses_an_attribute(plant):
    import graphc.text

    stated = graphc.text.stated_attributes
    plant.setattr(
        graphc.text, "stated_attributes", lambda node: [x for x in stated(node) if x[0] != "keepdims"]
    )
    return lambda: of_op(test_ops.test_text_round_trips, "sum")


def a_text_that_names_two_nodes_alike(plant):
    import graphc.text

    plant.setattr(graphc.text, "_refs", lambda nodes, inputs: dict.fromkeys(nodes, "%0"))
    return lambda: of_op(test_ops.test_text_round_trips, "add")


def a_pass_that_drops_an_effect(plant):
    from passes import lifting

    lift = lifting.lift_assignments

    def dropping(function, target=None):
        result = lift(function)
        return type(result)(result.inputs, result.outputs, ()) if result is not function else result

    plant.setitem(test_cases.PASSES, "lifting", dropping)
    return lambda: of_pass("lifting")


def a_pass_that_always_builds_anew(plant):
    from passes.state import thread_state

    def anew(function, target):
        result = thread_state(function, target)
        return type(result)(result.inputs, result.outputs, result.effects)

    plant.setitem(test_cases.PASSES, "state", anew)
    return lambda: of_pass("state")


def a_sweep_that_does_not_add_up(plant):
    import passes.differentiation

    plant.setattr(passes.differentiation, "_total", lambda parts: parts[0] if parts else None)
    return lambda: of_pass("differentiation")


def a_sweep_that_leaves_broadcasting(plant):
    import passes.differentiation

    plant.setattr(passes.differentiation, "sum_to", lambda x, type: x)
    return lambda: of_pass("differentiation")


def reads_that_see_no_assignment(plant):
    import passes.state

    plant.setattr(passes.state, "latest_assignment", lambda read, seen: None)
    return lambda: of_pass("state")


def assignments_whose_order_is_not_asked_for(plant):
    import passes.state

    plant.setattr(passes.state, "refuse_unordered", lambda seen: None)
    return lambda: of_pass("state")


def a_verifier_that_trusts_stored_types(plant):
    import graphc.verification

    plant.setattr(graphc.verification, "agree", lambda *_: True)

    def check():
        from dataclasses import replace

        node = gc.exp(gc.placeholder("float32", (2,), name="x"))
        wrong = replace(node, type=TensorType(FLOAT32, (3,)))
        with pytest.raises(gc.VerificationError, match="stored"):
            gc.verify(as_function(wrong))

    return check


def a_checkpoint_that_skips_its_checks(plant):
    import runtime.checkpoint

    plant.setattr(runtime.checkpoint, "_problem", lambda *_: None)

    def check():
        with TemporaryDirectory() as folder:
            path = Path(folder) / "c.npz"
            for shape, error in ((2,), None), ((3,), gc.FormatError):
                with gc.Graph().as_default(), gc.Session() as session:
                    session.run(gc.Variable(np.zeros(shape), name="w").initializer)
                    if error is None:
                        session.save(path)
                        continue
                    with pytest.raises(error, match=r"variable 'w' is f64\[3\], and f64\[2\]"):
                        session.restore(path)

    return check


def a_feed_that_may_lose(plant):
    import runtime.feeds

    plant.setattr(runtime.feeds, "refuse_lossy", lambda *a, **k: None)

    def check():
        x = gc.placeholder("int16", (), name="x")
        with pytest.raises(gc.FeedError, match="whole numbers"):
            run(gc.identity(x), {x: 1.5})

    return check


def a_run_that_commits_before_it_ends(plant):
    from runtime.session import Session

    finish = Session._finish

    def hasty(self, executable, fetches, arrays, known, variables, overrides, run_count):
        if executable.assigns:
            from types import MappingProxyType

            self._state = type(self._state)(MappingProxyType({**variables, "w": np.float32(9)}), run_count)
        return finish(self, executable, fetches, arrays, known, variables, overrides, run_count)

    plant.setattr(Session, "_finish", hasty)

    def check():
        w = gc.Variable(1.0, name="w")
        index = gc.placeholder("int32", (), name="index")
        with gc.Session(backend="numpy") as session:
            session.run(w.initializer)
            with pytest.raises(gc.IndexOutOfRangeError):
                session.run([w.assign(5.0), gc.gather(gc.constant([1.0]), index)], {index: 3})
            assert session.run(w) == 1.0

    return check


def errors_that_name_no_line(plant):
    import graphc.op

    plant.setattr(graphc.op, "here", lambda: None)

    def check():
        with pytest.raises(gc.ShapeError, match=r"test_planted_faults\.py"):
            gc.add(np.ones(2), np.ones(3))

    return check


def results_that_share_memory(plant):
    from runtime.ownership import Ownership

    plant.setattr(Ownership, "fetched", lambda self, array: array)

    def check():
        x = gc.placeholder("float32", (2,), name="x")
        given = np.ones(2, "float32")
        assert not np.shares_memory(run(x, {x: given}), given)

    return check


FAULTS = [
    fault for name, fault in list(globals().items()) if callable(fault) and name.split("_")[0] in ARTICLES
]


def test_there_are_enough():
    assert len(FAULTS) >= 20


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found(fault, monkeypatch):
    with gc.Graph(seed=0).as_default():
        with monkeypatch.context() as plant:
            check = fault(plant)
            with pytest.raises((Exception, pytest.fail.Exception)) as found:
                check()
            assert found.type is not AttributeError, "the fault was planted where nothing stands"
        recognition.forget()  # what the fault has compiled
        check()
