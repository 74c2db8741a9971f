"""Row stagger: a loop over rows in which the loops of two rows take turns; `row_order` says why."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.freezing import frozen
from runtime.llvm_backend.rows.row_looks import RowLooks
from runtime.llvm_backend.rows.row_loop import RowLoop


@frozen
class Part:
    """Some of the phases of a row.

    Attributes:
        types: of the numbers that they leave for later parts.
        write: writes them for a row and the numbers of earlier parts; gives those that they leave.
    """

    types: Sequence[str]
    write: Callable[[str, Sequence[str]], Sequence[str]]


def write_staggered(
    loops: RowLoop, looks: RowLooks, rows: tuple[str, str], early: Part, middle: Part, last: Part
) -> None:
    """The loop over `rows`, from the first to below the end: a row's early part comes in the step before.

    A step has the middle part of its row, the early one of the next row, and the last one of its own. It all
    begins with a step before the first row.
    """
    one, (first, end) = loops.one, rows
    labels = ("row", "between", "row.ahead", "early", "rest", "last", "row.next", "rows.done")
    head, between, ahead, lead, rest, ending, latch, done = map(one.fresh_label, labels)

    def meet(types: Sequence[str], x: Sequence[str], x_from: str, y: Sequence[str], y_from: str) -> list[str]:
        return [
            a if a == b else one.let(f"phi {type} [{a}, %{x_from}], [{b}, %{y_from}]")
            for type, a, b in zip(types, x, y, strict=True)
        ]

    def write_if(
        condition: str,
        blocks: tuple[str, str],
        part: Part,
        row: str,
        given: Sequence[str],
        others: Sequence[str],
    ) -> list[str]:
        """The part in the first of `blocks`, where the condition holds; gives its numbers, or `others`."""
        before, seen = one.label, looks.sums
        one.do(f"br i1 {condition}, label %{blocks[0]}, label %{blocks[1]}")
        loops.begin(blocks[0])
        left, after = part.write(row, given), one.label
        one.do(f"br label %{blocks[1]}")
        loops.begin(blocks[1])
        met = meet(part.types, others, before, left, after)
        looks.hold(meet(looks.types, seen, before, looks.sums, after))
        return met

    start = one.let(f"sub i64 {first}, 1")
    some = one.let(f"icmp slt i64 {first}, {end}")
    before, begun = one.label, looks.sums
    one.do(f"br i1 {some}, label %{head}, label %{done}")
    loops.begin(head)
    count, after = one.name(), one.name()
    one.do(f"{count} = phi i64 [{start}, %{before}], [{after}, %{latch}]")
    own = [one.name() for _ in early.types]
    seen = [one.name() for _ in begun]
    looks.hold(seen)
    here = len(one.lines)  # where the phis of `own` and `seen` go
    row = one.counter(count)
    one.do(f"{after} = add i64 {row}, 1")
    there_is = one.let(f"icmp sge i64 {row}, {first}")
    there_are_more = one.let(f"icmp slt i64 {after}, {end}")
    left = write_if(there_is, (between, ahead), middle, row, own, ["poison"] * len(middle.types))
    next_own = write_if(there_are_more, (lead, rest), early, after, (), own)
    write_if(there_is, (ending, latch), last, row, [*own, *left], ())
    one.lines[here:here] = [
        f"  {name} = phi {type} [{start}, %{before}], [{x}, %{latch}]"
        for name, type, start, x in (
            *zip(own, early.types, ["poison"] * len(own), next_own, strict=True),
            *zip(seen, looks.types, begun, looks.sums, strict=True),
        )
    ]
    one.do(f"br i1 {there_are_more}, label %{head}, label %{done}")
    loops.begin(done)
    looks.hold(meet(looks.types, begun, before, looks.sums, latch))
