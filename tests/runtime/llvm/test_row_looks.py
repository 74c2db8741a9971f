"""Looks at rows: what is not finite is seen in any row, at any place of it, on any CPU, and it is named."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from tests.runtime.llvm.levels import run_at_level

PROGRAM = """
import numpy as np
import graphc as gc
KINDS = {
    "sum": lambda x: gc.tanh(gc.sum(x, axis=-1)),
    "stored sum": lambda x: gc.sum(x, axis=-1),
    "sum of powers": lambda x: gc.sum(gc.exp(x), axis=-1),
    "softmax": lambda x: gc.nn.softmax(x, axis=-1),
    "log softmax": lambda x: gc.nn.log_softmax(x, axis=-1),
    "layer norm": lambda x: gc.nn.layer_norm(x),
    "scaled": lambda x: gc.nn.layer_norm(x, scale=np.full(x.shape[-1], 2, "float32")) * 3e37,
    "distance": lambda x: gc.relu(x * 2.0 - gc.mean(x, axis=-1, keepdims=True)),
    "float64": lambda x: gc.square(gc.nn.layer_norm(gc.cast(x, "float64")) * gc.cast(x, "float64")) * 1e250,
    "float16": lambda x: gc.cast(x / gc.sum(gc.abs(x), -1, keepdims=True) * x, "float16"),
}
random = np.random.default_rng(3)
seen = 0
for kind, make in KINDS.items():
    for rows, length in SHAPES:
        with gc.Graph().as_default() as graph:
            x = gc.placeholder("float32", (rows, length))
            y = make(x)
        native = gc.Session(graph=graph, threads=2, check_numerics=True).compile(y, [x]).native
        by_meaning = gc.Session(graph=graph, backend="numpy", check_numerics=True)
        fine = random.standard_normal((rows, length), dtype=np.float32)
        assert native.call(fine) is not NotImplemented, (kind, rows, length)
        for row in sorted({0, rows // 2, rows - 1}):
            for column in sorted({0, length // 2, length - 1}):
                given = fine.copy()
                given[row, :column] = -3e38
                given[row, column] = 3e38
                try:
                    by_meaning.run(y, {x: given})
                except gc.NumericsError:
                    assert native.call(given) is NotImplemented, (kind, rows, length, row, column)
                    seen += 1
assert seen > len(KINDS) * len(SHAPES), seen
"""
SHAPES = ((1, 7), (3, 16), (5, 17), (4, 33), (300, 64), (200, 300))


@pytest.mark.parametrize("level", ["", "x86-64-v2", "x86-64-v3"])
def test_any_row_and_any_place_is_seen(level):
    run_at_level(level, PROGRAM.replace("SHAPES", repr(SHAPES)))


@pytest.mark.parametrize("row", [0, 150, 299])
@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_row_has_is_named(row, threads):
    with gc.Graph().as_default() as graph:
        x = gc.placeholder("float32", (300, 70))
        y = gc.nn.layer_norm(x)
        z = gc.sum(gc.exp(x), axis=-1)
    given = np.ones((300, 70), np.float32)
    given[row, 69] = 3e38
    for fetched in (y, z):
        messages = []
        for backend in ("llvm", "numpy"):
            session = gc.Session(graph=graph, backend=backend, threads=threads, check_numerics=True)
            with pytest.raises(gc.NumericsError) as raised:
                session.run(fetched, {x: given})
            messages.append(str(raised.value))
        assert messages[0] == messages[1]
        assert "test_row_looks.py" in messages[0]
