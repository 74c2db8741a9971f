"""Scene: a function as boxes within boxes: its nodes, the bodies of its regions, its name scopes.

A name scope is a box where that makes no circle: then all that is in it lies between what it needs and what
needs it. A function of many nodes is folded: what one line of the user's program made is one box.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.errors import ArgumentError
from graphc.function import Function, bodies, in_order
from graphc.literals import Speller
from graphc.tensor import Tensor

MOST_BOXES = 500  # of a picture: beyond, nothing in it can be read
_DEPTH = 6  # how deep scopes are nested in a picture


@dataclass(slots=True)
class Box:
    """One box: its text, what it is in (`kind` names its colour), and the picture within it."""

    lines: list[str]
    hint: str
    kind: str
    bold: bool = False
    inner: Picture | None = None


@dataclass(slots=True)
class Picture:
    """Boxes, and edges from one box to a later one."""

    boxes: list[Box] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)


def make_scene(function: Function, most: int = MOST_BOXES) -> Picture:
    """The picture of `function`, folded where it has more than `most` nodes with its bodies.

    Raises: ArgumentError where even folded it has more.
    """
    speller = Speller()
    if _count(function, most) <= most:
        return _picture(function, speller)
    folded = _folded(function, speller)
    if len(folded.boxes) > most:
        raise ArgumentError(
            f"{len(function.nodes())} nodes, {len(folded.boxes)} when folded, are too many for one picture: "
            'gc.dump(fetches, "x.html") writes a page that shows them, ".dot" a text for other tools'
        )
    return folded


def _count(function: Function, most: int) -> int:
    """The nodes of `function` and its bodies; no more than needed to know that they are too many."""
    total, pending = 0, [function]
    while pending and total <= most:
        for node in pending.pop().nodes():
            total += 1
            pending.extend(body for _, body in bodies(node))
    return total


def _picture(function: Function, speller: Speller, depth: int = 0) -> Picture:
    nodes = function.nodes()
    kept = {*function.outputs, *function.effects}
    boxes = {}
    for node in nodes:
        box = _box(node, speller, node in kept)
        if depth < _DEPTH:
            inner = [(name, body) for name, body in bodies(node) if body.nodes()]
            if inner:
                box.inner = _side_by_side(inner, speller, depth + 1)
        boxes[node] = box
    given = set(function.inputs)
    needs = {node: () if node in given else node.inputs for node in nodes}
    scopes = {node: tuple(_scope(node).split("/"))[:_DEPTH] if _scope(node) else () for node in nodes}
    return _nested(list(nodes), boxes, needs, scopes, 0)


def _side_by_side(inner: Sequence[tuple[str, Function]], speller: Speller, depth: int) -> Picture:
    if len(inner) == 1:
        return _picture(inner[0][1], speller, depth)
    return Picture([Box([name], name, "scope", inner=_picture(body, speller, depth)) for name, body in inner])


def _nested(
    nodes: Sequence[Tensor],
    boxes: Mapping[Tensor, Box],
    needs: Mapping[Tensor, Sequence[Tensor]],
    scopes: Mapping[Tensor, tuple[str, ...]],
    depth: int,
) -> Picture:
    """The picture of `nodes`, all of one scope of this `depth`, with those of inner scopes in boxes."""
    here = set(nodes)
    home: dict[Tensor, Hashable] = {
        node: scopes[node][depth] if len(scopes[node]) > depth else node for node in nodes
    }
    for name in {key for key in home.values() if isinstance(key, str)}:
        members = [node for node in nodes if home[node] == name]
        if len(members) < 2 or _has_circle(name, home, needs, here):
            home.update((node, node) for node in members)
    groups: dict[Hashable, list[Tensor]] = {}
    for node in nodes:
        groups.setdefault(home[node], []).append(node)
    order = in_order(
        groups,
        lambda key: dict.fromkeys(
            home[i] for node in groups[key] for i in needs[node] if i in here and home[i] != key
        ),
    )
    picture = Picture()
    number: dict[Hashable, int] = {}
    for key in order:
        number[key] = len(picture.boxes)
        if isinstance(key, str):
            inner = _nested(groups[key], boxes, needs, scopes, depth + 1)
            picture.boxes.append(Box([key], f"name scope {key}", "scope", inner=inner))
        else:
            picture.boxes.append(boxes[groups[key][0]])
    edges = dict.fromkeys(
        (number[home[i]], number[home[node]])
        for node in nodes
        for i in needs[node]
        if i in here and home[i] != home[node]
    )
    picture.edges = list(edges)
    return picture


def _has_circle(
    name: str, home: Mapping[Tensor, Hashable], needs: Mapping[Tensor, Sequence[Tensor]], here: set[Tensor]
) -> bool:
    """Whether a way leaves the scope and comes back, with the other scopes as they are boxed now."""
    users: dict[Hashable, set[Hashable]] = {}
    for node in here:
        for operand in needs[node]:
            if operand in here and home[operand] != home[node]:
                users.setdefault(home[operand], set()).add(home[node])
    seen: set[Hashable] = set()
    pending = list(users.get(name, ()))
    while pending:
        key = pending.pop()
        if key == name:
            return True
        if key not in seen:
            seen.add(key)
            pending.extend(users.get(key, ()))
    return False


def _scope(node: Tensor) -> str:
    scope = node.loc.scope if node.loc else ""
    return scope or (node.name or "").rpartition("/")[0]


def _box(node: Tensor, speller: Speller, bold: bool) -> Box:
    name = node.name or node.attrs.get("name") or node.attrs.get("variable")
    title = f"{node.op.name} {name}" if isinstance(name, str) and name else node.op.name
    type = speller.type(node.type)
    place = f"\n{node.loc}" if node.loc else ""
    return Box([title, type], f"{title} : {type}{place}", node.op.family, bold)


def _folded(function: Function, speller: Speller) -> Picture:
    """A box for all nodes that one line of the user's program made, as far as that makes no circle."""
    nodes = function.nodes()
    given = set(function.inputs)
    level: dict[Tensor, int] = {}  # how often the longest way to a node changes lines
    for node in nodes:
        level[node] = max(
            (level[i] + (_line(i) != _line(node)) for i in (() if node in given else node.inputs)), default=0
        )
    groups: dict[Hashable, list[Tensor]] = {}
    for node in nodes:
        groups.setdefault((_line(node), level[node]), []).append(node)
    # Lines whose groups are alike, as those of repeated cells, are one box: what they need is alike too.
    kinds: dict[Hashable, list[Hashable]] = {}
    for key, members in groups.items():
        kinds.setdefault((_line(members[0]), tuple(sorted(n.op.name for n in members))), []).append(key)
    place = {node: i for i, node in enumerate(nodes)}
    first = {kind: min(place[groups[key][0]] for key in keys) for kind, keys in kinds.items()}
    order = sorted(kinds, key=first.__getitem__)
    number = {key: i for i, kind in enumerate(order) for key in kinds[kind]}
    picture = Picture()
    for kind in order:
        members = groups[kinds[kind][0]]
        times = f"  x{len(kinds[kind])}" if len(kinds[kind]) > 1 else ""
        names = list(dict.fromkeys(node.op.name for node in members))
        shown = " ".join(names[:4]) + (" ..." if len(names) > 4 else "")
        line = members[0].loc.short if members[0].loc else "nowhere"
        count = (
            f"{len(members)} nodes{times}" if len(members) > 1 else f"{speller.type(members[0].type)}{times}"
        )
        hint = f"{members[0].loc or line}\n{', '.join(names)}"
        picture.boxes.append(Box([shown, line, count], hint, members[-1].op.family))
    edges = dict.fromkeys(_edges(nodes, given, level, number))
    picture.edges = [(a, b) for a, b in edges if a < b]  # what leads back, from cell to cell, is left out
    return picture


def _edges(
    nodes: Sequence[Tensor], given: set[Tensor], level: Mapping[Tensor, int], number: Mapping[Hashable, int]
) -> Iterator[tuple[int, int]]:
    for node in nodes:
        for operand in () if node in given else node.inputs:
            yield number[_line(operand), level[operand]], number[_line(node), level[node]]


def _line(node: Tensor) -> tuple[str, int, bool] | None:
    return (node.loc.filename, node.loc.line, node.loc.backward) if node.loc else None
