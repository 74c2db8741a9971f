"""What a node costs: building graphs, beside NumPy's own work on the same calls, in one run.

    python benchmarks/building.py [nodes]

Building must cost less than 10 microseconds a node beyond what NumPy itself takes for the call on small
arrays (docs/architecture.md). The other columns are what printing, parsing, differentiating, planning
(compiling for the NumPy backend) and running cost per node of the same graph. Each number is the best of
three repetitions.
"""

from __future__ import annotations

import gc as collector
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import graphc as gc
from graphc.text import as_function
from passes.differentiation import differentiate

REPETITIONS = 3


def chain_of_adds(n: int, x: Any, w: Any, b: Any, of: Any) -> Any:
    """``x + x + x + ...``: tensors alone."""
    y = x
    for _ in range(n):
        y = y + x
    return y


def chain_of_scalars(n: int, x: Any, w: Any, b: Any, of: Any) -> Any:
    """``x * 0.999 * 0.999 ...``: each number becomes a constant, so each call makes two nodes."""
    y = x
    for _ in range(n // 2):
        y = y * 0.999
    return y


def layers(n: int, x: Any, w: Any, b: Any, of: Any) -> Any:
    """``maximum(y @ w + b, zero)``: three nodes a layer."""
    y, zero = x, of(np.float32(0))
    maximum = np.maximum if of is np.asarray else gc.maximum
    for _ in range(n // 3):
        y = maximum(y @ w + b, zero)
    return y


def best(work: Callable[[], Any]) -> float:
    """The least time of `work`, in seconds, without the garbage collector."""
    times = []
    for _ in range(REPETITIONS):
        collector.collect()
        collector.disable()
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
        collector.enable()
    return min(times)


def operands() -> list[np.ndarray[Any, Any]]:
    """Small arrays: for `x` ``[4, 4]``, for `w` ``[4, 4]``, for `b` ``[4]``."""
    rng = np.random.default_rng(0)
    return [rng.random(shape, dtype=np.float32) for shape in ((4, 4), (4, 4), (4,))]


def measure(build: Callable[..., Any], n: int) -> list[float]:
    """Microseconds per node: NumPy, building, the difference, and what comes after building."""
    arrays = operands()
    with np.errstate(all="ignore"):
        numpy = best(lambda: build(n, *arrays, np.asarray))

    def built() -> tuple[gc.Graph, Any, Any]:
        with gc.Graph(seed=0).as_default() as graph:
            x = gc.placeholder("float32", (4, 4), name="x")
            w, b = (gc.placeholder("float32", a.shape) for a in arrays[1:])
            return graph, build(n, x, w, b, gc.constant), (x, w, b)

    building = best(built)
    graph, y, inputs = built()
    nodes = len(as_function(y).nodes())
    text = gc.show(y)
    with graph.as_default():
        request = as_function(gc.gradients(y, [inputs[0]]))
    session = gc.Session(graph=graph, backend="numpy")
    feeds = dict(zip(inputs, arrays, strict=True))
    session.run(y, feeds)
    after = [
        best(lambda: gc.show(y)),
        best(lambda: gc.parse(text)),
        best(lambda: differentiate(request)),
        best(lambda: gc.Session(graph=graph, backend="numpy").compile(y, inputs)),
        best(lambda: session.run(y, feeds)),
    ]
    return [1e6 * seconds / nodes for seconds in (numpy, building, building - numpy, *after)]


def main() -> None:
    """Prints the table."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    columns = ("NumPy", "build", "beyond", "show", "parse", "differentiate", "plan", "run")
    print(f"microseconds per node, graphs of about {n} nodes")
    print(f"{'':18}" + "".join(f"{column:>14}" for column in columns))
    for build in (chain_of_adds, chain_of_scalars, layers):
        row = "".join(f"{value:14.2f}" for value in measure(build, n))
        print(f"{build.__name__.replace('_', ' '):18}{row}")


if __name__ == "__main__":
    main()
