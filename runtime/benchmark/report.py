"""Report: what was measured, as data; how it is read back from a file, and what is refused there."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphc.errors import FormatError

FORM = 1  # of the data; raise it where an old file would be misread
ABSENT = "not installed"
WARM = ("again", "disk")  # what of a row is a compilation that found it compiled: by this process, by another


@dataclass(slots=True)
class Report:
    """What was measured, as data for JSON; complete up to wherever measuring was stopped.

    Each row of `rows` is a graph in a library: its `family`, `size`, `peer`; its `cold` rounds; what
    else it told, by part; in `trouble`, why something is missing. `counts` are by "family size"; there
    are none in those of a graph that could not be counted, and `uncounted` says why.
    """

    about: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    uncounted: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """It as data."""
        told = {"about": self.about, "rows": self.rows, "counts": self.counts, "uncounted": self.uncounted}
        return {"form": FORM, **told}

    def row(self, family: str, size: int, peer: str) -> dict[str, Any] | None:
        """The row of one graph in one library, if there is one."""
        for row in self.rows:
            if (row["family"], row["size"], row["peer"]) == (family, size, peer):
                return row
        return None

    def families(self) -> list[str]:
        """Those that were measured, in order."""
        return list(dict.fromkeys(row["family"] for row in self.rows))

    def compiled(self) -> list[dict[str, Any]]:
        """The rows of graphs that graphc compiled."""
        return [row for row in self.rows if row["peer"] == "graphc" and row["cold"]]

    def largest(self) -> dict[str, dict[str, Any]]:
        """Of each family the row of the largest graph that graphc compiled."""
        return {row["family"]: row for row in self.compiled()}


def read_report(path: Path) -> dict[str, Any]:
    """The report, or the counters alone, in the file `path`, as data.

    Raises: FormatError for what is none, or of another form; OSError.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict) or found.get("form") != FORM:
        raise FormatError(f'{path} is no report of graphc bench: that has "form": {FORM}')
    rows, counts = found.get("rows", []), found.get("counts", {})
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise FormatError(f"{path} is no report of graphc bench: something is missing in its rows")
    if not isinstance(counts, dict) or not all(map(_are_counts, counts.values())):
        raise FormatError(f"{path} is no report of graphc bench: its counters are no numbers")
    return found


def _is_row(row: Any) -> bool:
    match row:
        case {"family": str(), "size": int(), "peer": str(), "cold": list(rounds)}:
            return all(map(_is_timed, [*rounds, *(row[part] for part in WARM if part in row)]))
    return False


def _is_timed(found: object) -> bool:
    match found:
        case {"seconds": int() | float() as seconds}:
            return 0 < seconds < math.inf
    return False


def _are_counts(found: object) -> bool:
    return isinstance(found, dict) and all(isinstance(number, int) for number in found.values())


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The reports in `folder`, oldest first; files that are none are left out."""
    found = []
    for path in folder.glob("*.json"):
        try:
            report = read_report(path)
        except (OSError, FormatError):
            continue
        match report:
            case {"about": {"when": str()}, "rows": [_, *_]}:
                found.append(report)
    return sorted(found, key=lambda report: str(report["about"]["when"]))


def check_agreement(report: Report) -> None:
    """Notes where a library computed something else than graphc's NumPy backend did."""
    for row in report.rows:
        reference = report.row(row["family"], row["size"], "graphc-numpy")
        if row["cold"] and reference and reference["cold"]:
            x, y = row["cold"][0]["digest"], reference["cold"][0]["digest"]
            if len(x) != len(y) or not all(map(_agree, x, y)):
                row["differs"] = [x, y]


def _agree(x: float, y: float) -> bool:
    return math.isclose(x, y, rel_tol=1e-2, abs_tol=1e-4) or (math.isnan(x) and math.isnan(y))
