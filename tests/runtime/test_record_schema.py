"""The record of every example holds what docs/record.md says, and fits together."""

import json
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from runtime.records.document import record_executable

EXAMPLES = sorted((Path(__file__).parent.parent.parent / "examples").glob("*.py"))

NODE = {
    "op": str, "operands": list, "attrs": dict, "type": str, "dtype": str | None, "shape": list | None,
    "name": str | None, "scope": str, "file": str | None, "line": int | None, "source": str | None,
    "backward": bool, "gradient": dict | None, "flops": int, "bytes": int, "result_bytes": int,
}  # fmt: skip
STAGE = {
    "name": str, "seconds": float, "nodes": int, "flops": int | str, "bytes": int | str, "counters": dict,
    "decisions": list, "rewrites": list, "passing": dict, "became": dict, "delta": dict,
}  # fmt: skip
DECISION = {
    "kind": str, "subject": str, "accepted": bool, "reason": str, "at": str | None, "file": str | None,
    "line": int | None, "details": dict, "nodes": list,
}  # fmt: skip
REWRITE = {
    "rule": str, "equation": str, "decision": int, "before": str, "after": str, "made": list,
    "inside": bool, "at": str | None, "file": str | None, "line": int | None,
}  # fmt: skip
STEP = {
    "number": int, "node": str, "op": str, "type": str, "at": str | None, "file": str | None,
    "line": int | None, "backward": bool, "kind": str, "kernel": int | None, "reads": list, "writes": list,
    "flops": int, "bytes": int,
}  # fmt: skip
CELL = {
    "buffer": int, "part": int, "node": str, "type": str, "bytes": int, "kind": str, "slot": int | None,
    "offset": int | None, "of": int | None, "first": int, "last": int,
}  # fmt: skip
KERNEL = {
    "number": int, "name": str, "kind": str, "ir": str, "llvm": str, "assembly": str | None,
    "object_bytes": int | None, "steps": list,
}  # fmt: skip
VARIABLE = {
    "name": str, "type": str, "bytes": int, "trainable": bool | None, "assigned": bool, "node": str | None,
}  # fmt: skip
WHOLE = {
    "format": int, "graphc": str, "title": str, "backend": str, "fast_math": bool, "threads": int,
    "machine": dict, "sizes": dict, "sizes_are": str, "stages": list, "inputs": list, "outputs": list,
    "reasons": dict, "compile": dict, "program": dict, "kernels": list, "memory": dict, "variables": list,
    "profile": dict | None, "steps": list, "passes": list, "fallbacks": dict, "native": dict,
}  # fmt: skip


def check(value, keys, optional=()):
    assert value.keys() - set(optional) == keys.keys()
    for key, kind in keys.items():
        assert isinstance(value[key], kind), f"{key} is {value[key]!r}"


def check_nodes(nodes, known):
    for node in nodes.values():
        check(node, NODE, ["members"])
        assert set(node["operands"]) <= known
        for value in node["attrs"].values():
            if isinstance(value, dict):
                check_nodes(value["nodes"], value["nodes"].keys())


def states(record):
    """Before, after and the stage, for each stage."""
    before = {}
    for stage in record["stages"]:
        delta = stage["delta"]
        after = {id: node for id, node in before.items() if id not in delta["removed"]}
        after |= delta["added"] | delta["changed"]
        yield before, after, stage
        before = after


def check_record(record):
    check(record, WHOLE, ["seconds", "specialised", "bound_by_steps"])
    ever = set()
    for before, after, stage in states(record):
        check(stage, STAGE)
        delta, passing = stage["delta"], stage["passing"]
        assert not (delta["added"].keys() | passing.keys()) & ever, "an id has come back"
        ever |= delta["added"].keys() | passing.keys()
        known = before.keys() | after.keys() | passing.keys()
        check_nodes(after, after.keys())
        check_nodes(passing, known)
        for decision in stage["decisions"]:
            check(decision, DECISION)
            assert set(decision["nodes"]) <= known
            if decision["kind"] == "fuse":
                assert len(decision["nodes"]) == 2 or decision["accepted"]
                assert decision["accepted"] or decision["reason"] in record["reasons"]["fuse"]
        check_rewrites(stage, before, known)
        assert stage["became"].keys() <= before.keys() - after.keys()
        assert all(after.keys() >= set(heirs) for heirs in stage["became"].values())
        for node in delta["added"].values():
            if node["op"] == "fused":
                body = node["attrs"]["body"]["nodes"]
                assert node["members"].keys() <= body.keys()
                assert all(
                    body[k]["op"] == {**before, **passing}[id]["op"] for k, id in node["members"].items()
                )
            if node["gradient"]:
                assert node["gradient"]["of"] in ever
    last = after
    assert record["steps"] or not record["program"]["steps"]
    check_program(record, last)
    check_memory(record["memory"], len(record["program"]["steps"]))
    for variable in record["variables"]:
        check(variable, VARIABLE)
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def check_rewrites(stage, before, known):
    there = set(before)
    for rewrite in stage["rewrites"]:
        check(rewrite, REWRITE)
        assert {rewrite["before"], rewrite["after"], *rewrite["made"]} <= known
        assert stage["decisions"][rewrite["decision"]]["accepted"]
        if not rewrite["inside"]:
            assert rewrite["before"] in there, "what is rewritten is in the picture"
            there |= set(rewrite["made"])
            assert rewrite["after"] in there


def check_program(record, last):
    kernels, cells = record["kernels"], record["memory"]["cells"]
    for number, step in enumerate(record["program"]["steps"]):
        check(step, STEP, ["bodies"])
        assert step["number"] == number
        assert last[step["node"]]["op"] == step["op"]
        assert all(0 <= i < len(cells) for i in step["reads"] + step["writes"])
        assert all(cells[i]["node"] == step["node"] for i in step["writes"])
        assert (step["kind"] == "llvm") <= (step["kernel"] is not None or "bodies" in step)
        check_bodies(step, last[step["node"]])
    for number, kernel in enumerate(kernels):
        check(kernel, KERNEL)
        assert kernel["number"] == number
        assert "define" in kernel["llvm"]


def check_bodies(step, node):
    """The steps in bodies are of nodes that the bodies have."""
    for name, steps in step.get("bodies", {}).items():
        nodes = node["attrs"][name]["nodes"]
        for inner in steps:
            assert nodes[inner["node"]]["op"] == inner["op"]
            check_bodies(inner, nodes[inner["node"]])


def check_memory(memory, steps):
    alive = [0] * steps
    for cell in memory["cells"]:
        check(cell, CELL)
        assert -1 <= cell["first"] <= cell["last"] <= steps
        if cell["kind"] == "arena":
            slot = memory["slots"][cell["slot"]]
            assert slot["offset"] == cell["offset"]
            assert slot["bytes"] >= cell["bytes"]
        if cell["kind"] != "view":
            for step in range(max(cell["first"], 0), min(cell["last"], steps - 1) + 1):
                alive[step] += cell["bytes"]
    assert alive == memory["live"]
    for slot in memory["slots"]:
        lives = sorted((memory["cells"][i]["first"], memory["cells"][i]["last"]) for i in slot["cells"])
        assert all(a[1] < b[0] for a, b in pairwise(lives)), "two at once in one slot"
    if steps:
        peak = memory["peak"]
        assert alive[peak["step"]] == peak["bytes"] == max(alive)
        assert all(
            memory["cells"][i]["first"] <= peak["step"] <= memory["cells"][i]["last"] for i in peak["cells"]
        )


@pytest.mark.parametrize("backend", gc.backends())
@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_the_record_of_an_example(path, backend):
    with gc.Graph(seed=0).as_default() as graph:
        fetches = import_module(f"examples.{path.stem}").build()
        feeds = [t for t in graph.tensors.values() if t.op.name == "placeholder"]
        with gc.Session(backend=backend) as session:
            executable = session.compile(fetches, feeds)
        check_record(executable.record)


def test_kernels_are_assembled_on_demand():
    with gc.Graph().as_default():
        x = gc.placeholder("float32", ("n", 8), name="x")
        with gc.Session(backend="llvm") as session:
            executable = session.compile(gc.exp(x) * 2.0 + 1.0, [x])
    record = record_executable(executable, with_assembly=True)
    check_record(record)
    (kernel,) = record["kernels"]
    assert ".globl" in kernel["assembly"] or ".text" in kernel["assembly"]
    assert kernel["object_bytes"] > 100
    assert "exp" in kernel["ir"]
    assert executable.record["kernels"][0]["assembly"] is None


def test_why_two_neighbours_did_not_fuse():
    with gc.Graph().as_default():
        x = gc.placeholder("float32", ("n", 8), name="x")
        h = gc.exp(gc.sort(x), name="h")
        with gc.Session(backend="llvm") as session:
            record = session.compile(h, [x]).record
    stage = next(stage for stage in record["stages"] if stage["name"] == "fuse")
    before = next(before for before, _, each in states(record) if each is stage)
    refused = [d for d in stage["decisions"] if not d["accepted"]]
    found = [(*(before[id]["op"] for id in d["nodes"]), d["reason"]) for d in refused]
    assert found == [("sort", "exp", "op")]
    assert "kernel" in record["reasons"]["fuse"]["op"]


def test_gradients_belong_to_their_variables():
    with gc.Graph().as_default():
        w = gc.Variable([[1.0, 2.0]], name="layer/w")
        x = gc.placeholder("float32", (3, 1), name="x")
        loss = gc.sum(gc.tanh(x @ w))
        record = gc.record(gc.gradients(loss, [w]))
    last = list(states(record))[-1][1]
    (gradient,) = [last[id] for id in record["stages"][-1]["delta"]["outputs"][:1]]
    assert gradient["gradient"]["name"] == "layer/w"
    assert gradient["gradient"]["total"]


def test_nodes_know_their_scope():
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (3,), name="x")
        with gc.name_scope("outer"), gc.name_scope("inner"):
            y = gc.exp(x)
        record = gc.record(y * 2.0)
    scopes = {n["op"]: n["scope"] for n in record["stages"][0]["delta"]["added"].values()}
    assert scopes["exp"] == "outer/inner"
    assert scopes["mul"] == ""


def test_names_are_text(tmp_path):
    name = "</script><script>alert(1)</script> \"quotes\" 'n' \U0001f980"
    with gc.Graph().as_default():
        record = gc.record(gc.exp(gc.placeholder("float32", (3,), name=name), name=name + "!"))
    nodes = record["stages"][0]["delta"]["added"].values()
    assert {name, name + "!"} <= {node["name"] for node in nodes}


@pytest.mark.parametrize("backend", gc.backends())
@pytest.mark.parametrize("looped", [False, True])
def test_what_only_the_run_knows_the_rank_of(backend, looped):
    """Such values count as no bytes, in the record as in the peak."""
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (None,), name="x")
        y = gc.py_func(lambda given: given, [x], "float32")
        if looped:
            y = gc.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, y + 1), (0, y))[1]
        with gc.Session(backend=backend) as session:
            executable = session.compile([gc.exp(y) * 2], [x])
    record = json.loads(json.dumps(executable.record))
    check_record(record)
    assert backend == "numpy" or record["fallbacks"]["call_python"] == 1
    few, more = (executable.peak_bytes({"x": (n,)}) for n in (3, 5))
    assert more - few == 2 * 4


@pytest.mark.parametrize("backend", gc.backends())
def test_the_peak_that_is_predicted_is_that_of_the_executable(backend):
    with gc.Graph(seed=0).as_default():
        x = gc.placeholder("float32", ("n", 8, 8, 3), name="x")
        w = gc.Variable(np.ones((3, 3, 3, 16), np.float32), name="w")
        loss = gc.mean(gc.square(gc.nn.relu(gc.nn.conv2d(x, w))))
        step = gc.train.Adam(0.1).minimize(loss)
        with gc.Session(backend=backend) as session:
            executable = session.compile([loss, step], [x])
    record = executable.record
    assert record["sizes"] == {"n": 32}
    assert record["memory"]["predicted"] == executable.peak_bytes({"n": 32})
