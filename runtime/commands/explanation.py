"""``graphc explain``: answers from the record, as tables in the terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphc.errors import ArgumentError
from runtime.commands.output import load_record
from runtime.records.answers import ANSWERS, Table, show_gradient, summarize
from runtime.records.reading import spell_plainly

_OPTIONS: Mapping[str, str] = {
    "why_not_fused": "why neighbours are not in one kernel",
    "peak": "what lives at the peak of memory",
    "folded": "what the passes made less of, and what they left",
    "slow": "which steps and lines take longest; needs feeds() in the script",
}


def declare_explain(commands: Any) -> None:
    """Adds ``explain``."""
    parser = commands.add_parser("explain", help="answer questions on what was compiled, as tables")
    parser.add_argument("source", help="what dump takes, or a .json that dump wrote")
    which = parser.add_mutually_exclusive_group()
    for name, text in _OPTIONS.items():
        which.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=text)
    which.add_argument("--gradient", metavar="NAME", help="what the gradient of a variable is made of")
    parser.add_argument("--backend", help="what to compile for, where no record is given")
    parser.set_defaults(run=_explain)


def _explain(given: argparse.Namespace) -> None:
    console = _console()
    record = load_record(Path(given.source), given.backend)
    if given.gradient is not None:
        tables = show_gradient(record, given.gradient)
    else:
        asked = next((name for name in ANSWERS if getattr(given, name)), None)
        tables = summarize(record) if asked is None else ANSWERS[asked](record)
    _print(console, tables)


def _console() -> Any:
    try:
        from rich.console import Console
    except ImportError:
        raise ArgumentError(
            "explain prints its tables with rich, which is not installed: pip install 'graphc[explain]'"
        ) from None
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 200)


def _print(console: Any, tables: Sequence[Table]) -> None:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    for table in tables:
        title = Text(spell_plainly(table.title))
        shown = RichTable(
            title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=any(table.columns)
        )
        for i, column in enumerate(table.columns):
            right = column in ("time", "share", "bytes", "times", "nodes", "step")
            shown.add_column(
                column,
                justify="right" if right else "left",
                no_wrap=right,
                overflow="fold" if i else "ellipsis",
            )
        for row in table.rows:
            # Text: names that look like markup are none
            shown.add_row(*(Text(spell_plainly(cell)) for cell in row))
        console.print(shown)
        for note in table.notes:
            console.print(Text(spell_plainly(f"  {note}")))
        if not table.rows:
            console.print(Text("  none"))
