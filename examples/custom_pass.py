"""Add a rule and a pass of your own, switch one off, and have them checked; the package stays as it is.

python examples/custom_pass.py
"""

from __future__ import annotations

from collections import Counter

import numpy as np

import graphc as gc
from graphc import ops
from graphc.function import Function
from passes.pipeline import PIPELINE
from passes.rewrite import Match, rule
from passes.running import replaced, without
from passes.simplification import RULES, simplifying
from passes.target import Target


@rule(ops.sub)
def one_minus_squared_tanh(match: Match) -> gc.Tensor | None:
    """``1 - tanh(x)**2 -> 1 / cosh(x)**2``: its docstring is the equation.

    It may differ in the last bit; the rules of the package that may are in `FAST_RULES`.
    """
    one, square = match.inputs
    if square.op is ops.square and square.inputs[0].op is ops.tanh and one.attrs.get("value") == 1:
        (x,) = square.inputs[0].inputs
        return ops.reciprocal(ops.square(ops.cosh(x)))
    return None


def count_ops(function: Function, target: Target) -> Function:
    """A pass is a function that gives the very same object where it changes nothing."""
    del target
    counted.update(node.op.name for node in function.nodes())
    return function


counted: Counter[str] = Counter()
own = (*replaced(PIPELINE, "simplify", simplifying((*RULES, one_minus_squared_tanh))), count_ops)


def build() -> gc.Tensor:
    """The slope of tanh, as one writes it."""
    x = gc.placeholder("float64", shape=("n",), name="x")
    return gc.sub(1.0, gc.square(gc.tanh(x)), name="slope")


def feeds() -> dict[str, np.ndarray]:
    """Numbers to measure it with."""
    return {"x": np.linspace(-1, 1, 1000)}


def main() -> dict[str, int]:
    """Run with the passes as they are, with our own, and with one less; then have ours checked."""
    slope = build()
    points = {"x": np.linspace(-1, 1, 5)}
    for name, pipeline in [("as it is", None), ("ours", own), ("no simplify", without(PIPELINE, "simplify"))]:
        with gc.Session(pipeline=pipeline) as session:
            print(f"{name:<12}", session.run(slope, points))
    print(gc.show(gc.optimize(slope, pipeline=own)))
    print(gc.check_passes(slope, points, pipeline=own))
    return dict(counted)


if __name__ == "__main__":
    with gc.Graph().as_default():
        main()
