"""Splits: how a size is split among register tiles, and which tile lies where.

A size known now is split evenly: 128 rows of at most 12 are 7 x 12 + 4 x 11, never a bad edge. A size
known at the run is full tiles, then tiles of up to four rows whose surplus rows repeat the last one: such
a row is loaded, computed and stored alike, so one kernel serves any number of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from graphc.freezing import frozen
from graphc.sizes import Size
from runtime.llvm_backend.ir.writer import Value, Writer

REST = 4  # rows of the tiles that follow the full ones
Masks = Literal["none", "last", "all"]
Visit = Callable[[int, bool, Value, Value], None]


@frozen
class Split:
    """`size` as `full` tiles of `step` and others of `rest`, `count` in all.

    Attributes:
        rest: 0 where there are no others.
        open: whether the size is known only at the run: the last tile may reach beyond it.
        edge: whether the last tile does though the size is known: what is split is lanes of a panel.
        single: whether just one of the others follows the full ones.
        full, count: None where the size alone says it.
    """

    size: Size
    step: int
    rest: int
    open: bool = False
    edge: bool = False
    single: bool = False
    full: Size | None = None
    count: Size | None = None

    @property
    def even(self) -> bool:
        """Whether all tiles are full."""
        return not (self.rest or self.open or self.edge)


def split_evenly(size: Size, step: int) -> Split:
    """The split of rows, or of columns one by one."""
    if not isinstance(size, int):
        return Split(size, step, min(step, REST), open=True)
    count = -(-size // step)
    full = size - (step - 1) * count
    return Split(size, step, 0 if full == count else step - 1, full=full, count=count)


def split_lanes(size: Size, width: int, vectors: int) -> Split:
    """The split of lanes in panels of at most `vectors` of them."""
    if not isinstance(size, int):
        return Split(size, vectors * width, vectors * width, open=True)
    held = split_evenly(-(-size // width), vectors)
    assert isinstance(held.full, int)  # as the size is
    assert isinstance(held.count, int)
    return Split(
        size,
        vectors * width,
        held.rest * width,
        edge=size % width != 0,
        single=held.count - held.full == 1,
        full=held.full,
        count=held.count,
    )


def tile_count(w: Writer, split: Split) -> Value:
    """How many tiles there are."""
    if split.count is not None:
        return w.word(split.count)
    size, full = w.word(split.size), full_count(w, split)
    return w.add(full, w.ceil_div(w.sub(size, w.mul(full, split.step)), split.rest))


def full_count(w: Writer, split: Split) -> Value:
    """How many full tiles there are."""
    return w.div(w.word(split.size), split.step) if split.full is None else w.word(split.full)


def tile_start(w: Writer, split: Split, index: Value) -> Value:
    """Where tile `index` begins, and the size where it is one past the last."""
    if not split.rest:
        return w.mul(index, split.step)
    full = full_count(w, split)
    start = w.add(w.mul(w.min(index, full), split.step), w.mul(w.max(w.sub(index, full), 0), split.rest))
    return w.min(w.word(split.size), start) if split.open else start


def visit_tile(w: Writer, split: Split, index: Value, body: Visit) -> None:
    """Writes ``body(extent, clamped, start, valid)`` for each kind of tile that `index` may be."""

    def full() -> None:
        body(split.step, False, w.mul(index, split.step), split.step)

    def other() -> None:
        start = _behind(w, split, index)
        valid = w.min(w.sub(w.word(split.size), start), split.rest) if split.open else split.rest
        body(split.rest, split.open, start, valid)

    if not split.rest:
        full()
    else:
        w.choose(w.compare("slt", index, full_count(w, split)), full, other)


def _behind(w: Writer, split: Split, index: Value) -> Value:
    """Where tile `index` begins, which is not a full one."""
    full = full_count(w, split)
    return w.add(w.mul(full, split.step), w.mul(w.sub(index, full), split.rest))


def visit_panel(
    w: Writer, split: Split, width: int, index: Value, body: Callable[[int, Masks, Value, Value], None]
) -> None:
    """Writes ``body(vectors, masks, start, lanes)`` for each kind of panel that `index` may be."""

    def plain(extent: int, _: bool, start: Value, __: Value) -> None:
        body(extent // width, "none", start, extent)

    def full() -> None:
        plain(split.step, False, w.mul(index, split.step), 0)

    def masked() -> None:
        start = _behind(w, split, index) if split.rest and not split.open else w.mul(index, split.step)
        vectors = (split.rest or split.step) // width
        body(vectors, "all" if split.open else "last", start, w.sub(w.word(split.size), start))

    def before() -> None:
        if split.single:  # and that is the masked one
            full()
        else:
            visit_tile(w, split, index, plain)

    if split.open:
        w.choose(w.compare("slt", index, full_count(w, split)), full, masked)
    elif not split.edge:
        visit_tile(w, split, index, plain)
    elif split.count == 1:
        masked()
    else:
        w.choose(w.compare("slt", index, w.sub(tile_count(w, split), 1)), before, masked)
