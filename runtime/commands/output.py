"""``graphc dump``: a graph, as it was defined or as it was compiled, in a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from graphc.files import dump
from graphc.text import show
from passes.optimization import optimize
from runtime.commands.scripts import load_fetches


def declare_dump(commands: Any) -> None:
    """Adds ``dump``."""
    parser = commands.add_parser("dump", help="write a graph, as defined or as optimized, to a file")
    parser.add_argument(
        "source", help="a .gir text, or a script with a function build() that returns fetches"
    )
    parser.add_argument("-o", "--output", help="the file to write; its suffix says the form; default: print")
    parser.add_argument("--optimized", action="store_true", help="after the passes, every placeholder fed")
    parser.set_defaults(run=_dump)


def _dump(given: argparse.Namespace) -> None:
    fetches = load_fetches(Path(given.source))
    if given.optimized:
        fetches = optimize(fetches)
    if given.output:
        dump(fetches, given.output)
    else:
        sys.stdout.write(show(fetches) + "\n")
