"""The memory of large outputs that were let go is that of the next ones."""

import ctypes
import gc as garbage
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc.alignment import LARGE_PAGE
from runtime.llvm_backend.table import blockpool, builtin

pytestmark = pytest.mark.skipif(bool(builtin.find_trouble()), reason="there are no builtins here")
LARGE = 3 * blockpool.SMALLEST // 8 + 5  # doubles


def doubled():
    x = gc.placeholder("float64", ("n",), name="x")
    return gc.Session(backend="llvm", threads=1).make_callable(x * 2.0, [x])


def test_an_output_that_is_dropped_becomes_the_next_one():
    step = doubled()
    given = np.arange(LARGE, dtype=np.float64)
    step(given)
    seen = set()
    for _ in range(10):
        result = step(given)
        seen.add(result.ctypes.data)
        np.testing.assert_array_equal(result, 2 * given)
    assert len(seen) <= 2
    kept = [step(given) for _ in range(5)]
    assert len({x.ctypes.data for x in kept}) == 5
    for x in kept:
        np.testing.assert_array_equal(x, 2 * given)


def test_outputs_of_the_pool_are_arrays_like_any_other():
    result = doubled()(np.arange(LARGE, dtype=np.float64))
    assert all((result.flags.owndata, result.flags.writeable, result.flags.c_contiguous))
    assert (result.base, result.ctypes.data % 64) == (None, 0)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(result)), result)
    other = result.copy()
    result.resize(2 * LARGE, refcheck=False)
    np.testing.assert_array_equal(result[:LARGE], other)
    result.resize(7, refcheck=False)
    np.testing.assert_array_equal(result, other[:7])
    part = other[3:]
    del other
    assert part[0] == 6.0


def test_the_values_of_a_variable_take_turns_in_two_blocks():
    v = gc.Variable(np.zeros(LARGE), name="v")
    more = v.assign(v + 1.0)
    session = gc.Session(backend="llvm", threads=1)
    session.run(gc.global_variables_initializer())
    seen = set()
    for i in range(12):
        session.run(more)
        garbage.collect()
        value = session._state.variables["v"]
        seen.add(value.ctypes.data)
        assert value[0] == value[-1] == i + 1
    assert len(seen) <= 3  # what is fetched is a copy, which takes a turn too


def test_a_failed_run_leaves_the_old_value():
    v = gc.Variable(np.zeros(LARGE), name="v")
    rows = gc.placeholder("int64", (1,), name="rows")
    with gc.control_dependencies([gc.gather(v, rows)]):
        more = v.assign(v + gc.sum(gc.gather(v, rows)) + 1.0)
    session = gc.Session(backend="llvm", threads=1)
    session.run(gc.global_variables_initializer())
    for row in (1, 2, LARGE, 3):
        before = session.run(v)
        try:
            session.run(more, {rows: np.array([row])})
        except gc.errors.IndexOutOfRangeError:
            assert row == LARGE
            np.testing.assert_array_equal(session.run(v), before)
        else:
            np.testing.assert_array_equal(session.run(v), 2 * before + 1.0)


def test_what_lies_idle_is_bounded():
    step = doubled()
    given = np.ones(blockpool.LIMIT // 8 // 4)
    kept = [step(given) for _ in range(6)]
    assert builtin.idle_bytes() <= blockpool.LIMIT
    del kept
    assert 0 < builtin.idle_bytes() <= blockpool.LIMIT


def capacity(result):
    """What the line before its memory says."""
    return ctypes.c_int64.from_address(result.ctypes.data - 64).value


def test_a_block_is_taken_for_its_own_size_alone():
    step = doubled()
    small, page = np.arange(20 * 512, dtype=np.float64), 512
    for more in (128, 256, 512):  # pages: their blocks are looked for in one place
        large = np.arange((20 + more) * page, dtype=np.float64)
        for given in (small, large, small, large):
            result = step(given)
            np.testing.assert_array_equal(result, 2 * given)
            assert capacity(result) == given.nbytes
            del result  # so it is the first that the next one finds


def test_what_is_taken_lies_idle_no_more():
    step = doubled()
    given = np.arange(LARGE, dtype=np.float64)
    step(given)
    idle = builtin.idle_bytes()
    kept = step(given)
    assert builtin.idle_bytes() <= idle - kept.nbytes
    del kept
    assert builtin.idle_bytes() == idle


def test_of_blocks_that_are_looked_for_in_one_place_only_so_many_lie_idle():
    step = doubled()
    given = np.ones(127 * 128)  # grains: theirs is the last place
    step(given)
    idle = builtin.idle_bytes()
    kept = [step(given) for _ in range(blockpool._DEPTH + 6)]
    del kept
    assert builtin.idle_bytes() - idle < blockpool._DEPTH * given.nbytes


@pytest.mark.parametrize("count", [256, 300, 1001, 70_000])
def test_what_is_no_trifle_begins_with_a_line(count):
    given = np.arange(count, dtype=np.float32)
    constant = gc.constant(given)
    assert constant.attrs["value"].ctypes.data % 64 == 0
    v = gc.Variable(given, name="v")
    x = gc.placeholder("float32", (count,))
    with gc.Session(backend="llvm", threads=1) as session:
        session.run(gc.global_variables_initializer())
        for _ in range(3):
            assert session._state.variables["v"].ctypes.data % 64 == 0
            result = session.run(x * constant, {x: given})
            assert result.ctypes.data % 64 == 0
            np.testing.assert_array_equal(result, given * given)
            session.run(v.assign(v + x), {x: given})
        np.testing.assert_array_equal(session.run(v), 4 * given)


@pytest.mark.skipif(sys.platform != "linux", reason="others have no large pages to ask for")
@pytest.mark.parametrize("bytes", [4 * blockpool.LARGE, blockpool.LARGE, 3 * blockpool.LARGE // 2 + 4096])
def test_large_outputs_begin_with_a_large_page(bytes):
    step = doubled()
    kept = [step(np.full(bytes // 8, value)) for value in (1.0, 2.0, 3.0)]
    for value, result in enumerate(kept, 1):
        assert result.ctypes.data % LARGE_PAGE == 64  # behind the line with its size
        assert (result == 2 * value).all()


def gives_large():
    """Whether the system gives large pages to whoever asks."""
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return path.exists() and "[never]" not in path.read_text()


@pytest.mark.skipif(not gives_large(), reason="this system has no large pages to ask for")
def test_a_large_output_is_few_pages():
    resource = pytest.importorskip("resource")
    step, given = doubled(), np.ones(8 * blockpool.LARGE // 8)
    step(given[:5])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    result = step(given)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert result.sum() == 2 * given.size
    assert faults < 300  # 16 and a few; 500 more where either end is of small ones


@pytest.mark.skipif(sys.platform != "linux", reason="others have no large pages to ask for")
def test_large_outputs_are_of_large_pages():
    result = doubled()(np.ones(4 * blockpool.LARGE // 8))
    middle = result.ctypes.data + result.nbytes // 2
    begin = end = 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0]:
            begin, end = (int(x, 16) for x in words[0].split("-"))
        elif words[0] == "VmFlags:" and begin <= middle < end:
            assert "hg" in words
            return
    raise AssertionError("it is in no mapping")
