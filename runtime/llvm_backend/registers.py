"""Registers: what a schedule asks of a CPU, and the tile of outputs that its vector registers hold."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """What a schedule asks of a CPU: bytes in a vector, vector registers, bytes of its caches."""

    vector: int = 16
    registers: int = 16
    l1: int = 32 << 10
    l2: int = 256 << 10

    def width(self, itemsize: int) -> int:
        """Lanes of elements of that size; LLVM makes scalars of two where there is no register for them."""
        return max(2, self.vector // itemsize)


AVX512 = Machine(64, 32, 48 << 10, 1 << 20)
AVX2 = Machine(32, 16)
NEON = Machine(16, 32, 64 << 10, 1 << 20)
SSE = Machine()


def even_part(total: int, most: int) -> int:
    """The size of the largest part where `total` is split evenly in parts of at most `most`."""
    return -(-total // -(-total // most)) if total else 1


def choose_tile(rows: int, vectors: int, registers: int) -> tuple[int, int]:
    """The register tile (rows, vectors) of least cost, by four terms for a step of the reduction.

    They are multiply-adds (two a cycle), loads (two a cycle), lines of B from L2 (half a line a cycle)
    and latency.
    About four registers stay free: LLVM's scheduler hoists loads, and would spill without a word.
    """
    best = (math.inf, 1, 1)

    def cycles(height: int, across: int) -> float:
        from_l2 = 2 * across if rows > height else across
        busiest = max(height * across / 2, (height + across) / 2, from_l2, 5.0)
        return busiest + 0.15 + 0.03 * (height + across)

    for across in range(1, min(vectors, 16) + 1):
        for height in range(1, min(rows, 24) + 1):
            if height * across + across + max(2, registers // 8) > registers:
                continue
            if even_part(rows, height) != height or even_part(vectors, across) != across:
                continue
            down, over = -(-rows // height), -(-vectors // across)
            tall, wide = rows - (height - 1) * down, vectors - (across - 1) * over
            cost = tall * wide * cycles(height, across)
            cost += (down - tall) * wide * cycles(height - 1, across)
            cost += tall * (over - wide) * cycles(height, across - 1)
            cost += (down - tall) * (over - wide) * cycles(height - 1, across - 1)
            if cost < best[0] - 1e-9:
                best = (cost, height, across)
    return best[1], best[2]
