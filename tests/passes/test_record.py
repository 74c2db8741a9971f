"""The record: a JSON document from which every state can be read back, with reasons, counts and costs."""

import json
from itertools import pairwise

import numpy as np
import pytest

import graphc as gc
from graphc.text import as_function, spell_function
from passes.cost import cost_of
from passes.delta import Deltas, state_at
from passes.history import record_of
from passes.optimization import as_request
from passes.pipeline import prepare
from passes.record import Decision, counters, decide, recording, rewrite_limit
from passes.target import Target
from tests.passes.record_text import text_of


def training_step():
    x = gc.placeholder("float32", ("n", 4), name="x")
    labels = gc.placeholder("int64", ("n",), name="labels")
    w = gc.Variable(np.zeros((4, 3), np.float32), name="w")
    logits = gc.matmul(x * 1.0, w, name="logits") + gc.constant(1.0) * 2.0
    loss = gc.mean(gc.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits))
    return [loss, gc.train.Adam().minimize(loss)]


def loops():
    x = gc.placeholder("float32", (None, 3), name="x")
    last, ys = gc.scan(lambda t, row: (t * 1.0 + row, gc.sin(t)), gc.zeros((3,)), x)
    loss = gc.sum(ys) + gc.sum(last)
    picked = gc.cond(loss > 0.0, lambda: loss * 2.0, lambda: -loss)
    return [loss, picked, *gc.gradients(loss, [x])]


def data():
    table = gc.constant(np.arange(100.0), name="table")
    x = gc.placeholder("float64", (None,), name="x")
    (found,) = gc.nonzero(x > 0.0)
    return [gc.gather(table, found), gc.boolean_mask(x, x > 1.0)]


GRAPHS = {"training_step": training_step, "loops": loops, "data": data}


@pytest.mark.parametrize("build", GRAPHS.values(), ids=GRAPHS)
def test_every_state_is_read_back_from_the_deltas(build):
    request = as_request(build())
    functions = []
    prepare(request, Target(), lambda name, function: functions.append((name, function)))
    deltas = Deltas()
    stages = []
    for name, function in functions:
        stages.append({"name": name, "delta": deltas.step(function)})
        from_record = text_of(state_at(json.loads(json.dumps(stages)), -1))
        assert from_record == spelled(function, deltas.speller)


def spelled(function, speller):
    """The text of `function` with the names that `speller` has given so far."""
    from graphc.text import _Printer

    printer = _Printer()
    printer.speller = speller
    printer.print(function, [])
    return "".join(printer.parts)


def test_where_no_size_is_unknown_the_text_is_that_of_show():
    fetches = training_step()
    texts = []
    gc.optimize(fetches, after_each=lambda name, function: texts.append((name, gc.show(function))))
    stages = gc.record(fetches)["stages"]
    assert [stage["name"] for stage in stages] == [name for name, _ in texts]
    for i, (_, text) in enumerate(texts):
        assert text_of(state_at(stages, i)) == text


def test_ids_are_stable():
    stages = record_of(as_request(training_step()))["stages"]
    first, last = state_at(stages, 0)["nodes"], state_at(stages, -1)["nodes"]
    logits = [next(i for i, n in nodes.items() if n["name"] == "logits") for nodes in (first, last)]
    assert logits[0] == logits[1]
    assert sum(len(stage["delta"]["added"]) for stage in stages[1:]) < len(last) * 2
    for before, after in pairwise(stages):
        if after["name"] == "drop_dead_results":  # there is no region
            assert not after["delta"]["added"]
            assert before["nodes"] == after["nodes"]


def inner(record, number):
    """The nodes in all bodies but those of groups after a stage, by where they are."""
    found, pending = {}, [*state_at(record["stages"], number)["nodes"].items()]
    while pending:
        place, node = pending.pop()
        for name, body in node["attrs"].items() if node["op"] != "fused" else ():
            if not isinstance(body, str):
                inside = {f"{place}/{name}/{id}": each for id, each in body["nodes"].items()}
                found |= inside
                pending += inside.items()
    return found


def test_nodes_in_bodies_keep_their_numbers():
    x = gc.placeholder("float64", (3,), name="x")
    n = gc.placeholder("int64", (), name="n")

    def step(i, y):
        z = gc.sin(y * 1.0) + gc.exp(x)  # the one goes, the other leaves the loop
        return i + 1, gc.cond(gc.sum(z) > 0.0, lambda: gc.tanh(z - 0.0), lambda: gc.cos(z))

    y = gc.while_loop(lambda i, y: i < n, step, (gc.constant(0, "int64"), x))[1]
    record = gc.record([y, *gc.gradients(gc.sum(y), [x])])
    states = [inner(record, number) for number in range(len(record["stages"]))]
    for kind in ("sin", "tanh", "cos"):
        (first,) = (place for place, node in states[0].items() if node["op"] == kind)
        assert states[-1].get(first, {"op": kind})["op"] == kind
        assert sum(first in state for state in states) > len(states) // 2
    ops = {}
    for state in states:
        for place, node in state.items():
            assert ops.setdefault(place, node["op"]) == node["op"]
    gone = [sorted(a.keys() - b.keys()) for a, b in pairwise(states)]
    assert any(gone)
    for number, places in enumerate(gone):  # no other has a number again
        assert not [place for state in states[number + 1 :] for place in places if place in state]


def test_nodes_say_where_they_come_from():
    stages = gc.record(training_step())["stages"]
    nodes = state_at(stages, -1)["nodes"].values()
    assert any(node["backward"] for node in nodes)
    (logits,) = [node for node in nodes if node["name"] == "logits"]
    assert logits["file"] == "test_record.py"
    assert logits["source"].startswith("logits = gc.matmul")
    assert logits["op"] == "matmul"
    assert logits["type"] == "f32[n,3]"


def test_decisions_have_reasons_and_counters_add_up():
    record = gc.record(training_step())
    assert json.loads(json.dumps(record)) == record
    assert record["format"] == 2
    decisions = [d for stage in record["stages"] for d in stage["decisions"]]
    folded = [d for d in decisions if d["kind"] == "fold" and d["accepted"]]
    assert folded
    assert all(d["reason"] and d["at"] for d in decisions)
    rewrites = [d for d in decisions if d["kind"] == "rewrite"]
    assert len(rewrites) == sum(stage["counters"]["rules_fired"] for stage in record["stages"])
    assert all(stage["seconds"] >= 0 for stage in record["stages"])


def test_an_executable_gives_its_record():
    x = gc.placeholder("float32", (2, 3), name="x")
    with gc.Session(backend="numpy") as session:
        record = session.compile(x * 1.0 + 2.0, [x]).record
    assert {"format", "stages", "steps", "fallbacks", "specialised", "passes"} <= record.keys()
    assert record["passes"][-1]["nodes"] == record["stages"][-1]["nodes"] == 3
    assert record["stages"][-1]["flops"] == 6
    json.dumps(record)


def test_dump_writes_the_record(tmp_path):
    gc.dump(training_step(), tmp_path / "record.json")
    written = json.loads((tmp_path / "record.json").read_text())
    assert written["stages"][0]["name"] == "define"
    assert text_of(state_at(written["stages"], -1)).startswith("graph(%x: f32[n,4]")


# Costs.


@pytest.mark.parametrize(
    ("build", "flops"),
    [
        (lambda x, y: x + x, 12),
        (lambda x, y: gc.sum(x, axis=0), 12),
        (lambda x, y: x @ y, 2 * 3 * 4 * 5),
        (lambda x, y: gc.einsum("ij,jk->ik", x, y), 2 * 3 * 4 * 5),
        (lambda x, y: gc.reshape(gc.transpose(x), (12,)), 0),
        (lambda x, y: gc.cond(gc.sum(x) > 0.0, lambda: x + x, lambda: gc.exp(x + x)), 12 + 1 + 24),
        (lambda x, y: gc.scan(lambda t, row: (t + row, None), gc.zeros((4,)), x)[0], 3 * 4),
    ],
    ids=["add", "sum", "matmul", "einsum", "movement", "cond", "scan"],
)
def test_flops(build, flops):
    x = gc.placeholder("float32", (3, 4), name="x")
    y = gc.placeholder("float32", (4, 5), name="y")
    assert cost_of(as_function(build(x, y))).flops == flops


def test_costs_are_texts_where_sizes_are_symbolic():
    x = gc.placeholder("float32", ("n", 4), name="x")
    last = gc.record(gc.exp(x))["stages"][-1]
    assert (last["flops"], last["bytes"]) == ("4*n", "32*n")


# What is written while passes run.


def test_nobody_listens_by_default():
    decide(Decision("test", "nothing", True, "none"))
    with recording() as log:
        assert decide(Decision("test", "a", True, "asked"))
        assert decide(Decision("test", "b", False, "refused"))
        counters().nodes_made += 2
    assert [d.subject for d in log.decisions] == ["a", "b"]
    assert [c.decision.subject for c in log.changes] == ["a"]
    assert log.counters.as_dict()["nodes_made"] == 2


def test_a_limit_refuses_what_comes_after():
    x = gc.placeholder("float32", (3,), name="x")
    y = gc.neg(gc.neg(x * 1.0 * 1.0)) + (gc.constant(1.0) + 1.0)
    request = as_request(y)
    with recording() as log:
        least = prepare(request).function
    total = len(log.changes)
    assert total >= 4
    sizes = []
    for limit in range(total + 1):
        with recording() as log, rewrite_limit(limit):
            sizes.append(len(prepare(request).function.nodes()))
        assert len(log.changes) == limit
    assert sizes[0] == len(as_function(y).nodes())
    assert sizes[-1] == len(least.nodes()) < sizes[0]
    assert spell_function(least)[0] == spell_function(prepare(request).function)[0]
