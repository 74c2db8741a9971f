"""Differentiate an algorithm: Newton's method in a while_loop, whose number of steps depends on the data.

    python examples/newton.py

The root y of ``y**3 + y = x`` moves as x moves. The implicit-function theorem says how fast:
``y' = 1 / (3 y**2 + 1)`` and ``y'' = -6 y y'**3``. The gradients of the loop know nothing of it.
"""

from __future__ import annotations

import numpy as np

import graphc as gc


def root(x: gc.Tensor) -> tuple[gc.Tensor, gc.Tensor]:
    """The root and how many steps it took, from a first guess of 1.

    The steps go on a little after y stands still: each order of derivatives is one step behind.
    """

    def body(y: gc.Tensor, steps: gc.Tensor, still: gc.Tensor) -> tuple[gc.Tensor, gc.Tensor, gc.Tensor]:
        f = y**3 + y - x
        (slope,) = gc.gradients(f, [y])
        move = f / slope
        return y - move, steps + 1, gc.where(gc.abs(move) < 1e-12, still + 1, 0)

    guess = gc.ones((), "float64")
    y, steps, _ = gc.while_loop(
        lambda y, steps, still: still < 3, body, (guess, 0, 0), maximum_iterations=100
    )
    return y, steps


def build() -> dict[str, gc.Tensor]:
    """The root, its two slopes through the loop, and what theory says of them."""
    x = gc.placeholder("float64", shape=(), name="x")
    y, steps = root(x)
    (first,) = gc.gradients(y, [x])
    (second,) = gc.gradients(first, [x])
    slope = 1 / (3 * y**2 + 1)
    return {
        "y": y,
        "steps": steps,
        "first": first,
        "second": second,
        "slope": slope,
        "curve": -6 * y * slope**3,
    }


def feeds() -> dict[str, float]:
    """A number to measure it with."""
    return {"x": 2.0}


def main() -> float:
    """Print both for some x; the largest difference."""
    worst = 0.0
    with gc.Graph().as_default(), gc.Session() as session:
        fetches = build()
        print("     x          y  steps      y' (loop)    y' (theory)     y'' (loop)   y'' (theory)")
        for x in (-30.0, -1.0, 0.0, 0.5, 2.0, 1000.0):
            v = session.run(fetches, {"x": x})
            print(f"{x:6g} {v['y']:10.6f} {v['steps']:6d}", end="")
            print("".join(f"{v[key]:+15.10f}" for key in ("first", "slope", "second", "curve")))
            worst = max(worst, *np.abs([v["first"] - v["slope"], v["second"] - v["curve"]]))
    print(f"largest difference {worst:.1e}")
    return float(worst)


if __name__ == "__main__":
    main()
