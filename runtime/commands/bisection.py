"""``graphc bisect``: which pass, and which one rewrite of it, changes a number."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from graphc.files import load_graph
from runtime.checking import check_passes
from runtime.commands.scripts import built_by, fed_by, is_script, run_script


def declare_bisect(commands: Any) -> None:
    """Adds ``bisect``."""
    parser = commands.add_parser("bisect", help="find the pass, and its one rewrite, that changes a number")
    parser.add_argument(
        "source",
        help="a .gir text, or a script with build(), and if wanted with feeds() that returns a dict "
        "and a tuple `pipeline` of passes",
    )
    parser.set_defaults(run=_bisect)


def _bisect(given: argparse.Namespace) -> int:
    """The report; with a reproducer, and exit status 1, where a pass does harm."""
    source = Path(given.source)
    script = run_script(source) if is_script(source) else {}
    fetches = built_by(script, source) if script else load_graph(source)
    report = check_passes(fetches, fed_by(script), pipeline=script.get("pipeline"))
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
