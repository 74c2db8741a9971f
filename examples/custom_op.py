"""Add an op: its type rule, what it means, how it slopes, how it is tested.

    python examples/custom_op.py

This is the whole of it. Inside graphc the same lines stand in a file of `graphc/ops/`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc as gc
from graphc.op import op
from graphc.ops import guarded_multiply
from graphc.types import TensorType, broadcast


@op("elementwise")
def hypotenuse(x: gc.Tensor, y: gc.Tensor) -> TensorType:
    """``sqrt(x**2 + y**2)``, without overflow on the way.

    Shapes: ``[...], [...] -> [...]``, broadcast.
    """
    return TensorType(x.dtype, broadcast(x.result, y.result))


hypotenuse.evaluate(np.hypot)
hypotenuse.gradient(lambda g, out, x, y: (guarded_multiply(g, x / out), guarded_multiply(g, y / out)))
hypotenuse.example("f64[2,3]", "f64[3]", domain=(0.5, 2.0))
hypotenuse.example("f32[0]", "f32[]")


def build() -> dict[str, Any]:
    """The op in use, and its gradient."""
    x = gc.placeholder("float64", shape=("n",), name="x")
    y = hypotenuse(x, 4.0, name="y")
    return {"y": y, "slope": gc.gradients(y, [x])[0]}


def feeds() -> dict[str, np.ndarray]:
    """Numbers to measure it with."""
    return {"x": np.linspace(0.0, 1.0, 1000)}


def main() -> dict[str, Any]:
    """Run it on numbers that would overflow when squared."""
    fetches = build()
    print(gc.show(fetches["y"]))
    with gc.Session() as session:
        values: dict[str, Any] = session.run(fetches, {"x": [3.0, 1e200]})
    print(values["y"], values["slope"])
    return values


if __name__ == "__main__":
    with gc.Graph().as_default():
        main()
