"""Gradients are nodes like any other, so they have gradients too: find a minimum by Newton's method.

python examples/gradients.py
"""

from __future__ import annotations

import graphc as gc


def build() -> dict[str, gc.Tensor]:
    """One step of Newton's method on ``f(x) = x log(x) - x``, whose minimum is at 1."""
    x = gc.Variable(2.5, dtype="float64", name="x")
    f = x * gc.log(x) - x
    (slope,) = gc.gradients(f, [x])
    (curvature,) = gc.gradients(slope, [x])
    return {"f": f, "slope": slope, "next": x.assign_sub(slope / curvature)}


def feeds() -> dict[str, float]:
    """Nothing needs to be fed."""
    return {}


def main() -> float:
    """Walk down; each run reads x as it was when the run began, and commits the new one at its end."""
    fetches = build()
    initialize = gc.global_variables_initializer()
    now = 0.0
    with gc.Session() as session:
        session.run(initialize)
        for step in range(7):
            values = session.run(fetches)
            now = float(values["next"])
            print(f"step {step}   f {values['f']:+.12f}   slope {values['slope']:+.1e}   x -> {now:.12f}")
    return now


if __name__ == "__main__":
    with gc.Graph().as_default():
        main()
