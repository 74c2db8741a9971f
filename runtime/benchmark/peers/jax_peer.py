"""JAX as a peer: a jitted function; where it trains, one jitted step with its own gradients and optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from runtime.benchmark.families import Array, Arrays, Family, bag
from runtime.benchmark.peers import Peer, Step

NEEDS = frozenset({"switch", "ones", "update_first"})


class Jax:
    """Compiles with XLA."""

    def version(self) -> str:
        """Its name and version."""
        return f"jax {jax.__version__}"

    def supports(self, family: Family) -> bool:
        """Whether it has what `family` needs."""
        return family.needs <= NEEDS

    def build(self, family: Family, size: int, parameters: Arrays, cases: Sequence[Arrays]) -> Step:
        """Jits the model, or a step of training it."""
        names = list(cases[0])
        held = {name: jax.device_put(value) for name, value in parameters.items()}

        def model(p: Any, *xs: Any) -> Any:
            return family.model(OPS, bag(p), bag(dict(zip(names, xs, strict=True))), size)

        if family.optimizer:
            return _trained(family, model, held)
        call = jax.jit(model)

        def step(case: Mapping[str, Array]) -> Sequence[Any]:
            found = call(held, *case.values())
            return [np.asarray(y) for y in (found if isinstance(found, tuple) else (found,))]

        return step


def _trained(family: Family, model: Callable[..., Any], held: Any) -> Step:
    begin, update = _optimizer(family)

    def train(state: Any, *xs: Any) -> Any:
        p, slots = state
        loss, gradient = jax.value_and_grad(model)(p, *xs)
        return update(p, gradient, slots), loss

    call = jax.jit(train, donate_argnums=0)
    state = [(held, begin(held))]

    def step(case: Mapping[str, Array]) -> Sequence[Any]:
        state[0], loss = call(state[0], *case.values())
        jax.block_until_ready(state[0])
        return [np.asarray(loss)]

    return step


def _optimizer(family: Family) -> tuple[Callable[[Any], Any], Callable[[Any, Any, Any], Any]]:
    """SGD, or Adam with the decay of AdamW (Loshchilov and Hutter, 2019)."""
    each, rate = jax.tree_util.tree_map, family.rate
    decay = 0.01 if family.optimizer == "adamw" else 0.0
    if family.optimizer == "sgd":
        return lambda p: (), lambda p, g, slots: (each(lambda w, d: w - rate * d, p, g), ())

    def begin(p: Any) -> Any:
        return each(jnp.zeros_like, p), each(jnp.zeros_like, p), jnp.zeros((), jnp.float32)

    def update(p: Any, g: Any, slots: Any) -> Any:
        m, v, t = slots
        t = t + 1
        m = each(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = each(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        near, far = 1 - 0.9**t, 1 - 0.999**t

        def moved(w: Any, m: Any, v: Any) -> Any:
            return w * (1 - rate * decay) - rate * (m / near) / (jnp.sqrt(v / far) + 1e-8)

        return each(moved, p, m, v), (m, v, t)

    return begin, update


def _layer_norm(x: Any, scale: Any, offset: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * scale + offset


def _attention(q: Any, k: Any, v: Any) -> Any:
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) * (1 / math.sqrt(q.shape[-1]))
    scores = jnp.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -1e9)
    return jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores), v)


OPS = bag(
    {
        **{name: getattr(jnp, name) for name in ("tanh", "sin", "matmul")},
        **{name: getattr(jnp, name) for name in ("sum", "mean", "reshape", "transpose")},
        **{name: getattr(jax.nn, name) for name in ("sigmoid", "relu", "softmax")},
        "constant": jnp.asarray,
        "ones": lambda shape: jnp.ones(shape, jnp.float32),
        "gelu": lambda x: jax.nn.gelu(x, approximate=False),
        "embedding": lambda table, ids: table[ids],
        "layer_norm": _layer_norm,
        "cross_entropy": lambda z, y: -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1)),
        "split": lambda x, count: jnp.split(x, count, -1),
        "attention": _attention,
        "update_first": lambda x, face: x.at[0].set(face),
        "switch": lambda which, branches, x: jax.lax.switch(which, branches, x),
    }
)  # fmt: skip


def open_peer(threads: int) -> Peer:
    """JAX, whose threads are those of the process."""
    return Jax()
