"""Large constants are equal by all their bytes, and read in full only where a few elements agree."""

import numpy as np
import pytest

import graphc as gc
from graphc.function import Function
from passes import deduplication
from passes.deduplication import attributes_key, deduplicate

LINE = np.linspace(0.0, 1.0, 1000)


def count_constants(*arrays):
    graph = gc.Graph()
    with graph.as_default():
        outputs = [gc.sin(gc.constant(array)) for array in arrays]
    found = deduplicate(Function((), tuple(outputs)))
    return sum(node.op.name == "constant" for node in found.nodes())


def changed(at, value):
    array = LINE.copy()
    array[at] = value
    return array


def test_equal_ones_are_one():
    square = LINE.reshape(10, 100)
    assert count_constants(LINE, LINE.copy()) == 1
    assert count_constants(square, np.asfortranarray(square)) == 1
    assert count_constants(changed(7, np.nan), changed(7, np.nan)) == 1


@pytest.mark.parametrize("at", range(0, 1000, 37))
def test_one_element_tells_them_apart(at):
    assert count_constants(LINE, changed(at, -1.0)) == 2


def test_bits_shapes_and_dtypes_tell_them_apart():
    zeros = np.zeros(1000)
    assert count_constants(zeros, -zeros) == 2
    assert count_constants(zeros, zeros.reshape(10, 100)) == 2
    assert count_constants(zeros, zeros.astype(np.int64)) == 2


def test_attributes_that_python_calls_equal_are_others():
    values = [0, 0.0, -0.0, False, (0,), (False,), (0.0,), (-0.0,)]
    assert len({attributes_key({"x": value}) for value in values}) == len(values)


def test_what_nothing_resembles_is_not_read(monkeypatch):
    read = []
    digested = deduplication._Content._digested
    monkeypatch.setattr(
        deduplication._Content, "_digested", lambda content: read.append(1) or digested(content)
    )
    count_constants(LINE, LINE + 1)
    assert not read
    count_constants(LINE, LINE.copy())
    assert read
