"""The command line: ``python -m graphc dump``, ``bisect`` and ``info``."""

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
    bisect = commands.add_parser("bisect", help="find the pass, and its one rewrite, that changes a number")
    bisect.add_argument(
        "source",
        help="a .gir text, or a script with build(), and if wanted with feeds() that returns a dict "
        "and a tuple `pipeline` of passes",
    )
    bisect.set_defaults(run=_bisect)
    info = commands.add_parser("info", help="what graphc finds on this machine")
    info.set_defaults(run=_info)
    given = parser.parse_args(arguments)
    try:
        return int(given.run(given) or 0)
    except gc.GraphError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _dump(given: argparse.Namespace) -> None:
    fetches = _fetches(Path(given.source))
    if given.optimized:
        fetches = gc.optimize(fetches)
    if given.output:
        gc.dump(fetches, given.output)
    else:
        sys.stdout.write(gc.show(fetches) + "\n")


def _bisect(given: argparse.Namespace) -> int:
    """The report; with a reproducer, and exit status 1, where a pass does harm."""
    source = Path(given.source)
    script = {} if source.suffix == ".gir" else _namespace(source)
    fetches = _built(script, source) if script else gc.load_graph(source)
    feeds = script.get("feeds")
    report = gc.check_passes(fetches, feeds() if callable(feeds) else None, pipeline=script.get("pipeline"))
    sys.stdout.write(f"{report}\n")
    if report.finding is None:
        return 0
    if report.finding.reproducer:
        text = report.finding.reproducer
        if "pipeline" in script:
            own = f", pipeline=runpy.run_path({str(source)!r})['pipeline']))"
            text = f"import runpy\n\n{text.strip().removesuffix('))')}{own}\n"
        sys.stdout.write(f"\nthis shows it again:\n\n{text}")
    return 1


def _fetches(source: Path) -> Any:
    """What `source` defines. Raises: GraphError for what defines nothing."""
    if source.suffix == ".gir":
        return gc.load_graph(source)
    return _built(_namespace(source), source)


def _namespace(source: Path) -> dict[str, Any]:
    """What the script `source` defines."""
    sys.path.insert(0, str(source.resolve().parent))  # a script may import its neighbours
    return runpy.run_path(str(source))


def _built(script: dict[str, Any], source: Path) -> Any:
    build = script.get("build")
    if not callable(build):
        raise gc.ArgumentError(f"{source} has no function build() that returns its fetches")
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
