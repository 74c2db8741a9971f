"""Families: graphs of a size, each written once against a few ops that every library has.

A family's `model(ops, parameters, inputs, size)` gives its output, a tuple of them, or, for one that
trains, its loss. This module needs nothing but NumPy, so that it can be imported next to any library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Model = Callable[[Any, Any, Any, int], Any]


@dataclass(frozen=True, slots=True)
class Family:
    """Graphs of one kind.

    Args:
        about: what grows with the size.
        model: see the module.
        sizes: those that are measured. small: one that tests and counters take.
        inputs: what is fed, call after call; where sizes differ between them, they are unknown.
        parameters: what stays in the library.
        optimizer: "" where nothing is trained, else "sgd", "adam" or "adamw".
        rate: the learning rate.
        needs: ops beyond those that every adapter has.
    """

    about: str
    model: Model
    sizes: tuple[int, ...]
    small: int
    inputs: Callable[[np.random.Generator, int], list[Arrays]]
    parameters: Callable[[np.random.Generator, int], Arrays] = lambda random, size: {}
    optimizer: str = ""
    rate: float = 1e-3
    needs: frozenset[str] = frozenset()

    def make(self, size: int) -> tuple[Arrays, list[Arrays]]:
        """The parameters and what is fed; the same each time."""
        random = np.random.default_rng(size)
        return self.parameters(random, size), self.inputs(random, size)

    def shapes(self, cases: Sequence[Arrays]) -> dict[str, tuple[int | None, ...]]:
        """The shape of each input, None where it differs between `cases`."""
        return {
            name: tuple(
                sizes[0] if len(set(sizes)) == 1 else None
                for sizes in zip(*(case[name].shape for case in cases), strict=True)
            )
            for name in cases[0]
        }


def bag(values: Mapping[str, Any]) -> SimpleNamespace:
    """`values` as attributes."""
    return SimpleNamespace(**values)


def normal(random: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    """Draws of a normal distribution in float32."""
    return np.asarray(random.standard_normal(shape, np.float32) * np.float32(scale), np.float32)


def _vector(length: int) -> Callable[[np.random.Generator, int], list[Arrays]]:
    return lambda random, size: [{"x": normal(random, length)}]


# Shapes of graphs.


def _chain(o: Any, p: Any, x: Any, size: int) -> Any:
    y = x.x
    for i in range(size // 2):
        y = o.tanh(y + x.x) if i % 3 else o.sin(y * 1.5)
    return y


def _wide(o: Any, p: Any, x: Any, size: int) -> Any:
    return tuple(o.tanh(x.x * (1 + i / size)) for i in range(size))


def _fibonacci(o: Any, p: Any, x: Any, size: int) -> Any:
    a, b = x.x, o.sin(x.x)
    for _ in range(size):
        a, b = b, o.tanh(a) + o.sin(b)
    return b


def _tree(o: Any, p: Any, x: Any, size: int) -> Any:
    level = [o.sin(x.x * (1 + i / size)) for i in range(max(size // 4, 1))]
    while len(level) > 1:
        pairs = [o.tanh(a + b) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[len(level) // 2 * 2 :]
    return level[0]


def _scopes(o: Any, p: Any, x: Any, size: int) -> Any:
    y = x.x
    with o.scopes(f"level{i}" for i in range(size)):
        for _ in range(10):
            y = o.named(o.tanh(y * 1.25), "y")
    return y


def _switch(o: Any, p: Any, x: Any, size: int) -> Any:
    def branch(number: int) -> Callable[[Any], Any]:
        return lambda y: o.tanh(y * (1 + number / size))

    return o.switch(x.which, [branch(i) for i in range(size)], x.x)


def _switch_inputs(random: np.random.Generator, size: int) -> list[Arrays]:
    return [{"which": np.array(i, np.int32), "x": normal(random, 64)} for i in (0, size // 2, size - 1)]


# Giant constants.


def _indices(o: Any, p: Any, x: Any, size: int) -> Any:
    index = (np.arange(size, dtype=np.int64) * 7919 % 64).astype(np.int32)
    return o.mean(o.embedding(x.x, o.constant(index)), 0)


def _ones(o: Any, p: Any, x: Any, size: int) -> Any:
    whole = o.ones((size, size, size))
    return o.sum(o.update_first(whole, x.x))


def _ones_inputs(random: np.random.Generator, size: int) -> list[Arrays]:
    return [{"x": normal(random, size, size)}]


# Networks.

_HIDDEN, _FEATURES, _BATCH, _CLASSES = 128, 32, 32, 10  # of recurrent networks


def _labels(random: np.random.Generator, *shape: int, classes: int = _CLASSES) -> Array:
    return random.integers(0, classes, shape).astype(np.int32)


def _steps(random: np.random.Generator, size: int) -> list[Arrays]:
    return [{"x": normal(random, size, _BATCH, _FEATURES), "y": _labels(random, _BATCH)} for _ in range(2)]


def _cell_parameters(gates: int) -> Callable[[np.random.Generator, int], Arrays]:
    return lambda random, size: {
        "inner": normal(random, _FEATURES, gates * _HIDDEN, scale=0.1),
        "outer": normal(random, _HIDDEN, gates * _HIDDEN, scale=0.08),
        "bias": normal(random, gates * _HIDDEN, scale=0.01),
        "head": normal(random, _HIDDEN, _CLASSES, scale=0.1),
        "head_bias": normal(random, _CLASSES, scale=0.01),
    }


def _rnn(o: Any, p: Any, x: Any, size: int) -> Any:
    h = o.constant(np.zeros((_BATCH, _HIDDEN), np.float32))
    for i in range(size):
        h = o.tanh(o.matmul(x.x[i], p.inner) + o.matmul(h, p.outer) + p.bias)
    return o.cross_entropy(o.matmul(h, p.head) + p.head_bias, x.y)


def _lstm(o: Any, p: Any, x: Any, size: int) -> Any:
    h = c = o.constant(np.zeros((_BATCH, _HIDDEN), np.float32))
    for i in range(size):
        z = o.matmul(x.x[i], p.inner) + o.matmul(h, p.outer) + p.bias
        let_in, forget, new, let_out = o.split(z, 4)
        c = o.sigmoid(forget) * c + o.sigmoid(let_in) * o.tanh(new)
        h = o.sigmoid(let_out) * o.tanh(c)
    return o.cross_entropy(o.matmul(h, p.head) + p.head_bias, x.y)


def _dense(random: np.random.Generator, widths: Sequence[int]) -> Arrays:
    found: Arrays = {}
    for i, (m, n) in enumerate(pairwise(widths)):
        found[f"w{i}"] = normal(random, m, n, scale=math.sqrt(2 / m))
        found[f"b{i}"] = normal(random, n, scale=0.01)
    return found


def _layers(o: Any, p: Any, x: Any, count: int) -> Any:
    h = x
    for i in range(count):
        h = o.matmul(o.relu(h) if i else h, getattr(p, f"w{i}")) + getattr(p, f"b{i}")
    return h


def _tower(o: Any, p: Any, x: Any, size: int) -> Any:
    return o.cross_entropy(_layers(o, p, x.x, size + 1), x.y)


_MLP = (784, 512, 256, 10)


def _images(random: np.random.Generator, size: int) -> list[Arrays]:
    return [{"x": normal(random, 128, 784), "y": _labels(random, 128)} for _ in range(2)]


def _mlp(o: Any, p: Any, x: Any, size: int) -> Any:
    return o.cross_entropy(_layers(o, p, x.x, len(_MLP) - 1), x.y)


def _classify(o: Any, p: Any, x: Any, size: int) -> Any:
    return o.softmax(_layers(o, p, x.x, len(_MLP) - 1))


def _batches(random: np.random.Generator, size: int) -> list[Arrays]:
    return [{"x": normal(random, int(n), 784)} for n in random.permutation(2 + 10 * np.arange(size))]


def _blocks(o: Any, p: Any, x: Any, size: int) -> Any:
    h = x.x
    for k in range(size // 5):  # of 5 nodes, 6 in every other; no two are equal
        z = o.matmul(h, getattr(p, f"w{k % 4}")) + getattr(p, f"b{k % 4}")
        h = o.tanh(z) * (0.9 + 0.1 * math.sin(k)) + h
        if k % 2:
            h = h * 0.5
    return h


_WIDTH, _HEADS, _LENGTH, _WORDS, _TEXTS = 128, 4, 128, 256, 8  # of transformers


def _texts(random: np.random.Generator, size: int) -> list[Arrays]:
    return [
        {name: _labels(random, _TEXTS, _LENGTH, classes=_WORDS) for name in ("words", "next")}
        for _ in range(2)
    ]


def _transformer_parameters(random: np.random.Generator, size: int) -> Arrays:
    found = {
        "table": normal(random, _WORDS, _WIDTH, scale=0.1),
        "places": normal(random, _LENGTH, _WIDTH, scale=0.1),
        "head": normal(random, _WIDTH, _WORDS, scale=0.08),
    }
    shapes = {"qkv": (1, 3), "mix": (1, 1), "up": (1, 4), "down": (4, 1)}
    for i in range(size):
        for name, (m, n) in shapes.items():
            found[f"{name}{i}"] = normal(random, m * _WIDTH, n * _WIDTH, scale=0.05)
            found[f"{name}_bias{i}"] = normal(random, n * _WIDTH, scale=0.02)
    for name in ("last", *(f"{which}{i}" for i in range(size) for which in ("before", "between"))):
        found[f"{name}_scale"] = 1 + normal(random, _WIDTH, scale=0.02)
        found[f"{name}_offset"] = normal(random, _WIDTH, scale=0.02)
    return found


def _transformer(o: Any, p: Any, x: Any, size: int) -> Any:
    def norm(h: Any, name: str) -> Any:
        return o.layer_norm(h, getattr(p, f"{name}_scale"), getattr(p, f"{name}_offset"))

    def dense(h: Any, name: str, i: int) -> Any:
        return o.matmul(h, getattr(p, f"{name}{i}")) + getattr(p, f"{name}_bias{i}")

    h = o.embedding(p.table, x.words) + p.places
    for i in range(size):
        z = o.reshape(dense(norm(h, f"before{i}"), "qkv", i), (_TEXTS, _LENGTH, 3, _HEADS, _WIDTH // _HEADS))
        z = o.transpose(z, (2, 0, 3, 1, 4))
        a = o.transpose(o.attention(z[0], z[1], z[2]), (0, 2, 1, 3))
        h = h + dense(o.reshape(a, (_TEXTS, _LENGTH, _WIDTH)), "mix", i)
        h = h + dense(o.gelu(dense(norm(h, f"between{i}"), "up", i)), "down", i)
    logits = o.matmul(norm(h, "last"), p.head)
    return o.cross_entropy(
        o.reshape(logits, (_TEXTS * _LENGTH, _WORDS)), o.reshape(x.next, (_TEXTS * _LENGTH,))
    )


_DECADES = (10, 100, 1000, 10_000, 100_000)

FAMILIES: dict[str, Family] = {
    "chain": Family("elementwise nodes one after the other", _chain, _DECADES, 40, _vector(64)),
    "wide": Family("independent outputs", _wide, (10, 100, 1000, 10_000), 20, _vector(64)),
    "fibonacci": Family(
        "levels, each made of the two before it", _fibonacci, (10, 20, 100, 1000, 10_000), 12, _vector(64)
    ),
    "tree": Family("nodes of a balanced tree", _tree, _DECADES, 40, _vector(64)),
    "scopes": Family(
        "name scopes within one another", _scopes, (10, 100, 1000), 30, _vector(64),
        needs=frozenset({"scopes"}),
    ),
    "switch": Family(
        "branches, of which one runs", _switch, (10, 100, 1000), 6, _switch_inputs,
        needs=frozenset({"switch"}),
    ),
    "indices": Family(
        "elements of a constant index", _indices, (10, 1000, 100_000, 10_000_000), 50,
        lambda random, size: [{"x": normal(random, 64, 4)}],
    ),
    "ones": Family(
        "edge of a cube of ones, of which one face is replaced", _ones, (10, 100, 500), 6, _ones_inputs,
        needs=frozenset({"ones", "update_first"}),
    ),
    "rnn": Family(
        "steps of an unrolled recurrent network, trained", _rnn, (10, 50, 100, 500), 3, _steps,
        _cell_parameters(1), optimizer="adam",
    ),
    "lstm": Family(
        "steps of an unrolled LSTM, trained", _lstm, (10, 50, 100, 500), 3, _steps, _cell_parameters(4),
        optimizer="adam",
    ),
    "transformer": Family(
        "layers of a transformer, trained", _transformer, (1, 2, 4, 8), 1, _texts, _transformer_parameters,
        optimizer="adamw",
    ),
    "tower": Family(
        "hidden layers of a dense network, trained", _tower, (10, 100, 1000), 4,
        lambda random, size: [{"x": normal(random, 32, 64), "y": _labels(random, 32)}],
        lambda random, size: _dense(random, (*[64] * (size + 1), _CLASSES)),
        optimizer="sgd",
    ),
    "mlp_train": Family(
        "1: a dense network of three layers, trained", _mlp, (1,), 1, _images,
        lambda random, size: _dense(random, _MLP), optimizer="adam",
    ),
    "dynamic_batch": Family(
        "batch sizes, one after the other", _classify, (10, 50), 3,
        _batches, lambda random, size: _dense(random, _MLP),
    ),
    "compile": Family(
        "nodes in blocks that differ in their scalars", _blocks, (10, 100, 1000, 5000), 20,
        lambda random, size: [{"x": normal(random, 16, 16)}],
        lambda random, size: {
            **{f"w{i}": normal(random, 16, 16, scale=0.25) for i in range(4)},
            **{f"b{i}": normal(random, 16, scale=0.1) for i in range(4)},
        },
    ),
}  # fmt: skip
