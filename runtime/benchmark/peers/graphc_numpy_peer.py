"""graphc's NumPy backend as a peer: it compiles next to nothing, so it says when compiling pays."""

from __future__ import annotations

from runtime.benchmark.peers import Peer
from runtime.benchmark.peers.graphc_peer import Graphc


def open_peer(threads: int) -> Peer:
    """Graphc with its NumPy backend."""
    return Graphc(threads, "numpy")
