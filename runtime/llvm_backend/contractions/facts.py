"""Facts: what a kernel's text rests on of the numbers that are words in it.

They are few, so contractions that differ in numbers alone mostly have the same ones, and share their text.
"""

from __future__ import annotations

from graphc.freezing import frozen
from graphc.sizes import product
from runtime.llvm_backend.contractions.ahead import Ahead, look_ahead
from runtime.llvm_backend.contractions.lane_choice import estimate
from runtime.llvm_backend.contractions.placing import count_bytes
from runtime.llvm_backend.contractions.registers import VectorUnit, is_far
from runtime.llvm_backend.contractions.schedule import CHAINS, OUT, A, B, Schedule

_FEW_ROWS = 8  # below, a step waits for memory
_LARGE_PANEL = 2048  # vectors: of 64 bytes an eighth of L2, where that is large
_VERY_LARGE_B = 3 << 20  # bytes: one of 2.3 MB was packed no faster when it was asked for
_LARGE_OUT = 6 << 20  # bytes: one of 4 MB was stored no faster when it was asked for
_LINE = 64  # bytes
_LONG_TILE = 4096  # multiply-adds of vectors: some 2000 cycles


@frozen
class Facts:
    """What the numbers of a schedule say.

    Attributes:
        level: the level of the rows that is divided in parts: the one that runs most often.
        few_rows: whether rows are so few that a step waits for memory.
        long_tile: whether a tile takes so long that what is around it does not count.
        has_steps: of each loop of the reduction, whether it is known not to be empty.
        even: whether the first loop within a tile has a known, even number of steps.
        many: whether the last one has so many that several sums of an output are worth it.
        adjoining: whether rows of A are as far apart as the reduction is long.
        large_panel: whether a packed panel is much more than L1 holds.
        far: whether B comes from an L3 that is far, where tiles may read it as it lies.
        far_rows: whether a packed B comes from beyond L2, by rows.
        far_out: whether short tiles ask for the lines that they store: of a large output, where L3 is far.
        apart: whether each step reads another line of A, for rows that lie side by side.
        ahead: what tiles ask for of the next block; None: nothing.
    """

    level: int
    few_rows: bool
    long_tile: bool
    has_steps: tuple[bool, ...]
    even: bool
    many: bool
    adjoining: bool
    large_panel: bool
    far: bool
    far_rows: bool
    far_out: bool
    apart: bool
    ahead: Ahead | None

    @staticmethod
    def of(schedule: Schedule, machine: VectorUnit) -> Facts:
        """Those of a schedule with its numbers, for a machine."""
        inner, row = schedule.inner, schedule.rows[-1]
        rows = product(loop.size for loop in schedule.rows)
        work = product(loop.size for loop in inner) * (schedule.pair * schedule.height * schedule.vectors)
        steps = schedule.steps
        first, last = inner[0].size, inner[-1].size
        is_long = isinstance(work, int) and work >= _LONG_TILE
        return Facts(
            level=_longest_level(schedule),
            few_rows=isinstance(rows, int) and rows < _FEW_ROWS,
            long_tile=is_long,
            has_steps=tuple(isinstance(x.size, int) and x.size != 0 for x in schedule.reduction),
            even=isinstance(first, int) and first % 2 == 0,
            many=isinstance(last, int) and last >= 4 * CHAINS,
            adjoining=inner[0].strides[A] == 1 and row.strides[A] == first,
            large_panel=schedule.pack and isinstance(steps, int) and steps * schedule.vectors >= _LARGE_PANEL,
            far=(schedule.adaptive or not schedule.pack) and is_far(count_bytes(schedule), machine),
            far_rows=schedule.pack and _has_far_rows(schedule),
            far_out=not is_long and machine.far_l3 and _has_large_out(schedule),
            apart=_lies_apart(schedule),
            ahead=look_ahead(schedule),
        )


def _has_far_rows(schedule: Schedule) -> bool:
    """Whether lanes of B lie side by side, and all of it is more than L2 holds."""
    nbytes = count_bytes(schedule)
    return schedule.column.strides[B] == 1 and isinstance(nbytes, int) and nbytes >= _VERY_LARGE_B


def _has_large_out(schedule: Schedule) -> bool:
    """Whether the output is much more than L2 holds."""
    out, loops = schedule.operands[OUT], (*schedule.batch, *schedule.rows, schedule.column)
    elements = product(loop.size for loop in loops)
    return out is not None and isinstance(elements, int) and elements * out.dtype.itemsize >= _LARGE_OUT


def _lies_apart(schedule: Schedule) -> bool:
    """Whether rows of A lie side by side, and the last loop of the reduction goes on by a line or more."""
    a, stride = schedule.operands[A], schedule.inner[-1].strides[A]
    beside = schedule.rows[-1].strides[A] == 1 and not schedule.copy
    return a is not None and beside and isinstance(stride, int) and stride * a.dtype.itemsize >= _LINE


def _longest_level(schedule: Schedule) -> int:
    tiled = len(schedule.tiles)
    steps = [1] * (len(schedule.rows) - tiled) + [split.step for split in schedule.tiles]
    counts = [-(-estimate(loop.size) // step) for loop, step in zip(schedule.rows, steps, strict=True)]
    return max(range(len(counts)), key=counts.__getitem__)
