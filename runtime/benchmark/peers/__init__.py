"""Peers: one adapter for each library that can run the families.

An adapter is a module with a function ``open_peer(threads) -> Peer``, which imports the library. It imports
no other module of graphc than those of this folder and `families`, so that it runs under an interpreter
that has the library and not graphc's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from runtime.benchmark.families import Array, Arrays, Family

Step = Callable[[Mapping[str, Array]], Sequence[Any]]


class Peer(Protocol):
    """A library that runs families."""

    def version(self) -> str:
        """Its name and version."""

    def supports(self, family: Family) -> bool:
        """Whether it has the ops that `family` needs."""

    def build(self, family: Family, size: int, parameters: Arrays, cases: Sequence[Arrays]) -> Step:
        """Defines the graph; gives what runs one of `cases` from NumPy arrays to NumPy arrays.

        The first such run compiles what is not compiled yet. One that trains gives its loss.
        """


ADAPTERS: Mapping[str, str] = {  # by the name that users type
    "graphc": "graphc_peer",
    "graphc-numpy": "graphc_numpy_peer",
    "jax": "jax_peer",
    "torch": "torch_peer",
    "tensorflow": "tensorflow_peer",
    "pytensor": "pytensor_peer",
}
