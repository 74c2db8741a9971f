"""What no graph would show is refused with its line; texts written by hand are read."""

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gc
from graphc.text import parse, show


def node(line, before="", after="return"):
    return f"graph(%x: f32[4], %p: bool[]) {{\n{before}  {line}\n  {after}\n}}"


HOSTILE = {
    "empty": ("", "the text holds no graph"),
    "no graph": ("hello", "'graph' is wanted"),
    "header cut": ("graph(%x: f32[4]", "',' is wanted, not the end of the line"),
    "no brace": ("graph()", "'{' is wanted"),
    "open block": ("graph() {", "the text ends inside a block"),
    "no return": ("graph() {\n}", "line 2: the block ends without `return`"),
    "after the end": ("graph() {\n  return\n}\n%0", "line 4: the text goes on after the graph"),
    "line after return": ("graph() {\n  return\n  return\n}", "line 3: `return` is the last line"),
    "input twice": ("graph(%x: f32[], %x: f32[]) {\n  return\n}", "%x is defined twice"),
    "operation as input": ("graph(%x: (f32[])) {\n  return\n}", "an input is a single value"),
    "negative size": ("graph(%x: f32[-1]) {\n  return\n}", "a size is not negative"),
    "foreign dtype": ("graph(%x: f33[2]) {\n  return\n}", "a type such as f32"),
    "odd size": ("graph(%x: f32[import os]) {\n  return\n}", "'import os' is not a size"),
    "call in a size": ("graph(%x: f32[exit(1)]) {\n  return\n}", "is not a size"),
    "division by zero": ("graph(%x: f32[1%0]) {\n  return\n}", "is not a size"),
    "huge size": (f"graph(%x: f32[{'9' * 40}]) {{\n  return\n}}", "too large a size"),
    "large product": (
        f"graph(%x: f32[{'*'.join(['(a+b+c+d+e+f+g+h)'] * 12)}]) {{\n  return\n}}",
        "is not a size",
    ),
    "deep size": (f"graph(%x: f32[{'-' * 1900}1]) {{\n  return\n}}", "is not a size"),
    "longest size": (f"graph(%x: f32[{'(' * 5000}]) {{\n  return\n}}", "is not a size"),
    "wrong type": (node("%0 = exp(%x) : f32[2]"), "line 2: the text says f32\\[2\\], the op says f32\\[4\\]"),
    "wrong dtype": (node("%0 = exp(%x) : f64[4]"), "the text says f64\\[4\\], the op says f32\\[4\\]"),
    "no type": (node("%0 = exp(%x)"), "':' is wanted, not the end of the line"),
    "unknown op": (node("%0 = system(%x) : f32[4]"), "there is no op 'system'"),
    "unknown name": (node("%0 = exp(%y) : f32[4]"), "nothing is named %y here"),
    "itself": (node("%0 = exp(%0) : f32[4]"), "nothing is named %0 here"),
    "defined twice": (node("%x = exp(%x) : f32[4]"), "%x is defined twice"),
    "too few operands": (node("%0 = exp() : f32[4]"), "exp takes 1 operands, not 0"),
    "too many operands": (node("%0 = exp(%x, %x) : f32[4]"), "exp takes 1 operands, not 2"),
    "unknown attribute": (node("%0 = exp(%x, y=1) : f32[4]"), "exp has no attribute 'y'"),
    "attribute twice": (node("%0 = pick(%x, index=0, index=0) : f32[4]"), "index is given twice"),
    "missing attribute": (node("%0 = iota() : i64[4]"), "iota misses its attribute shape"),
    "operand late": (node("%0 = pick(index=0, %x) : f32[4]"), "operands come before attributes"),
    "rule fails": (node("%0 = sum(%x, axis=(7,)) : f32[]"), "sum: axis 7 is out of range"),
    "odd attribute": (node("%0 = iota(shape='a') : i64[4]"), "shape is a Shape"),
    "name no text": (node("%0 = variable(name=3, dtype=f32, shape=[]) : f32[]"), "name is a str"),
    "name empty": (node("%0 = variable(name='', dtype=f32, shape=[]) : f32[]"), "a name is a text"),
    "name no Unicode": (node(r"%'\ud800' = exp(%x) : f32[4]"), "not valid Unicode"),
    "bad escape": (node(r"%'\N{no such}' = exp(%x) : f32[4]"), "is not a string"),
    "odd flag": (node("%0 = sum(%x, axis=(0,), keepdims=()) : f32[]"), r"keepdims is a bool, not \(\)"),
    "string cut": (node("%'a = exp(%x) : f32[4]"), "such as `%0"),
    "empty name": (node("%'' = exp(%x) : f32[4]"), "a name is not empty"),
    "long number": (node(f"%{'1' * 5000} = exp(%x) : f32[4]"), "too large a number"),
    "huge int": (node(f"%0 = pick(%x, index={'9' * 5000}) : f32[4]"), "too large a number"),
    "huge float": (node("%0 = constant(value=f32[]{1e999}, dtype=f32) : f32[]"), "too large a number"),
    "float32 overflow": (node("%0 = constant(value=f32[]{1e39}, dtype=f32) : f32[]"), "do not make an array"),
    "int overflow": (node("%0 = constant(value=u8[]{300}, dtype=u8) : u8[]"), "do not make an array"),
    "float as int": (node("%0 = constant(value=i32[]{1.5}, dtype=i32) : i32[]"), "1.5 is not int32"),
    "too few numbers": (
        node("%0 = constant(value=f32[3]{1.0}, dtype=f32) : f32[3]"),
        "1 numbers do not make",
    ),
    "huge array": (node("%0 = constant(value=f32[9999999999,0]{1.0}, dtype=f32) : f32[]"), "do not make"),
    "symbolic array": (node("%0 = constant(value=f32[n]{1.0}, dtype=f32) : f32[n]"), "do not make an array"),
    "array of another dtype": (
        node("%0 = constant(value=f32[]{1.0}, dtype=f64) : f64[]"),
        "is an array of it",
    ),
    "no array": (node("%0 = constant(value='x', dtype=f32) : f32[]"), "is an array of it"),
    "data missing": (node("%0 = constant(value=@c0, dtype=f32) : f32[9]"), "@c0 is not among the arrays"),
    "opaque": (node("%0 = constant(value=!'os.system', dtype=f32) : f32[]"), "stands for a Python object"),
    "expression": (node("%0 = pick(%x, index=__import__('os')) : f32[4]"), "a value is wanted"),
    "deep value": (node(f"%0 = sum(%x, axis={'(' * 99}1{')' * 99}) : f32[]"), "a value is nested too deep"),
    "value cut": (node("%0 = sum(%x, axis=(1"), "',' is wanted, not the end of the line"),
    "strange mark": (node("%0 = exp(%x) : f32[4] ; rm"), "the line goes on with ';'"),
    "keyword": (node("import os"), "a line begins with a name, init, run or return"),
    "placeholder inside": (node("%y = placeholder(name='y', dtype=f32, shape=[]) : f32[]"), "in the header"),
    "init of no assignment": (node("init %x"), "init is for assignments"),
    "run nothing": (node("run"), "a name such as %x is wanted"),
    "body for data": (
        node("%0 = pick(%x, index=graph() {\n  return\n}) : f32[4]"),
        "line 4: pick",
    ),
    "data for a body": (node("%0 = cond(%p, then=1, orelse=2) : ()"), "then is a Function"),
    "body with other inputs": (
        node("%0 = cond(%p, then=graph(%a: f32[]) {\n return\n}, orelse=graph() {\n return\n}) : ()"),
        r"line 6: cond: then takes \(f32\[\]\) and is given \(\)",
    ),
    "body with inputs of other sizes": (
        node(
            "%0 = fused(%x, body=graph(%a: f32[8]) {\n  %0 = exp(%a) : f32[8]\n  return %0\n}, rows=[8])"
            " : (f32[8])"
        ),
        r"fused: body takes \(f32\[8\]\) and is given \(f32\[4\]\)",
    ),
    "body with inputs of sizes that may be others": (
        node(
            "%0 = fused(%x, body=graph(%a: f32[n]) {\n  %0 = exp(%a) : f32[n]\n  return %0\n}, rows=[n])"
            " : (f32[n])"
        ),
        r"fused: body takes \(f32\[n\]\) and is given \(f32\[4\]\)",
    ),
    "body with inputs of another dtype": (
        node(
            "%0 = cond(%p, %x, then=graph(%a: f64[4]) {\n return\n}, orelse=graph(%a: f32[4]) {\n return\n},"
            " shape=[]) : ()"
        ),
        r"cond: then takes \(f64\[4\]\) and is given \(f32\[4\]\)",
    ),
    "operands of several dtypes": (
        node("%0 = cast(%x, dtype=i64) : i64[4]\n  %1 = concat(%0, %x, axis=0) : i64[8]"),
        "concat: operands of one dtype are wanted, not of int64 and float32",
    ),
    "bodies without end": (
        "graph() {\n" + "%0 = cond(then=graph() {\n" * 500,
        "the text ends inside a block",
    ),
    "one variable, two types": (
        node(
            "%1 = variable(name='w', dtype=f32, shape=[3]) : f32[3]",
            "  %0 = variable(name='w', dtype=f32, shape=[2]) : f32[2]\n",
        ),
        "the variable 'w' is f32\\[3\\] here and f32\\[2\\] before",
    ),
    "init twice": (
        node(
            "init %0\n  init %0",
            "  %0 = assign(%x, variable='w', dtype=f32, shape=[4]) : f32[4]\n",
        ),
        "the variable 'w' begins twice",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_graph_is_refused_with_its_line(case):
    text, message = HOSTILE[case]
    with pytest.raises(gc.FormatError, match=message) as caught:
        parse(text)
    assert re.match(r"line \d+: ", str(caught.value))


@pytest.mark.parametrize("text", [None, 3, b"graph() {\n return\n}"])
def test_only_texts_are_parsed(text):
    with pytest.raises(gc.FormatError, match="is a str"):
        parse(text)


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_a_changed_text_is_refused_or_read(data):
    text = show(parse(HAND_WRITTEN))
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    changed = text[:start] + data.draw(st.text(max_size=6)) + text[end:]
    with contextlib.suppress(gc.FormatError):
        parse(changed)


HAND_WRITTEN = """
# A comment, blank lines, attributes left to their defaults, nodes that nothing uses.
graph(%x: f32[n,?3], %p: bool[]) {

  %unused = exp(%x) : f32[n,?3]
  %a = sum(%x, axis=(1,)) : f32[n]  # of each row
  %b = cond(%p, %a, then=graph(%r: f32[n]) {
    return %r
  }, orelse=graph(%r: f32[n]) {
    %0 = exp(%r) : f32[n]     # train.py:3
    return %0
  }) : (f32[n])
  %out = pick(%b, index=0) : f32[n]
  return %out, %a
}
"""


def test_a_text_written_by_hand_is_read():
    graph = parse(HAND_WRITTEN)
    assert graph.get_tensor("unused").shape == ("n", None)
    assert "unused" not in show(graph)
    assert show(parse(show(graph))) == show(graph)
