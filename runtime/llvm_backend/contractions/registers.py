"""Registers: what a schedule asks of a CPU, and the tile of outputs that its vector registers hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from graphc.freezing import frozen
from graphc.sizes import Size
from runtime.llvm_backend.contractions.lane_choice import estimate


class VectorUnit(Protocol):
    """What a schedule asks of a machine: `runtime.llvm_backend.engine.machine.Machine` has it."""

    @property
    def vector_bytes(self) -> int:
        """Bytes in a vector."""
        ...

    @property
    def vector_registers(self) -> int:
        """How many vectors the registers hold."""
        ...

    @property
    def l2(self) -> int:
        """Bytes of the second cache of a core."""
        ...

    @property
    def far_l3(self) -> bool:
        """Whether what that cache does not hold comes slowly."""
        ...


@frozen
class Vectors:
    """The vector unit of a machine that is not this one."""

    vector_bytes: int = 16
    vector_registers: int = 16
    l2: int = 1 << 20
    far_l3: bool = False


AVX512, AVX2, NEON, SSE = Vectors(64, 32), Vectors(32, 16), Vectors(16, 32), Vectors()


_NARROW, _TALL_ENOUGH = 2, 7  # vectors and rows of a tile
_PAGE = 4096  # bytes of memory that lie in one piece
_LITTLE = 16 << 10  # bytes of a panel that stay in L1
_TILES, _TILES_FAR = 8, 3  # of rows, that use a panel which is packed since it is crowded
_LARGE_B = 1 << 19  # bytes: about half of L2
_WIDEST, _WIDEST_FAR = 16, 24  # vectors of a tile
_TALLEST = 16  # rows of a tile one vector wide: more of them cost more code, and are hardly faster


def count_lanes(unit: VectorUnit, itemsize: int) -> int:
    """Lanes of elements of that size; at least two, which LLVM splits where no register has them."""
    return max(2, unit.vector_bytes // itemsize)


def count_vectors(size: Size, width: int) -> int:
    """About how many vectors of so many lanes a loop of that size fills."""
    return -(-estimate(size) // width)


def even_part(total: int, most: int) -> int:
    """The size of the largest part where `total` is split evenly in parts of at most `most`."""
    return -(-total // -(-total // most)) if total else 1


def alike_part(total: int, most: int, vectors: int) -> int:
    """How many rows of an image are in a tile, of at most `most`: in each as many, if that is not few.

    Tiles two vectors wide of 7, 7, 7, 7 rows take 0.95 of the time of 10, 9, 9: measured, not explained.
    Others show nothing.
    """
    if vectors != _NARROW:
        return most
    alike = (part for part in range(most, _TALL_ENOUGH - 1, -1) if total % part == 0)
    return next(alike, most)


def is_crowded(strides: Sequence[Size], steps: int, across: int, itemsize: int, unit: VectorUnit) -> bool:
    """Whether a panel of B, `across` bytes wide, is more than the caches hold of it where it lies.

    Rows of it that are apart by a power of two, or nearly, fall in few sets of the cache: those of the lines
    that they have in a page, for pages lie anywhere. Twice the room of L2 is enough: it is read in order. Not
    where L3 is far: what lies apart is not fetched ahead, so L1 has to hold it, in as few sets.
    """
    nbytes = steps * across
    if not all(isinstance(stride, int) for stride in strides):
        return nbytes > _LITTLE
    places = _PAGE // math.gcd(_PAGE, *(estimate(stride) * itemsize for stride in strides))
    part = min(places * across, _PAGE) / _PAGE  # of the sets
    if unit.far_l3:
        return nbytes > _LITTLE * part
    return nbytes > _LITTLE and nbytes >= min(2 * unit.l2 * part, unit.l2 // 3)


def is_far(nbytes: Size, unit: VectorUnit) -> bool:
    """Whether a B of so many bytes comes from an L3 that is far."""
    return unit.far_l3 and isinstance(nbytes, int) and nbytes >= _LARGE_B


def least_tiles(far: bool) -> int:
    """How many tiles of rows use a panel that is packed since it is crowded.

    They are few where B `is_far`: each tile would wait for what packing reads once.
    """
    return _TILES_FAR if far else _TILES


@lru_cache(maxsize=1024)
def choose_tile(
    rows: int, vectors: int, registers: int, shared: bool = True, far: bool = False
) -> tuple[int, int]:
    """The register tile (rows, vectors) of least cost, by four terms for a step of the reduction.

    They are multiply-adds (two a cycle), loads (two a cycle), lines of B from L2 (half a line a cycle)
    and latency. With taller tiles of as many vectors, all steps take no more of any of them, and there are
    fewer tiles: so of each width the tallest is the best.
    About four registers stay free: LLVM's scheduler hoists loads, and would spill without a word.
    `shared`: panels are all that threads can share out; `far`: L3 is far, so a row alone reads long pieces.
    """
    best = (math.inf, 1, 1)

    def cycles(height: int, across: int) -> float:
        from_l2 = 2 * across if rows > height else across
        busiest = max(height * across / 2, (height + across) / 2, from_l2, 5.0)
        return busiest + 0.15 + 0.03 * (height + across)

    widest = _WIDEST
    if rows == 1 and far and vectors >= 4 * _WIDEST_FAR:
        widest = _WIDEST_FAR
    elif rows == 1 and shared:
        widest = _WIDEST // 2  # one row waits for memory: more panels are more even
    for across in range(1, min(vectors, widest) + 1):
        if even_part(vectors, across) != across:
            continue
        held = across if rows > 1 else 1  # a row alone reads B where it multiplies
        most = min((registers - held - max(2, registers // 8)) // across, 24 if across > 1 else _TALLEST)
        if most < 1:
            break
        height, over = even_part(rows, most), -(-vectors // across)
        wide, down = vectors - (across - 1) * over, -(-rows // height)
        narrow, tall = over - wide, rows - (height - 1) * down
        short = down - tall
        cost = tall * wide * cycles(height, across)
        if short:
            cost += short * wide * cycles(height - 1, across)
        if narrow:
            cost += tall * narrow * cycles(height, across - 1)
        if short and narrow:
            cost += short * narrow * cycles(height - 1, across - 1)
        if cost < best[0] - 1e-9:
            best = (cost, height, across)
    return best[1], best[2]
