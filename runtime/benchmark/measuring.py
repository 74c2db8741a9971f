"""Measuring: which jobs there are, in which order, and what is kept of what they tell."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.benchmark.families import FAMILIES
from runtime.benchmark.introspection import COUNTED_CPU
from runtime.benchmark.processes import Interpreters, Limits, Parts, environment, run_job, scratch
from runtime.benchmark.report import ABSENT, Report
from runtime.benchmark.worker import OWN, median_of

Tell = Callable[[str], None]
TRACING = 8  # how much slower Python is, at worst, while its memory is traced


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Args:
        graphs: (family, size), sizes of a family in rising order.
        peers: beside graphc.
        rounds: how often each is measured cold, in processes of their own, peers in turn.
        seconds: how long a hot graph runs.
        threads: of every library.
        pythons: where to look for libraries.
    """

    graphs: tuple[tuple[str, int], ...]
    peers: tuple[str, ...] = ()
    rounds: int = 3
    seconds: float = 0.2
    threads: int = 2
    limits: Limits = field(default_factory=Limits)
    pythons: tuple[str, ...] = ()


def about(plan: Plan) -> dict[str, Any]:
    """When, where and how was measured."""
    from runtime.commands.information import information

    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": information(),
        "threads": plan.threads,
        "rounds": plan.rounds,
        "limits": [plan.limits.seconds, plan.limits.megabytes],
        "peers": {},
    }


def measure(plan: Plan, report: Report, tell: Tell) -> None:
    """Fills `report`, graph after graph, so that what is there when it is interrupted is sound."""
    with scratch() as folder:
        measuring = _Measuring(plan, report, tell, folder)
        measuring.warm_bytecode()
        for number, (family, size) in enumerate(plan.graphs, 1):
            measuring.measure(family, size, f"[{number}/{len(plan.graphs)}] {family} {size:,}")


class _Measuring:
    """Graph after graph, each in all libraries."""

    def __init__(self, plan: Plan, report: Report, tell: Tell, folder: str) -> None:
        self.plan, self.report, self.tell, self.folder = plan, report, tell, folder
        self.interpreters = Interpreters(plan.pythons, folder)
        self.pythons = dict.fromkeys(OWN, sys.executable)
        self.from_disk: list[dict[str, Any]] = []  # what processes told that found the graph at hand there
        self.stopped: dict[tuple[str, str], str] = {}  # why larger graphs of (family, peer) are not tried
        for peer in plan.peers:
            python = self.interpreters.find(peer)
            if python is None:
                report.about["peers"][peer] = ABSENT
                tell(f"{peer}: {ABSENT}")
            else:
                self.pythons[peer] = python

    def warm_bytecode(self) -> None:
        """Imports all that our processes import, once, so that none of those measured compiles Python."""
        for peer in OWN:
            self.run({"peer": peer, "family": "mlp_train", "size": 1}, ["cold"], "first")

    def measure(self, family: str, size: int, title: str) -> None:
        rows = [self.begin(family, size, peer) for peer in self.pythons]
        self.from_disk = []
        for number in range(self.plan.rounds):
            for row in rows:
                if row["trouble"]:
                    continue
                peer = row["peer"]
                place = f"{family}-{size}-{peer}-{number}"
                parts = ["cold", *["again"] * (peer in OWN), "hot"] if number == 0 else ["cold"]
                self.keep(row, title, "cold", parts, place)
                if peer != "graphc" or not row["cold"]:
                    continue
                self.keep(row, title, "disk", ["cold"], place)
                if number == 0:
                    if row["cold"][0]["seconds"] * TRACING > self.plan.limits.seconds:
                        row["untraced"] = "what Python holds: tracing it would exceed the limit"
                    else:
                        self.keep(row, title, "memory", ["memory"], place)

    def begin(self, family: str, size: int, peer: str) -> dict[str, Any]:
        """A row without numbers; with the reason where none can be had."""
        trouble = self.stopped.get((family, peer), "")
        row = {"family": family, "size": size, "peer": peer, "cold": [], "trouble": trouble}
        self.report.rows.append(row)
        return row

    def run(self, row: dict[str, Any], parts: list[str], place: str) -> Parts:
        """What a process told of the graph of `row`, with its caches in the folder `place`."""
        graph = {name: row[name] for name in ("peer", "family", "size")}
        job = {**graph, "threads": self.plan.threads, "parts": parts, "seconds": self.plan.seconds}
        peer = row["peer"]
        # Where our processes keep bytecode: an installed graphc has it, a fresh checkout does not.
        more = {"PYTHONPYCACHEPREFIX": os.path.join(self.folder, "bytecode")} if peer in OWN else None
        seen = environment(os.path.join(self.folder, place), self.plan.threads, more)
        return run_job(job, self.pythons[peer], self.interpreters.path_for(peer), seen, self.plan.limits)

    def keep(self, row: dict[str, Any], title: str, cold: str, wanted: list[str], place: str) -> None:
        """Adds to `row` what a process told of the parts `wanted`; `cold` says what compiling was."""
        self.tell(f"{title}: {row['peer']} {', '.join(wanted)}")
        parts, graphs = self.run(row, wanted, place), (row["family"], row["peer"])
        start = parts.get("start")
        if start:
            self.report.about["peers"].setdefault(row["peer"], start["version"])
            row.setdefault("import", []).append(start["seconds"])
            if not start["supported"]:
                row["trouble"] = self.stopped[graphs] = "its ops do not express it"
        if "cold" in parts:
            if cold == "cold":
                row["cold"].append(parts["cold"])
            elif cold == "disk":
                self.from_disk.append(parts["cold"])
                row["disk"] = median_of(self.from_disk)
        row.update({part: parts[part] for part in ("again", "hot", "memory") if part in parts})
        if "error" not in parts:
            return
        text = parts["error"]["text"]
        where = "" if cold == "cold" else f"{cold}: "
        row["trouble"] = where + text
        self.tell(f"{title}: {row['peer']}: {where}{text}")
        if cold == "cold" and not row["cold"]:
            self.stopped[graphs] = f"not tried: {text} at size {row['size']:,}"


def count(graphs: Sequence[tuple[str, int]], limits: Limits) -> dict[str, dict[str, Any]]:
    """The deterministic counters of each of `graphs`, by "family size"; in ``"error"``, why there are none.

    They share a process until it ends; the rest has another, so that each has had all of `limits` for
    itself before it is given up. The machine must be able to run what is counted (`is_countable`).
    """
    found: dict[str, dict[str, Any]] = {}
    rest = list(graphs)
    with scratch() as folder:
        seen = environment(folder, 2, {"GRAPHC_CPU": COUNTED_CPU})
        path = Interpreters((), folder).path_for("graphc")
        while rest:
            told = run_job({"counts": rest}, sys.executable, path, seen, limits)
            left = [graph for graph in rest if _named(graph) not in told]
            if left == rest:
                told[_named(left.pop(0))] = {"error": told["error"]["text"]}
            found |= {_named(graph): told[_named(graph)] for graph in rest if graph not in left}
            rest = left
    return found


def _named(graph: tuple[str, int]) -> str:
    return f"{graph[0]} {graph[1]}"


def graphs_of(
    families: Sequence[str] | None, sizes: Sequence[int] | None, quick: bool
) -> tuple[tuple[str, int], ...]:
    """What to measure: every family at its sizes, or those that are named; `quick`: at two small ones."""
    found = []
    for name in families or FAMILIES:
        family = FAMILIES[name]
        two = family.small, *[size for size in family.sizes if family.small < size <= 1000][:1]
        found += [(name, size) for size in sorted(set(sizes or (two if quick else family.sizes)))]
    return tuple(found)
