"""The text form: what is shown is read back, names, numbers, sizes, places and bodies included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gc
from graphc import sizes
from graphc.function import Function
from graphc.op import OPS
from graphc.tensor import Tensor
from graphc.text import parse, show, show_with_data
from graphc.types import FLOAT32, TensorType


def again(fetches):
    """The graph of the text of `fetches`, whose text must be the same."""
    text, data = show_with_data(fetches)
    graph = parse(text, data)
    assert show_with_data(graph.function if not isinstance(fetches, gc.Graph) else graph)[0] == text
    return graph


def identity_body():
    """A body of one input, which it returns."""
    attrs = {"name": "x", "dtype": FLOAT32, "shape": (4,)}
    node = Tensor(OPS["placeholder"], (), attrs, TensorType(FLOAT32, (4,)), None, None, None)
    return Function((node,), (node,))


def test_a_text_reads_as_the_design_shows_it():
    text = """\
graph(%x: f32[batch,784], %labels: i64[batch]) {
  %0 = variable(name='w', dtype=f32, shape=[784,10]) : f32[784,10]
  %1 = matmul(%x, %0) : f32[batch,10]           # digits.py:21
  %out = exp(%1) : f32[batch,10]                # digits.py:22 (backward)
  return %out
}"""
    graph = parse(text)
    assert show(graph) == text
    out = graph.get_tensor("out")
    assert (out.loc.filename, out.loc.line, out.loc.backward) == ("digits.py", 22, True)
    assert out.shape == ("batch", 10)
    assert graph.get_tensor("x") is graph.function.inputs[0]
    assert graph.variables["w"].shape == (784, 10)
    assert all(node.owner is graph for node in graph.function.nodes())


def test_fetches_of_any_nesting_show_with_operations_as_effects():
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (2,), name="x")
        v = gc.Variable([1.0, 2.0], name="v")
        text = show({"a": [x + v, (v,)], "b": gc.group(v.assign(x))})
    assert text.startswith("graph(%x: f32[2]) {")
    assert "\n  run %" in text
    function = parse(text).function
    assert len(function.outputs) == 2
    assert len(function.effects) == 1


@pytest.mark.parametrize("fetches", [None, 3, [b"x"], object()])
def test_what_is_no_tensor_is_not_shown(fetches):
    with pytest.raises(gc.FetchError, match="a tensor, a variable, an operation or a name is wanted"):
        show(fetches)


def test_names_of_the_default_graph_stand_for_what_bears_them(tmp_path):
    x = gc.placeholder("float32", (2,), name="x")
    w = gc.Variable([1.0, 2.0], name="w")
    out = gc.exp(x * w, name="out")
    assert show(["out", {"x": "x"}]) == show([out, {"x": x}])
    assert show("w") == show(w)
    assert show(gc.optimize("out")) == show(gc.optimize(out)) == show(gc.optimize(gc.parse(show(out))))
    gc.dump("out", tmp_path / "out.gir")
    assert (tmp_path / "out.gir").read_text() == show(out) + "\n"
    for read in (show, gc.optimize):
        with pytest.raises(gc.FetchError, match="no tensor or variable is named 'oot'; did you mean 'out'"):
            read("oot")


def test_a_graph_shows_its_names_and_how_its_variables_begin():
    with gc.Graph().as_default() as graph:
        x = gc.placeholder("float32", ("n",), name="x")
        gc.Variable(1.5, name="b")
        gc.Variable(np.arange(100.0), name="large", trainable=False)
        gc.exp(x, name="y")
    text, data = show_with_data(graph)
    read = parse(text, data)
    assert show(read) == text
    assert list(read.variables) == ["b", "large"]
    assert [v.trainable for v in read.variables.values()] == [True, False]
    assert read.variables["b"].initial_value.attrs["value"] == 1.5
    assert read.get_tensor("y").op.name == "exp"
    assert "init" not in show(read.function)


def test_a_variable_without_its_initial_value_says_so():
    graph = parse("graph() {\n  %0 = variable(name='w', dtype=f32, shape=[2]) : f32[2]\n  return %0\n}")
    variable = graph.variables["w"]
    assert not variable.has_initial_value
    with pytest.raises(gc.StateError, match=r"'w'.*restore it from a checkpoint"):
        _ = variable.initializer
    assert not hasattr(variable, "anything_else")


def test_a_name_taken_by_the_text_is_not_given_again():
    graph = parse("graph(%x: f32[2]) {\n  %y = exp(%x) : f32[2]\n  return %y\n}")
    with graph.as_default():
        assert gc.exp(graph.get_tensor("y"), name="y").name == "y_1"
        assert gc.Variable(1.0, name="x").name == "x_1"


def test_unknown_sizes_are_numbered_in_order_of_first_use():
    late, early = sizes.unknown(), sizes.unknown()
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (early, 3), name="x")
        y = gc.placeholder("float32", (late, 3), name="y")
        out = gc.concat([x, y], axis=0)
    text = show(out)
    assert text.startswith("graph(%x: f32[?0,3], %y: f32[?1,3])")
    assert "f32[?0+?1,3]" in text
    again(out)


def test_sums_of_unknown_sizes_keep_their_order():
    a, b, c = (sizes.unknown() for _ in range(3))
    shapes = [(c * a + b,), (b, a * b), (c + 2 * a + b * 3 + c // 2,), (sizes.maximum(a, c), b % 4)]
    with gc.Graph().as_default():
        again([gc.exp(gc.placeholder("float32", shape)) for shape in shapes])


def test_an_unknown_rank_comes_back():
    with gc.Graph().as_default():
        x = gc.placeholder("float32", None, name="x")
        y = gc.placeholder("float32", (None, 3), name="y")
        graph = again([gc.exp(x), gc.sum(x, axis=-1), gc.matmul(x, y), gc.transpose(x)])
    assert graph.get_tensor("x").shape is None


@pytest.mark.parametrize(
    "value",
    [
        np.array([0.1, -0.0, np.nan, np.inf, -np.inf, 1e-45, 3.4028235e38], "float32"),
        np.array([0.1, 5e-324, 1.7976931348623157e308, -0.0]),
        np.array([65504.0, 6e-8, 0.1], "float16"),
        np.array([0, 2**64 - 1], "uint64"),
        np.array([-(2**63), 2**63 - 1], "int64"),
        np.array([[True], [False]]),
        np.zeros((0, 3), "int8"),
        np.zeros((3, 0), "float64"),
        np.array(7, "uint8"),
        np.arange(16.0).reshape(2, 8),
        np.arange(17.0),
        np.asfortranarray(np.arange(60, dtype="int16").reshape(3, 20)),
    ],
)
def test_constants_come_back_bit_by_bit(value):
    with gc.Graph().as_default():
        constant = gc.constant(value, name="c")
    back = again(constant).get_tensor("c").attrs["value"]
    assert back.dtype == value.dtype
    assert back.shape == value.shape
    assert back.tobytes() == np.ascontiguousarray(value).tobytes()
    assert not back.flags.writeable


@given(st.lists(st.floats(width=32), max_size=16))
@settings(deadline=None, max_examples=50)
def test_floats_round_trip(numbers):
    value = np.array(numbers, "float32")
    with gc.Graph().as_default():
        back = again(gc.constant(value, name="c")).get_tensor("c").attrs["value"]
    np.testing.assert_array_equal(back, value)
    np.testing.assert_array_equal(np.signbit(back[~np.isnan(back)]), np.signbit(value[~np.isnan(value)]))


def test_a_large_constant_used_twice_stands_beside_once():
    with gc.Graph().as_default():
        large = np.arange(40.0)
        text, data = show_with_data([gc.constant(large), gc.constant(large + 1)])
    assert list(data) == ["c0", "c1"]
    with pytest.raises(gc.FormatError, match="line 2: @c0 is not among the arrays given"):
        parse(text)


@pytest.mark.parametrize(
    "name",
    [
        "a/b_1",
        "имя",
        "we ird",
        "it's",
        '"',
        "\n",
        "7",
        "%0",
        "#",
        "}",
        "a:0",
        "a:",
        "<b>&amp;</b>",
        "\\",
        "-",
        "?",
    ],
)
def test_names_of_any_kind_come_back(name):
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (2,), name=name)
        v = gc.Variable(1.0, name=name + "v")
        y = gc.exp(x + v, name=name + "y")
    graph = again(y)
    assert graph.get_tensor(name + "y").op.name == "exp"
    assert graph.get_tensor(name).attrs["name"] == name
    assert name + "v" in graph.variables


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
@settings(deadline=None, max_examples=100)
def test_drawn_names_come_back(name):
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (2,), name=name)
        assert again(gc.exp(x, name=name)).get_tensor(name + "_1").op.name == "exp"


def test_of_two_nodes_of_one_name_the_first_keeps_it():
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (2,), name="x")
    with gc.Graph().as_default():
        other = gc.placeholder("float32", (2,), name="x")
    text = show(Function((x, other), (x, other)))
    assert text.startswith("graph(%x: f32[2], %0: f32[2])")
    assert show(parse(text)) == text


@pytest.mark.parametrize("file", ["a b.py", "it's.py", "#.py", "x\n}.py", "<stdin>", "имя.py", "\udc80.py"])
def test_odd_file_names_do_not_break_the_line(file):
    with gc.Graph().as_default():
        exec(compile("import graphc as gc\ny = gc.exp(gc.constant(1.0), name='y')", file, "exec"))
        y = gc.get_default_graph().get_tensor("y")
    assert again(y).get_tensor("y").loc == y.loc


def test_bodies_are_blocks_with_names_of_their_own():
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (4,), name="x")
        p = gc.placeholder("bool", (), name="p")
        y = gc.cond(p, lambda: gc.exp(x, name="inner"), lambda: gc.cond(p, lambda: x, lambda: x * 2.0))
    graph = again(y)
    with pytest.raises(gc.UnknownNameError):
        graph.get_tensor("inner")
    (region,) = [node for node in graph.function.nodes() if node.op.name == "cond"]
    assert isinstance(region.attrs["then"], Function)
    assert "\n    %inner = exp(" in show(graph)
    gc.verify(graph.function)


def test_bodies_nest_deep():
    cond, pick, constant = OPS["cond"], OPS["pick"], OPS["constant"]
    function = identity_body()
    for _ in range(100):
        (x,) = identity_body().inputs
        true = constant.make((), {"value": np.array(True), "dtype": "bool"})
        bodies = {"then": function, "orelse": identity_body(), "shape": (), "state": ()}
        function = Function((x,), (pick.make((cond.make((true, x), bodies),), {"index": 0}),))
    text = show(function)
    assert text.count("cond(") == 100
    assert show(parse(text)) == text
    gc.verify(function)


def test_a_long_chain_is_shown_and_read_in_linear_work(calls_of):
    spent = []
    for count in (2_000, 20_000):
        with gc.Graph().as_default():
            y = gc.placeholder("float32", (4,), name="x")
            for _ in range(count):
                y = gc.exp(y)
        text, shown = calls_of(lambda y=y: show(y))
        graph, read = calls_of(lambda text=text: parse(text))
        spent.append((shown, read))
        assert show(graph) == text
    for few, many in zip(*spent, strict=True):
        assert many < 11 * few
