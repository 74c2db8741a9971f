"""Define a graph, look at it, run it.

python examples/hello.py
"""

from __future__ import annotations

import numpy as np

import graphc as gc


def build() -> gc.Tensor:
    """The distance of each point from the origin."""
    points = gc.placeholder("float32", shape=("n", 2), name="points")
    return gc.sqrt(gc.sum(points * points, axis=1), name="distance")


def feeds() -> dict[str, np.ndarray]:
    """Points to measure it with: ``python -m graphc dump examples/hello.py -o hello.html``."""
    return {"points": np.ones((1000, 2), np.float32)}


def main() -> None:
    """Print the graph, and what it gives for three points and for one."""
    distance = build()
    print(gc.show(distance))  # nothing has been computed so far
    with gc.Session() as session:
        print(session.run(distance, {"points": np.array([[3, 4], [5, 12], [8, 15]], np.float32)}))
        print(session.run(distance, {"points": [[0.6, 0.8]]}))  # the same executable, another n
        print("compiled:", session.compile_count)


if __name__ == "__main__":
    with gc.Graph().as_default():
        main()
