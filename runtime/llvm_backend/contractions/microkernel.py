"""Micro-kernels: a tile of outputs in registers, combined over the whole reduction or a block of it.

    outer   acc[i, j] += broadcast(A[i, k]) * B[k, j]           lanes are outputs
    dot     acc[i, j] += A[i, k..k+W] * B[j, k..k+W]            lanes are steps, added up at the end

An output's sum runs over k in one order whatever its tile, its edge or its thread, so its bits are the
same for any split of the outputs.
"""

from __future__ import annotations

from runtime.llvm_backend.contractions.dot_kernel import DotTile
from runtime.llvm_backend.contractions.outer_kernel import OuterTile
from runtime.llvm_backend.contractions.tile import Frame, Tile, parameters
from runtime.llvm_backend.ir.naked import CONVENTION, Registers, Unwritable
from runtime.llvm_backend.ir.writer import Writer


def write_naked_tile(w: Writer, frame: Frame, tile: Tile) -> bool:
    """Writes the function of one tile as one assembly, though another function is open; whether it can be."""
    if frame.schedule.form != "outer":
        return False
    given = parameters(frame)
    registers = Registers(w, [name for _, name in given])
    try:
        text = OuterTile(registers, frame, tile).write_whole(registers)
    except Unwritable:
        return False
    if text is not None:
        head = f"internal {CONVENTION}void {tile.name(frame.name)}({_spelled(given)})"
        body = f'  call void asm sideeffect "{text}", ""()\n  unreachable'
        w.define(f"define {head} naked noinline optnone nounwind {{\nentry:\n{body}\n}}")
    return text is not None


def write_tile(w: Writer, frame: Frame, tile: Tile) -> bool:
    """Writes the function of one tile; functions are named by their tile, so each is written once.

    Whether it is as fast where LLVM makes it quickly.
    """
    w.begin(f"internal void {tile.name(frame.name)}({_spelled(parameters(frame))}) noinline nounwind")
    kind = OuterTile if frame.schedule.form == "outer" else DotTile
    made = kind(w, frame, tile)
    made.write()
    if made.is_light:
        w.add_attribute("optnone")
    w.end()
    return made.is_light


def _spelled(parameters: list[tuple[str, str]]) -> str:
    return ", ".join(f"{type} {name}" for type, name in parameters)
