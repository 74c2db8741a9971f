"""Crown: the times that compiling is to stay below, cold, with an empty cache, on two cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.freezing import frozen
from runtime.benchmark.fitting import fit_stages
from runtime.benchmark.report import Report
from runtime.benchmark.stages import stages_of

SHARE = 0.01  # of the whole, below which a stage's growth is no matter


@frozen
class Bar:
    """One bar: what is measured of which graph, and what it is not to exceed."""

    name: str
    family: str
    size: int
    bar: float
    of: str = "cold"  # or "again", "disk", "import", "executables", "exponent"


@frozen
class Verdict:
    """A bar, what was measured (None: nothing), a note, and of times the seconds of processors."""

    bar: Bar
    measured: float | None
    note: str = ""
    cpu: float | None = None

    @property
    def met(self) -> bool:
        """Whether it is not exceeded."""
        return self.measured is not None and self.measured <= self.bar.bar


BARS: tuple[Bar, ...] = (
    Bar("unrolled 50-step LSTM training step", "lstm", 50, 1.0),
    Bar("1,000 independent outputs", "wide", 1000, 0.3),
    Bar("Fibonacci DAG, 10 levels", "fibonacci", 10, 0.1),
    Bar("Fibonacci DAG, 20 levels", "fibonacci", 20, 0.2),
    Bar("chain of 100,000 nodes", "chain", 100_000, 10.0),
    Bar("chain: the largest exponent of a stage", "chain", 100_000, 1.1, "exponent"),
    Bar("mlp_train", "mlp_train", 1, 0.25),
    Bar("mlp_train, warm process", "mlp_train", 1, 0.02, "again"),
    Bar("mlp_train, warm disk", "mlp_train", 1, 0.05, "disk"),
    Bar("transformer_train (4 layers)", "transformer", 4, 0.8),
    Bar("compile_1000", "compile", 1000, 0.1),
    Bar("compile_5000", "compile", 5000, 0.5),
    Bar("dynamic_batch, 50 sizes", "dynamic_batch", 50, 0.05),
    Bar("dynamic_batch, executables", "dynamic_batch", 50, 1, "executables"),
    Bar("import graphc", "mlp_train", 1, 0.15, "import"),
)

# The exponent needs more than one size.
GRAPHS: tuple[tuple[str, int], ...] = tuple(
    dict.fromkeys(
        [
            *((bar.family, bar.size) for bar in BARS if bar.family != "chain"),
            *(("chain", size) for size in (1000, 10_000, 30_000, 100_000)),
        ]
    )
)


def judge(report: Report, bars: Sequence[Bar] = BARS) -> list[Verdict]:
    """What became of each of `bars`: the least of the rounds counts, as others may use the machine."""
    return [_judge(report, bar) for bar in bars]


def _judge(report: Report, bar: Bar) -> Verdict:
    row = report.row(bar.family, bar.size, "graphc")
    if row is None:
        return Verdict(bar, None, "not measured")
    try:
        return _READERS[bar.of](report, bar, row)
    except (KeyError, ValueError):
        return Verdict(bar, None, row["trouble"] or "not measured")


def _cold(report: Report, bar: Bar, row: dict[str, Any]) -> Verdict:
    least = min(row["cold"], key=lambda cold: cold["seconds"])
    return Verdict(bar, least["seconds"], _imports(least), min(cold["cpu"] for cold in row["cold"]))


def _part(report: Report, bar: Bar, row: dict[str, Any]) -> Verdict:
    return Verdict(bar, row[bar.of]["seconds"], _imports(row[bar.of]), row[bar.of]["cpu"])


def _imports(cold: dict[str, Any]) -> str:
    """What a first session still loads, if that takes time: it should not, see decision 12."""
    seconds = cold["stages"].get("import", [0.0])[0]
    return f"{seconds * 1e3:.0f} ms of it are imports" if seconds > 1e-3 else ""


def _import(report: Report, bar: Bar, row: dict[str, Any]) -> Verdict:
    return Verdict(bar, min(row["import"]))


def _executables(report: Report, bar: Bar, row: dict[str, Any]) -> Verdict:
    return Verdict(bar, report.counts[f"{bar.family} {bar.size}"]["executables"])


def _exponent(report: Report, bar: Bar, row: dict[str, Any]) -> Verdict:
    fits, stages = fit_stages(report, bar.family), stages_of(row)
    whole = sum(stage.cpu for stage in stages.values())
    heavy = [name for name, stage in stages.items() if name in fits and stage.cpu > whole * SHARE]
    worst = max(heavy, key=lambda name: fits[name].exponent)
    return Verdict(bar, fits[worst].exponent, f"{worst}: {fits[worst]}")


_READERS: dict[str, Callable[[Report, Bar, dict[str, Any]], Verdict]] = {
    "cold": _cold,
    "again": _part,
    "disk": _part,
    "import": _import,
    "executables": _executables,
    "exponent": _exponent,
}
