"""Arguments of no meaning: None where an axis is wanted, numbers where lists are, what is not finite."""

import numpy as np
import pytest

import graphc as gc

# Title, error, phrases of its text, misuse.
# A table, each misuse on one line, which the text of the error must name:
# fmt: off
HERE = [
    ("concat without an axis", gc.ArgumentError, (
         "concat: an axis is an int, not None", "operand 0 is placeholder 'x'"),
     lambda g: gc.concat([g.x, g.x], None)),
    ("gather without an axis from any rank", gc.ArgumentError, (
         "gather: an axis is an int, not None",),
     lambda g: gc.gather(g.any, [0], axis=None)),
    ("an axis that is true", gc.ArgumentError, (
         "sum: an axis is an int, not True", "x is placeholder 'x'"),
     lambda g: gc.sum(g.x, axis=True)),
    ("constant with a masked element", gc.ArgumentError, (
         "constant: masked elements of", "have no value: use .filled(...)"),
     lambda g: gc.constant(np.ma.array([1.0, 2.0], mask=[0, 1]))),
    ("operand with a masked element", gc.ArgumentError, (
         "add: masked elements of", "have no value: use .filled(...)", "x is placeholder 'x'"),
     lambda g: g.x + np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0])),
    ("variable with a masked element", gc.ArgumentError, (
         "Variable: masked elements of", "have no value: use .filled(...)"),
     lambda g: gc.Variable(np.ma.array([1, 2], mask=[0, 1]), dtype="int64")),
    ("layer_norm by a number below 0", gc.ArgumentError, ("layer_norm: eps is at least 0, not -1e-05",),
     lambda g: gc.nn.layer_norm(g.x, eps=-1e-5)),
    ("batch_norm by no number", gc.ArgumentError, ("batch_norm: eps is at least 0, not nan",),
     lambda g: gc.nn.batch_norm(g.x, mean=0.0, variance=1.0, eps=float("nan"))),
    ("fewer steps than none", gc.ArgumentError, ("while_loop: maximum_iterations is at least 0, not -1",),
     lambda g: gc.while_loop(lambda i: i < 9, lambda i: i + 1, 0, maximum_iterations=np.int64(-1))),
    ("cast to nothing", gc.DTypeError, (
         "cast: a dtype is wanted, not None", "x is placeholder 'x'"),
     lambda g: gc.cast(g.x, None)),
    ("transpose by a number", gc.ArgumentError, (
         "transpose: the axes in their order are a list", "x is placeholder 'x'"),
     lambda g: gc.transpose(g.x, 1)),
    ("gradients towards nothing", gc.ArgumentError, (
         "gradients: an x is a tensor or a variable, not None",),
     lambda g: gc.gradients(g.s, None)),
    ("triangle by a tensor", gc.ArgumentError, (
         "tril: k is the number of a diagonal, not <graphc placeholder 's'", "x is placeholder 'x'"),
     lambda g: gc.tril(g.x, g.s)),
    ("identity by a text", gc.ArgumentError, (
         "eye: k is the number of a diagonal, not 'a'",),
     lambda g: gc.eye(3, k="a")),
    ("range to no number", gc.ArgumentError, (
         "arange: a bound is finite, not nan",),
     lambda g: gc.arange(float("nan"))),
    ("range to infinity", gc.ArgumentError, (
         "arange: a bound is finite, not inf",),
     lambda g: gc.arange(0.0, np.inf)),
    ("range to a ragged list", gc.ShapeError, (
         "arange: a bound is one number, not [[1], [2, 3]]",),
     lambda g: gc.arange([[1], [2, 3]])),
    ("initial value of a tensor's shape", gc.ArgumentError, (
         "he_normal: a shape is a sequence of sizes, and cannot iterate: placeholder 'x'",),
     lambda g: gc.initializers.he_normal(g.x)),
    ("default of any rank", gc.ShapeError, (
         "placeholder_with_default: a default of an unknown rank, f32[...], needs a shape",),
     lambda g: gc.placeholder_with_default(g.any)),
    ("norm that is a text", gc.DTypeError, (
         "clip_by_norm: clip_by_global_norm: 'a' does not fit float32",),
     lambda g: gc.train.clip_by_norm(g.x, "a")),
    ("norms", gc.ShapeError, (
         "clip_by_global_norm: a norm is one number, not f32[2]",),
     lambda g: gc.train.clip_by_global_norm([g.x], [1.0, 2.0])),
    ("boundaries that are a number", gc.ArgumentError, (
         "piecewise_constant: boundaries and values are lists, not 1 and [1.0, 2.0]",),
     lambda g: gc.train.piecewise_constant(0, 1, [1.0, 2.0])),
    ("an axis to flip twice", gc.ArgumentError, (
         "flip: an axis is named twice in (0, -2)", "x is placeholder 'x'"),
     lambda g: gc.flip(g.x, (0, -2))),
    ("parts that are true", gc.ArgumentError, (
         "split: a number of parts or a list of sizes is wanted, not True", "x is placeholder 'x'"),
     lambda g: gc.split(g.x, True)),
    ("a whole number beyond all", gc.ArgumentError, (
         "add: 1180591620717411303424 is no array: it is too large for any dtype",),
     lambda g: gc.constant([1]) + 2**70),
    ("a range beyond all", gc.ArgumentError, (
         "arange: 1180591620717411303424 is no array: it is too large for any dtype",),
     lambda g: gc.arange(2**70)),
    ("a rate beyond all", gc.ArgumentError, (
         "SGD: lr is a number or a scalar tensor, not 1000000",),
     lambda g: gc.train.SGD(10**400)),
    ("a rate of dropout beyond all", gc.ArgumentError, (
         "dropout: a rate is a number or a scalar tensor, not 1000000",),
     lambda g: gc.nn.dropout(g.x, 10**400)),
    ("an optimizer named by a number", gc.ArgumentError, (
         "Adam: a name is a text that is not empty, not 3",),
     lambda g: gc.train.Adam(name=3)),
    ("a mean square that grows", gc.ArgumentError, (
         "RMSProp: alpha is at least 0 and less than 1, not 2",),
     lambda g: gc.train.RMSProp(0.1, alpha=2)),
    ("shape invariants that are a number", gc.ArgumentError, (
         "while_loop: shape_invariants are nested as the loop variables, not 3",),
     lambda g: gc.while_loop(lambda i: i < 3, lambda i: i + 1, [0], shape_invariants=3)),
    ("like another of any rank, from a list", gc.ShapeError, (
         "full_like: filled_like: a scalar fills a shape, not f32[2]",),
     lambda g: gc.full_like(g.any, [1.0, 2.0])),
]
# fmt: on


@pytest.mark.parametrize(("error", "phrases", "misuse"), [pytest.param(*c[1:], id=c[0]) for c in HERE])
def test_the_text_names_the_users_line_and_operands(refused, error, phrases, misuse):
    refused(error, misuse, phrases, its_line=True)


def test_a_check_tells_one_tensor_too(each_backend, world):
    check = gc.check(world.s > 0, "below", data=world.s)
    with pytest.raises(gc.CheckError, match="below"):
        world.run(check, {world.s: -1.0})
