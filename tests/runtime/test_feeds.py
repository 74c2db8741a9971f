"""What may be fed, and how a value that does not fit is refused."""

import numpy as np
import pytest

import graphc as gc


@pytest.fixture(scope="module")
def fed():
    """``fed(dtype, shape, value)``: what arrives when `value` is fed."""

    def run(dtype, shape, value):
        with gc.Graph().as_default():
            x = gc.placeholder(dtype, shape, name="x")
            with gc.Session() as session:
                return session.run(gc.identity(x), {x: value})

    return run


class Opaque:
    pass


REFUSED = [
    ("int32", (), 1.7, "float, and int32 holds whole numbers"),
    ("uint8", (), 300, "300 is out of range for uint8"),
    ("uint8", (), -1, "-1 is out of range"),
    ("int32", (), 2**31, "out of range"),
    ("float32", (), 16777217, "not exact as float32"),
    ("float32", (), np.uint64(2**64 - 1), "not exact as float32"),
    ("float16", (), 1e6, "too large for float16"),
    ("float32", (), 10**400, "too large for any dtype"),
    ("bool", (), 1, "is not bool"),
    ("float32", (), None, "None was fed: it is no number"),
    ("float32", (), "1.0", "it is no number"),
    ("float32", (None,), ["1.0"], "no real numbers"),
    ("float32", (), 1j, "no real numbers"),
    ("float32", (), Opaque(), "no real numbers"),
    ("float32", (), {1.0}, "no real numbers"),
    ("float32", (None,), np.array([1, 2.5], object), "its numbers are objects: use .astype"),
    ("int32", (), np.array(1, object), "its numbers are objects: use .astype"),
    ("int32", (None,), [2**70, 1], "too large for any dtype"),
    ("float32", (None,), np.array([], object), "no real numbers"),
    ("float32", (None,), [1.0, [2.0]], "it is no array"),
    ("float32", (None,), np.zeros(2, [("a", "f4")]), "no real numbers"),
    ("float32", (None,), np.zeros(2, "M8[s]"), "no real numbers"),
    ("float32", (None,), np.ma.array([1.0, 2.0], mask=[0, 1]), "masked"),
    ("int32", (None,), [np.ma.array(1, mask=True)], "it is no array: Cannot convert masked element"),
    ("float32", (2,), [1.0, 2.0, 3.0], "axis 0 is 3, not 2"),
    ("float32", (2,), [[1.0, 2.0]], "it has 2 axes, not 1"),
    ("float32", (None, 3), np.zeros((2, 4)), "axis 1 is 4, not 3"),
]


@pytest.mark.parametrize(("dtype", "shape", "value", "why"), REFUSED, ids=lambda v: str(v)[:20])
def test_a_wrong_value_is_refused_with_the_placeholder_its_line_and_both_types(fed, dtype, shape, value, why):
    with pytest.raises(gc.FeedError) as caught:
        fed(dtype, shape, value)
    text = str(caught.value)
    assert why in text
    assert "placeholder 'x' is " in text
    assert "was fed" in text
    assert "test_feeds.py" in text
    assert 'x = gc.placeholder(dtype, shape, name="x")' in text


ARRAY = np.arange(12, dtype="float32").reshape(3, 4)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("float32", ARRAY.T, ARRAY.T),
        ("float32", ARRAY[::-2, ::3], ARRAY[::-2, ::3]),
        ("float32", ARRAY.astype(">f4"), ARRAY),
        ("float32", ARRAY.astype(">f8"), ARRAY),
        ("float32", np.frombuffer(b"\0" + ARRAY.tobytes(), "f4", offset=1), ARRAY.ravel()),
        ("float32", np.broadcast_to(np.float32(2), (3,)), np.full(3, 2)),
        ("float32", 0.1, np.float32(0.1)),
        ("float32", np.float64(0.1), np.float32(0.1)),
        ("float32", [np.nan, np.inf, -np.inf], [np.nan, np.inf, -np.inf]),
        ("float32", True, 1.0),
        ("float32", 16777216, 16777216),
        ("float64", [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ("int32", [], []),
        ("int32", np.int64(7), 7),
        ("int64", [True, False], [1, 0]),
        ("uint64", 2**64 - 1, np.uint64(2**64 - 1)),
        ("bool", [True, False], [True, False]),
        ("bfloat16", [1.0, 1.00390625 * 3], [1.0, 3.015625]),
        ("float32", np.ma.array([1.0, 2.0]), [1, 2]),
    ],
    ids=str,
)
def test_a_right_value_arrives(fed, dtype, value, expected):
    given = fed(dtype, None, value)
    np.testing.assert_array_equal(given, expected)
    assert given.dtype == ("float32" if dtype == "bfloat16" else dtype)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (32_767,), (32_769,), (3, 40_000)])
def test_bfloat16_is_rounded_to_the_nearest_even(fed, shape):
    """Of two neighbours, floats whose low half is 0, the nearer one; the even one where both are as near."""
    bits = np.asarray(np.random.default_rng(0).integers(0, 2**32, shape, dtype=np.uint32))
    bits[np.random.default_rng(1).random(shape) < 0.2] &= 0xFFFF8000
    bits[bits & 0x7F800000 == 0x7F800000] = 0x3F808000
    x = bits.view(np.float32)
    below = (bits & 0xFFFF0000).view(np.float32).astype(np.float64)
    above = ((bits & 0xFFFF0000) + 0x10000).view(np.float32).astype(np.float64)
    up, down = np.abs(above - x), np.abs(below - x)
    rises = (up < down) | ((up == down) & (bits >> 16 & 1 == 1))
    expected = np.where(rises, above, below)
    large = np.isinf(above)
    x, expected = np.where(large, 1, x).astype(np.float32), np.where(large, 1, expected)
    np.testing.assert_array_equal(fed("bfloat16", shape, x), expected.astype(np.float32))
    if x.size:
        np.testing.assert_array_equal(fed("bfloat16", shape, np.full(shape, np.nan)), np.full(shape, np.nan))


def test_no_bits_of_a_nan_make_it_another_number_as_bfloat16(fed):
    bits = np.array([0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF, 0x7FC00000], np.uint32)
    assert np.isnan(fed("bfloat16", (5,), bits.view(np.float32))).all()


def test_bfloat16_is_rounded_in_every_run(each_backend):
    with gc.Graph().as_default(), gc.Session() as session:
        x = gc.placeholder("bfloat16", ("n",))
        y = gc.cast(x, "float32")
        step = session.make_callable(y, [x])
        given = np.array([1.001, 1 / 3], np.float32)
        for _ in range(3):
            assert session.run(y, {x: given}).tolist() == step(given).tolist() == [1.0, 0.333984375]


@pytest.mark.parametrize(
    ("dtype", "most", "least"),
    [
        ("bfloat16", 3.3961e38, 3.3962e38),
        ("float16", 65519.9, 65520.0),
        ("float32", 3.4028235e38, 3.40282357e38),
    ],
)
def test_the_largest_number_that_may_be_fed(fed, dtype, most, least):
    for sign in (-1, 1):
        assert np.isfinite(fed(dtype, (2,), np.float64([0, sign * most]))).all()
        with pytest.raises(gc.FeedError, match="too large"):
            fed(dtype, (2,), np.float64([sign * least, 0]))
        assert fed(dtype, (2,), np.float64([sign * np.inf, 1])).tolist() == [sign * np.inf, 1]


def test_keys():
    with gc.Graph().as_default() as graph, gc.Session() as session:
        x, y = gc.placeholder("float32", ("n",), name="x"), gc.placeholder("float32", ("n",), name="y")
        w = gc.Variable([1.0, 2.0], name="w")
        pair = gc.top_k(x, 1)[0]
        with gc.Graph().as_default():
            stranger = gc.placeholder("float32", (), name="stranger")
        for feed, error, why in [
            ([1.0], gc.FeedError, "feed_dict is a dict"),
            ({3: 1.0}, gc.FeedError, "a tensor, a variable or a name, not 3"),
            ({"nope": 1.0}, gc.FeedError, "no tensor or variable is named 'nope'"),
            ({x: [1.0], "x": [1.0]}, gc.FeedError, "placeholder 'x' is fed twice"),
            ({w: [1.0, 1.0], "w": [1.0, 1.0]}, gc.FeedError, "variable 'w' is fed twice"),
            ({x: x}, gc.FeedError, "no value outside a run"),
            ({gc.group(x): 1.0}, gc.FeedError, "it is an operation"),
            ({pair.inputs[0]: 1.0}, gc.FeedError, "an op with several results"),
            ({stranger: 1.0}, gc.FeedError, "placeholder 'stranger' belongs to another graph"),
            ({y: [1.0, 2.0]}, gc.FeedError, "placeholder 'x' must be fed"),
            (
                {w: [1.0]},
                gc.FeedError,
                "variable 'w' is f32.2., and a value of shape .1. was fed: axis 0 is 1, not 2",
            ),
            ({w: w}, gc.FeedError, "no value outside a run"),
        ]:
            with pytest.raises(error, match=why):
                session.run(x, feed)
        with pytest.raises(gc.FeedError, match=r"(?s)placeholder 'y' .*3, and n = 2.*placeholder 'x'"):
            session.run(x + y, {x: [1, 2], y: [1, 2, 3]})
        assert graph.get_tensor("x") is x


def test_feeding_a_variable_replaces_its_reads_in_that_run_alone():
    with gc.Graph().as_default(), gc.Session() as session:
        w = gc.Variable(1.0, name="w")
        chosen = gc.cond(gc.constant(True), lambda: w * 10.0, lambda: w * 1.0)
        assert session.run([w, w + 1.0, chosen], {w: 4}) == [4.0, 5.0, 40.0]
        session.run(w.initializer)
        assert session.run(w) == 1.0
        assert session.run(w.assign_add(1.0), {"w": 5.0}) == 6.0
        assert session.run(w) == 6.0


def test_what_is_returned_is_the_callers_own():
    with gc.Graph().as_default(), gc.Session() as session:
        x = gc.placeholder("float32", (None, 2), name="x")
        c, w = gc.constant([[1.0, 2.0]]), gc.Variable([[3.0, 4.0]])
        session.run(gc.global_variables_initializer())
        given = np.ones((3, 2), "float32")
        y = x + 1.0
        fetches = [
            x,
            x,
            gc.identity(x),
            gc.transpose(y),
            y,
            y,
            gc.reshape(y, [-1]),
            c,
            c,
            w,
            w,
            w.assign(c),
            x[0],
        ]
        arrays = session.run(fetches, {x: given})
        for i, array in enumerate(arrays):
            assert array.flags.writeable
            assert array.flags.c_contiguous
            assert array.flags.owndata
            assert not np.shares_memory(array, given)
            assert not any(np.shares_memory(array, other) for other in arrays[:i])
            array[...] = -9
        assert (given == 1).all()
        assert session.run([c, w])[0].tolist() == [[1, 2]]
        assert session.run(w).tolist() == [[1, 2]]
        assert isinstance(session.run(gc.sum(x), {x: given}), np.float32)


def test_the_errors_of_a_graph_without_lines_name_none():
    text = """graph(%x: f32[2,3], %y: f32[n,3]) {
  %0 = variable(name='w', dtype=f32, shape=[2,3]) : f32[2,3]
  %1 = add(%x, %y) : f32[2,3]
  %2 = add(%1, %0) : f32[2,3]
  return %2
}"""
    graph = gc.parse(text)
    (x, y), (sum,) = graph.function.inputs, graph.function.outputs
    square, flat = np.ones((2, 3)), np.ones((4, 3))
    with gc.Session(graph=graph) as session:
        for feeds in ({}, {x: square}, {x: flat, y: flat}, {x: square, y: flat}, {x: square, y: square}):
            with pytest.raises(gc.GraphError) as caught:
                session.run(sum, feeds)
            assert "None" not in str(caught.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("narrow", ["float16", "float32"])
def test_a_narrower_float_is_fed_without_a_warning(narrow):
    """Its own largest number is none of what the wider dtype holds."""
    x = gc.placeholder("float64" if narrow == "float32" else "float32", (None,))
    with gc.Session() as session:
        np.testing.assert_array_equal(session.run(x, {x: np.array([0.5, -2.0], narrow)}), [0.5, -2.0])
