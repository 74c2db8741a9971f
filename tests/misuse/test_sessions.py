"""Wrong feeds, fetches, states and files; failures while running."""

import pickle

import numpy as np
import pytest

import graphc as gc

# Title, error, phrases of its text, misuse.
# A table, each misuse on one line, which the text of the error must name:
# fmt: off
HERE = [
    # Feeds.
    ("feed an operation", gc.FeedError, (
         "the result of group cannot be fed: it is an operation",),
     lambda g: g.session.run(g.s, {gc.group(g.s): 1.0})),
    # State.
    ("uninitialised", gc.UninitializedError, (
         "variable 'new' has no value yet: run gc.global_variables_initializer() or",
         "session.restore(path) first"),
     lambda g: g.session.run(gc.Variable(1.0, name="new") * 2.0)),
    ("unordered", gc.StateError, (
         "variable 'w' is assigned twice in one run, in no order",
         "gc.control_dependencies([first]) around the second gives them one"),
     lambda g: g.session.run([g.w.assign(g.w * 2.0), g.w.assign_add(gc.ones((3, 2)))])),
    # At the run.
    ("run index", gc.IndexOutOfRangeError, (
         "gather: index 3 is out of range for axis 0 of size 3", "w is variable 'w': f32[3,2]",
         "indices is placeholder 'n': i32[4]"),
     lambda g: g.run(gc.gather(g.w, g.n), g.feed)),
    ("run negative index", gc.IndexOutOfRangeError, (
         "gather: index -4 is out of range for axis 0 of size 3", "w is variable 'w': f32[3,2]",
         "indices is placeholder 'n': i32[4]"),
     lambda g: g.run(gc.gather(g.w, g.n), {g.n: [0, -4, 0, 0]})),
    ("run index getitem", gc.IndexOutOfRangeError, (
         "gather: index 5 is out of range for axis 0 of size 2", "y is placeholder 'y': f32[2]",
         "indices is the result of constant: i64[]"),
     lambda g: g.run(g.y[5], {g.y: [1, 2]})),
    ("run index tensor", gc.IndexOutOfRangeError, (
         "gather: index 2 is out of range for axis 0 of size 2", "y is placeholder 'y': f32[2]",
         "indices is placeholder 'n': i32[4]"),
     lambda g: g.run(g.y[g.n], {**g.feed, g.y: [1, 2]})),
    ("run division", gc.DivisionError, (
         "floor_divide: the integer 1 at [0] is divided by zero", "n is placeholder 'n': i32[4]",
         "y is the result of sub: i32[4]"),
     lambda g: g.run(g.n // (g.n - 1), g.feed)),
    ("run remainder", gc.DivisionError, (
         "remainder: the integer 1 at [0] is divided by zero", "n is placeholder 'n': i32[4]",
         "y is the result of constant: i32[]"),
     lambda g: g.run(g.n % 0, g.feed)),
    ("run segment", gc.IndexOutOfRangeError, (
         "segment_sum: segment id 4 is out of range for 4 segments", "n is placeholder 'n': i32[4]",
         "ids is placeholder 'n': i32[4]"),
     lambda g: g.run(gc.segment_sum(g.n, g.n, 4), g.feed)),
    ("run sizes", gc.ShapeError, (
         "add: sizes differ: ? = 4 and 5", "u is placeholder 'u': f32[2,4]",
         "y is the result of broadcast_to: f32[2,5]", "a size is axis 1 of placeholder 'u'"),
     lambda g: g.run(g.u + gc.zeros((2, 5)), {g.u: np.ones((2, 4))})),
    ("run matmul", gc.ShapeError, (
         "matmul: sizes differ: ? = 4 and 3", "u is placeholder 'u': f32[2,4]",
         "w is variable 'w': f32[3,2]", "a size is axis 1 of placeholder 'u'"),
     lambda g: g.run(g.u @ g.w, {g.u: np.ones((2, 4))})),
    ("run reshape", gc.ShapeError, (
         "reshape: sizes differ: ?*? = 8 and 10", "u is placeholder 'u': f32[2,4]",
         "a size is axis 0 of placeholder 'u'", "a size is axis 1 of placeholder 'u'"),
     lambda g: g.run(gc.reshape(g.u, (2, 5)), {g.u: np.ones((2, 4))})),
    ("run max of nothing", gc.ShapeError, (
         "max: of no elements there is none to choose: shape [0, 4]", "u is placeholder 'u': f32[0,4]"),
     lambda g: g.run(gc.max(g.u), {g.u: np.ones((0, 4))})),
    ("run unknown rank", gc.ShapeError, (
         "sum: axis 1 is out of range for f32[] with 0 axes", "any is placeholder 'any'"),
     lambda g: g.run(gc.sum(g.any, axis=1), {g.any: 1.0})),
    ("run check", gc.CheckError, (
         "check: too small", "operand 0 is the result of greater: bool[4]"),
     lambda g: g.run(gc.check(g.n > 1, "too small"), g.feed)),
    ("run scatter", gc.IndexOutOfRangeError, (
         "scatter_add: index 3 is out of range for axis 0 of size 3", "w is variable 'w': f32[3,2]",
         "indices is placeholder 'n': i32[4]", "updates is the result of broadcast_to: f32[4,2]"),
     lambda g: g.session.run(g.w.scatter_add(g.n, gc.ones((4, 2))), g.feed)),
    ("run negative size", gc.ShapeError, ("reshape: the size batch-3 = -1 is negative",),
     lambda g: g.run(gc.reshape(g.x, [gc.shape(g.x)[0] - 3, -1]), g.feed)),
    ("run reshape tensor", gc.ShapeError, (
         "reshape: sizes differ: 4 and ?*? = 2", "n is placeholder 'n': i32[4]"),
     lambda g: g.run(gc.reshape(g.n, gc.cast(g.n[:2], "int64")), g.feed)),
    ("run in a branch", gc.DivisionError, (
         "floor_divide: the integer 1 at [0] is divided by zero", "n is placeholder 'n': i32[4]",
         "y is the result of constant: i32[]"),
     lambda g: g.run(gc.cond(g.n[0] > 0, lambda: g.n // 0, lambda: g.n), g.feed)),
    ("py_func lies about its dtype", gc.DTypeError, (
         "call_python: result 0 of ", "is float64, and float32 is declared: cast it, or declare that",
         "operand 0 is placeholder 'n': i32[4]"),
     lambda g: g.run(gc.py_func(lambda n: n / 2, [g.n], "float32"), g.feed)),
    ("py_func lies about its shape", gc.ShapeError, (
         "call_python: result 0 of ", "has the shape [4], and i32[2] is declared",
         "operand 0 is placeholder 'n': i32[4]"),
     lambda g: g.run(gc.py_func(lambda n: n, [g.n], ("int32", (2,))), g.feed)),
    ("py_func gives nothing", gc.DTypeError, (
         "call_python: result 0 of ", "None does not fit float32: None is no number",
         "operand 0 is placeholder 'n': i32[4]"),
     lambda g: g.run(gc.py_func(lambda n: None, [g.n], "float32"), g.feed)),
    ("py_func raises", ZeroDivisionError, (
         "while running call_python", "operand 0 is placeholder 'n': i32[4]"),
     lambda g: g.run(gc.py_func(lambda n: 1 // 0, [g.n], "float32"), g.feed)),
    ("run split", gc.ShapeError, (
         "ensure_shape: sizes differ: ? = 4 and 3*(?//3) = 3", "u is placeholder 'u': f32[2,4]",
         "a size is axis 1 of placeholder 'u'"),
     lambda g: g.run(gc.split(g.u, 3, axis=1), {g.u: np.ones((2, 4))})),
    ("run permutation", gc.ShapeError, (
         "top_k: the 3 largest of only 2 elements", "y is placeholder 'y': f32[2]"),
     lambda g: g.run(gc.top_k(g.y, 3)[0], {g.y: [1, 2]})),
    # Options.
    ("backend", gc.ArgumentError, (
         "Session: backend is 'numpy' or 'llvm', not 'tpu'",),
     lambda g: gc.Session(backend="tpu")),
    ("a flag as a text", gc.ArgumentError, (
         "fast_math is True or False, not 'no'",),
     lambda g: gc.Session(fast_math="no")),
    ("backend in the place of a graph", gc.ArgumentError, (
         "a session runs a gc.Graph, not 'numpy': name the others, as backend=...",),
     lambda g: gc.Session("numpy")),
]

# The text tells of another line (where what is fed was made), or Python's traceback tells of this one.
ELSEWHERE = [
    # Feeds.
    ("missing", gc.FeedError, (
         "placeholder 'x' must be fed: f32[batch,3]",),
     lambda g: g.session.run(g.x * 2.0)),
    ("missing of two", gc.FeedError, (
         "placeholder 's' must be fed: f32[]",),
     lambda g: g.session.run(g.x * g.s, {g.x: np.ones((2, 3))})),
    ("wrong size", gc.FeedError, (
         "placeholder 'x' is f32[batch,3], and a value of shape [2, 4] was fed: axis 1 is 4, not 3",),
     lambda g: g.session.run(g.x, {g.x: np.ones((2, 4))})),
    ("wrong rank", gc.FeedError, (
         "placeholder 'x' is f32[batch,3], and float64[3] was fed: it has 1 axes, not 2",),
     lambda g: g.session.run(g.x, {g.x: np.ones(3)})),
    ("unequal named", gc.FeedError, (
         "placeholder 'y' is f32[batch], and a value of shape [3] was fed: axis 0 is 3, and batch = 2",
         "here", "batch is axis 0 of placeholder 'x'"),
     lambda g: g.session.run([g.x, g.y], {g.x: np.ones((2, 3)), g.y: np.ones(3)})),
    ("lossy", gc.FeedError, (
         "placeholder 'n' is i32[4], and float64[4] ([1.5, 2, 3, 4]) was fed: an array of float64[4]",
         "is float, and int32 holds whole numbers: cast it"),
     lambda g: g.session.run(g.n, {g.n: [1.5, 2, 3, 4]})),
    ("lossy int", gc.FeedError, (
         "placeholder 'n' is i32[4], and int64[4] ([1099511627776, 2, 3, 4]) was fed: 1099511627776 is",
         "out of range for int32"),
     lambda g: g.session.run(g.n, {g.n: [2**40, 2, 3, 4]})),
    ("nan to int", gc.FeedError, (
         "placeholder 'n' is i32[4], and float64[4] ([nan, nan, nan, nan]) was fed: an array of",
         "float64[4] is float, and int32 holds whole numbers: cast it"),
     lambda g: g.session.run(g.n, {g.n: [np.nan] * 4})),
    ("overflow", gc.FeedError, (
         "placeholder 's' is f32[], and float64[] (1e+300) was fed: 1e+300 is too large for float32",),
     lambda g: g.session.run(g.s, {g.s: 1e300})),
    ("string", gc.FeedError, (
         "placeholder 's' is f32[], and '1' was fed: it is no number",),
     lambda g: g.session.run(g.s, {g.s: "1"})),
    ("objects", gc.FeedError, (
         "placeholder 'n' is i32[4], and object[4] was fed: its elements are no real numbers",),
     lambda g: g.session.run(g.n, {g.n: np.array([1, None, 2, 3], object)})),
    ("None", gc.FeedError, (
         "placeholder 's' is f32[], and None was fed: it is no number",),
     lambda g: g.session.run(g.s, {g.s: None})),
    ("complex", gc.FeedError, (
         "placeholder 's' is f32[], and complex128[] (1j) was fed: its elements are no real numbers",),
     lambda g: g.session.run(g.s, {g.s: 1j})),
    ("ragged", gc.FeedError, (
         "placeholder 'u' is f32[?,?], and [[1], [1, 2]] was fed: it is no array: setting an",),
     lambda g: g.session.run(g.u, {g.u: [[1], [1, 2]]})),
    ("bools", gc.FeedError, (
         "placeholder 'b' is bool[4], and int64[4] ([1, 0, 1, 0]) was fed: an array of int64[4] is not",
         "bool"),
     lambda g: g.session.run(g.b, {g.b: [1, 0, 1, 0]})),
    ("feed a stranger", gc.FeedError, (
         "placeholder 'stranger' belongs to another graph than the session's",),
     lambda g: g.session.run(g.s, {g.stranger: 1.0})),
    ("feed a number key", gc.FeedError, (
         "what is fed is a tensor, a variable or a name, not 3",),
     lambda g: g.session.run(g.s, {3: 1.0})),
    ("feed unknown name", gc.UnknownNameError, (
         "no tensor or variable is named 'sss'",),
     lambda g: g.session.run(g.s, {"sss": 1.0})),
    ("feed twice", gc.FeedError, (
         "placeholder 's' is fed twice",),
     lambda g: g.session.run(g.s, {g.s: 1.0, "s": 1.0})),
    ("feed list", gc.FeedError, (
         "feed_dict is a dict from tensors to values, not [1.0]",),
     lambda g: g.session.run(g.s, [1.0])),
    ("feed tensor", gc.FeedError, (
         "placeholder 's' is f32[], and <graphc placeholder 's' : f32[]",),
     lambda g: g.session.run(g.s, {g.s: g.s})),
    ("feed variable size", gc.FeedError, (
         "variable 'w' is f32[3,2], and a value of shape [2, 2] was fed: axis 0 is 2, not 3",),
     lambda g: g.session.run(g.w, {g.w: np.ones((2, 2))})),
    ("callable count", gc.FeedError, (
         "1 values are to be fed, and 2 were given",),
     lambda g: g.session.make_callable(g.s, [g.s])(1.0, 2.0)),
    # Fetches.
    ("fetch None", gc.FetchError, (
         "None of type NoneType cannot be fetched: fetch a tensor, an operation, a variable, a name,",
         "or a list, tuple or dict of them; gc.gradients gives None for an x that no y depends on"),
     lambda g: g.session.run(None)),
    ("fetch number", gc.FetchError, (
         "3 of type int cannot be fetched: fetch a tensor, an operation, a variable, a name, or a",
         "list, tuple or dict of them"),
     lambda g: g.session.run([g.w, 3])),
    ("fetch unknown", gc.UnknownNameError, (
         "no tensor or variable is named 'ww'; did you mean 'w'?",),
     lambda g: g.session.run("ww")),
    ("fetch set", gc.FetchError, (
         "of type set cannot be fetched",),
     lambda g: g.session.run({g.w, g.count})),
    ("show number", gc.FetchError, (
         "a tensor, a variable, an operation or a name is wanted, not 3",),
     lambda g: gc.show(3)),
    # State.
    ("closed", gc.SessionClosedError, (
         "the session is closed: open a new one",),
     lambda g: g.closed().run(g.w)),
    ("closed compile", gc.SessionClosedError, (
         "the session is closed: open a new one",),
     lambda g: g.closed().compile(g.w)),
    ("closed restore", gc.SessionClosedError, (
         "the session is closed: open a new one",),
     lambda g: g.closed().restore(g.path / "c.npz")),
    ("closed enter", gc.SessionClosedError, (
         "the session is closed: open a new one",),
     lambda g: g.closed().__enter__()),
    ("reset inside", gc.ArgumentError, (
         "the default graph cannot be reset inside `with graph.as_default()`",),
     lambda g: gc.reset_default_graph()),
    # Files.
    ("restore shapes", gc.FormatError, (
         "the checkpoint does not fit the graph:",
         "variable 'w' is f32[3,2], and f32[2,2] in the checkpoint"),
     lambda g: g.session.restore(g.saved(w=np.zeros((2, 2), "float32"), count=np.int32(1)))),
    ("restore dtype", gc.FormatError, (
         "the checkpoint does not fit the graph:",
         "variable 'w' is f32[3,2], and f64[3,2] in the checkpoint"),
     lambda g: g.session.restore(g.saved(w=np.zeros((3, 2)), count=np.int32(1)))),
    ("restore missing", gc.FormatError, (
         "the checkpoint does not fit the graph:", "variable 'count' (i32[]) is not in it"),
     lambda g: g.session.restore(g.saved(w=np.zeros((3, 2), "float32")))),
    ("restore another name", gc.FormatError, (
         "the checkpoint does not fit the graph:", "variable 'w' (f32[3,2]) is not in it; did you mean 'W'?"),
     lambda g: g.session.restore(g.saved(W=np.zeros((3, 2), "float32"), count=np.int32(1)))),
    ("restore truncated", gc.FormatError, (
         "c.npz' is no checkpoint, or a damaged one",),
     lambda g: g.session.restore(g.damaged(lambda b: b[: len(b) // 2]))),
    ("restore pickle", gc.FormatError, (
         "c.npz' is no checkpoint, or a damaged one",),
     lambda g: g.session.restore(g.damaged(lambda b: pickle.dumps({"w": 1})))),
    ("restore text", gc.FormatError, (
         "c.npz' is no checkpoint, or a damaged one",),
     lambda g: g.session.restore(g.damaged(lambda b: b"hello"))),
    ("restore foreign zip", gc.FormatError, (
         "it is no checkpoint of graphc: there is no graphc.json in it",),
     lambda g: g.session.restore(g.foreign_zip())),
    ("restore suffix", gc.ArgumentError, (
         "c.pkl' does not",),
     lambda g: g.session.restore(g.path / "c.pkl")),
    ("restore unknown variable", gc.UnknownNameError, (
         "no tensor or variable is named 'nope'",),
     lambda g: g.session.restore(g.damaged(lambda b: b), variables=["nope"])),
    ("restore no file", FileNotFoundError, (
         "none.npz'",),
     lambda g: g.session.restore(g.path / "none.npz")),
    ("load_graph noise", gc.FormatError, (
         "c.npz is not a graph file",),
     lambda g: gc.load_graph(g.damaged(lambda b: b"hello"))),
    ("parse noise", gc.FormatError, (
         "line 2: nothing is named %1 here",),
     lambda g: gc.parse("graph() {\n  %0 = exp(%1) : f32[]\n  return %0\n}")),
    ("parse lie", gc.FormatError, (
         "line 2: the text says f32[3], the op says f32[2]",),
     lambda g: gc.parse("graph(%x: f32[2]) {\n  %0 = exp(%x) : f32[3]\n  return %0\n}")),
    ("parse unknown op", gc.FormatError, (
         "line 2: there is no op 'exq'",),
     lambda g: gc.parse("graph(%x: f32[2]) {\n  %0 = exq(%x) : f32[2]\n  return %0\n}")),
    ("dump suffix", gc.ArgumentError, (
         "dump: 'x.doc' has the suffix '.doc'; known are .gir, .dot",),
     lambda g: gc.dump(g.x, g.path / "x.doc")),
]
# fmt: on


@pytest.mark.parametrize(("error", "phrases", "misuse"), [pytest.param(*c[1:], id=c[0]) for c in HERE])
def test_the_text_names_the_users_line_and_operands(refused, error, phrases, misuse):
    refused(error, misuse, phrases, its_line=True)


@pytest.mark.parametrize(("error", "phrases", "misuse"), [pytest.param(*c[1:], id=c[0]) for c in ELSEWHERE])
def test_the_text_says_what_is_wrong(refused, error, phrases, misuse):
    refused(error, misuse, phrases, its_line=False)
