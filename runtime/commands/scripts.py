"""Scripts: what a file that is given to a command defines."""

from __future__ import annotations

import errno
import os
import runpy
import sys
from pathlib import Path
from typing import Any

from graphc.errors import ArgumentError
from graphc.files import load_graph
from graphc.freezing import frozen
from graphc.graph import Graph


@frozen
class Source:
    """What a file defines: its fetches, what is fed where it says so, and what it is called."""

    fetches: Any
    feeds: Any
    title: str


def load_source(path: Path) -> Source:
    """What is in a .gir text, a graph file, or a script with build() and perhaps feeds().

    Raises: GraphError for what defines nothing; OSError; what the script raises.
    """
    if not is_script(path):
        return Source(load_graph(path), None, path.name)
    with Graph().as_default():  # its own, so that names of two scripts do not meet
        script = run_script(path)
        return Source(built_by(script, path), fed_by(script), path.name)


def is_script(source: Path) -> bool:
    """Whether `source` is a Python script, not a graph in a file."""
    return source.suffix in (".py", ".pyw", "")


def run_script(source: Path) -> dict[str, Any]:
    """What the script `source` defines. Raises: what it raises; OSError."""
    if source.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(source))
    sys.path.insert(0, str(source.resolve().parent))  # a script may import its neighbours
    try:
        return runpy.run_path(str(source))
    finally:
        sys.path.pop(0)


def built_by(script: dict[str, Any], source: Path) -> Any:
    """What its build() returns. Raises: ArgumentError where it has none."""
    build = script.get("build")
    if not callable(build):
        raise ArgumentError(f"{source} has no function build() that returns its fetches")
    return build()


def fed_by(script: dict[str, Any]) -> Any:
    """What its feeds() returns, a dict as `Session.run` takes it; None where it has none."""
    feeds = script.get("feeds")
    return feeds() if callable(feeds) else None
