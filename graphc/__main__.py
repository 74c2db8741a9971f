"""The command line: ``python -m graphc dump``, ``python -m graphc info``."""

from __future__ import annotations

import argparse
import os
import platform
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import graphc as gc


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status, 1 where a GraphError ended it."""
    parser = argparse.ArgumentParser(prog="graphc", description="A static-graph, define-then-run compiler.")
    commands = parser.add_subparsers(dest="command", required=True)
    dump = commands.add_parser("dump", help="write a graph, as defined or as optimized, to a file")
    dump.add_argument("source", help="a .gir text, or a script with a function build() that returns fetches")
    dump.add_argument("-o", "--output", help="the file to write; its suffix says the form; default: print")
    dump.add_argument("--optimized", action="store_true", help="after the passes, every placeholder fed")
    dump.set_defaults(run=_dump)
    info = commands.add_parser("info", help="what graphc finds on this machine")
    info.set_defaults(run=_info)
    given = parser.parse_args(arguments)
    try:
        given.run(given)
    except gc.GraphError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _dump(given: argparse.Namespace) -> None:
    fetches = _fetches(Path(given.source))
    if given.optimized:
        fetches = gc.optimize(fetches)
    if given.output:
        gc.dump(fetches, given.output)
    else:
        sys.stdout.write(gc.show(fetches) + "\n")


def _fetches(source: Path) -> Any:
    """What `source` defines. Raises: GraphError for what defines nothing."""
    if source.suffix == ".gir":
        return gc.load_graph(source)
    sys.path.insert(0, str(source.resolve().parent))  # a script may import its neighbours
    namespace = runpy.run_path(str(source))
    build = namespace.get("build")
    if not callable(build):
        raise gc.ArgumentError(f"{source} has no function build() that returns what to dump")
    return build()


def _info(given: argparse.Namespace) -> None:
    del given
    for name, value in information().items():
        sys.stdout.write(f"{name:<14} {value}\n")


def information() -> dict[str, str]:
    """What a report of a fault should say of the machine: versions, CPU, vector width, cache folder."""
    from importlib.metadata import version

    from runtime.llvm_backend.machine import describe_machine

    return {
        "graphc": gc.__version__,
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "networkx": version("networkx"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        **describe_machine(),
        "backends": ", ".join(gc.backends()),
    }


if __name__ == "__main__":
    sys.exit(main())
