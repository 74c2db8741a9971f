"""PyTensor as a peer: `pytensor.function` with its default linker."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.ifelse import ifelse
from pytensor.tensor import special

from runtime.benchmark.families import Array, Arrays, Family, bag
from runtime.benchmark.peers import Peer, Step

NEEDS = frozenset({"switch", "ones", "update_first"})


class PyTensor:
    """Compiles with the linker that its configuration names."""

    def version(self) -> str:
        """Its name and version."""
        return f"pytensor {pytensor.__version__}"

    def supports(self, family: Family) -> bool:
        """Whether it has what `family` needs."""
        return family.needs <= NEEDS

    def build(self, family: Family, size: int, parameters: Arrays, cases: Sequence[Arrays]) -> Step:
        """Defines the graph and compiles it."""
        shapes = family.shapes(cases)
        fed = {name: pt.tensor(name, dtype=str(x.dtype), shape=shapes[name]) for name, x in cases[0].items()}
        held = {
            name: pytensor.shared(value.copy(), name=name, shape=value.shape)
            for name, value in parameters.items()
        }
        made = family.model(OPS, bag(held), bag(fed), size)
        fetches = list(made) if isinstance(made, tuple) else [made]
        updates = _updates(family, made, list(held.values())) if family.optimizer else []
        call = pytensor.function(list(fed.values()), fetches, updates=updates)

        def step(case: Mapping[str, Array]) -> Sequence[Any]:
            found: Sequence[Any] = call(*case.values())
            return found

        return step


def _updates(family: Family, loss: Any, weights: list[Any]) -> list[tuple[Any, Any]]:
    f, gradients = np.float32, pt.grad(loss, weights)
    rate = f(family.rate)
    if family.optimizer == "sgd":
        return [(w, w - rate * g) for w, g in zip(weights, gradients, strict=True)]
    keep = f(1 - family.rate * 0.01) if family.optimizer == "adamw" else f(1)
    count = pytensor.shared(f(0))
    now = count + f(1)
    found = [(count, now)]
    near, far = f(1) - f(0.9) ** now, f(1) - f(0.999) ** now
    for w, g in zip(weights, gradients, strict=True):
        m, v = (pytensor.shared(np.zeros_like(w.get_value()), shape=w.type.shape) for _ in range(2))
        next_m, next_v = f(0.9) * m + f(0.1) * g, f(0.999) * v + f(0.001) * g * g
        moved = w * keep - rate * (next_m / near) / (pt.sqrt(next_v / far) + f(1e-8))
        found += [(m, next_m), (v, next_v), (w, moved)]
    return found


def _layer_norm(x: Any, scale: Any, offset: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / pt.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(1e-5)) * scale + offset


def _attention(q: Any, k: Any, v: Any) -> Any:
    scores = pt.matmul(q, k.swapaxes(-1, -2)) * np.float32(1 / math.sqrt(q.type.shape[-1]))
    length = q.type.shape[-2]
    mask = np.where(np.tril(np.ones((length, length))) > 0, 0, -1e9).astype(np.float32)
    return pt.matmul(special.softmax(scores + mask, axis=-1), v)


def _split(x: Any, count: int) -> list[Any]:
    width = x.type.shape[-1] // count
    return [x[..., i * width : (i + 1) * width] for i in range(count)]


def _switch(which: Any, branches: Sequence[Callable[[Any], Any]], x: Any) -> Any:
    def pick(first: int, last: int) -> Any:
        if last - first == 1:
            return branches[first](x)
        middle = (first + last) // 2
        return ifelse(pt.lt(which, middle), pick(first, middle), pick(middle, last))

    return pick(0, len(branches))


def _matmul(x: Any, y: Any) -> Any:
    return pt.dot(x, y) if x.ndim == y.ndim == 2 else pt.matmul(x, y)


OPS = bag(
    {
        **{name: getattr(pt, name) for name in ("tanh", "sin", "sigmoid")},
        **{name: getattr(pt, name) for name in ("sum", "mean", "reshape", "transpose")},
        "matmul": _matmul,
        "constant": pt.as_tensor,
        "ones": lambda shape: pt.ones(shape, dtype="float32"),
        "relu": lambda x: pt.maximum(x, np.float32(0)),
        "gelu": lambda x: x * np.float32(0.5) * (pt.erf(x * np.float32(math.sqrt(0.5))) + np.float32(1)),
        "softmax": lambda x: special.softmax(x, axis=-1),
        "embedding": lambda table, ids: table[ids],
        "layer_norm": _layer_norm,
        "cross_entropy": lambda z, y: -pt.mean(special.log_softmax(z, axis=-1)[pt.arange(y.shape[0]), y]),
        "split": _split,
        "attention": _attention,
        "update_first": lambda x, face: pt.set_subtensor(x[0], face),
        "switch": _switch,
    }
)  # fmt: skip


def open_peer(threads: int) -> Peer:
    """PyTensor, whose threads the environment says."""
    warnings.simplefilter("ignore")
    return PyTensor()
