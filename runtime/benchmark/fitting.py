"""Fitting: how the time of each stage grows with the size of the graph."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from graphc.freezing import frozen
from runtime.benchmark.report import Report
from runtime.benchmark.stages import spell_seconds, stages_of

LEAST_SECONDS = 1e-3  # below, a clock measures itself

# Student's t: 97.5 % lie below, by degrees of freedom. https://www.itl.nist.gov/div898/handbook/eda/section3/eda3672.htm
_T = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_T_MANY = 1.96


@frozen
class Fit:
    """``time = scale * size**exponent``.

    Attributes:
        error: half the width of the exponent's 95 % interval; NaN for two points, which leave none.
        points: how many were fitted.
    """

    scale: float
    exponent: float
    error: float
    points: int

    def __str__(self) -> str:
        interval = "" if math.isnan(self.error) else f" ± {self.error:.2f}"
        return f"{spell_seconds(self.scale)} n^{self.exponent:.2f}{interval}"


def fit(sizes: Sequence[float], seconds: Sequence[float]) -> Fit | None:
    """The least-squares line through the logarithms; None where fewer than two points are to be trusted."""
    points = [(math.log(n), math.log(s)) for n, s in zip(sizes, seconds, strict=True) if s >= LEAST_SECONDS]
    count = len(points)
    if len({x for x, _ in points}) < 2:
        return None
    mean_x, mean_y = (sum(axis) / count for axis in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    exponent = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    start = mean_y - exponent * mean_x
    freedom = count - 2
    error = math.nan
    if freedom:
        rest = sum((y - start - exponent * x) ** 2 for x, y in points)
        t = _T[freedom] if freedom < len(_T) else _T_MANY
        error = t * math.sqrt(rest / freedom / spread)
    return Fit(math.exp(start), exponent, error, count)


def fit_stages(report: Report, family: str) -> Mapping[str, Fit]:
    """The fit of each stage of `family`, and of ``"cold"``, all of it; without those too short to fit.

    It is of the seconds of processors, which others on the machine disturb less than those of a clock.
    """
    rows = [row for row in report.rows if (row["family"], row["peer"]) == (family, "graphc") and row["cold"]]
    sizes = [row["size"] for row in rows]
    times = [stages_of(row) for row in rows]
    names = list(dict.fromkeys(name for found in times for name in found))
    series = {name: [found[name].cpu if name in found else 0.0 for found in times] for name in names}
    series["cold"] = [min(cold["cpu"] for cold in row["cold"]) for row in rows]
    fits = {name: fit(sizes, seconds) for name, seconds in series.items()}
    return {name: found for name, found in fits.items() if found is not None}
