"""Grid: how the outputs of a contract are handed out as chunks; a formula of its sizes alone.

A unit is one (batch, cut of the reduction, part of the rows, group of panels); a chunk is a range of
units. Neither depends on how many threads there are, so neither do the results. The formulas are written
with a `Writer`: they become machine code, or numbers where an `Evaluator` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.freezing import frozen
from graphc.sizes import Size, product
from runtime.llvm_backend.contractions.schedule import Schedule
from runtime.llvm_backend.contractions.splits import tile_count
from runtime.llvm_backend.contractions.tile import Frame
from runtime.llvm_backend.contractions.widening import Widening
from runtime.llvm_backend.ir.writer import Evaluator, Value, Writer

_NUMBERS = ("cuts", "parts", "groups", "blocks", "of_loop", "units", "chunks")
_MOST_CHUNKS = 64
_GRAIN, _LIGHT_GRAIN = 1 << 20, 1 << 16  # steps that are worth a chunk of their own
_FEW_CHUNKS = 4  # no more of them are worth one in the middle
_ROWS_PER_PACK = 2048  # rows that should share the packing of a panel,
_FEWEST_PER_PACK, _ENOUGH = 96, 16  # or fewer, where there would not be so many chunks
_HELD = 4  # the part of L2 for what a part of the rows reads of A, while panels of B go by


@frozen
class Grid:
    """Counts of everything a kernel loops over.

    Attributes:
        cuts, parts, groups: units are their product, and the batch's.
        blocks: of the reduction, all cuts together; `of_loop` of them lie in one run of the blocked loop.
        panels: of the column.
        level: which level of the rows is divided in parts; `levels` are the counts of all.
    """

    cuts: Value
    parts: Value
    groups: Value
    blocks: Value
    of_loop: Value
    panels: Value
    level: int
    levels: tuple[Value, ...]
    units: Value
    chunks: Value


def row_levels(w: Writer, schedule: Schedule) -> tuple[Value, ...]:
    """How often each level of the rows runs: whole loops, then tiles of the pair, then tiles of the last."""
    whole = schedule.rows[: -len(schedule.tiles)]
    return (
        *(w.word(loop.size) for loop in whole),
        *(tile_count(w, split) for split in schedule.tiles),
    )


def lay_out(w: Writer, frame: Frame) -> Grid:
    """The grid of a kernel, as values of the function being written."""
    schedule, level = frame.schedule, frame.facts.level
    batch = w.word(product(loop.size for loop in schedule.batch))
    of_loop, blocks, cuts = _cut_reduction(w, schedule)
    panels, levels = tile_count(w, schedule.panels), row_levels(w, schedule)
    work = _count_steps(w, schedule)
    wanted = w.max(1, w.min(_MOST_CHUNKS, w.ceil_div(work, _LIGHT_GRAIN if _is_light(frame) else _GRAIN)))
    if not _is_light(frame):  # what would be one chunk, or two that may be uneven
        wanted = w.max(wanted, w.mul(2, w.min(2, w.div(work, 3 * _GRAIN // 4))))
    others = w.max(1, w.mul(batch, cuts))
    if schedule.by_parts:
        wanted = others
    if frame.facts.few_rows:
        even = w.mul(w.div(wanted, others), others)  # each chunk has as much of the batch
        wanted = w.max(even, w.min(wanted, others))
    parts, groups = _share_out(w, frame, wanted, others, w.max(1, levels[level]), panels)
    units = w.mul(w.mul(w.mul(batch, cuts), parts), groups)
    return Grid(
        cuts=cuts,
        parts=parts,
        groups=groups,
        blocks=blocks,
        of_loop=of_loop,
        panels=panels,
        level=level,
        levels=levels,
        units=units,
        chunks=w.max(1, w.select(w.compare("slt", others, wanted), units, w.min(units, wanted))),
    )


def _cut_reduction(w: Writer, schedule: Schedule) -> tuple[Value, Value, Value]:
    """Blocks of the loop that is blocked, all blocks of the reduction, and how many cuts these are in."""
    of_loop: Value = 1
    if schedule.block is not None:
        of_loop = w.max(1, w.ceil_div(w.word(schedule.inner[0].size), w.word(schedule.block)))
    outside = w.word(product(loop.size for loop in schedule.reduction[: schedule.outer]))
    blocks = w.mul(w.max(1, outside), of_loop)  # one of no steps stores what an empty sum is
    if not schedule.cut:
        return of_loop, blocks, 1
    steps = w.word(product(loop.size for loop in schedule.reduction))
    return of_loop, blocks, w.max(1, w.min(blocks, w.ceil_div(steps, schedule.cut)))


def _count_steps(w: Writer, schedule: Schedule) -> Value:
    """The multiply-adds of all outputs; lanes that are masked take as long."""
    lanes = w.word(schedule.column.size)
    if schedule.form == "outer":
        lanes = w.mul(w.ceil_div(lanes, schedule.width), schedule.width)
    nests = (schedule.rows, schedule.reduction, schedule.batch)
    return w.mul(w.word(product(product(loop.size for loop in nest) for nest in nests)), lanes)


def _is_light(frame: Frame) -> bool:
    """Whether a step takes long, beside those of a product of matrices."""
    return frame.facts.few_rows or frame.schedule.lanes_in_a or len(frame.contract.ins) == 1


def _share_out(
    w: Writer, frame: Frame, wanted: Value, others: Value, tall: Value, panels: Value
) -> tuple[Value, Value]:
    """Parts of the rows, of which there are `tall`, and groups of the panels.

    With `others`, by which a unit is apart besides, they are to come to the chunks that are `wanted`.
    """
    schedule = frame.schedule
    rows = product(loop.size for loop in schedule.rows)
    most_parts = tall
    if schedule.pack:
        few_panels = w.ceil_div(_ENOUGH, w.mul(others, w.max(1, panels)))
        most = w.min(w.div(w.word(rows), _FEWEST_PER_PACK), few_panels)
        most_parts = w.max(1, w.min(most_parts, w.max(w.div(w.word(rows), _ROWS_PER_PACK), most)))
    if schedule.copy:
        parts = w.min(most_parts, w.ceil_div(wanted, others))
        groups = w.min(w.max(1, panels), w.ceil_div(wanted, w.mul(others, parts)))
    else:
        groups = w.min(w.max(1, panels), w.ceil_div(wanted, others))
        parts = w.min(most_parts, w.ceil_div(wanted, w.mul(others, groups)))
    if not (schedule.pack or _is_light(frame)):
        held = frame.machine.l2 // _HELD // frame.accumulator.itemsize
        steps = product(loop.size for loop in schedule.reduction)
        needed = w.ceil_div(w.mul(w.word(rows), w.word(steps)), held)
        parts = w.min(parts, w.max(needed, w.ceil_div(_ENOUGH, w.mul(others, groups))))
    middle = 0 if schedule.pack or schedule.copy else w.min(1, w.div(wanted, _FEW_CHUNKS + 1))
    parts = w.min(tall, w.max(1, w.add(w.mul(w.div(parts, 2), 2), middle)))
    return parts, groups


def part_range(w: Writer, grid: Grid, part: Value) -> tuple[Value, Value]:
    """The indices of the divided level that are a part.

    Where the number of parts is odd, the one in the middle has an index or two; before and behind it there
    are as many. Two threads come from either end: they have the same rows in one product as in the next, and
    meet where chunks are small.
    """
    parts, count = grid.parts, grid.levels[grid.level]
    if parts == 1:
        return 0, count
    each = w.div(parts, 2)
    half = w.div(w.sub(count, w.rem(parts, 2)), 2)
    divisor = w.max(1, each)

    def start(part: Value) -> Value:
        early = w.compare("sge", each, part)
        near = w.select(early, part, w.sub(parts, part))  # parts from the nearer end
        indices = w.div(w.mul(near, half), divisor)
        return w.select(early, indices, w.sub(count, indices))

    return start(part), start(w.add(part, 1))


def known_grid(frame: Frame) -> Grid | None:
    """The grid of a kernel in numbers; None where a size is known only at the run."""
    try:
        return lay_out(Evaluator({}), frame)
    except KeyError:
        return None


def grid_words(widening: Widening, frame: Frame, grid: Grid | None) -> dict[str, Size]:
    """Words for the numbers of the grid of a kernel, but for what other words or the schedule say.

    `frame` has numbers, and `grid` is its `known_grid`. `plan` writes the words where there is none. A kernel
    of one unit has none of them.
    """
    source = frame.schedule
    flexible = {"parts", "groups", "units", "chunks"}
    if source.cut:
        flexible.add("cuts")
    if source.outer or source.block is not None:
        flexible.add("blocks")
    if source.block is not None:
        flexible.add("of_loop")
    if grid is None:
        return {name: widening.later() if name in flexible else 1 for name in _NUMBERS}
    if grid.units == 1:
        flexible -= {"cuts", "parts", "groups", "units", "chunks"}
    found = {}
    for name in _NUMBERS:
        number = getattr(grid, name)
        found[name] = widening.word(number, always=True) if name in flexible else number
    return found


def read_grid(w: Writer, frame: Frame, numbers: Mapping[str, Size]) -> Grid:
    """The grid whose `numbers` are words."""
    return Grid(
        panels=tile_count(w, frame.schedule.panels),
        level=frame.facts.level,
        levels=row_levels(w, frame.schedule),
        **{name: w.word(numbers[name]) for name in _NUMBERS},
    )
