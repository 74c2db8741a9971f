"""What Python and NumPy ask a tensor or a variable for, which has no value before a run."""

import math
import operator
import pickle

import numpy as np
import pytest

import graphc as gc

NO_ARRAY = (
    "(made at conftest.py:",
    "has no value yet: session.run gives its array; inside a graph use graphc's function instead of NumPy's",
)
NO_NUMBER = ("(made at conftest.py:", "has no value yet: session.run gives it")
NO_TRUTH = ("the truth of", "is known only in session.run: use gc.cond or gc.where instead of `if`")

# Title, error, phrases of its text, misuse. Python's traceback tells of the line.
# fmt: off
CASES = [
    # A truth.
    ("bool", TypeError, ("the result of greater (made at test_questions.py:", *NO_TRUTH),
     lambda g: bool(g.s > 0)),
    ("if", TypeError, NO_TRUTH, lambda g: 1 if g.s > 0 else 2),
    ("if of a variable", TypeError, ("variable 'count' (made at", *NO_TRUTH), lambda g: 1 if g.count else 2),
    ("and", TypeError, (*NO_TRUTH, "gc.logical_and instead of `and`"), lambda g: g.s > 0 and g.s < 1),
    ("not", TypeError, NO_TRUTH, lambda g: not g.b),
    ("between", TypeError, NO_TRUTH, lambda g: 0 < g.s < 1),
    ("max", TypeError, NO_TRUTH, lambda g: max(g.s, 0.0)),
    ("in", TypeError, (
         "`in` asks placeholder 'n' (made at conftest.py:", "gc.any(gc.equal(x, y)) asks there"),
     lambda g: 3 in g.n),
    ("in of a variable", TypeError, ("`in` asks variable 'w' (made at conftest.py:",), lambda g: 3 in g.w),
    # A number.
    ("float", TypeError, ("placeholder 's'", *NO_NUMBER), lambda g: float(g.s)),
    ("float of a variable", TypeError, ("variable 'count'", *NO_NUMBER), lambda g: float(g.count)),
    ("int", TypeError, NO_NUMBER, lambda g: int(g.s)),
    ("math", TypeError, NO_NUMBER, lambda g: math.sqrt(g.s)),
    ("math of a variable", TypeError, NO_NUMBER, lambda g: math.sqrt(g.count)),
    ("range", TypeError, NO_NUMBER, lambda g: range(g.count)),
    ("index of a list", TypeError, NO_NUMBER, lambda g: [1, 2][g.s]),
    ("format", TypeError, NO_NUMBER, lambda g: f"{g.s:.3f}"),
    ("format of a variable", TypeError, NO_NUMBER, lambda g: f"{g.count:.3f}"),
    # An array.
    ("np.exp", TypeError, (*NO_ARRAY, "as gc.exp for np.exp"), lambda g: np.exp(g.s)),
    ("np.exp of a variable", TypeError, ("variable 'w'", *NO_ARRAY), lambda g: np.exp(g.w)),
    ("np.maximum", TypeError, NO_ARRAY, lambda g: np.maximum(g.x, 0)),
    ("np.add", TypeError, NO_ARRAY, lambda g: np.add(np.ones(3), g.x)),
    ("np.add.reduce", TypeError, NO_ARRAY, lambda g: np.add.reduce(g.x)),
    ("np.sum", TypeError, NO_ARRAY, lambda g: np.sum(g.x)),
    ("np.mean of a variable", TypeError, NO_ARRAY, lambda g: np.mean(g.w)),
    ("np.concatenate", TypeError, NO_ARRAY, lambda g: np.concatenate([g.x, g.x])),
    ("np.where", TypeError, NO_ARRAY[1:], lambda g: np.where(g.x > 0, 1, 2)),
    ("np.dot", TypeError, NO_ARRAY, lambda g: np.dot(np.ones(3), g.x)),
    ("np.asarray", TypeError, ("placeholder 's'", *NO_ARRAY), lambda g: np.asarray(g.s)),
    ("np.array of tensors", TypeError, NO_ARRAY, lambda g: np.array([g.x, g.x])),
    ("index of an array", TypeError, NO_ARRAY, lambda g: np.arange(5)[g.n]),
    # Elements.
    ("iter", TypeError, (
         "cannot iterate: placeholder 'x' (made at conftest.py:", "has no len() yet: only the run knows it",
         "gc.shape(x)[0] is its size there; gc.scan or gc.map_fn walk an axis"),
     lambda g: list(g.x)),
    ("len", TypeError, ("has no len() yet: only the run knows it; gc.shape(x)[0]",), lambda g: len(g.x)),
    ("len of a scalar", TypeError, ("has no len(): it has no axes",), lambda g: len(g.s)),
    ("len of an unknown rank", TypeError, ("it has a rank that only the run knows",), lambda g: len(g.any)),
    ("item assignment", TypeError, (
         "elements are not assigned: gc.scatter_update(x, indices, updates) gives another tensor",),
     lambda g: operator.setitem(g.x, 0, 1.0)),
    ("item assignment of a variable", TypeError, (
         "the scatter_update of a variable assigns when it runs",),
     lambda g: operator.setitem(g.w, 0, 1.0)),
    ("item deletion", TypeError, ("elements are not deleted",), lambda g: operator.delitem(g.x, 0)),
    # Attributes.
    ("attribute", AttributeError, ("placeholder 's' never changes: its 'shape' cannot be set",),
     lambda g: setattr(g.s, "shape", (3,))),
    ("method of an array", AttributeError, ("a tensor has no attribute 'sum': gc.sum is a function",),
     lambda g: g.x.sum()),
    ("method of an array, on a variable", AttributeError, (
         "a variable has no attribute 'reshape': gc.reshape is a function",),
     lambda g: g.w.reshape(2, 3)),
    ("assign to a row", AttributeError, (
         "only variables have 'assign', and this is the result of", "scatter_update(indices, updates)"),
     lambda g: g.w[0].assign(1.0)),
    ("numpy()", AttributeError, ("has no 'numpy', nor a value yet: session.run gives it",),
     lambda g: g.x.numpy()),
    ("eval()", AttributeError, ("has no 'eval', nor a value yet: session.run gives it",),
     lambda g: g.w.eval()),
    ("no such attribute", AttributeError, ("'Tensor' object has no attribute 'sahpe'",), lambda g: g.x.sahpe),
    ("a function of another room", AttributeError, ("graphc has no 'softmax'; there is gc.nn.softmax",),
     lambda g: gc.softmax(g.x)),
    ("no such function", AttributeError, ("graphc has no 'tanhh'",), lambda g: gc.tanhh(g.x)),
    ("pickle", TypeError, ("a tensor cannot be pickled: gc.save_graph writes a graph to a file",),
     lambda g: pickle.dumps(g.s)),
]
# fmt: on


@pytest.mark.parametrize(("error", "phrases", "misuse"), [pytest.param(*c[1:], id=c[0]) for c in CASES])
def test_the_text_says_what_is_wrong(refused, error, phrases, misuse):
    refused(error, misuse, phrases, its_line=False)


@pytest.mark.parametrize("value", [np.full((2, 3), 2, np.float32), np.float32(2), np.ones((2, 3), np.int8)])
def test_numpy_leaves_operators_to_the_tensor_and_the_variable(world, value):
    """An array in front makes a node, of its own dtype; ``==`` stays identity."""
    x = gc.placeholder(str(value.dtype), (2, 3), name="point")
    w = gc.Variable(np.full((2, 3), 3, value.dtype))
    world.session.run(w.initializer)
    for other in (x, w):
        for sign in (operator.add, operator.sub, operator.mul, operator.pow, operator.lt, operator.ge):
            made = sign(value, other)
            assert isinstance(made, gc.Tensor)
            found = world.session.run(made, {x: np.full((2, 3), 3)})
            expected = sign(value, np.full((2, 3), 3, value.dtype))
            assert (found == expected).all()
            assert found.dtype == expected.dtype
        assert (value == other) is False
        assert other in [value, other]
    total = np.zeros((2, 3), value.dtype)
    total += x  # as `total = total + x`
    assert isinstance(total, gc.Tensor)


def test_what_can_be_said_without_a_value_is_said(world):
    assert f"{world.s}" == str(world.s)
    assert np.shape(world.n) == (4,)
    assert np.ndim(world.x) == 2
    assert [row.shape for row in world.w] == [(2,)] * 3
    assert not hasattr(world.s, "__array_interface__")
    assert len({world.s, world.w}) == 2
