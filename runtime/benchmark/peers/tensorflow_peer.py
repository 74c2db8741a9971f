"""TensorFlow as a peer: graph mode, `tf.compat.v1.Session.make_callable`, without XLA."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import tensorflow

from runtime.benchmark.families import Array, Arrays, Family, bag
from runtime.benchmark.peers import Peer, Step

NEEDS = frozenset({"switch", "ones", "update_first", "scopes"})
tf = tensorflow.compat.v1


class TensorFlow:
    """Compiles nothing: it prepares its graph and runs it op by op."""

    def __init__(self, threads: int) -> None:
        tf.disable_eager_execution()
        self._config = tf.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads
        )

    def version(self) -> str:
        """Its name and version."""
        return f"tensorflow {tensorflow.__version__} (graph)"

    def supports(self, family: Family) -> bool:
        """Whether it has what `family` needs."""
        return family.needs <= NEEDS

    def build(self, family: Family, size: int, parameters: Arrays, cases: Sequence[Arrays]) -> Step:
        """Defines the graph."""
        graph = tf.Graph()
        with graph.as_default():
            shapes = family.shapes(cases)
            fed = {name: tf.placeholder(x.dtype, shapes[name], name) for name, x in cases[0].items()}
            first = {name: tf.placeholder(value.dtype, value.shape) for name, value in parameters.items()}
            held = {name: tf.Variable(value, use_resource=True) for name, value in first.items()}
            made = family.model(make_ops(), bag(held), bag(fed), size)
            fetches = list(made) if isinstance(made, tuple) else [made]
            if family.optimizer:
                with tf.control_dependencies([_train(family, made, list(held.values()))]):
                    fetches = [tf.identity(made)]
            begin = tf.global_variables_initializer()
        session = tf.Session(graph=graph, config=self._config)
        session.run(begin, {first[name]: value for name, value in parameters.items()})
        call = session.make_callable(fetches, list(fed.values()))

        def step(case: Mapping[str, Array]) -> Sequence[Any]:
            found: Sequence[Any] = call(*case.values())
            return found

        return step


def _train(family: Family, loss: Any, weights: list[Any]) -> Any:
    if family.optimizer == "sgd":
        return tf.train.GradientDescentOptimizer(family.rate).minimize(loss, var_list=weights)
    adam = tf.train.AdamOptimizer(family.rate)
    gradients = adam.compute_gradients(loss, weights)
    if family.optimizer == "adam":
        return adam.apply_gradients(gradients)
    with tf.control_dependencies([gradient for gradient, _ in gradients]):
        decayed = [w.assign_sub(family.rate * 0.01 * w) for w in weights]
    with tf.control_dependencies(decayed):
        return adam.apply_gradients(gradients)


def make_ops() -> Any:
    """The ops of families."""
    t = tensorflow

    @contextmanager
    def scopes(names: Iterable[str]) -> Iterator[None]:
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(t.name_scope(name))
            yield

    def layer_norm(x: Any, scale: Any, offset: Any) -> Any:
        mean, variance = t.nn.moments(x, -1, keepdims=True)
        return t.nn.batch_normalization(x, mean, variance, offset, scale, 1e-5)

    def attention(q: Any, k: Any, v: Any) -> Any:
        scores = t.matmul(q, k, transpose_b=True) * (1 / math.sqrt(int(q.shape[-1])))
        length = int(scores.shape[-1])
        mask = np.where(np.tril(np.ones((length, length))) > 0, 0, -1e9).astype(np.float32)
        return t.matmul(t.nn.softmax(scores + mask), v)

    def switch(which: Any, branches: Sequence[Callable[[Any], Any]], x: Any) -> Any:
        return t.switch_case(which, [lambda branch=branch: branch(x) for branch in branches])

    def cross_entropy(z: Any, y: Any) -> Any:
        return t.reduce_mean(t.nn.sparse_softmax_cross_entropy_with_logits(y, z))

    return bag(
        {
            **{name: getattr(t, name) for name in ("tanh", "sin", "sigmoid")},
            **{name: getattr(t, name) for name in ("matmul", "reshape", "transpose")},
            **{name: getattr(t, name) for name in ("constant", "ones")},
            "sum": t.reduce_sum,
            "mean": t.reduce_mean,
            "relu": t.nn.relu,
            "softmax": t.nn.softmax,
            "gelu": lambda x: t.nn.gelu(x, approximate=False),
            "embedding": t.gather,
            "layer_norm": layer_norm,
            "cross_entropy": cross_entropy,
            "split": lambda x, count: t.split(x, count, -1),
            "attention": attention,
            "update_first": lambda x, face: t.tensor_scatter_nd_update(x, [[0]], face[None]),
            "scopes": scopes,
            "named": t.identity,
            "switch": switch,
        }
    )  # fmt: skip


def open_peer(threads: int) -> Peer:
    """TensorFlow."""
    return TensorFlow(threads)
