"""Charts: well-formed pictures in which larger is further, and colours and names say what is what."""

import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from runtime.benchmark import charts


def test_charts_are_well_formed_and_escape_names():
    line = charts.lines({"<a & b>": [(10, 0.1), (1000, 2.0)], "c": [(10, 0.5)]}, "n", "s")
    bar = charts.bars({"n = 10": {"fuse": 0.5, "<b>": 1.0}}, "s", ["plan", "<b>", "fuse"])
    for svg in (line, bar):
        root = ElementTree.fromstring(svg)
        assert root.tag == "svg"
    assert len(ElementTree.fromstring(line).findall("polyline")) == 2
    assert len(ElementTree.fromstring(line).findall("circle")) == 3
    widths = [float(rect.get("width")) for rect in ElementTree.fromstring(bar).findall("rect")[:2]]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.01)


def test_nothing_to_show_is_no_chart():
    assert (
        charts.lines({}, "n", "s")
        == charts.lines({"a": [(0, 1)]}, "n", "s")
        == charts.bars({}, "s", [])
        == ""
    )


def test_a_stage_has_one_colour_in_all_charts():
    def colours(parts):
        root = ElementTree.fromstring(charts.bars({"n = 1": dict.fromkeys(parts, 1.0)}, "s", ["a", "b", "c"]))
        bars = [rect.get("fill") for rect in root.findall("rect")]
        assert bars[: len(parts)] == bars[len(parts) :]  # those of the bar and those of the legend
        return dict(zip(parts, bars, strict=False))

    one, other = colours(["a", "c"]), colours(["b", "c"])
    assert one["c"] == other["c"]
    assert len({*one.values(), *other.values()}) == 3


def test_reports_are_numbered_evenly():
    series = {"a": [(i, 1.0) for i in range(1, 21)]}
    root = ElementTree.fromstring(charts.lines(series, "report", "s", numbered=True))
    xs = [float(circle.get("cx")) for circle in root.findall("circle")]
    assert {round(y - x, 1) for x, y in pairwise(xs)} <= {17.3, 17.4, 16.5, 16.6}
    one = ElementTree.fromstring(charts.lines({"a": [(1, 1.0)]}, "report", "s", numbered=True))
    assert len(one.findall("circle")) == 1


def test_larger_is_further_up_and_to_the_right():
    root = ElementTree.fromstring(charts.lines({"a": [(10, 0.1), (1000, 10.0)]}, "n", "s"))
    (x0, y0), (x1, y1) = ((float(c.get("cx")), float(c.get("cy"))) for c in root.findall("circle"))
    assert x1 > x0
    assert y1 < y0
