"""Records to look at, and what tests do with a page that shows them.

The pictures in ``viewer_pictures`` are what the viewer looked like when it was last worked on, for a
person to look at: set GRAPHC_PICTURES to make them anew.
"""

import json
import os
import random
import time
from pathlib import Path

import numpy as np

import graphc as gc
from passes.delta import state_at

PICTURES = Path(__file__).parent / "viewer_pictures"


def dense(x, width, name):
    with gc.name_scope(name):
        w = gc.Variable(np.full((x.shape[1], width), 0.1, np.float32), name="w")
        b = gc.Variable(np.zeros(width, np.float32), name="b")
        return gc.matmul(x, w) + b


def training_step(width=8, activation=gc.nn.relu):
    """The record of a network's training step, with what a program adds to it."""
    with gc.Graph(seed=0).as_default():
        x = gc.placeholder("float32", ("batch", 4), name="x")
        y = gc.placeholder("float32", ("batch", 2), name="y")
        h = activation(dense(x * 1.0, width, "hidden"))
        loss = gc.mean(gc.losses.mean_squared_error(labels=y, predictions=dense(h, 2, "scores")), name="loss")
        train = gc.train.SGD(gc.constant(0.05) * 2.0).minimize(loss)
        with gc.Session(backend="llvm") as session:
            record = session.compile([loss, train], [x, y]).record
    return with_program(json.loads(json.dumps(record)))


def with_program(record):
    """A program, kernels, memory and times as docs/record.md describes them, of round numbers."""
    nodes = state_at(record["stages"], -1)["nodes"]
    run = [(id, n) for id, n in nodes.items() if n["op"] not in ("constant", "variable", "placeholder")]
    steps, cells, live, times = [], [], [], []
    for i, (id, node) in enumerate(run):
        steps.append(
            {"number": i, "node": id, "op": node["op"], "type": node["type"], "file": node["file"]}
            | {"at": f"{node['file']}:{node['line']}: {node['source']}", "line": node["line"]}
            | {"backward": node["backward"], "kind": "llvm", "kernel": i % 2, "reads": [], "writes": [i]}
            | {"flops": 10 * i, "bytes": 100 * i}
        )
        cells.append(
            {"buffer": i, "part": 0, "node": id, "type": node["type"], "bytes": 1000 * (i + 1), "of": None}
            | {"kind": "arena", "slot": i, "offset": 500 * i, "first": i, "last": min(i + 2, len(run) - 1)}
        )
        times.append({"seconds": 1e-6 * (i + 1), "least": 1e-6, "begin": 1e-5 * i})
    for i in range(len(run)):
        live.append(sum(cell["bytes"] for cell in cells if cell["first"] <= i <= cell["last"]))
    peak = max(range(len(live)), key=live.__getitem__)
    alive = [i for i, cell in enumerate(cells) if cell["first"] <= peak <= cell["last"]]
    kernels = [
        {
            "number": k,
            "name": f"kernel_{k}",
            "kind": "rows",
            "ir": f"rows of {k}",
            "llvm": f"define void @k{k}()",
        }
        | {"assembly": "vaddps ymm0", "object_bytes": 512, "steps": [k]}
        for k in range(2)
    ]
    return record | {
        "title": "training step",
        "program": {"steps": steps, "native": True, "reason": None},
        "kernels": kernels,
        "memory": {
            "arena_bytes": 500 * len(run) + 1000,
            "slots": [],
            "cells": cells,
            "live": live,
            "held": 128,
        }
        | {"peak": {"step": peak, "bytes": live[peak], "cells": alive}, "predicted": live[peak]},
        "profile": {"runs": 5, "warmup": 1, "seconds": 1e-4, "least": 9e-5, "steps": times},
    }


def large(count):
    """A record of `count` nodes in few scopes, of which a pass changes some."""
    chance = random.Random(1)
    nodes = {}
    for i in range(count):
        reads = [f"n{chance.randint(max(0, i - 40), i - 1)}" for _ in range(2)] if i else []
        op = chance.choice(["add", "mul", "exp", "matmul"]) if i else "placeholder"
        nodes[f"n{i}"] = (
            {
                "op": op,
                "operands": reads,
                "attrs": {},
                "type": "f32[8]",
                "dtype": "f32",
                "shape": [8],
                "name": None,
            }
            | {
                "scope": "",
                "file": "m.py",
                "line": chance.randint(1, 300),
                "source": "y = f(x)",
                "backward": False,
            }
            | {"gradient": None, "flops": 8, "bytes": 96, "result_bytes": 32}
        )
    ends = {"inputs": ["n0"], "outputs": [f"n{count - 1}"], "effects": []}
    empty = {"seconds": 0.01, "nodes": count, "flops": 8, "bytes": 8, "counters": {}, "decisions": []}
    one = {f"n{i}": nodes[f"n{i}"] | {"op": "sub"} for i in range(1, count, 100)}
    return {
        "format": 2,
        "title": "large",
        "stages": [
            empty | {"name": "define", "delta": {"added": nodes, "changed": {}, "removed": []} | ends},
            empty | {"name": "simplify", "delta": {"added": {}, "changed": one, "removed": []} | ends},
        ],
    }


def picture(page, name):
    if os.environ.get("GRAPHC_PICTURES"):
        PICTURES.mkdir(exist_ok=True)
        page.wait_for_timeout(200)
        page.screenshot(path=PICTURES / f"{name}.png")
    assert (PICTURES / f"{name}.png").exists()


def until(page, test, *arguments):
    """Waits until `test` holds; each look is one evaluation, as the page itself may evaluate no text."""
    deadline = time.monotonic() + 60
    while not page.evaluate(test, *arguments):
        assert time.monotonic() < deadline, test
        page.wait_for_timeout(20)


def settings(page):
    return page.evaluate("viewer.app.settings")


def settled(page):
    """Waits until what was asked for is laid out and drawn."""
    page.evaluate("viewer.app.set({}).then(() => new Promise(requestAnimationFrame))")


def statuses(page):
    return page.evaluate(
        "[...viewer.app.picture].reduce((all, [, s]) => ({...all, [s.status]: (all[s.status] ?? 0) + 1}), {})"
    )


def click_node(page, uid):
    page.evaluate("uid => viewer.app.select(uid)", uid)
    x, y = page.evaluate(
        "uid => { const s = viewer.app.spriteOf(uid), c = viewer.app.camera;"
        "return [(s.x + s.w / 2 - c.x) * c.scale, (s.y + s.h / 2 - c.y) * c.scale]; }",
        uid,
    )
    page.evaluate("viewer.app.select(null)")
    box = page.locator("#canvas").bounding_box()
    page.mouse.click(box["x"] + x, box["y"] + y)
    until(page, "uid => viewer.app.settings.node === uid", uid)


def find(record, stage=-1, **wanted):
    nodes = state_at(record["stages"], stage)["nodes"]
    return [id for id, node in nodes.items() if all(node[key] == value for key, value in wanted.items())]


def changed(record):
    deltas = [stage["delta"] for stage in record["stages"]]
    return [i for i, d in enumerate(deltas) if d["added"] or d["changed"] or d["removed"]]


HOSTILE = (
    '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=2">\'"`${window.hacked=3}'
    "<!-- ]]>&amp; \u2028\U0001f600"
)
