"""Timeline: compiling and one run as the trace events that chrome://tracing and Perfetto show.

The format is that of the "Trace Event Format" document of the Chromium project: complete events ("X") with
begin and duration in microseconds, and metadata events ("M") that name the tracks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_COMPILING, _PASSES, _RUN = 1, 2, 3
_TRACKS = {_COMPILING: "compile", _PASSES: "passes, one by one", _RUN: "run"}


def timeline_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The trace of a record: compiling, the passes, and the steps of a run where one was measured."""
    events = [_event("M", "process_name", args={"name": f"graphc {record.get('title', '')}".strip()})]
    events += [_event("M", "thread_name", tid, args={"name": name}) for tid, name in _TRACKS.items()]
    compiled = record.get("compile") or {"seconds": 0.0, "parts": []}
    events += [
        _event("X", part["name"], _COMPILING, part["begin"], part["seconds"]) for part in compiled["parts"]
    ]
    begin = 0.0
    for stage in record["stages"]:
        added, removed = (len(stage["delta"][key]) for key in ("added", "removed"))
        args = {"nodes": stage["nodes"], "added": added, "removed": removed, **stage["counters"]}
        events.append(_event("X", stage["name"], _PASSES, begin, stage["seconds"], args))
        begin += stage["seconds"]
    profile, program = record.get("profile"), record.get("program")
    if profile and program:
        start = max(begin, compiled["seconds"])
        events += _steps(program["steps"], profile["steps"], start)
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _steps(
    steps: Sequence[Mapping[str, Any]], times: Sequence[Mapping[str, Any]], start: float
) -> Iterator[dict[str, Any]]:
    for step, time in zip(steps, times, strict=True):
        if step["kind"] in ("view", "constant"):
            continue
        args = {key: step[key] for key in ("number", "node", "kind", "type", "at", "flops", "bytes")}
        begin = start + time["begin"]
        yield _event("X", step["op"], _RUN, begin, time["seconds"], args)
        for name, inner in time.get("bodies", {}).items():
            yield from _steps(step["bodies"][name], inner, begin)


def _event(
    kind: str,
    name: str,
    track: int = 0,
    begin: float = 0.0,
    seconds: float = 0.0,
    args: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    found: dict[str, Any] = {"ph": kind, "name": name, "pid": 1, "tid": track, "args": dict(args or {})}
    if kind == "X":
        found |= {"ts": begin * 1e6, "dur": seconds * 1e6, "cat": _TRACKS[track]}
    return found
