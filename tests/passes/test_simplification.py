"""Every rule on three texts: where it fires, where it must not, and with other users of its operands.

``cases/simplification/<family>.gir`` holds them; ``<family>_fast.gir`` those of rules for fast_math. Both
sides run, on numbers among which are NaN, infinities, zeros of both signs, denormals and the ends of the
integers, and give the same bits (of fast rules: close numbers). ``pytest --update-cases`` writes what the
rules do now into the files.
"""

import math
import zlib
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc import ops, sizes
from graphc.conversion import round_to_bfloat16
from graphc.function import Function, all_nodes
from graphc.types import BFLOAT16, as_dtype
from passes import simplification
from passes.match import Surroundings
from passes.record import recording
from passes.rewrite import Match, index, rewrite, rule
from passes.simplification import FAST_RULES, RULES, simplify
from passes.simplification.numeric import holds
from passes.target import Target
from tests.passes.gir import Case, plain, read, write

FOLDER = Path(__file__).parent / "cases" / "simplification"
FILES = sorted(FOLDER.glob("*.gir"))
KINDS = ("", ", where it does not hold", ", shared")
INDEX = index(RULES)
CASES = [case for path in FILES for case in read(path)[1]]


def rule_of(case):
    return case.title.partition(",")[0]


def is_fast(case):
    return case.stem.endswith("_fast")


def simplified(function, fast):
    with recording() as log:
        result = simplify(function, Target(fast_math=fast))
    return result, {d.subject for d in log.decisions if d.kind == "rewrite"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.stem}: {case.title}")
def test_case(case):
    before = gc.verify(gc.parse(case.before).function)
    assert plain(gc.show(before)) == case.before
    result, fired = simplified(before, is_fast(case))
    if not case.title.endswith(", shared"):
        assert (rule_of(case) in fired) == (case.title == rule_of(case))
    gc.verify(result)
    assert ("unchanged" if result is before else plain(gc.show(result))) == case.after
    assert simplified(result, is_fast(case))[0] is result
    if result is not before:
        after = gc.parse(case.after).function
        assert plain(gc.show(after)) == case.after
        compare(before, after, case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.stem}: {case.title}")
def test_a_rule_that_is_left_out_does_not_hold(case):
    """What a rule says of the operands that it may hold for is true: elsewhere it gives None."""
    function = gc.parse(case.before).function
    match = match_in(function)
    for node in function.nodes():
        for each in (*RULES, *FAST_RULES):
            if node.op in each.ops and not each.may_hold(node.inputs):
                assert each.apply(match(node)) is None, each.name


def match_in(function):
    """What makes matches of the nodes of `function`, whose rules are told that all is used once."""
    around = Surroundings(Counter())
    return lambda node: Match(node, around)


def test_an_index_gives_the_rules_that_may_hold_in_order():
    for case in CASES:
        for node in gc.parse(case.before).function.nodes():
            wanted = [each for each in RULES if node.op in each.ops and each.may_hold(node.inputs)]
            assert list(INDEX.rules_for(node)) == wanted


def test_rules_reach_bodies_of_a_function_that_has_none_of_their_ops():
    def tangent_of_sine(match):
        """``tan(sin(x)) -> sin(x)``."""
        return match.inputs[0]

    rules = index([rule(ops.tan, of=(ops.sin,))(tangent_of_sine)])
    x = gc.placeholder("float64", (3,))
    outside = Function((x,), (gc.exp(x),))
    assert rewrite(outside, rules) is outside
    _, y = gc.while_loop(lambda i, t: i < 3, lambda i, t: (i + 1, gc.tan(gc.sin(t))), [0, x])
    whole = Function((x,), (y,))
    assert ops.tan not in {node.op for node in whole.nodes()}
    names = [{node.op for node in all_nodes(f)} for f in (whole, rewrite(whole, rules))]
    assert [ops.tan in found for found in names] == [True, False]


def test_a_rule_says_which_operands_it_may_hold_for():
    x = gc.placeholder("float32", (3,))
    y = gc.placeholder("float32", (3,))
    made = ops.neg(x)

    def none(match):
        """``f(x) -> x``."""

    wide, narrow = rule(ops.add)(none), rule(ops.add, of=(ops.neg,))(none)
    twice, either = rule(ops.add, repeated=True)(none), rule(ops.add, of=(ops.neg,), repeated=True)(none)
    held = {
        operands: [each.may_hold(operands) for each in (wide, narrow, twice, either)]
        for operands in ((x, y), (x, made), (made, x), (x, x), (made, made))
    }
    assert list(held.values()) == [
        [True, False, False, False],
        [True, True, False, True],
        [True, True, False, True],
        [True, False, True, True],
        [True, True, True, True],
    ]
    counts = gc.placeholder("int32", (3,))
    whole = rule(ops.add, of=(ops.neg,), integers=True)(none)
    assert [whole.may_hold(x) for x in ((x, made), (counts, counts), (counts, ops.neg(counts)))] == [
        False,
        False,
        True,
    ]
    with pytest.raises(TypeError, match="a rule begins with ops"):
        rule(ops.add, of=(gc.reshape,))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_update(path, request):
    head, cases = read(path)
    assert len({case.title for case in cases}) == len(cases)
    if request.config.getoption("--update-cases", default=False):
        for case in cases:
            before = gc.parse(case.before).function
            result, _ = simplified(before, is_fast(case))
            case.after = "unchanged" if result is before else plain(gc.show(result))
        write(path, head, cases)


# Running both sides by what the ops mean.


def run(function, feeds, extents):
    """The results, or the class of the error that running ends in."""
    values = dict(zip(function.inputs, feeds, strict=True))
    with np.errstate(all="ignore"):
        for node in function.nodes():
            if node in values:
                continue
            attrs = {key: sized(value, extents) for key, value in node.attrs.items()}
            try:
                value = node.op.meaning(*(values[i] for i in node.inputs), **attrs)
            except gc.GraphError as error:
                return type(error)
            if not isinstance(value, tuple):
                value = np.asarray(value)
                assert value.dtype == node.dtype.numpy
                if node.dtype is BFLOAT16:
                    value = round_to_bfloat16(value)
            values[node] = value
    return [values[node] for node in function.outputs]


def sized(value, known):
    if isinstance(value, tuple):
        return tuple(sized(item, known) for item in value)
    return sizes.evaluate(value, known) if isinstance(value, sizes.SizeExpr) else value


ODD_FLOATS = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 0.5, -2.5, 2.0, 3.0, -1.5, 1e3, -7.25]


def drawn(type, extents, seed, mild):
    """An array of `type`; `mild`: small whole numbers, or (of fast rules) positive ones of middling size."""
    rng = np.random.default_rng(seed)
    shape = []
    for extent in type.sizes:
        if isinstance(extent, int):
            shape.append(extent)
        else:
            (symbol,) = sizes.symbols(extent)
            shape.append(extents.setdefault(symbol, 3 if symbol.name is None else 2 + len(extents)))
    held = type.dtype.numpy
    if type.dtype.kind == "b":
        return rng.random(shape) < 0.5
    if type.dtype.kind != "f":
        limits = np.iinfo(held)
        odd = np.array([limits.min, limits.max, 0, 1, 2, 3, 7, limits.max - 1, limits.min + 1, 0], held)
        small = rng.integers(-4 if type.dtype.kind == "i" else 0, 9, shape).astype(held)
        return small if mild or seed % 2 else rng.choice(odd, shape)
    if mild == "positive":
        values = rng.uniform(0.5, 2.0, shape)
    elif mild:
        values = rng.integers(-4, 5, shape).astype(np.float64)
    else:
        limits = np.finfo(held)
        odd = [*ODD_FLOATS, limits.max, limits.min, float(limits.tiny) / 4, -float(limits.tiny) / 2]
        values = np.where(rng.random(shape) < 0.7, rng.choice(odd, shape), rng.standard_normal(shape) * 10)
    values = values.astype(held)
    return round_to_bfloat16(values) if type.dtype is BFLOAT16 else values


def feeds_for(before, case, attempt):
    extents = {s: 2 + attempt % 2 for node in before.nodes() for s in named_sizes(node)}
    seed = zlib.crc32(case.title.encode()) % 1000 * 100 + attempt
    sums = case.stem == "contraction"  # whose sums have terms and no order: exact numbers show the terms
    mild = "positive" if is_fast(case) else sums
    feeds = [drawn(node.result, extents, seed + 7 * i, mild) for i, node in enumerate(before.inputs)]
    return feeds, extents


def named_sizes(node):
    return [s for size in node.result.sizes for s in sizes.symbols(size) if s.name is not None]


def compare(before, after, case):
    ran = 0
    for attempt in range(8):
        feeds, extents = feeds_for(before, case, attempt)
        wanted = run(before, feeds, extents)
        feeds_after, extents_after = feeds_for(after, case, attempt)
        found = run(after, feeds_after, extents_after)
        if isinstance(wanted, type) or isinstance(found, type):
            assert wanted is found
            continue
        ran += 1
        for a, b in zip(wanted, found, strict=True):
            assert_same(a, b, is_fast(case))
    assert ran


def assert_same(wanted, found, close):
    assert wanted.dtype == found.dtype
    assert wanted.shape == found.shape
    if close:
        np.testing.assert_allclose(found, wanted, rtol=3e-5, atol=1e-6)
        return
    np.testing.assert_array_equal(found, wanted)  # NaN where NaN is
    if wanted.dtype.kind == "f":
        real = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(found)[real], np.signbit(wanted)[real])


# The rules as a whole.


def test_there_are_many_rules():
    assert len(RULES) >= 80


def test_names_are_unique_and_equations_are_said():
    names = Counter(each.name for each in (*RULES, *FAST_RULES))
    assert [name for name, count in names.items() if count > 1] == []
    for each in (*RULES, *FAST_RULES):
        assert "->" in each.equation, each.name
        assert each.ops, each.name


@pytest.mark.parametrize("each", [*RULES, *FAST_RULES], ids=lambda each: each.name)
def test_every_rule_has_its_cases(each):
    own = {case.title: case for case in CASES if rule_of(case) == each.name}
    assert list(own) == [each.name + kind for kind in KINDS]
    assert own[each.name].after != "unchanged"
    assert is_fast(own[each.name]) == (each in FAST_RULES)


def test_fast_rules_are_off():
    for case in CASES:
        if is_fast(case) and case.title == rule_of(case):
            _, fired = simplified(gc.parse(case.before).function, False)
            assert not fired & {each.name for each in FAST_RULES}


def test_each_family_lists_all_of_its_rules():
    for family in simplification._FAMILIES:
        found = [v for v in vars(family).values() if type(v).__name__ == "Rule"]
        assert {id(each) for each in found} == {id(each) for each in (*family.RULES, *family.FAST_RULES)}


# Wrong rules are caught.


def swap(match):
    """``x - y -> y - x``."""
    x, y = match.inputs
    return ops.sub(y, x)


def lose_sign(match):
    """``x + 0.0 -> x``."""
    x, y = match.inputs
    return x if simplification.arithmetic.number(y) == 0 else None


def slip(match):
    """``x[a:b] -> x[a - 1:b - 1]``."""
    (x,), attrs = match.inputs, match.attrs
    starts = tuple(start - 1 for start in attrs["starts"])
    return ops.strided_slice(x, **{**attrs, "starts": starts}) if starts[0] == 1 else None


def lose_nan(match):
    """``x == x -> True``."""
    x, y = match.inputs
    return simplification.matching.like(match.node, True) if x is y else None


WRONG = [
    (swap, ops.sub, "sub(%x, %y) : f32[n]"),
    (lose_sign, ops.add, "add(%x, %c) : f32[n]"),
    (slip, ops.strided_slice, "strided_slice(%x, starts=[2], sizes=[1], steps=(1,)) : f32[1]"),
    (lose_nan, ops.equal, "equal(%x, %x) : bool[n]"),
]


@pytest.mark.parametrize(("wrong", "op", "line"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_rule_is_caught(wrong, op, line):
    size = "4" if op is ops.strided_slice else "n"
    text = (
        f"graph(%x: f32[{size}], %y: f32[{size}]) {{\n"
        f"  %c = constant(value=f32[]{{0.0}}, dtype=f32) : f32[]\n  %0 = {line}\n  return %0\n}}"
    )
    before = gc.parse(text).function
    after = rewrite(before, index([rule(op)(once(wrong))]))
    assert after is not before
    with pytest.raises(AssertionError):
        compare(before, after, Case("arithmetic", "wrong", text, ""))


def once(apply):
    """`apply`, which fires a single time, so that rules that undo themselves end."""
    fired = []

    def first(match):
        made = None if fired else apply(match)
        fired.extend([made] if made is not None else [])
        return made

    first.__name__, first.__doc__ = apply.__name__, apply.__doc__
    return first


def test_a_rule_of_another_type_is_named():
    @rule(ops.exp)
    def shrink(match):
        """``exp(x) -> sum(x)``."""
        return ops.sum(match.inputs[0])

    function = gc.parse("graph(%x: f32[4]) {\n  %0 = exp(%x) : f32[4]\n  return %0\n}").function
    with pytest.raises(gc.VerificationError, match="shrink"):
        rewrite(function, index([shrink]))


def test_a_rule_that_fails_is_named():
    @rule(ops.exp)
    def stumble(match):
        """``exp(x) -> ?``."""
        raise ZeroDivisionError

    function = gc.parse("graph(%x: f32[4]) {\n  %0 = exp(%x) : f32[4]\n  return %0\n}").function
    with pytest.raises(ZeroDivisionError) as caught:
        rewrite(function, index([stumble]))
    assert "stumble" in caught.value.__notes__[0]


# The driver.


def test_what_is_rewritten_below_keeps_its_users():
    """Uses count for what a node becomes: a shared operand stays shared when it is made anew."""
    text = """graph(%x: f32[n]) {
  %c = constant(value=f32[]{1.0}, dtype=f32) : f32[]
  %0 = mul(%x, %c) : f32[n]
  %1 = exp(%0) : f32[n]
  %2 = constant(value=f32[]{3.0}, dtype=f32) : f32[]
  %3 = mul(%1, %2) : f32[n]
  %4 = neg(%3) : f32[n]
  return %4, %3
}"""
    result, fired = simplified(gc.parse(text).function, False)
    assert "multiply_by_one" in fired
    assert "negate_product" not in fired
    assert Counter(node.op.name for node in result.nodes())["mul"] == 1


def test_a_node_that_loses_its_other_user_is_seen_again():
    text = """graph(%x: f32[n]) {
  %0 = constant(value=f32[]{3.0}, dtype=f32) : f32[]
  %1 = mul(%x, %0) : f32[n]
  %2 = neg(%1) : f32[n]
  %3 = after(%2, %1) : f32[n]
  return %3
}"""
    result, fired = simplified(gc.parse(text).function, False)
    assert {"after_nothing", "negate_product"} <= fired
    assert simplified(result, False)[0] is result


def test_an_empty_function_stays():
    function = Function((), ())
    assert simplify(function) is function


def test_names_and_lines_stay():
    with gc.Graph().as_default():
        x = gc.placeholder("float32", ("n",), name="x")
        y = gc.multiply(x, -1.0, name="y")
    result = simplify(Function((x,), (y,)))
    assert result.outputs[0].op is ops.neg
    assert result.outputs[0].name == "y"
    assert result.outputs[0].loc == y.loc


def test_bodies_are_simplified():
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (), name="x")
        y = gc.cond(x > 0, lambda: gc.negative(-x) * 1.0, lambda: x + 1.0)
    result = simplify(Function((x,), (y,)))
    ops_inside = [
        inner.op.name
        for node in result.nodes()
        for value in node.attrs.values()
        if isinstance(value, Function)
        for inner in value.nodes()
    ]
    assert "neg" not in ops_inside
    assert "mul" not in ops_inside


def test_a_failure_that_only_a_dropped_operand_has_stays():
    text = """graph(%x: i32[n], %y: i32[n]) {
  %0 = floor_divide(%x, %y) : i32[n]
  %1 = sub(%0, %0) : i32[n]
  return %1
}"""
    function = gc.parse(text).function
    assert simplify(function) is function


def test_draws_stay():
    with gc.Graph(seed=3).as_default():
        drawn_numbers = gc.random.normal((3,))
        kept = gc.after(gc.constant(1.0), drawn_numbers)
    function = Function((), (kept,))
    assert simplify(function) is function


def test_unknown_sizes_that_meet_are_still_checked():
    text = """graph(%x: i32[?0], %y: i32[?1]) {
  %0 = add(%x, %y) : i32[?0]
  %1 = sub(%0, %y) : i32[?0]
  return %1
}"""
    function = gc.parse(text).function
    assert simplify(function) is function


def signs(x):
    return gc.negative(-(x * 1.0 + 0.5))


def parts(x):
    return gc.exp(x)[1:]


def turns(x):
    return gc.transpose(gc.exp(x))


def joins(x):
    return gc.concat([x, gc.constant(np.ones((1, *x.shape[1:]), np.float32))], 0)


def sums(x):
    return (x + x) - x


@pytest.mark.parametrize("link", [signs, parts, turns, joins, sums])
def test_the_work_is_linear(link):
    tried = {}
    for length in (100, 400):
        with gc.Graph().as_default():
            x = y = gc.placeholder("float32", (1000, 3), name="x")
            for _ in range(length):
                y = link(y)
        function = Function((x,), (y,))
        with recording() as log:
            result = simplify(function)
        counted = log.counters
        tried[length] = counted.rules_tried + counted.nodes_visited + counted.nodes_made
        assert simplify(result) is result
    assert tried[400] <= 4.5 * tried[100]


def test_steps_are_bounded():
    @rule(ops.exp)
    def turn(match):
        """``exp(x) -> exp(x)``."""
        return replace(match.node)

    function = gc.parse("graph(%x: f32[4]) {\n  %0 = exp(%x) : f32[4]\n  return %0\n}").function
    with pytest.raises(gc.VerificationError, match="undo one another"):
        rewrite(function, index([turn]))


def test_what_a_dtype_holds():
    names = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
    for wide, given in product([*names, "float16", "float32", "float64"], repeat=2):
        if given in names:
            ends = np.iinfo(given)
            values = [int(ends.min), int(ends.max), int(ends.max) - 1]
        else:
            ends = np.finfo(given)
            values = [float(x) for x in (ends.max, ends.smallest_subnormal, 1 + ends.eps)]
        if wide in names:
            kept = given in names and all(np.iinfo(wide).min <= x <= np.iinfo(wide).max for x in values)
        else:
            with np.errstate(over="ignore", under="ignore"):
                kept = all(float(np.dtype(wide).type(x)) == x for x in values)
        assert holds(as_dtype(wide), as_dtype(given)) == kept, (wide, given)
