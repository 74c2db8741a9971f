"""Loop kernels of sorts, selections and choices write their results and scratch, and nothing beside them."""

import ctypes

import numpy as np
import pytest

import graphc as gc
from graphc import sizes
from graphc.op import OPS
from graphc.tensor import Tensor
from passes.weight import parts_of
from runtime.llvm_backend.engine.library import Module, load
from runtime.llvm_backend.loops.loop_steps import loops_of
from runtime.llvm_backend.table.polling import c_library

_GUARD = 4096
_FILL = 0xA5


def _guarded(count):
    """Bytes, other than those of the guards on both sides, and the place of the first."""
    memory = np.full(count + 2 * _GUARD + 64, _FILL, np.uint8)
    begin = memory.ctypes.data + _GUARD + -(memory.ctypes.data + _GUARD) % 64
    at = begin - memory.ctypes.data
    memory[at : at + count] = np.arange(count) * 7 % 83
    return memory, begin


def _is_whole(memory, begin, count):
    before = begin - memory.ctypes.data
    return bool((memory[:before] == _FILL).all() and (memory[before + count :] == _FILL).all())


def run_guarded(node: Tensor, *arrays, fails=False):
    """Runs the kernels of `node`, whose sizes are those of `arrays`, on guarded memory; gives the results."""
    kernels = loops_of(node)
    pairs = [
        pair
        for x, array in zip(node.inputs, arrays, strict=True)
        for pair in zip(x.result.sizes, array.shape, strict=True)
    ]
    known = {size: n for size, n in pairs if not isinstance(size, int)}
    symbols = {symbol: n for size, n in known.items() for symbol in sizes.symbols(size)}

    def number(size):
        return int(sizes.evaluate(size, symbols))

    outputs = []
    for type in parts_of(node.type):
        shape = tuple(map(number, type.sizes))
        count = int(np.prod(shape)) * type.dtype.numpy.itemsize
        outputs.append((shape, type.dtype.numpy, count, *_guarded(count)))
    room = max(number(kernel.scratch) for kernel in kernels)
    scratch, scratch_at = _guarded(room)
    modules = [Module(str(i), k.text, ("kernel",), c_library(*k.imports)) for i, k in enumerate(kernels)]
    library = load(modules)
    flag = np.zeros(8, np.int64)
    for i, kernel in enumerate(kernels):
        places = {"operand": lambda w: arrays[w.number].ctypes.data, "flag": lambda w: flag.ctypes.data}
        places |= {"result": lambda w: outputs[w.number][4], "size": lambda w: number(w.size)}
        places |= {"scratch": lambda w: scratch_at + number(w.size)}
        block = np.array([places[word.kind](word) for word in kernel.words], np.int64)
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(library.address(str(i), "kernel"))
        for chunk in range(number(kernel.chunks)):
            call(block.ctypes.data, chunk)
    assert flag.any() == fails
    assert _is_whole(scratch, scratch_at, room)
    results = []
    for shape, dtype, count, memory, begin in outputs:
        assert _is_whole(memory, begin, count)
        at = begin - memory.ctypes.data
        results.append(memory[at : at + count].view(dtype).reshape(shape))
    return results


SHAPES = [
    *((2, n) for n in (0, 1, 3, 16, 17, 127, 128, 129, 255, 257, 2047, 2048, 2049, 4096, 4097, 8192, 8193)),
    *((70, 40), (0, 5), (65, 300), (1, 65_536), (1, 65_537), (2, 100_003), (5, 1), (4096, 3), (4097, 5)),
]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_else_is_written(shape, dtype, known):
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    with gc.Graph().as_default():
        x = gc.placeholder(dtype, shape if known else (None, None))
        wanted = [f(x, axis) for f in (gc.sort, gc.argsort) for axis in (0, 1)]
        wanted += [f(x, axis) for f in (gc.argmax, gc.argmin) for axis in (0, 1, None) if 0 not in shape]
        wanted += [gc.top_k(x, k)[0].inputs[0] for k in (1, 7, 60, 3000) if k <= shape[1]]
        for node in wanted:
            meaning = node.op.meaning(values, **node.attrs)
            expected = meaning if isinstance(meaning, tuple) else (meaning,)
            for a, b in zip(run_guarded(node, values), expected, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
@pytest.mark.parametrize(("planned", "chosen"), [(0, 1), (2, 5), (64, 65), (3, 500), (5, 2)])
def test_more_chosen_than_was_planned_fails_and_writes_nothing_behind_the_end(dtype, planned, chosen):
    """Where another step has said how many there are: those that follow are not written."""
    mask = np.zeros(50_000, bool)
    mask[np.random.default_rng(0).permutation(mask.size)[:chosen]] = True
    values = np.arange(mask.size).astype(dtype)
    with gc.Graph().as_default():
        x, where = gc.placeholder(dtype, (None,)), gc.placeholder("bool", (None,))
        run_guarded(OPS["boolean_mask"](x, where, shape=(planned,)), values, mask, fails=True)
        run_guarded(OPS["nonzero"](where, shape=(planned,)), mask, fails=True)


def test_numbers_of_runs_are_written_at_places_there_are():
    """Places that a step has left behind that failed."""
    starts, order = np.array([0, 2]), np.array([3, 6, -1, 0, 5, 4])
    with gc.Graph().as_default():
        given = [gc.placeholder("int64", (None,)) for _ in range(2)]
        (found,) = run_guarded(OPS["run_numbers"](*given), starts, order)
    np.testing.assert_array_equal(found[[3, 0, 5, 4]], [0, 1, 1, 1])
