"""``graphc dump`` and ``graphc view``: a graph, or the record of it, in a file or in the browser."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

from graphc.errors import FormatError
from graphc.text import as_function, show
from passes.history import FORMAT
from passes.optimization import optimize
from runtime.commands.scripts import load_source
from runtime.dumping import dump, record_for, suffix_of, write_text


def declare_dump(commands: Any) -> None:
    """Adds ``dump``."""
    parser = commands.add_parser("dump", help="write a graph, or the record of compiling it, to a file")
    parser.add_argument(
        "source",
        help="a .gir text, a file of save_graph, or a script with build() that returns fetches, and if "
        "wanted feeds() that returns a dict: then runs are measured",
    )
    parser.add_argument(
        "-o",
        "--output",
        help="the file to write; its suffix says the form: .gir .dot .svg for the graph, .json .html "
        ".trace.json for the record; default: print the text",
    )
    parser.add_argument("--optimized", action="store_true", help="after the passes, every placeholder fed")
    parser.add_argument("--backend", help="what to compile for, where a record is written")
    parser.set_defaults(run=_dump)


def declare_view(commands: Any) -> None:
    """Adds ``view``."""
    parser = commands.add_parser("view", help="show a record, or compare two, in the browser")
    parser.add_argument("record", help="a .json that dump wrote; or what dump takes")
    parser.add_argument("other", nargs="?", help="another one, to compare with")
    parser.add_argument("-o", "--output", help="the page to write; default: a temporary file")
    parser.add_argument("--no-open", action="store_true", help="write the page, and open no browser")
    parser.add_argument("--backend", help="what to compile for, where no record is given")
    parser.set_defaults(run=_view)


def _dump(given: argparse.Namespace) -> None:
    if given.output:
        suffix_of(Path(given.output))  # before anything is run
    source = load_source(Path(given.source))
    fetches = optimize(as_function(source.fetches)) if given.optimized else source.fetches
    if given.output:
        feeds = None if given.optimized else source.feeds
        dump(fetches, given.output, feeds, given.backend, source.title)
    else:
        sys.stdout.write(show(fetches) + "\n")


def _view(given: argparse.Namespace) -> None:
    from runtime.viewer.page import page_of  # its page is a megabyte

    records = [load_record(Path(p), given.backend) for p in (given.record, given.other) if p is not None]
    page = page_of(*records)
    if given.output:
        target = Path(given.output)
    else:
        with tempfile.NamedTemporaryFile("wb", prefix="graphc-", suffix=".html", delete=False) as file:
            target = Path(file.name)
    write_text(target, page)
    sys.stdout.write(f"{target}\n")
    if not given.no_open and not webbrowser.open(target.resolve().as_uri()):
        sys.stdout.write("no browser was found: open the file yourself\n")


def load_record(path: Path, backend: str | None = None) -> dict[str, Any]:
    """The record in a .json file; else that of compiling what a script or a graph file defines.

    Raises: FormatError for what is no record, or one of another format; as `dump`.
    """
    if path.suffix != ".json":
        source = load_source(path)
        return record_for(source.fetches, source.feeds, backend, source.title)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no record: {error}") from None
    if not isinstance(record, dict) or not isinstance(record.get("stages"), list) or not record["stages"]:
        raise FormatError(f"{path} is no record: it has no stages; graphc dump SCRIPT -o x.json writes one")
    if record.get("format") != FORMAT:
        raise FormatError(
            f"{path} has format {record.get('format')!r}, and this graphc reads {FORMAT}: dump it again"
        )
    return record
