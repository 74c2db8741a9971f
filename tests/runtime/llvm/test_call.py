"""The builtin and its fallback in Python: what they take, what they refuse, and that nothing leaks."""

import contextlib
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from types import MappingProxyType

import numpy as np
import pytest

from graphc.errors import VerificationError
from runtime.counting import Counter, Values
from runtime.llvm_backend.engine.library import Module, load
from runtime.llvm_backend.table import builtin
from runtime.llvm_backend.table.call import (
    MOST_STATES,
    Call,
    Feed,
    Output,
    PortableFunction,
    Signature,
    reserve,
)
from runtime.llvm_backend.table.steploop import FAILED, FLAG, PYTHON_STEP, REFUSED
from runtime.llvm_backend.table.steptable import TableBuilder

F8 = np.dtype("float64")

# out[i] = x[i] + y[i] for i < n; the block: out, x, y, n
ADD = """
define void @kernel(ptr %block) {
entry:
  %x.at = getelementptr i64, ptr %block, i64 1
  %y.at = getelementptr i64, ptr %block, i64 2
  %n.at = getelementptr i64, ptr %block, i64 3
  %out = load ptr, ptr %block
  %x = load ptr, ptr %x.at
  %y = load ptr, ptr %y.at
  %n = load i64, ptr %n.at
  br label %top
top:
  %i = phi i64 [0, %entry], [%next, %body]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %body, label %done
body:
  %x.i = getelementptr double, ptr %x, i64 %i
  %y.i = getelementptr double, ptr %y, i64 %i
  %a = load double, ptr %x.i
  %b = load double, ptr %y.i
  %r = fadd double %a, %b
  %out.i = getelementptr double, ptr %out, i64 %i
  store double %r, ptr %out.i
  %next = add i64 %i, 1
  br label %top
done:
  ret void
}
"""

NATIVE = pytest.mark.skipif(builtin.find_trouble() != "", reason="this interpreter has no builtins of ours")
BOTH = [pytest.param(False, id="native", marks=NATIVE), pytest.param(True, id="python")]


@pytest.fixture(scope="module")
def kernels():
    return load([Module("add", ADD)])


def adding(kernels, between=None, outputs=1, form="single", states=1, **options):
    """x f64[2, n] and y f64[2, n] to x + y; `outputs` times."""
    builder = TableBuilder()
    n, size, two = builder.word(), builder.word(), builder.constant(2)
    blocks = [builder.block([0] * 4) for _ in range(outputs)]
    hold = reserve(builder, outputs)
    builder.mark("sizes")
    builder.compute("mul", size, n, two)
    for block in blocks:
        builder.move(block + 3, size)
    builder.at_most(size, builder.constant(10**7), 5)
    builder.end()
    builder.mark("main")
    for block in blocks:
        builder.kernel(kernels.address("add"), block)
    if between is not None:
        between(builder)
    sizes = (2, (n,))
    signature = Signature(
        (
            Feed(F8, sizes, tuple(block + 1 for block in blocks)),
            Feed(F8, sizes, tuple(block + 2 for block in blocks)),
        ),
        tuple(Output(F8, sizes, (block,)) for block in blocks),
        hold,
        form,
        "sizes",
        "main",
    )
    call = Call(builder.build([kernels]), signature, **options)
    for _ in range(states):
        call.add_state()
    return call


@pytest.mark.parametrize("portable", BOTH)
def test_any_size_runs(kernels, portable):
    function = adding(kernels).function(portable)
    for n in (0, 1, 3, 1000, 2):
        x, y = np.random.default_rng(n).normal(size=(2, 2, n))
        result = function(x.copy(), y.copy())
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, x + y)
        assert (result.dtype, result.flags.owndata, result.flags.writeable) == (F8, True, True)


@pytest.mark.parametrize("portable", BOTH)
@pytest.mark.parametrize(("form", "kind"), [("tuple", tuple), ("list", list)])
def test_many_outputs(kernels, portable, form, kind):
    function = adding(kernels, outputs=3, form=form).function(portable)
    x = np.ones((2, 5))
    result = function(x, x)
    assert type(result) is kind
    assert len({id(array) for array in result}) == 3
    for array in result:
        np.testing.assert_array_equal(array, x + x)
    empty = adding(kernels, outputs=0, form=form)
    assert empty.function(portable)(x, x) == kind()
    with pytest.raises(VerificationError, match="single"):
        adding(kernels, outputs=2)


@pytest.mark.parametrize("portable", BOTH)
def test_scalars_and_sizes_that_may_be_anything(portable):
    builder = TableBuilder()
    x, out, size = builder.word(), builder.word(), builder.word()
    hold, value = reserve(builder, 1), builder.word()
    builder.load(value, x)
    builder.store(out, value)
    signature = Signature(
        (Feed(F8, (), (x,)), Feed(F8, ((), (size,)), ())), (Output(F8, (), (out,)),), hold, "single"
    )
    call = Call(builder.build(), signature)
    call.add_state()
    function = call.function(portable)
    for shape in ((1, 4), (3, 2), (0, 0)):
        result = function(np.array(2.5), np.zeros(shape))
        assert (result.shape, result[()]) == ((), 2.5)
        assert call.states[0].words[size] == shape[1]


class Subclass(np.ndarray):
    pass


GOOD = np.ones((2, 3))
BAD = {
    "too few": (GOOD,),
    "too many": (GOOD, GOOD, GOOD),
    "a list": (GOOD, [[1.0] * 3] * 2),
    "a number": (1.0, GOOD),
    "None": (None, GOOD),
    "a type": (GOOD, np.ndarray),
    "a subclass": (GOOD, GOOD.view(Subclass)),
    "another dtype": (GOOD, GOOD.astype("float32")),
    "swapped bytes": (GOOD, GOOD.astype(">f8")),
    "not contiguous": (GOOD, np.ones((2, 6))[:, ::2]),
    "Fortran order": (GOOD, np.asfortranarray(GOOD)),
    "not aligned": (GOOD, np.frombuffer(bytes(49), np.uint8)[1:].view(F8).reshape(2, 3)),
    "another rank": (GOOD, np.ones(6)),
    "another size": (np.ones((3, 3)), np.ones((3, 3))),
    "unequal sizes": (GOOD, np.ones((2, 4))),
    "unequal sizes, the second less": (GOOD, np.ones((2, 2))),
    "refused by the prelude": (np.ones((2, 6_000_000)),) * 2,
}


@pytest.mark.parametrize("portable", BOTH)
@pytest.mark.parametrize("why", BAD)
def test_what_does_not_fit_goes_the_slow_way(kernels, portable, why):
    call = adding(kernels)
    function = call.function(portable)
    assert function(*BAD[why]) is NotImplemented
    np.testing.assert_array_equal(function(GOOD, GOOD), GOOD + GOOD)
    given = []
    slow = adding(kernels, slow=lambda *arrays: given.append(arrays) or "slowly").function(portable)
    assert slow(*BAD[why]) == "slowly"
    assert len(given[0]) == len(BAD[why])
    assert all(a is b for a, b in zip(given[0], BAD[why], strict=True))


@pytest.mark.parametrize("portable", BOTH)
def test_the_slow_way_may_raise_and_may_convert(kernels, portable):
    def refuse(*arrays):
        raise TypeError("no such thing")

    with pytest.raises(TypeError, match="no such thing"):
        adding(kernels, slow=refuse).function(portable)(1)
    inner = adding(kernels)
    fast = inner.function(portable)
    slow = adding(kernels, slow=lambda *given: fast(*(np.ascontiguousarray(x, F8) for x in given)))
    np.testing.assert_array_equal(slow.function(portable)([[1], [2]], [[3], [4]]), [[4.0], [6.0]])


@pytest.mark.parametrize("portable", BOTH)
def test_steps_in_python(kernels, portable):
    seen = []

    def handler(status, number, detail):
        seen.append((status, number, detail))
        if len(seen) == 2:
            raise KeyError("the second")

    function = adding(kernels, lambda b: b.python(9), handler=handler).function(portable)
    np.testing.assert_array_equal(function(GOOD, GOOD), GOOD + GOOD)
    with pytest.raises(KeyError, match="the second"):
        function(GOOD, GOOD)
    np.testing.assert_array_equal(function(GOOD, GOOD), GOOD + GOOD)
    assert seen == [(PYTHON_STEP, 0, 9)] * 3


@pytest.mark.parametrize("portable", BOTH)
def test_failures_are_raised_and_refusals_go_the_slow_way(kernels, portable):
    def fails(builder):
        builder.move(FLAG, builder.constant(7))

    def refuses(builder):
        builder.equal(builder.constant(1), builder.constant(2), 33)

    calls = []

    def handler(status, number, detail):
        calls.append((status, detail))
        if status == FAILED:
            raise IndexError("as the words say")

    function = adding(kernels, fails, handler=handler).function(portable)
    for _ in range(2):
        with pytest.raises(IndexError, match="words say"):
            function(GOOD, GOOD)
    function = adding(kernels, refuses, handler=handler).function(portable)
    assert function(GOOD, GOOD) is NotImplemented
    assert calls[-1] == (REFUSED, 33)
    with pytest.raises(VerificationError, match="status"):
        adding(kernels, fails).function(portable)(GOOD, GOOD)


@pytest.mark.parametrize("portable", BOTH)
def test_a_call_within_a_call_needs_words_of_its_own(kernels, portable):
    results = []
    call = adding(kernels, lambda b: b.python(0), handler=lambda *_: inner())
    function = call.function(portable)

    def inner():
        if not results:
            results.append(None)
            results[0] = function(GOOD, GOOD)

    function(GOOD, GOOD)
    assert results[0] is NotImplemented
    results.clear()
    call.add_state()
    function(GOOD, GOOD)
    np.testing.assert_array_equal(results[0], GOOD + GOOD)


@pytest.mark.parametrize("portable", BOTH)
def test_outputs_that_cannot_be_had(portable):
    builder = TableBuilder()
    n, hold = builder.word(), reserve(builder, 2)
    signature = Signature(
        (Feed(F8, ((n,),), ()),), (Output(F8, ((n,),), ()), Output(F8, (1 << 40, (n,), 1 << 18), ())), hold
    )
    call = Call(builder.build(), signature)
    call.add_state()
    function = call.function(portable)
    for _ in range(3):
        with pytest.raises((MemoryError, ValueError)):
            function(np.ones(3))
    assert [array.shape for array in function(np.ones(0))] == [(0,), (1 << 40, 0, 1 << 18)]


@pytest.mark.parametrize("portable", BOTH)
@pytest.mark.parametrize("form", ["single", "tuple"])
def test_a_call_without_memory_lets_go_of_nothing_that_was_given_before(portable, form):
    builder = TableBuilder()
    n, hold = builder.word(), reserve(builder, 2)
    outputs = Output(F8, (1 << 40, (n,), 1 << 18), ()), Output(F8, ((n,),), ())
    signature = Signature((Feed(F8, ((n,),), ()),), outputs[: 1 if form == "single" else 2], hold, form)
    call = Call(builder.build(), signature)
    call.add_state()
    function = call.function(portable)
    given = function(np.ones(0))
    held = [given] if form == "single" else list(given)
    counts = [sys.getrefcount(array) for array in held]
    for _ in range(2):
        with pytest.raises((MemoryError, ValueError)):
            function(np.ones(3))
    assert [sys.getrefcount(array) for array in held] == counts


@pytest.mark.parametrize("portable", BOTH)
@pytest.mark.parametrize("states", [1, 4])
def test_threads_call_at_once(kernels, portable, states):
    function = adding(kernels, outputs=2, form="tuple", states=states).function(portable)
    failures, done = [], []

    def work(seed):
        try:
            x, y = np.random.default_rng(seed).normal(size=(2, 2, 100 + seed))
            runs = 0
            for _ in range(3000 if not portable else 200):
                result = function(x, y)
                if result is not NotImplemented:
                    runs += 1
                    for array in result:
                        np.testing.assert_array_equal(array, x + y)
            done.append(runs)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(done) == 4
    if states == 4:
        assert done == [200 if portable else 3000] * 4


def test_words_are_claimed_and_released(kernels):
    call = adding(kernels, states=2)
    first, second = call.claim_state(), call.claim_state()
    assert {id(first), id(second)} == {id(state) for state in call.states}
    assert call.claim_state() is None
    assert call.function()(GOOD, GOOD) is NotImplemented
    second.release()
    np.testing.assert_array_equal(call.function()(GOOD, GOOD), GOOD + GOOD)
    prepared = []
    while call.add_state(prepared.append) is not None:
        pass
    assert len(prepared) == len(call.states) - 2 == MOST_STATES - 2


@pytest.mark.parametrize("portable", BOTH)
def test_what_a_function_needs_lives_as_long_as_it_does(kernels, portable):
    call = adding(kernels, slow=lambda *arrays: "slowly")
    dies, function = weakref.ref(call), call.function(portable)
    del call
    gc.collect()
    np.testing.assert_array_equal(function(GOOD, GOOD), GOOD + GOOD)
    assert function(3) == "slowly"
    assert dies() is not None
    del function
    gc.collect()
    assert dies() is None


@pytest.mark.parametrize("portable", BOTH)
def test_a_function_that_its_own_call_holds_is_collected(kernels, portable):
    held = []
    call = adding(kernels, slow=lambda *arrays, held=held: held)
    held.append(call.function(portable))
    dies = weakref.ref(call)
    del call, held
    gc.collect()
    assert dies() is None


@pytest.mark.parametrize("portable", BOTH)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool"])
def test_what_has_no_axes_may_be_a_scalar(portable, dtype):
    dtype = np.dtype(dtype)
    builder = TableBuilder()
    blocks = [builder.block((0, 0, dtype.itemsize)) for _ in range(3)]
    hold = reserve(builder, 3)
    for block in blocks:
        builder.copy(block)
    feeds = Feed(dtype, (), tuple(block + 1 for block in blocks[:2])), Feed(dtype, (1,), (blocks[2] + 1,))
    outputs = tuple(
        Output(dtype, sizes, (block,)) for sizes, block in zip([(), (), (1,)], blocks, strict=True)
    )
    call = Call(builder.build(), Signature(feeds, outputs, hold, "list"), scalars=True)
    call.add_state()
    function, plain = call.function(portable), call.variant("tuple", False, Counter()).function(portable)
    given = [function(np.array(i, dtype), np.array([i], dtype)) for i in (0, 1)]
    for i, (first, second, whole) in enumerate(given):  # none is written by a later call
        assert type(first) is type(second) is dtype.type
        assert (first, second, whole.dtype, whole.tolist()) == (dtype.type(i), dtype.type(i), dtype, [i])
    assert [result.shape for result in plain(np.array(1, dtype), np.array([1], dtype))] == [(), (), (1,)]


@pytest.mark.parametrize("portable", BOTH)
def test_a_call_whose_count_is_stopped_goes_the_slow_way(kernels, portable):
    count = Counter()
    function = adding(kernels, slow=lambda *arrays: "slowly", count=count).function(portable)
    for _ in range(2):
        np.testing.assert_array_equal(function(GOOD, GOOD), GOOD + GOOD)
    count.stop()
    assert (function(GOOD, GOOD), count.value) == ("slowly", 2)


def adding_variable(kernels, values, between=None, **options):
    """x f64[3] to x + v, where v is f64[3] of `values`."""
    builder = TableBuilder()
    block, hold = builder.block((0, 0, 0, 3)), reserve(builder, 1, 1)
    builder.kernel(kernels.address("add"), block)
    if between is not None:
        between(builder)
    feeds = Feed(F8, (3,), (block + 1,)), Feed(F8, (3,), (block + 2,))
    signature = Signature(feeds, (Output(F8, (3,), (block,)),), hold, "single")
    call = Call(builder.build([kernels]), signature, names=["v"], values=values, **options)
    call.add_state()
    return call


@pytest.mark.parametrize("portable", BOTH)
def test_variables_are_those_of_now(kernels, portable):
    values, x = Values(), np.ones(3)
    function = adding_variable(kernels, values, slow=lambda *given: ("slowly", len(given))).function(portable)
    assert function(x) == ("slowly", 1)  # it has no value
    for value in range(3):
        values.of = MappingProxyType({"u": 7, "v": np.full(3, float(value))})
        np.testing.assert_array_equal(function(x), x + value)
    assert function(x, x) == ("slowly", 2)
    assert function() == ("slowly", 0)
    for bad in (np.ones(4), np.ones(3, np.float32), [1.0, 1.0, 1.0], None):
        values.of = {"v": bad}
        assert function(x) == ("slowly", 1)


@pytest.mark.parametrize("portable", BOTH)
def test_a_variable_lives_as_long_as_the_run_that_reads_it(kernels, portable):
    values, seen = Values(), []

    def replace(status, number, detail):
        dies = weakref.ref(values.of["v"])
        values.of = {}
        gc.collect()
        seen.append((dies() is not None, dies))

    function = adding_variable(kernels, values, lambda b: b.python(0), handler=replace).function(portable)
    values.of = {"v": np.full(3, 2.0)}
    np.testing.assert_array_equal(function(np.ones(3)), np.full(3, 3.0))
    ((lived, dies),) = seen
    assert lived
    assert dies() is None


@pytest.mark.parametrize("portable", BOTH)
def test_references_to_variables_balance(kernels, portable):
    values, v, bad, x = Values(), np.ones(3), np.ones(4), np.ones(3)

    def fails(status, number, detail):
        raise KeyError

    unlike = lambda b: b.equal(b.constant(1), b.constant(2), 0)
    calls = [
        adding_variable(kernels, values, slow=lambda *arrays: None),
        adding_variable(kernels, values, lambda b: b.python(0), handler=fails),
        adding_variable(kernels, values, unlike, handler=lambda *_: None),
    ]
    functions = [call.function(portable) for call in calls]
    before = [sys.getrefcount(thing) for thing in (v, bad, calls[0].names[0])]
    for given in ({"v": v}, {"v": bad}, {}):
        values.of = given
        for function in functions:
            for _ in range(50):
                with contextlib.suppress(KeyError):
                    function(x)
    del given
    values.of = {}
    assert [sys.getrefcount(thing) for thing in (v, bad, calls[0].names[0])] == before


@NATIVE
def test_a_door_goes_the_slow_way_until_it_is_led(kernels):
    door, seen = builtin.Door(), []
    function = door.function(lambda *arrays: seen.append(arrays) or "first")
    assert (function(GOOD), function(), len(seen)) == ("first", "first", 2)
    door.lead(lambda *arrays: "no builtin", print)
    assert function(GOOD, GOOD) == "first"
    door.lead(adding(kernels).function(), lambda *arrays: "then")
    np.testing.assert_array_equal(function(GOOD, GOOD), GOOD + GOOD)
    assert (function(GOOD), len(seen)) == ("then", 3)
    door.lead(adding(kernels, form="list").function(), print)  # only once
    assert function(GOOD) == "then"
    assert type(function(GOOD, GOOD)) is np.ndarray
    with pytest.raises(TypeError, match="keyword"):
        function(x=GOOD)
    assert str(inspect.signature(function)) == "(*arrays)"


@NATIVE
def test_a_door_holds_nothing(kernels):
    call, door = adding(kernels), builtin.Door()
    functions = [door.function(lambda *arrays: door), call.function()]
    door.lead(functions[1], lambda *arrays: door)
    dies = weakref.ref(call)
    gc.disable()
    try:
        del call, functions
        assert dies() is None
    finally:
        gc.enable()
    door.lead(adding(kernels).function(), print)  # there is nothing left to lead


def test_a_few_kernels_are_brief_and_all_else_is_not(kernels):
    def of(write):
        builder = TableBuilder()
        write(builder, builder.block([0] * 4))
        return builder.build().is_brief

    add = kernels.address("add")
    assert of(lambda b, block: b.kernel(add, block))
    assert not of(lambda b, block: [b.kernel(add, block) for _ in range(1000)])
    assert not of(lambda b, block: b.parallel(add, block, block + 3))
    assert not of(lambda b, block: b.python(0))
    assert not of(lambda b, block: b.again(0))


@NATIVE
def test_a_brief_call_keeps_the_gil_and_others_let_it_go(kernels):
    x, y, marks, done = np.ones(1 << 21), np.ones(1 << 21), [0], []

    def adding_again(times):
        builder = TableBuilder()
        block, hold = builder.block((0, 0, 0, len(x))), reserve(builder, 1)
        for _ in range(times):
            builder.kernel(kernels.address("add"), block)
        feeds = tuple(Feed(F8, x.shape, (block + i,)) for i in (1, 2))
        call = Call(builder.build(), Signature(feeds, (Output(F8, x.shape, (block,)),), hold, "single"))
        call.add_state()
        return call.function()

    def count():
        while not done:
            marks[0] += 1
            time.sleep(1e-4)  # and lets the GIL go

    keeps, lets_go = adding_again(8), adding_again(80)
    thread = threading.Thread(target=count)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)  # nobody must let it go
    try:
        thread.start()
        counted = []
        for function in (keeps, lets_go):
            before = marks[0]
            function(x, y)
            counted.append(marks[0] - before)
    finally:
        sys.setswitchinterval(interval)
        done.append(True)
        thread.join()
    assert counted[0] == 0
    assert counted[1] > 0


@pytest.mark.parametrize("portable", BOTH)
def test_references_balance(kernels, portable):
    turns = 10_000 if portable else 300_000

    def size():
        gc.collect()
        if not sys.platform.startswith("linux"):
            return 0
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    def handler(status, number, detail):
        raise KeyError

    single = adding(kernels).function(portable)
    several = adding(kernels, outputs=2, form="list").function(portable)
    raising = adding(kernels, lambda b: b.python(0), handler=handler).function(portable)
    dropped = adding(kernels, slow=lambda *arrays: None).function(portable)
    unlike = lambda b: b.equal(b.constant(1), b.constant(2), 0)
    refused = adding(kernels, unlike, form="tuple", outputs=2, handler=lambda *_: None).function(portable)
    x, y, bad = np.ones((2, 30)), np.ones((2, 30)), np.ones(3)
    things = (x, y, bad, F8, np.ndarray, handler, single, several, raising, NotImplemented)

    def run(times):
        for _ in range(times):
            single(x, y)
            several(x, y)
            single(x, bad)
            dropped(x, bad)
        for _ in range(times // 10):
            refused(x, y)  # once there are outputs
            with contextlib.suppress(KeyError):
                raising(x, y)

    run(1000)
    counts, before = [sys.getrefcount(thing) for thing in things], size()
    run(turns)
    after = [sys.getrefcount(thing) for thing in things]
    assert all(abs(a - b) < 100 for a, b in zip(counts, after, strict=True))
    assert size() - before < 4 << 20


def test_where_there_are_no_builtins_python_does_it(kernels, monkeypatch):
    monkeypatch.setattr(builtin, "find_trouble", lambda: "a reason")
    function = adding(kernels).function()
    assert type(function) is PortableFunction
    np.testing.assert_array_equal(function(GOOD, GOOD), GOOD + GOOD)


def test_a_layout_that_is_not_as_expected_is_seen(monkeypatch):
    with monkeypatch.context() as changed:
        changed.setattr(builtin.callcode, "AT_WORDS", 8)
        assert "ctypes" in builtin.find_trouble.__wrapped__()
    monkeypatch.setattr(builtin.arraycode, "AT_DTYPE", builtin.arraycode.AT_OWNER)
    assert "fields" in builtin.find_trouble.__wrapped__()


def test_a_dtype_must_be_the_one_that_arrays_have():
    odd = np.dtype("float64", metadata={"mine": 1})
    builder = TableBuilder()
    signature = Signature((Feed(odd, (), ()),), (), reserve(builder, 0))
    with pytest.raises(VerificationError, match="identity"):
        Call(builder.build(), signature)


SCRIPT = """
import ctypes, os, signal, sys, threading, time, warnings
import numpy as np
warnings.simplefilter("ignore")
from runtime.llvm_backend.table.call import Call, Feed, Output, Signature, reserve
from runtime.llvm_backend.table.steptable import TableBuilder
def endless(portable, trips=None):
    builder = TableBuilder()
    x, hold = builder.word(), reserve(builder, 1)
    limit = builder.word(trips or 2**62)
    with builder.counted(x, limit): pass
    F8 = np.dtype("float64")
    call = Call(builder.build(), Signature((Feed(F8, (2,), ()),), (Output(F8, (2,), ()),), hold, "single"))
    call.add_state()
    return call.function(portable)
"""


def run_python(code):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT + code], env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("portable", BOTH)
def test_ctrl_c_ends_a_call(portable):
    done = run_python(
        f"f = endless({portable})\n"
        "threading.Thread(target=lambda: (time.sleep(0.3), os.kill(os.getpid(), signal.SIGINT))).start()\n"
        "try: f(np.ones(2))\n"
        "except KeyboardInterrupt: print('ended')\n"
        f"print(endless({portable}, 10)(np.ones(2)).shape)"
    )
    assert done.stdout.split("\n")[:2] == ["ended", "(2,)"], done.stderr


@pytest.mark.parametrize("portable", BOTH)
def test_the_gil_is_free_during_a_call(portable):
    done = run_python(
        f"f = endless({portable}, 10**9)\n"
        "thread = threading.Thread(target=f, args=(np.ones(2),), daemon=True)\n"
        "thread.start(); time.sleep(0.05); start = time.monotonic(); print(thread.is_alive())\n"
        "sys.exit(0)"
    )
    assert (done.stdout.strip(), done.returncode) == ("True", 0), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_processes_end_and_fork_with_functions_alive():
    done = run_python(
        "f, g = endless(False, 10), endless(True, 10)\n"
        "cycle = [f, g]; cycle.append(cycle)\n"
        "child = os.fork()\n"
        "good = f(np.ones(2)).shape == g(np.ones(2)).shape == (2,)\n"
        "if not child: sys.exit(0 if good else 1)\n"
        "print(good, os.waitpid(child, 0)[1])"
    )
    assert done.stdout.split() == ["True", "0"], done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_while_words_are_added_adds_some_too(kernels):
    call, preparing, done = adding(kernels, states=0), threading.Event(), threading.Event()
    thread = threading.Thread(target=call.add_state, args=(lambda state: preparing.set() or done.wait(60),))
    thread.start()
    preparing.wait(60)
    child = os.fork()
    if not child:
        signal.alarm(20)  # which ends it
        os._exit(7 if call.add_state() in call.states else 1)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    finally:
        done.set()
        thread.join()
    assert len(call.states) == 1
