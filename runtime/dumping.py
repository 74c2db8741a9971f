"""Dumping: graphs in files for people to look at, in the form that the suffix names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphc import files
from graphc.atomic import write_atomically
from graphc.errors import ArgumentError, FeedError
from graphc.function import Function
from graphc.graph import Graph
from graphc.location import at_line
from graphc.text import as_function
from graphc.types import TensorType
from graphc.variable import global_variables_initializer
from passes.optimization import as_request
from runtime.records.spelling import spell_json

Pathlike = str | os.PathLike[str]

_FOR_GRAPHS = (".gir", ".dot", ".svg")
_FOR_RECORDS = (".json", ".html", ".trace.json")
SUFFIXES = (*_FOR_GRAPHS, *_FOR_RECORDS)


def dump(
    fetches: Any,
    path: Pathlike,
    feeds: Mapping[Any, Any] | None = None,
    backend: str | None = None,
    title: str | None = None,
) -> None:
    """Writes `fetches` to the file `path`, all of it or nothing, in the form that the suffix names.

    ``.gir``: the text, large constants beside it in an ``.npz`` of the same name. ``.dot``: Graphviz.
    ``.svg``: a picture. ``.json``: the record of compiling it, docs/record.md. ``.html``: the viewer, one
    page that needs nothing else. ``.trace.json``: a timeline for chrome://tracing or Perfetto.

    Args:
        fetches: any nesting of tensors, operations, variables and names; a Function or a Graph (all that
            it names); an Executable; a record.
        path: where to.
        feeds: what is fed, as `Session.run` takes it. Then runs are measured, on freshly initialised
            variables, and sizes are those that are fed; without them sizes are assumed, which takes
            ranks that are known. ``{}`` measures what needs no feeds. A measured run is repeated, with
            its effects: what is printed is printed each time, and Python is called each time.
        backend: what it is compiled for, where it is; None as in `Session`.
        title: what a record is called; None takes the names of the fetches.

    Raises: ArgumentError for another suffix, or a record as a graph; FetchError; what compiling and
    running raise; FeedError for a placeholder of unknown rank without `feeds`; OSError.
    """
    target = Path(path)
    suffix = suffix_of(target)
    if suffix == ".svg":
        from graphc.drawing.picture import draw_svg  # only needed here

        write_text(target, draw_svg(_graph_of(fetches, suffix)))
    elif suffix in _FOR_GRAPHS:
        files.dump(fetches if isinstance(fetches, Graph) else _graph_of(fetches, suffix), target)
    else:
        write_record(record_for(fetches, feeds, backend, title), target)


def suffix_of(path: Path) -> str:
    """The suffix that says the form of `path`. Raises: ArgumentError for one that is not known."""
    suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if path.name.endswith(s)), None)
    if suffix is None:
        known = ", ".join(SUFFIXES)
        raise ArgumentError(f"dump: {path.name!r} has the suffix {path.suffix!r}; known are {known}")
    return suffix


def record_for(
    fetches: Any,
    feeds: Mapping[Any, Any] | None = None,
    backend: str | None = None,
    title: str | None = None,
) -> dict[str, Any]:
    """The record of compiling `fetches`, with machine code; and of running it, where there are `feeds`.

    Arguments and errors are those of `dump`.
    """
    from runtime.executable import Executable  # which is compiled by those who dump records alone
    from runtime.records.document import record_executable

    if isinstance(fetches, Mapping) and "stages" in fetches and "format" in fetches:
        return dict(fetches)
    if isinstance(fetches, Executable):
        return record_executable(fetches, with_assembly=True, title=title)
    function = as_function(fetches)
    if feeds is None:
        record = record_executable(_compiled(function, backend), with_assembly=True, title=title)
    else:
        record = _measured(fetches, function, feeds, backend)
    return record | {"title": title or record["title"]}


def _compiled(function: Function, backend: str | None) -> Any:
    from runtime.backend import BACKENDS, choose_backend, choose_threads, target_of
    from runtime.executable import Executable
    from runtime.feeds import label

    for node in function.inputs:
        if isinstance(node.type, TensorType) and node.type.shape is None:
            raise FeedError(
                f"the rank of {label(node)} is known only from a value: give feeds={{...}}, with one to take "
                f"it from{at_line(node.loc)}"
            )
    machine = BACKENDS[choose_backend(backend)](choose_threads(None))
    return Executable(as_request(function), machine, target_of(machine), check_numerics=False)


def _measured(
    fetches: Any, function: Function, feeds: Mapping[Any, Any], backend: str | None
) -> dict[str, Any]:
    from runtime.session import Session

    owner = fetches if isinstance(fetches, Graph) else function.owner
    if isinstance(fetches, Graph | Function):
        fetches = [*function.outputs, *function.effects]
    with Session(owner, backend) as session:
        session.run(global_variables_initializer())
        record: dict[str, Any] = session.profile(fetches, feeds).record
        return record


def write_record(record: Mapping[str, Any], target: Path) -> None:
    """Writes a record as JSON, as a page or as a timeline, as the suffix says. Raises: OSError."""
    suffix = suffix_of(target)
    if suffix == ".html":
        from runtime.viewer.page import page_of  # its page is a megabyte

        write_text(target, page_of(dict(record)))
    elif suffix == ".trace.json":
        from runtime.records.timeline import timeline_of

        write_text(target, spell_json(timeline_of(record)) + "\n")
    elif suffix == ".json":
        write_text(target, spell_json(record) + "\n")
    else:
        raise ArgumentError(f"dump: a record is written as {', '.join(_FOR_RECORDS)}, not as {suffix}")


def write_text(target: Path, text: str) -> None:
    """Gives the file `target` this text, all of it or nothing. Raises: OSError that names it."""
    write_atomically(target, lambda file: files.write_text(file, text))


def _graph_of(fetches: Any, suffix: str) -> Function:
    from runtime.executable import Executable

    if isinstance(fetches, Executable):
        return fetches.function
    if isinstance(fetches, Mapping) and "stages" in fetches and "format" in fetches:
        raise ArgumentError(f"dump: a record is written as {', '.join(_FOR_RECORDS)}, not as {suffix}")
    return as_function(fetches)
