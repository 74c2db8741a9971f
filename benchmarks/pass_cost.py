"""What each pass costs as graphs grow: its time, the exponent of its growth, and what it counted.

    python benchmarks/pass_cost.py                     # 100 to 100,000 nodes, about two minutes
    python benchmarks/pass_cost.py --most 10000 --backend numpy

For each family of graphs every pass is timed (processor time) on sizes a factor of ten apart, and
``time = a * nodes**b`` is fitted. Linear is b = 1; the goals are b <= 1.1 and 60 microseconds a node
for the whole pipeline. The passes work for the LLVM backend, which fuses, unless another is named.
"""

from __future__ import annotations

import argparse
import gc as garbage
import math
import time
from collections.abc import Callable, Sequence

import graphc as gc
from graphc.function import Function
from passes.optimization import as_request
from passes.pipeline import PIPELINE, REQUIRED, Request, define, prepare
from passes.program import plan
from passes.record import recording
from passes.running import walk
from passes.target import PLAIN, Target
from runtime.backend import BACKENDS

LEAST_SECONDS = 2e-4  # below, a clock measures itself


def chain(nodes: int) -> gc.Tensor:
    """Elementwise ops one after the other."""
    x = gc.placeholder("float32", ("n",), name="x")
    y: gc.Tensor = x
    for i in range(nodes // 3):
        y = gc.tanh(y + x) if i % 3 else gc.sin(y * 1.5)
    return y


def wide(nodes: int) -> gc.Tensor:
    """Many short chains side by side, added up."""
    x = gc.placeholder("float32", ("n",), name="x")
    return gc.add_n([gc.exp(x * float(i + 2)) for i in range(nodes // 4)])


def lstm(nodes: int) -> list[gc.Tensor]:
    """An LSTM cell unrolled, with the gradient of its weights."""
    units = 4
    x = gc.placeholder("float32", (2, units), name="x")
    w = gc.Variable([[0.1] * (4 * units)] * (2 * units), name="w")
    h = c = gc.zeros((2, units))
    for _ in range(max(nodes // 110, 1)):
        i, f, o, g = gc.split(gc.concat([x, h], axis=1) @ w, 4, axis=1)
        c = gc.sigmoid(f) * c + gc.sigmoid(i) * gc.tanh(g)
        h = gc.sigmoid(o) * gc.tanh(c)
    loss = gc.sum(h)
    return [loss, *gc.gradients(loss, [w])]


def fibonacci(nodes: int) -> gc.Tensor:
    """Each node on the two before it: as a tree it would be exponential."""
    a = gc.placeholder("float32", (), name="a")
    b = gc.placeholder("float32", (), name="b")
    for i in range(nodes):
        a, b = b, (a + b if i % 2 else a - b)
    return b


FAMILIES: dict[str, Callable[[int], object]] = {
    "chain": chain, "wide": wide, "lstm": lstm, "fibonacci": fibonacci,
}  # fmt: skip


def request(family: str, nodes: int) -> Request:
    """What asks for a graph of about `nodes` nodes."""
    with gc.Graph(seed=0).as_default():
        return as_request(FAMILIES[family](nodes))


def defined(family: str, nodes: int) -> Function:
    """A graph of about `nodes` nodes, ready for the pipeline."""
    return define(request(family, nodes), Target(), lambda name, function: None)


def target_of(backend: str) -> Target:
    """What the passes know of `backend`."""
    machine = BACKENDS[backend]()
    return Target(backend, False, machine.fusible, machine.contracts)


def timed(asked: Request, target: Target) -> dict[str, float]:
    """Seconds spent in each stage from `asked` to the plan."""
    seconds: dict[str, float] = {}

    def tell(name: str, function: Function) -> None:
        nonlocal begin
        now = time.process_time()
        seconds[name] = seconds.get(name, 0.0) + now - begin
        begin = time.process_time()

    garbage.collect()
    begin = time.process_time()
    prepared = prepare(asked, target, tell)
    begin = time.process_time()
    plan(prepared.function, prepared.guards)
    tell("plan", prepared.function)
    return seconds


def counted(function: Function, target: Target = PLAIN) -> dict[str, int]:
    """What the passes count on `function`; the same on every machine."""
    with recording() as log:
        for _ in walk((*REQUIRED, *PIPELINE), function, target):
            pass
    return log.counters.as_dict()


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The b of ``seconds = a * sizes**b``, by least squares of the logarithms."""
    points = [(math.log(n), math.log(s)) for n, s in zip(sizes, seconds, strict=True) if s >= LEAST_SECONDS]
    if len(points) < 2:
        return math.nan
    mx, my = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    return sum((x - mx) * (y - my) for x, y in points) / sum((x - mx) ** 2 for x, _ in points)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=100_000, help="nodes of the largest graphs")
    parser.add_argument("--family", choices=FAMILIES, action="append", help="only these")
    parser.add_argument("--backend", choices=BACKENDS, default="llvm", help="whose passes")
    given = parser.parse_args(arguments)
    target = target_of(given.backend)
    wanted = [10**k for k in range(2, 8) if 10**k <= given.most]
    for family in given.family or FAMILIES:
        functions = [defined(family, nodes) for nodes in wanted]
        sizes = [len(function.nodes()) for function in functions]
        runs = [timed(request(family, nodes), target) for nodes in wanted]
        print(f"\n{family}: {', '.join(f'{n:,}' for n in sizes)} nodes")
        rows = {name: [run[name] for run in runs] for name in runs[-1]}
        rows["together"] = [sum(run.values()) for run in runs]
        for name, seconds in rows.items():
            each = seconds[-1] / sizes[-1] * 1e6
            print(f"  {name:<20} b = {exponent(sizes, seconds):5.2f} {each:8.2f} us a node")
        for n, function in zip(sizes, functions, strict=True):
            print(f"  counted at {n:>7,} nodes: {counted(function, target)}")


if __name__ == "__main__":
    main()
