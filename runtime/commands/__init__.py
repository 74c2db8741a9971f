"""The command line: one file for each command of ``python -m graphc``, or for a few alike."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from graphc.errors import GraphError
from runtime.benchmark.command import declare_bench
from runtime.commands.bisection import declare_bisect
from runtime.commands.explanation import declare_explain
from runtime.commands.information import declare_info
from runtime.commands.output import declare_dump, declare_view
from runtime.records.reading import spell_plainly

Commands = Any  # what argparse calls its subparsers, whose class has no public name

# Each adds its command; `run` of what it is given returns the exit status.
COMMANDS: tuple[Callable[[Commands], None], ...] = (
    declare_dump,
    declare_view,
    declare_explain,
    declare_bisect,
    declare_bench,
    declare_info,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status, 1 where a GraphError or an OSError ended it."""
    parser = argparse.ArgumentParser(prog="graphc", description="A static-graph, define-then-run compiler.")
    commands = parser.add_subparsers(dest="command", required=True)
    for declare in COMMANDS:
        declare(commands)
    given = parser.parse_args(arguments)
    try:
        return int(given.run(given) or 0)
    except GraphError as error:
        sys.stderr.write(spell_plainly(f"{type(error).__name__}: {error}\n"))
        return 1
    except OSError as error:
        told = f"{error.strerror}: {error.filename}" if error.strerror and error.filename else error
        sys.stderr.write(spell_plainly(f"{told}\n"))
        return 1
