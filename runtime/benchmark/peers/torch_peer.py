"""PyTorch as a peer: `torch.compile` with its defaults, the optimizer in a kernel of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from runtime.benchmark.families import Array, Arrays, Family, bag
from runtime.benchmark.peers import Peer, Step

NEEDS = frozenset({"ones", "update_first"})


class Named:
    """Attributes, in a form that Dynamo traces through."""

    def __init__(self, names: Sequence[str], values: Sequence[Any]) -> None:
        for name, value in zip(names, values, strict=True):
            setattr(self, name, value)


class Torch:
    """Compiles with Dynamo and Inductor; a part that it would not compile is an error."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)

    def version(self) -> str:
        """Its name and version."""
        return f"torch.compile {torch.__version__}"

    def supports(self, family: Family) -> bool:
        """Whether it has what `family` needs."""
        return family.needs <= NEEDS

    def build(self, family: Family, size: int, parameters: Arrays, cases: Sequence[Arrays]) -> Step:
        """Wraps the model; the first run compiles."""
        names = tuple(cases[0])
        trained = bool(family.optimizer)
        held = {
            name: torch.from_numpy(value.copy()).requires_grad_(trained) for name, value in parameters.items()
        }
        named = Named(tuple(held), tuple(held.values()))

        def model(*xs: Any) -> Any:
            return family.model(OPS, named, Named(names, xs), size)

        call = torch.compile(model, fullgraph=True)
        if trained:
            return _trained(family, call, list(held.values()))

        def step(case: Mapping[str, Array]) -> Sequence[Any]:
            with torch.inference_mode():
                found = call(*map(torch.from_numpy, case.values()))
            return [y.numpy() for y in (found if isinstance(found, tuple) else (found,))]

        return step


def _trained(family: Family, call: Any, weights: list[Any]) -> Step:
    kinds = {
        "sgd": lambda: torch.optim.SGD(weights, lr=family.rate, fused=True),
        "adam": lambda: torch.optim.Adam(weights, lr=family.rate, fused=True),
        "adamw": lambda: torch.optim.AdamW(weights, lr=family.rate, weight_decay=0.01, fused=True),
    }
    optimizer = kinds[family.optimizer]()

    def step(case: Mapping[str, Array]) -> Sequence[Any]:
        loss = call(*map(torch.from_numpy, case.values()))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return [np.float32(loss.item())]

    return step


def _update_first(x: Any, face: Any) -> Any:
    return torch.cat((face[None], x[1:]))


OPS = bag(
    {
        **{name: getattr(torch, name) for name in ("tanh", "sin", "sigmoid")},
        **{name: getattr(torch, name) for name in ("matmul", "sum", "mean", "relu")},
        "reshape": torch.reshape,
        "transpose": torch.permute,
        "constant": torch.from_numpy,
        "ones": torch.ones,
        "gelu": functional.gelu,
        "softmax": lambda x: torch.softmax(x, -1),
        "embedding": lambda table, ids: functional.embedding(ids, table),
        "layer_norm": lambda x, scale, offset: functional.layer_norm(x, scale.shape, scale, offset, 1e-5),
        "cross_entropy": lambda z, y: functional.cross_entropy(z, y.long()),
        "split": lambda x, count: torch.chunk(x, count, -1),
        "attention": lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True),
        "update_first": _update_first,
    }
)  # fmt: skip


def open_peer(threads: int) -> Peer:
    """PyTorch."""
    return Torch(threads)
