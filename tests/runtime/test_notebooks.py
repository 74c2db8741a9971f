"""Notebooks and networkx: what is small is drawn, what is large is listed; nothing of a name is markup."""

import xml.etree.ElementTree as ET

import networkx as nx
import pytest

import graphc as gc

NASTY = "</script><b>\U0001f980 & \"'"


def small():
    x = gc.placeholder("float32", ("n", 3), name=NASTY)
    return gc.sum(x * x, axis=1, name="out")


def test_small_things_are_drawn(graph):
    y = small()
    with gc.Session() as session:
        executable = session.compile(y, [NASTY])
    for thing in (y, graph, gc.optimize(y), executable):
        svg = thing._repr_svg_()
        ET.fromstring(svg)
        assert thing._repr_html_() == svg
        assert "<b>" not in svg


def test_large_things_are_tables():
    y = small()
    for _ in range(300):
        y = gc.sin(y, name=NASTY)
    assert y._repr_svg_() is None
    table = y._repr_html_()
    assert table.count("<tr>") == 201
    assert "more nodes" in table
    assert "&lt;/script&gt;" in table
    assert "</script>" not in table


def test_operations_and_empty_graphs(graph):
    assert graph._repr_svg_().startswith("<svg")
    v = gc.Variable(1.0, name="v")
    assert "assign" in v.assign(2.0)._repr_html_()


def test_networkx_has_the_attributes():
    found = gc.to_networkx(small())
    assert isinstance(found, nx.DiGraph)
    assert nx.is_directed_acyclic_graph(found)
    rows = {data["op"]: data for _, data in found.nodes(data=True)}
    assert rows["placeholder"]["name"] == NASTY
    assert rows["mul"]["type"] == "f32[n,3]"
    assert rows["mul"]["shape"] == ("n", 3)
    assert rows["mul"]["flops"] == "3*n"
    assert rows["sum"]["output"]
    assert rows["sum"]["line"] > rows["placeholder"]["line"]
    assert rows["sum"]["file"] == "test_notebooks.py"
    (edge,) = [data for a, b, data in found.edges(data=True) if found.nodes[b]["op"] == "mul"]
    assert edge["operands"] == (0, 1)
    assert gc.to_networkx(gc.Graph()).number_of_nodes() == 0
    with pytest.raises(gc.FetchError):
        gc.to_networkx(3)
