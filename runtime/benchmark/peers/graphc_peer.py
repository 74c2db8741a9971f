"""graphc as a peer: placeholders, variables and `Session.make_callable`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from passes.stages import stage
from runtime.benchmark.families import Array, Arrays, Family, bag
from runtime.benchmark.peers import Peer, Step

NEEDS = frozenset({"scopes", "switch", "ones", "update_first"})


class Graphc:
    """Compiles with `backend`.

    Attributes:
        executable: what the last graph was compiled to.
    """

    def __init__(self, threads: int, backend: str) -> None:
        import graphc
        import runtime.readiness  # noqa: F401  it comes with graphc, unless a room above was first, as here

        self._gc: Any = graphc
        self._threads, self._backend = threads, backend
        self._session: Any = None
        self._asked: tuple[Any, Any] = (), ()
        self.ops = make_ops()

    def version(self) -> str:
        """Its name and version."""
        return f"graphc {self._gc.__version__} ({self._backend})"

    def supports(self, family: Family) -> bool:
        """Whether it has what `family` needs."""
        return family.needs <= NEEDS

    def define(self, family: Family, size: int, parameters: Arrays, cases: Sequence[Arrays]) -> Any:
        """The graph, what is fetched, what is fed, and what initialises it."""
        gc = self._gc
        graph = gc.Graph(seed=0)
        with graph.as_default():
            shapes = family.shapes(cases)
            fed = {
                name: gc.placeholder(str(array.dtype), shape=shapes[name], name=name)
                for name, array in cases[0].items()
            }
            variables = {name: gc.Variable(value, name=name) for name, value in parameters.items()}
            made = family.model(self.ops, bag(variables), bag(fed), size)
            fetches = list(made) if isinstance(made, tuple) else [made]
            if family.optimizer:
                optimizer = optimizers(gc)[family.optimizer](family.rate)
                fetches.append(optimizer.minimize(made, var_list=list(variables.values())))
            begin = gc.global_variables_initializer()
        return graph, fetches, list(fed.values()), begin

    def build(self, family: Family, size: int, parameters: Arrays, cases: Sequence[Arrays]) -> Step:
        """Defines the graph; the first run compiles it."""
        graph, fetches, fed, begin = self.define(family, size, parameters, cases)
        with stage("import"):  # of the passes and the runtime
            opened = self._gc.Session
        session = opened(graph=graph, backend=self._backend, threads=self._threads)
        if parameters:
            session.run(begin)
        call = session.make_callable(fetches, fed)
        self._session, self._asked = session, (fetches, fed)
        count = len(fetches) - bool(family.optimizer)

        def step(case: Mapping[str, Array]) -> Sequence[Any]:
            found: Sequence[Any] = call(*case.values())
            return found[:count]

        return step

    @property
    def executable(self) -> Any:
        """What the last graph was compiled to."""
        return self._session.compile(*self._asked)

    def settle(self) -> None:
        """Waits for what is postponed beyond the first runs."""
        native = self.executable.native
        if native is not None:
            native.settle()

    def sharing(self) -> tuple[int, int]:
        """How many distinct kernels the last graph has, and how many steps run one."""
        executable = self.executable
        runs = executable.native.runs if executable.native else {}
        return len({kernel.text for kernel in executable.kernels}), sum(map(bool, runs.values()))

    @property
    def compile_count(self) -> int:
        """How many executables the last graph took, the initialisation of variables left out."""
        return int(self._session.compile_count) - bool(self._session.graph.variables)


def optimizers(gc: Any) -> dict[str, Callable[[float], Any]]:
    """What trains, by the name that families give it."""
    return {"sgd": gc.train.SGD, "adam": gc.train.Adam, "adamw": gc.train.AdamW}


def make_ops() -> Any:
    """The ops of families."""
    import graphc

    gc: Any = graphc

    @contextmanager
    def scopes(names: Iterable[str]) -> Iterator[None]:
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(gc.name_scope(name))
            yield

    def switch(which: Any, branches: Sequence[Callable[[Any], Any]], x: Any) -> Any:
        """Halves until one is left, so that 1,000 branches lie 10 deep."""

        def pick(first: int, last: int) -> Any:
            if last - first == 1:
                return branches[first](x)
            middle = (first + last) // 2
            return gc.cond(gc.less(which, middle), lambda: pick(first, middle), lambda: pick(middle, last))

        return pick(0, len(branches))

    def cross_entropy(logits: Any, labels: Any) -> Any:
        return gc.mean(gc.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits))

    return bag(
        {
            **{name: getattr(gc, name) for name in ("tanh", "sin", "sigmoid")},
            **{name: getattr(gc, name) for name in ("matmul", "sum", "mean", "reshape")},
            **{name: getattr(gc, name) for name in ("transpose", "constant", "ones")},
            **{name: getattr(gc.nn, name) for name in ("relu", "gelu", "softmax", "embedding")},
            "layer_norm": lambda x, scale, offset: gc.nn.layer_norm(x, scale=scale, offset=offset),
            "cross_entropy": cross_entropy,
            "split": lambda x, count: gc.split(x, count, -1),
            "attention": lambda q, k, v: gc.nn.dot_product_attention(q, k, v, causal=True),
            "update_first": lambda x, face: gc.scatter_update(x, np.array([0]), face),
            "scopes": scopes,
            "named": lambda x, name: gc.identity(x, name=name),
            "switch": switch,
        }
    )  # fmt: skip


def open_peer(threads: int) -> Peer:
    """Graphc with its LLVM backend."""
    return Graphc(threads, "llvm")
