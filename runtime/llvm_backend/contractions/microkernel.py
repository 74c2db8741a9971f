"""Micro-kernels: a tile of outputs in registers, combined over the whole reduction or a block of it.

    outer   acc[i, j] += broadcast(A[i, k]) * B[k, j]           lanes are outputs
    dot     acc[i, j] += A[i, k..k+W] * B[j, k..k+W]            lanes are steps, added up at the end

An output's sum runs over k in one order whatever its tile, its edge or its thread, so its bits are the
same for any split of the outputs.
"""

from __future__ import annotations

from runtime.llvm_backend.contractions.dot_kernel import DotTile
from runtime.llvm_backend.contractions.outer_kernel import OuterTile
from runtime.llvm_backend.contractions.tile import Frame, Tile, signature
from runtime.llvm_backend.ir.writer import Writer


def write_tile(w: Writer, frame: Frame, tile: Tile) -> bool:
    """Writes the function of one tile; functions are named by their tile, so each is written once.

    Whether it is as fast where LLVM makes it quickly.
    """
    w.begin(signature(frame, tile.name(frame.name)))
    kind = OuterTile if frame.schedule.form == "outer" else DotTile
    made = kind(w, frame, tile)
    made.write()
    if made.is_light:
        w.add_attribute("optnone")
    w.end()
    return made.is_light
