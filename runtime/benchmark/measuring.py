"""Measuring: which jobs there are, in which order, and what is kept of what they tell."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.benchmark.families import FAMILIES
from runtime.benchmark.introspection import COUNTED_CPU, is_countable
from runtime.benchmark.processes import Interpreters, Limits, Parts, environment, run_job, scratch
from runtime.benchmark.worker import OWN

Tell = Callable[[str], None]
TRACING = 8  # how much slower Python is, at worst, while its memory is traced
FORM = 1  # of the data; raise it where an old file would be misread


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


@dataclass(slots=True)
class Report:
    """What was measured, as data for JSON; complete up to wherever measuring was stopped.

    Each row of `rows` is a graph in a library: its `family`, `size`, `peer`; its `cold` rounds; what
    else it told, by part; in `trouble`, why something is missing. `counts` are by "family size".
    """

    about: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """It as data."""
        return {"form": FORM, "about": self.about, "rows": self.rows, "counts": self.counts}

    def row(self, family: str, size: int, peer: str) -> dict[str, Any] | None:
        """The row of one graph in one library, if there is one."""
        for row in self.rows:
            if (row["family"], row["size"], row["peer"]) == (family, size, peer):
                return row
        return None


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
        interpreters = Interpreters(plan.pythons, folder)
        found: dict[str, str] = {}
        for peer in plan.peers:
            python = interpreters.find(peer)
            if python is None:
                report.about["peers"][peer] = "not installed"
                tell(f"{peer}: not installed")
            else:
                found[peer] = python
        _warm_bytecode(plan, folder, interpreters)
        stopped: dict[tuple[str, str], str] = {}
        for family, size in plan.graphs:
            _Graph(plan, report, tell, interpreters, found, stopped, family, size).measure(folder)


def _bytecode(folder: str) -> dict[str, str]:
    """Where our processes keep bytecode: an installed graphc has it, a fresh checkout does not."""
    return {"PYTHONPYCACHEPREFIX": os.path.join(folder, "bytecode")}


def _warm_bytecode(plan: Plan, folder: str, interpreters: Interpreters) -> None:
    """Imports all that our processes import, once, so that none of those measured compiles Python."""
    job = {"family": "mlp_train", "size": 1, "threads": plan.threads, "parts": ["cold"], "seconds": 0.0}
    for peer in OWN:
        seen = environment(os.path.join(folder, "first"), plan.threads, _bytecode(folder))
        run_job({**job, "peer": peer}, sys.executable, interpreters.path_for(peer), seen, plan.limits)


class _Graph:
    """One graph in all libraries."""

    def __init__(
        self,
        plan: Plan,
        report: Report,
        tell: Tell,
        interpreters: Interpreters,
        pythons: dict[str, str],
        stopped: dict[tuple[str, str], str],
        family: str,
        size: int,
    ) -> None:
        self.plan, self.report, self.tell, self.interpreters = plan, report, tell, interpreters
        self.pythons = {"graphc": sys.executable, "graphc-numpy": sys.executable, **pythons}
        self.stopped, self.family, self.size = stopped, family, size

    def measure(self, folder: str) -> None:
        rows = {peer: self.begin(peer) for peer in self.pythons}
        for number in range(self.plan.rounds):
            for peer, row in rows.items():
                if row["trouble"]:
                    continue
                place = os.path.join(folder, f"{self.family}-{self.size}-{peer}-{number}")
                own = peer in OWN
                parts = ["cold"] + (["again"] * own + ["hot"] if number == 0 else [])
                self.keep(row, self.run(peer, parts, place), "cold")
                if peer == "graphc" and number == 0 and row["cold"]:
                    self.keep(row, self.run(peer, ["cold"], place), "disk")
                    if row["cold"][0]["seconds"] * TRACING > self.plan.limits.seconds:
                        row["untraced"] = "what Python holds: tracing it would exceed the limit"
                    else:
                        self.keep(row, self.run(peer, ["memory"], place), "memory")

    def begin(self, peer: str) -> dict[str, Any]:
        """A row without numbers; with the reason where none can be had."""
        row: dict[str, Any] = {
            "family": self.family,
            "size": self.size,
            "peer": peer,
            "cold": [],
            "trouble": "",
        }
        row["trouble"] = self.stopped.get((self.family, peer), "")
        self.report.rows.append(row)
        return row

    def run(self, peer: str, parts: list[str], place: str) -> Parts:
        self.tell(f"{self.family} {self.size:,}: {peer} {', '.join(parts)}")
        job = {
            "peer": peer,
            "family": self.family,
            "size": self.size,
            "threads": self.plan.threads,
            "parts": parts,
            "seconds": self.plan.seconds,
        }
        folder = os.path.dirname(place)
        seen = environment(place, self.plan.threads, _bytecode(folder) if peer in OWN else None)
        return run_job(job, self.pythons[peer], self.interpreters.path_for(peer), seen, self.plan.limits)

    def keep(self, row: dict[str, Any], parts: Parts, cold: str) -> None:
        """Adds to `row` what a process told; `cold` says what its compiling was."""
        start = parts.get("start")
        peer: str = row["peer"]
        if start:
            self.report.about["peers"].setdefault(peer, start["version"])
            row.setdefault("import", []).append(start["seconds"])
            if not start["supported"]:
                row["trouble"] = "its ops do not express it"
        if "cold" in parts:
            if cold == "cold":
                row["cold"].append(parts["cold"])
            else:
                row[cold] = parts["cold"]
        row.update({part: parts[part] for part in ("again", "hot", "memory") if part in parts})
        if "error" not in parts:
            return
        text = parts["error"]["text"]
        where = "" if cold == "cold" else f"{cold}: "
        row["trouble"] = where + text
        self.tell(f"{self.family} {self.size:,}: {peer}: {where}{text}")
        if cold == "cold" and not row["cold"]:
            self.stopped[self.family, peer] = f"not tried: {text} at size {self.size:,}"


def count(graphs: Sequence[tuple[str, int]], limits: Limits) -> dict[str, dict[str, Any]]:
    """The deterministic counters of `graphs`, by "family size"; {} on a machine that cannot run that code."""
    if not is_countable():
        return {}
    with scratch() as folder:
        seen = environment(folder, 2, {"GRAPHC_CPU": COUNTED_CPU})
        own = Interpreters((), folder)
        parts = run_job({"counts": list(graphs)}, sys.executable, own.path_for("graphc"), seen, limits)
    return parts


def check_agreement(report: Report) -> None:
    """Notes where a library computed something else than graphc's NumPy backend did."""
    for row in report.rows:
        reference = report.row(row["family"], row["size"], "graphc-numpy")
        if row["cold"] and reference and reference["cold"]:
            x, y = row["cold"][0]["digest"], reference["cold"][0]["digest"]
            if any(abs(a - b) > 1e-2 * max(abs(b), 1e-2) for a, b in zip(x, y, strict=True)):
                row["differs"] = [x, y]


def graphs_of(
    families: Sequence[str] | None, sizes: Sequence[int] | None, quick: bool
) -> tuple[tuple[str, int], ...]:
    """What to measure: every family at its sizes, or those that are named; `quick`: at two small ones."""
    found = []
    for name in families or FAMILIES:
        family = FAMILIES[name]
        own = (
            (family.small, *[s for s in family.sizes if family.small < s <= 1000][:1])
            if quick
            else family.sizes
        )
        found += [(name, size) for size in sorted(sizes or own)]
    return tuple(found)


def describe_python() -> str:
    """This interpreter."""
    return f"{platform.python_implementation()} {platform.python_version()}"
