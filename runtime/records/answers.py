"""Answers: what people ask of a record, as tables: what is slow, what lives at the peak, why not fused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from graphc.errors import ArgumentError, UnknownNameError
from runtime.records.reading import Reading, place_of, spell_bytes, spell_seconds

_MOST_ROWS = 40


@dataclass(slots=True)
class Table:
    """Rows of text under a title; `notes` follow it."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def summarize(record: Mapping[str, Any]) -> list[Table]:
    """What was compiled, in short; and the steps that take longest, where runs were measured."""
    reading = Reading(record)
    first, last = record["stages"][0], record["stages"][-1]
    kinds: dict[str, int] = {}
    for step in record["program"]["steps"] if record["program"] else ():
        kinds[step["kind"]] = kinds.get(step["kind"], 0) + 1
    table = Table(f"{record['title']} on {record['backend']}", ("", ""))
    rows = table.rows
    rows.append(
        ("nodes", f"{first['nodes']} as defined, {last['nodes']} after {len(record['stages'])} stages")
    )
    rows.append(("sizes", ", ".join(f"{k} = {v}" for k, v in record["sizes"].items()) or "all known"))
    if record["program"]:
        rows.append(("steps", ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))))
        rows.append(("kernels", f"{len(record['kernels'])} distinct"))
        rows.append(("compiling", _compiling(record["compile"])))
        rows += _memory_rows(record)
    if record["profile"]:
        seconds, least = record["profile"]["seconds"], record["profile"]["least"]
        rows.append(("one run", f"{spell_seconds(seconds)} (least {spell_seconds(least)})"))
    for op, count in record.get("fallbacks", {}).items():
        table.notes.append(f"{count} x {op} runs by its NumPy meaning: there is no kernel for it")
    tables = [table, _passes(record)]
    if record["profile"]:
        tables.append(_slowest(reading, 8))
    return tables


def _compiling(compiled: Mapping[str, Any]) -> str:
    """How long it took; what was compiled before is recognised, and its passes run again for the record."""
    found = any(part["name"] == "recognise" for part in compiled["parts"])
    return spell_seconds(compiled["seconds"]) + (", found compiled in a cache" if found else "")


def _memory_rows(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    memory = record["memory"]
    peak = memory["peak"]
    if peak is not None:
        yield "peak", f"{spell_bytes(peak['bytes'])} at step {peak['step']}"
        yield "of that held", f"{spell_bytes(memory['held'])} of feeds, constants and variables"
    yield "arena", spell_bytes(memory["arena_bytes"])


def _passes(record: Mapping[str, Any]) -> Table:
    table = Table("passes that changed something", ("pass", "nodes", "rewrites", "time"))
    for stage in record["stages"][1:]:
        if any(stage["delta"][key] for key in ("added", "changed", "removed")):
            table.rows.append(
                (
                    stage["name"],
                    str(stage["nodes"]),
                    str(len(stage["rewrites"]) or ""),
                    spell_seconds(stage["seconds"]),
                )
            )
    return table


def show_slow(record: Mapping[str, Any]) -> list[Table]:
    """The steps by the time that they take, with the user's lines. Raises: ArgumentError without times."""
    if not record["profile"]:
        raise ArgumentError(
            "nothing was measured: give the script a function feeds() that returns a dict, as "
            "Session.run takes it ({} where nothing is fed)"
        )
    reading = Reading(record)
    return [_slowest(reading, _MOST_ROWS), _by_line(reading)]


def _slowest(reading: Reading, most: int) -> Table:
    record = reading.record
    profile = record["profile"]
    timed = list(zip(record["program"]["steps"], profile["steps"], strict=True))
    total = sum(times["seconds"] for _, times in timed) or 1.0
    title = f"slowest steps of {spell_seconds(profile['seconds'])}"
    table = Table(title, ("time", "share", "step", "what", "runs as", "line", "source"))
    for step, times in sorted(timed, key=lambda pair: -pair[1]["seconds"])[:most]:
        if times["seconds"] <= 0:
            break
        node = reading.nodes.get(step["node"] or "")
        runs = "NumPy" if step["kind"] == "meaning" else reading.kernel_of(step["node"] or "") or step["kind"]
        table.rows.append(
            (
                spell_seconds(times["seconds"]),
                f"{times['seconds'] / total:.1%}",
                str(step["number"]),
                reading.describe(step["node"]) if node else step["op"],
                runs,
                place_of(step) + (" (backward)" if step["backward"] else ""),
                (node["source"] or "") if node else "",
            )
        )
    return table


def _by_line(reading: Reading) -> Table:
    record = reading.record
    lines: dict[tuple[str, str], float] = {}
    for step, times in zip(record["program"]["steps"], record["profile"]["steps"], strict=True):
        node = reading.nodes.get(step["node"] or "")
        key = place_of(step), (node["source"] or "") if node else ""
        lines[key] = lines.get(key, 0.0) + times["seconds"]
    total = sum(lines.values()) or 1.0
    table = Table("by line, forward and backward together", ("time", "share", "line", "source"))
    for (place, source), seconds in sorted(lines.items(), key=lambda pair: -pair[1])[:_MOST_ROWS]:
        table.rows.append((spell_seconds(seconds), f"{seconds / total:.1%}", place, source))
    return table


def show_peak(record: Mapping[str, Any]) -> list[Table]:
    """What lives at the peak of memory, the largest first. Raises: ArgumentError where nothing runs."""
    reading, memory, program = Reading(record), record["memory"], record["program"]
    if not memory or memory["peak"] is None:
        raise ArgumentError("there is no peak: the record holds no program, or one without steps")
    peak = memory["peak"]
    step = program["steps"][peak["step"]]
    what = reading.describe(step["node"])
    title = f"{spell_bytes(peak['bytes'])} are alive at step {peak['step']}: {what}, {place_of(step)}"
    table = Table(title, ("bytes", "share", "what", "type", "kind", "alive", "line"))
    last = len(program["steps"])
    for number in peak["cells"][:_MOST_ROWS]:
        cell = memory["cells"][number]
        node = reading.nodes.get(cell["node"] or "")
        alive = "always" if cell["first"] < 0 else f"{cell['first']} to {min(cell['last'], last)}"
        table.rows.append(
            (
                spell_bytes(cell["bytes"]),
                f"{cell['bytes'] / (peak['bytes'] or 1):.1%}",
                reading.describe(cell["node"]),
                cell["type"],
                cell["kind"],
                alive,
                place_of(node) if node else "",
            )
        )
    if len(peak["cells"]) > _MOST_ROWS:
        table.notes.append(f"and {len(peak['cells']) - _MOST_ROWS} smaller ones")
    if record["sizes_are"] == "assumed" and record["sizes"]:
        table.notes.append("sizes are assumed: a feeds() in the script says the real ones")
    return [table]


def show_fusion(record: Mapping[str, Any]) -> list[Table]:
    """Which neighbours are in different kernels, and why; then the groups."""
    reading = Reading(record)
    table = Table(
        "neighbours that are not in one kernel",
        ("times", "producer", "consumer", "why", "consumer's line", "producer's line"),
    )
    counted: dict[tuple[str, ...], int] = {}
    for stage, decision in reading.decisions("fuse"):
        if decision["accepted"] or len(decision["nodes"]) != 2:
            continue
        a, b = decision["nodes"]
        became = stage["became"]
        if set(became.get(a, [a])) & set(became.get(b, [b])) or reading.is_free(a) or reading.is_free(b):
            continue  # another way led them into one group; or one of them is nothing but a name
        node = reading.nodes[b]
        key = (
            reading.describe(a), reading.describe(b), reading.reason(decision), place_of(node),
            place_of(reading.nodes[a]),
        )  # fmt: skip
        counted[key] = counted.get(key, 0) + 1
    table.rows += [(str(count), *key) for key, count in counted.items()]
    groups = Table("kernels that hold several nodes", ("nodes", "what", "line"))
    for node in reading.last.values():
        if node["op"] == "fused":
            members = node.get("members", {})
            ops = [reading.nodes[id]["op"] for id in members.values()]
            groups.rows.append((str(len(members)), " ".join(ops), place_of(node)))
    if not any(stage["decisions"] for stage, _ in reading.decisions("fuse")):
        table.notes.append(f"nothing is fused on {record['backend']}")
    return [table, groups]


def show_folded(record: Mapping[str, Any]) -> list[Table]:
    """What the passes made less of: rules by how often they fired, and what was left alone."""
    done: dict[tuple[str, str, str], list[str]] = {}
    refused: dict[tuple[str, str, str], list[str]] = {}
    reading = Reading(record)
    for stage in reading.stages:
        for decision in stage["decisions"]:
            if decision["kind"] == "fuse":
                continue
            table = done if decision["accepted"] else refused
            key = decision["kind"], decision["subject"], reading.reason(decision)
            table.setdefault(key, []).append(place_of(decision))
    tables = []
    for title, found in (("done", done), ("refused", refused)):
        table_ = Table(title, ("times", "kind", "what", "why", "lines"))
        for (kind, subject, reason), places in sorted(found.items(), key=lambda pair: -len(pair[1])):
            lines = list(dict.fromkeys(places))
            shown = ", ".join(lines[:3]) + (f" and {len(lines) - 3} more" if len(lines) > 3 else "")
            table_.rows.append((str(len(places)), kind, subject, reason, shown))
        tables.append(table_)
    return tables


def show_gradient(record: Mapping[str, Any], name: str) -> list[Table]:
    """The nodes that the gradient of what is called `name` is made of, and what became of each.

    Raises: UnknownNameError where nothing of that name is differentiated.
    """
    reading = Reading(record)
    found: dict[str, Mapping[str, Any]] = {}
    names: dict[str, bool] = {}  # and whether the user gave it
    state: dict[str, Mapping[str, Any]] = {}
    for stage in reading.stages:
        for id, node in stage["delta"]["added"].items():
            of = node["gradient"]
            if of is not None:
                called = of["name"] or reading.describe(of["of"])
                names[called] = of["name"] is not None
                if name in (called, of["of"]):
                    found[id] = node
        if found:
            state = reading.after(stage)
            break  # what later stages make of them is their fate
    if not found:
        close = get_close_matches(name, names, 1)
        known = (
            ", ".join(sorted(names, key=names.__getitem__, reverse=True)[:12])
            or "none: nothing is differentiated"
        )
        advice = f"did you mean {close[0]!r}?" if close else f"there are {known}"
        raise UnknownNameError(f"no gradient belongs to {name!r}; {advice}")
    columns = ("node", "what", "type", "differentiates", "line", "became", "computed by", "time")
    table = Table(f"the gradient of {name}, from its end back to its beginning", columns)
    for id, node in _behind(found, state).items():
        fate = reading.fate(id)
        of = node["gradient"]
        table.rows.append(
            (
                id,
                reading.describe(id),
                node["type"],
                "it is the gradient"
                if id in found and of["total"]
                else reading.describe(of["of"])
                if of
                else "",
                place_of(node),
                ", ".join(f"{i} {reading.describe(i)}" for i in fate) or "not needed",
                ", ".join(dict.fromkeys(filter(None, map(reading.kernel_of, fate)))),
                _time(reading, fate),
            )
        )
    return [table]


def _behind(
    found: Mapping[str, Mapping[str, Any]], state: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """`found` and all nodes of the backward pass that they are computed from, the last first."""
    seen: dict[str, Mapping[str, Any]] = dict(found)
    pending = list(found)
    for id in pending:  # which grows while it is walked
        for operand in state[id]["operands"]:
            if operand not in seen and state[operand]["backward"]:
                seen[operand] = state[operand]
                pending.append(operand)
    return seen


def _time(reading: Reading, ids: list[str]) -> str:
    profile = reading.record["profile"]
    steps = [reading.step_of[id]["number"] for id in ids if id in reading.step_of]
    if not profile or not steps:
        return ""
    return spell_seconds(sum(profile["steps"][number]["seconds"] for number in steps))


ANSWERS: Mapping[str, Callable[[Mapping[str, Any]], list[Table]]] = {
    "why_not_fused": show_fusion,
    "peak": show_peak,
    "folded": show_folded,
    "slow": show_slow,
}
