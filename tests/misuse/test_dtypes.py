"""Wrong dtypes, arguments and graphs, refused where they are defined."""

import numpy as np
import pytest

import graphc as gc

# Title, error, phrases of its text, misuse.
# A table, each misuse on one line, which the text of the error must name:
# fmt: off
HERE = [
    # Dtypes.
    ("int and float", gc.DTypeError, (
         "add: int32 and float32 do not mix: cast one, as in gc.cast(x, 'float32')",
         "n is placeholder 'n': i32[4]", "s is placeholder 's': f32[]"),
     lambda g: g.n + g.s),
    ("int and float literal", gc.DTypeError, (
         "mul: int32 and float32 do not mix: cast one, as in gc.cast(x, 'float32')",
         "n is placeholder 'n': i32[4]"),
     lambda g: g.n * 0.5),
    ("logical of float", gc.DTypeError, (
         "logical_and: bool is wanted, not float32: compare with 0 or cast it, as in gc.not_equal(x, 0)",
         "x is placeholder 'x': f32[batch,3]", "x is placeholder 'x': f32[batch,3]"),
     lambda g: gc.logical_and(g.x, g.x)),
    ("bitwise of float", gc.DTypeError, (
         "bitwise_and: an integer or bool is wanted, not float32: floats show no bits",
         "x is placeholder 'x': f32[batch,3]", "x is placeholder 'x': f32[batch,3]"),
     lambda g: g.x & g.x),
    ("neg of bool", gc.DTypeError, (
         "neg: a bool has no negative: gc.logical_not is its opposite", "b is placeholder 'b': bool[4]"),
     lambda g: -g.b),
    ("sub of bool", gc.DTypeError, (
         "sub: bools are not subtracted: gc.logical_xor says where they differ",
         "b is placeholder 'b': bool[4]", "b is placeholder 'b': bool[4]"),
     lambda g: g.b - g.b),
    ("where pred", gc.DTypeError, (
         "where: the condition is bool, not float32: compare it with 0",
         "condition is placeholder 'x': f32[batch,3]", "x is placeholder 'x': f32[batch,3]",
         "x is placeholder 'x': f32[batch,3]"),
     lambda g: gc.where(g.x, g.x, g.x)),
    ("cond pred", gc.DTypeError, (
         "cond: the predicate is a bool scalar, not f32[]", "operand 0 is placeholder 's'",
         "operand 1 is placeholder 's'", "true_fn is <lambda>"),
     lambda g: gc.cond(g.s, lambda: g.s, lambda: g.s)),
    ("cond pred shape", gc.DTypeError, (
         "cond: the predicate is a bool scalar, not bool[4]", "operand 0 is placeholder 'b': bool[4]",
         "operand 1 is placeholder 's': f32[]", "true_fn is <lambda>"),
     lambda g: gc.cond(g.b, lambda: g.s, lambda: g.s)),
    ("cond types", gc.DTypeError, (
         "cond: the branches give f32[] and i32[4]: cast one of them",
         "operand 0 is the result of greater: bool[]", "operand 1 is placeholder 's': f32[]",
         "operand 2 is placeholder 'n': i32[4]"),
     lambda g: gc.cond(g.s > 0, lambda: g.s, lambda: g.n)),
    ("cond nesting", gc.ArgumentError, (
         "cond: the branches give different nestings: [tensor] and tensor", "true_fn is <lambda>",
         "pred is the result of greater: bool[]"),
     lambda g: gc.cond(g.s > 0, lambda: [g.s], lambda: g.s)),
    ("dtype unknown", gc.DTypeError, (
         "placeholder: 'float33' is not a dtype of graphc (bool, int8, int16, int32, int64, uint8,",
         "uint16, uint32, uint64, float16, bfloat16, float32, float64)"),
     lambda g: gc.placeholder("float33", ())),
    ("dtype misspelt", gc.DTypeError, (
         "cast: 'flaot32' is not a dtype of graphc", "did you mean 'float32'?",
         "x is placeholder 'x': f32[batch,3]"),
     lambda g: gc.cast(g.x, "flaot32")),
    ("initializer not called", gc.ArgumentError, (
         "Variable: a number, an array or a tensor is wanted, not <function he_normal", ": call it"),
     lambda g: gc.Variable(gc.initializers.he_normal)),
    ("assign_add of a text", gc.DTypeError, (
         "assign_add: '1' does not fit int32: '1' is no number", "it is variable 'count': i32[]"),
     lambda g: g.count.assign_add("1")),
    ("roll by a float", gc.DTypeError, (
         "roll: a shift is a whole number for each axis, not f32[]", "x is placeholder 'x': f32[batch,3]"),
     lambda g: gc.roll(g.x, 1.5, axis=0)),
    ("rate as a text", gc.ArgumentError, (
         "SGD: lr is a number or a scalar tensor, not '0.1'",),
     lambda g: gc.train.SGD("0.1")),
    ("gradients that stop at a number", gc.ArgumentError, (
         "gradients: what gradients stop at is a tensor or a variable, not 1",
         "ys is placeholder 's': f32[]"),
     lambda g: gc.gradients(g.s, [g.s], stop_gradients=[1])),
    ("cond of functions of something", gc.ArgumentError, (
         "cond: <lambda>, defined at test_dtypes.py:", "is called with no arguments",
         "missing a required argument: 'x'"),
     lambda g: gc.cond(g.s > 0, lambda x: x, lambda x: x)),
    ("while of a condition that is none", gc.ArgumentError, (
         "while_loop: a function of 1 argument is wanted, not <graphc greater : bool[]",
         "cond is the result of greater: bool[]"),
     lambda g: gc.while_loop(g.s > 0, lambda s: s, [g.s])),
    ("while of too many arguments", gc.ArgumentError, (
         "while_loop: <lambda>, defined at test_dtypes.py:", "is called with 1 argument",
         "missing a required argument: 't'"),
     lambda g: gc.while_loop(lambda s: s > 0, lambda s, t: (s, t), [g.s])),
    ("a session that runs in a body", gc.GraphMismatchError, (
         "argument 0 of a body was made inside a body and cannot be fetched: return it from",
         "the body instead"),
     lambda g: gc.map_fn(lambda x: g.session.run(x), g.x)),
    ("reshape to a size of None", gc.ShapeError, (
         "reshape: None is no size: that of x is gc.shape(x)[axis], which the run knows",
         "u is placeholder 'u': f32[?,?]"),
     lambda g: gc.reshape(g.u, (g.u.shape[0], -1))),
    ("while of nothing", gc.ArgumentError, (
         "while_loop: there are no loop variables",),
     lambda g: gc.while_loop(lambda: True, list, [])),
    ("scan of no function", gc.ArgumentError, (
         "scan: a function of 2 arguments is wanted, not <graphc placeholder 's'",
         "xs is placeholder 'y': f32[batch]"),
     lambda g: gc.scan(g.s, 0.0, g.y)),
    ("map_fn with its arguments swapped", gc.ArgumentError, (
         "map_fn: fn is a function of a slice, not <graphc placeholder 'y'",
         "fn is placeholder 'y'"),
     lambda g: gc.map_fn(g.y, lambda x: x)),
    ("dtype complex", gc.ArgumentError, (
         "constant: a number, an array or a tensor is wanted, not 1j",),
     lambda g: gc.constant(1j)),
    ("constant string", gc.ArgumentError, (
         "constant: a number, an array or a tensor is wanted, not 'text'",),
     lambda g: gc.constant("text")),
    ("constant object", gc.DTypeError, (
         "constant: graphc has no dtype for an array of object[1] of dtype object",),
     lambda g: gc.constant(np.array([object()]))),
    ("constant None", gc.ArgumentError, (
         "constant: a number, an array or a tensor is wanted, not None",),
     lambda g: gc.constant(None)),
    ("constant ragged", gc.ArgumentError, (
         "constant: [[1], [1, 2]] is no array: setting an",),
     lambda g: gc.constant([[1], [1, 2]])),
    ("constant lossy", gc.DTypeError, (
         "constant: 1.5 does not fit int32: 1.5 is float, and int32 holds whole numbers: cast it",),
     lambda g: gc.constant(1.5, "int32")),
    ("constant large", gc.DTypeError, (
         "constant: 300 does not fit uint8: 300 is out of range for uint8",),
     lambda g: gc.constant(300, "uint8")),
    ("scalar too large", gc.DTypeError, (
         "add: 1099511627776 does not fit int32: 1099511627776 is out of range for int32",
         "n is placeholder 'n': i32[4]"),
     lambda g: g.n + 2**40),
    ("int literal to uint", gc.DTypeError, (
         "add: -1 does not fit uint8: -1 is out of range for uint8", "x is the result of cast: u8[4]"),
     lambda g: gc.cast(g.n, "uint8") + -1),
    ("string operand", gc.ArgumentError, (
         "add: a number, an array or a tensor is wanted, not 'a'", "x is placeholder 'x': f32[batch,3]"),
     lambda g: g.x + "a"),
    ("None operand", gc.ArgumentError, (
         "exp: a number, an array or a tensor is wanted, not None",),
     lambda g: gc.exp(None)),
    ("variable dtype", gc.DTypeError, (
         "assign: int32 and float32 do not mix: cast one, as in gc.cast(x, 'float32')",
         "it is variable 'w': f32[3,2]", "value is placeholder 'n': i32[4]"),
     lambda g: g.w.assign(g.n)),
    ("variable shape", gc.ShapeError, (
         "assign: variable 'w' is f32[3,2], and f32[2,3] does not fit",
         "x is the result of broadcast_to"),
     lambda g: g.w.assign(gc.zeros((2, 3)))),
    ("assign to tensor", gc.ArgumentError, (
         "assign: only a variable can be assigned to, not <graphc placeholder 'x' : f32[batch,3]",
         "target is placeholder 'x'", "value is placeholder 'x'"),
     lambda g: gc.assign(g.x, g.x)),
    ("index dtype of unique", gc.DTypeError, (
         "segment_count: segment ids are integers, not float32", "ids is placeholder 'y': f32[batch]"),
     lambda g: gc.segment_sum(g.x, g.y)),
    ("dropout rate", gc.ArgumentError, (
         "dropout: a rate lies between 0 and 1, not 1.5", "x is placeholder 'x': f32[batch,3]"),
     lambda g: gc.nn.dropout(g.x, 1.5)),
    ("dropout rate as a text", gc.ArgumentError, (
         "dropout: a rate is a number or a scalar tensor, not '0.5'", "x is placeholder 'x': f32[batch,3]"),
     lambda g: gc.nn.dropout(g.x, "0.5")),
    ("decay over one", gc.ArgumentError, (
         "Adadelta: rho is at least 0 and less than 1, not 2",),
     lambda g: gc.train.Adadelta(rho=2)),
    ("shape without order", gc.ArgumentError, (
         "a shape is a sequence of sizes, not {2}",),
     lambda g: gc.zeros({2})),
    ("shape as bytes", gc.ArgumentError, (
         "placeholder: a shape is a sequence of sizes, not b'ab'",),
     lambda g: gc.placeholder("float32", b"ab")),
    ("shape as a dict", gc.ArgumentError, (
         "placeholder: a shape is a sequence of sizes, not {'a': 2}",),
     lambda g: gc.placeholder("float32", {"a": 2})),
    ("uniform dtype", gc.ArgumentError, (
         "uniform: whole numbers need ints minval < maxval less than 2**32 apart, not 0 and None",),
     lambda g: gc.random.uniform((2,), dtype="int32")),
    ("uniform shape", gc.ArgumentError, (
         "uniform: a size is an int, a name or None, not 2.5",),
     lambda g: gc.random.uniform(("a", 2.5))),
    # Names and arguments.
    ("empty name", gc.ArgumentError, (
         "identity: a name is a text that is not empty, not ''", "x is placeholder 'x': f32[batch,3]"),
     lambda g: gc.identity(g.x, name="")),
    ("name no text", gc.ArgumentError, (
         "placeholder: a name is a text that is not empty, not 3",),
     lambda g: gc.placeholder("float32", (), name=3)),
    ("gradients of ints", gc.DTypeError, (
         "gradients: the result of sum is i64[], and only floats have a slope",
         "ys is the result of sum: i64[]", "xs[0] is placeholder 'x': f32[batch,3]"),
     lambda g: gc.gradients(gc.sum(g.n), [g.x])),
    ("gradients grad_ys", gc.ShapeError, (
         "gradients: grad_ys of f32[5,5] for a y of f32[batch,3]", "ys is placeholder 'x'",
         "xs[0] is placeholder 'x'", "grad_ys[0] is the result of broadcast_to"),
     lambda g: gc.gradients(g.x, [g.x], grad_ys=[gc.zeros((5, 5))])),
    ("gradients grad_ys number", gc.ArgumentError, (
         "gradients: 1 ys and 2 grad_ys", "ys is placeholder 'x': f32[batch,3]",
         "xs[0] is placeholder 'x': f32[batch,3]"),
     lambda g: gc.gradients(g.x, [g.x], grad_ys=[1.0, 2.0])),
    ("gradients grad_ys of nothing", gc.ArgumentError, (
         "gradients: 1 ys and 2 grad_ys", "ys is placeholder 'x': f32[batch,3]"),
     lambda g: gc.gradients(g.x, [g.x], grad_ys=[None, None])),
    ("gradients unconnected", gc.ArgumentError, (
         "gradients: unconnected is \"none\" or \"zero\", not 'zeros'",
         "ys is placeholder 'x': f32[batch,3]", "xs[0] is placeholder 'x': f32[batch,3]"),
     lambda g: gc.gradients(g.x, [g.x], unconnected="zeros")),
    ("minimize nothing", gc.ArgumentError, (
         "minimize: the result of sum has a gradient towards none of the variables 'w', 'count'",
         "loss is the result of sum: f32[]"),
     lambda g: gc.train.SGD(0.1).minimize(gc.sum(g.x))),
    ("minimize vector", gc.ArgumentError, (
         "minimize: var_list holds variables, not <graphc placeholder 'x' : f32[batch,3]",
         "loss is placeholder 'x'", "var_list[0] is placeholder 'x'"),
     lambda g: gc.train.SGD(0.1).minimize(g.x, var_list=[g.x])),
    ("while types", gc.DTypeError, (
         "add: int32 and float32 do not mix: cast one, as in gc.cast(x, 'float32')",
         "x is argument 0 of a body: i32[]"),
     lambda g: gc.while_loop(lambda i: i < 3, lambda i: i + 0.5, [gc.constant(0)])),
    ("while shapes", gc.ShapeError, (
         "while_loop: loop: loop variable 0 of f32[1] becomes f32[2]; shape_invariants says",
         "operand 0 is the result of constant", "the body is <lambda>"),
     lambda g: gc.while_loop(lambda i: gc.sum(i) < 3, lambda i: gc.concat([i, i], 0), [gc.constant([0.0])])),
    ("scan shapes", gc.ShapeError, (
         "scan: loop: loop variable 0 of f32[1] becomes f32[2]; what a scan carries keeps its shape: only a "
         "while_loop takes sizes that change", "the body is <lambda>"),
     lambda g: gc.scan(lambda c, x: (gc.concat([c, c], 0), x), gc.constant([0.0]), [1.0, 2.0])),
    ("while nesting", gc.ArgumentError, (
         "while_loop: the body gives tensor where loop_vars are [tensor, tensor]", "the body is <lambda>"),
     lambda g: gc.while_loop(lambda i, j: i < 3, lambda i, j: i, [0, 1])),
    ("while cond dtype", gc.DTypeError, (
         "loop: the condition of a loop is a bool scalar, not i32[]",
         "operand 0 is the result of constant", "the body is <lambda>", "the condition is <lambda>"),
     lambda g: gc.while_loop(lambda i: i, lambda i: i, [0])),
    ("scan lengths", gc.ShapeError, (
         "loop: the arrays to walk have 3 and 4 slices", "operand 0 is the result of constant: f32[]",
         "operand 1 is the result of broadcast_to: f32[3]",
         "operand 2 is the result of broadcast_to: f32[4]"),
     lambda g: gc.scan(lambda c, x: (c, c), 0.0, [gc.zeros((3,)), gc.zeros((4,))])),
    # Strangers.
    ("tensor of another graph", gc.GraphMismatchError, (
         "matmul: the result of transpose and variable 'w'", "w is variable 'w': f32[3,2]",
         "y is the result of transpose: f32[2,3]"),
     lambda g: g.w @ gc.transpose(g.stranger) @ g.x),
    ("operand of another graph", gc.GraphMismatchError, (
         "add: placeholder 'stranger' and placeholder 'x'", "x is placeholder 'x': f32[batch,3]",
         "stranger is placeholder 'stranger': f32[3,2]"),
     lambda g: gc.add(g.x, g.stranger)),
    ("leak", gc.GraphMismatchError, (
         "add: the result of mul was made inside a body and is used outside of it; return it from the",
         "body instead", "x is the result of mul: f32[]"),
     lambda g: g.leak() + 1.0),
    ("assign from another", gc.GraphMismatchError, (
         "assign: variable 'w': f32[3,2]", "it is variable 'w'",
         "value is placeholder 'stranger'"),
     lambda g: g.w.assign(g.stranger)),
    # Scopes and groups.
    ("scope no text", gc.ArgumentError, (
         "a name is a text that is not empty, not None",),
     lambda g: gc.name_scope(None).__enter__()),
    ("control deps", gc.ArgumentError, (
         "control dependencies are a list of tensors or operations, not 3",),
     lambda g: gc.control_dependencies(3).__enter__()),
    ("control dep", gc.ArgumentError, (
         "a control dependency is a tensor or an operation, not 3",),
     lambda g: gc.control_dependencies([3]).__enter__()),
    ("group of a number", gc.ArgumentError, (
         "group: a group is of tensors and operations, not 3",),
     lambda g: gc.group(g.x, [3])),
]

# The text tells of another line (where what is fed was made), or Python's traceback tells of this one.
ELSEWHERE = [
    # Names and arguments.
    ("unknown argument", TypeError, (
         "sum() has no argument 'axes': it is sum(x, axis=None, keepdims=False); did you mean 'axis'?",),
     lambda g: gc.sum(g.x, axes=0)),
    ("missing argument", TypeError, (
         "matmul() misses its operand 'y': it is matmul(x, y)",),
     lambda g: gc.matmul(g.x)),
    ("too many arguments", TypeError, (
         "transpose() takes 2 at most, not 3: it is transpose(x, axes=None)",),
     lambda g: gc.transpose(g.x, 1, 0)),
    ("unnamed arguments", TypeError, (
         "takes 0 positional arguments but 2 were given",
         "it is softmax_cross_entropy(*, labels, logits, name=None)"),
     lambda g: gc.losses.softmax_cross_entropy(g.x, g.x)),
    ("unknown argument of an optimizer", TypeError, (
         "unexpected keyword argument 'beta1'",
         "it is Adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08, name=None)"),
     lambda g: gc.train.Adam(beta1=0.9)),
    ("graph entered", TypeError, (
         "a graph is opened by `with graph.as_default():`",),
     lambda g: g.graph.__enter__()),
    ("custom_gradient of no function", gc.ArgumentError, (
         "custom_gradient: a function is wanted, not 3",),
     lambda g: gc.custom_gradient(3)),
    ("get_tensor of a tensor", gc.ArgumentError, (
         "get_tensor: a name is a text, not <graphc placeholder 'x'",),
     lambda g: g.graph.get_tensor(g.x)),
    ("get_tensor in TensorFlow's spelling", gc.UnknownNameError, (
         "no tensor or variable is named 'x:0'; did you mean 'x'?",),
     lambda g: g.graph.get_tensor("x:0")),
    ("get_tensor in other letters", gc.UnknownNameError, (
         "no tensor or variable is named 'Images'; did you mean 'images'?",),
     lambda g: g.graph.get_tensor("Images")),
    ("get_tensor", gc.UnknownNameError, (
         "no tensor or variable is named 'xx'; did you mean 'x'?",),
     lambda g: g.graph.get_tensor("xx")),
    ("seed", gc.ArgumentError, (
         "a seed is an int, not 1.5",),
     lambda g: gc.Graph(seed=1.5)),
    # Strangers.
    ("fetch of another graph", gc.GraphMismatchError, (
         "placeholder 'stranger' belongs to another graph than the session's",),
     lambda g: g.session.run(g.stranger)),
    ("variable of another graph", gc.GraphMismatchError, (
         "variable 'far': f32[]",),
     lambda g: g.session.run(g.far)),
    ("fetch leak", gc.GraphMismatchError, (
         "the result of mul was made inside a body and cannot be fetched: return it from the body",
         "instead"),
     lambda g: g.session.run(g.leak())),
]
# fmt: on


@pytest.mark.parametrize(("error", "phrases", "misuse"), [pytest.param(*c[1:], id=c[0]) for c in HERE])
def test_the_text_names_the_users_line_and_operands(refused, error, phrases, misuse):
    refused(error, misuse, phrases, its_line=True)


@pytest.mark.parametrize(("error", "phrases", "misuse"), [pytest.param(*c[1:], id=c[0]) for c in ELSEWHERE])
def test_the_text_says_what_is_wrong(refused, error, phrases, misuse):
    refused(error, misuse, phrases, its_line=False)
