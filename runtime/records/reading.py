"""Reading: a record as questions are asked of it: all nodes that there ever were, and what became of them."""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterator, Mapping
from typing import Any

from graphc.laziness import Lazy
from passes.delta import state_at

Node = Mapping[str, Any]

# Control characters but for tab and line feed; embeddings, overrides and isolates of bidirectional text
# (Unicode Standard Annex 9).
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Reading:
    """A record, to be asked. It is not changed."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record
        self.stages: list[Mapping[str, Any]] = record["stages"]

    @Lazy
    def nodes(self) -> dict[str, Node]:
        """Every node that any state or stage speaks of, as it was last."""
        found: dict[str, Node] = {}
        for stage in self.stages:
            found.update(stage["passing"])
            found.update(stage["delta"]["added"])
            found.update(stage["delta"]["changed"])
        return found

    @Lazy
    def last(self) -> dict[str, Node]:
        """The nodes of the last state."""
        nodes: dict[str, Node] = state_at(self.stages, -1)["nodes"]
        return nodes

    def after(self, stage: Mapping[str, Any]) -> dict[str, Node]:
        """The nodes of the state after `stage`."""
        number = next(i for i, each in enumerate(self.stages) if each is stage)
        nodes: dict[str, Node] = state_at(self.stages, number)["nodes"]
        return nodes

    def fate(self, id: str) -> list[str]:
        """What stands for the node `id` in the last state; nothing where it was not needed."""
        now = {id: None}
        for stage in self.stages:
            became = stage["became"]
            removed = set(stage["delta"]["removed"])
            now = dict.fromkeys(
                heir for each in now for heir in (became.get(each, []) if each in removed else [each])
            )
        return [id for id in now if id in self.last]

    @Lazy
    def step_of(self) -> dict[str, Mapping[str, Any]]:
        """The step of the program that computes each node of the last state."""
        program = self.record["program"]
        return {step["node"]: step for step in program["steps"]} if program else {}

    def is_free(self, id: str) -> bool:
        """Whether what became of the node `id` costs nothing at a run."""
        steps = [self.step_of[i] for i in self.fate(id) if i in self.step_of]
        return bool(steps) and all(step["kind"] in ("view", "constant") for step in steps)

    def kernel_of(self, id: str) -> str:
        """What computes the node `id`: the name of a kernel, or the kind of its step."""
        step = self.step_of.get(id)
        if step is None:
            return ""
        if step["kernel"] is not None:
            return str(self.record["kernels"][step["kernel"]]["name"])
        return str(step["kind"])

    def describe(self, id: str | None) -> str:
        """A node in a few words: its op and name."""
        node = self.nodes.get(id or "")
        if node is None:
            return "?"
        name = name_of(node)
        if name is None and node["op"] == "fused":
            inside = [inner["op"] for inner in node["attrs"]["body"]["nodes"].values()]
            ops = [op for op in inside if op not in ("placeholder", "constant")]
            return " ".join(ops[:4]) + (" ..." if len(ops) > 4 else "")
        return f"{node['op']} {name}" if name else str(node["op"])

    def decisions(self, kind: str) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        """The decisions of a kind, each with its stage."""
        for stage in self.stages:
            for decision in stage["decisions"]:
                if decision["kind"] == kind:
                    yield stage, decision

    def reason(self, decision: Mapping[str, Any]) -> str:
        """Why a decision came out as it did, in a sentence where there is one."""
        known = self.record["reasons"].get(decision["kind"], {})
        return str(known.get(decision["reason"], decision["reason"]))


def place_of(thing: Mapping[str, Any]) -> str:
    """The user's line of a node, a step or a decision."""
    return "" if thing["line"] is None else f"{thing['file']}:{thing['line']}"


def name_of(node: Node) -> str | None:
    """The name that the user gave a node, or the variable that it reads or assigns."""
    if node["name"]:
        return str(node["name"])
    text = node["attrs"].get("name") if node["op"] == "variable" else node["attrs"].get("variable")
    try:
        return str(literal_eval(text)) if isinstance(text, str) else None
    except (ValueError, SyntaxError):  # of a record that another program wrote
        return str(text)


def spell_plainly(text: str) -> str:
    r"""`text` as it may be shown: what controls a terminal or turns the writing is spelled ``\u001b``."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def spell_bytes(count: int) -> str:
    """A number of bytes as people read it."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def spell_seconds(seconds: float) -> str:
    """A time as people read it."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"
