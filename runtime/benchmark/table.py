"""Table: sheets and remarks for a terminal, written with `rich`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.benchmark.sheets import Sheet

_STYLES = {"met": "green", "not met": "red"}
_BETWEEN = 3  # characters that a column takes beside its text


def print_sheets(sheets: Iterable[Sheet], remarks: Iterable[str], console: Console) -> None:
    """All of them; what is too wide for the console in parts that are not."""
    for sheet in sheets:
        for columns in parts(sheet, console.width):
            console.print(_table(sheet, columns))
    for remark in remarks:
        console.print(Text(remark, "yellow"))


def parts(sheet: Sheet, width: int) -> Iterator[Sequence[int]]:
    """Columns of `sheet` that stand side by side in `width` characters, those that name a row each time."""
    cells = zip(sheet.head, *sheet.rows, strict=True)
    widths = [max(map(len, column)) + _BETWEEN for column in cells]
    names = range(sheet.named)
    least = sum(widths[i] for i in names) + 1
    found, taken = [*names], least
    for i in range(sheet.named, len(widths)):
        if taken + widths[i] > width and len(found) > len(names):
            yield found
            found, taken = [*names], least
        found.append(i)
        taken += widths[i]
    yield found


def _table(sheet: Sheet, columns: Sequence[int]) -> Table:
    table = Table(title=Text(sheet.title), title_justify="left", min_width=len(sheet.title))
    for i in columns:
        table.add_column(Text(sheet.head[i]), justify="left" if i in sheet.texts else "right")
    for row in sheet.rows:
        table.add_row(*(Text(row[i], _STYLES.get(row[i], "")) for i in columns))
    return table
