"""State: reads meet the assignments that they see, so that order is data.

Afterwards a `variable` node reads the value as of the beginning of the run, and every `assign` gives a
value that is committed when the run ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from graphc.errors import StateError
from graphc.freezing import frozen
from graphc.function import Function, rebuild, with_inputs
from graphc.location import at_line
from graphc.ops.state import after, assign, pick, variable
from graphc.tensor import Tensor
from passes.target import PLAIN, Target


def thread_state(function: Function, target: Target = PLAIN) -> Function:
    """`function` with every read that sees an assignment replaced by the assigned value.

    Its regions must not assign (`lift_assignments`). The same object comes back where no read sees one.

    Raises: StateError where two assignments of one variable have no order.
    """
    nodes = function.nodes()
    assigned = [node.attrs["variable"] for node in nodes if node.op is assign]
    reads = [node for node in nodes if node.op is variable and node.inputs]  # those that come after something
    if not assigned or (not reads and len({*assigned}) == len(assigned)):
        return function
    seen = visible_assignments(nodes)
    refuse_unordered(seen)
    new: dict[Tensor, Tensor] = {}

    def make(node: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        new[node] = with_inputs(node, inputs)
        if node.op is variable and inputs:
            latest = latest_assignment(node, seen)
            if latest is not None:
                value = new[latest] if latest in new else lifted_value(latest, new)
                new[node] = Tensor(after, (value, *inputs), {}, value.type, node.loc, node.name, node.owner)
        return new[node]

    return rebuild(function, make)[0]


@frozen
class Visible:
    """Which assignments have happened before each node: bit i for assignment i."""

    assignments: Sequence[Tensor]
    before: dict[Tensor, int]


def visible_assignments(nodes: Sequence[Tensor]) -> Visible:
    """The assignments among `nodes` (operands before users), and what each node may see of them."""
    assignments = [node for node in nodes if node.op is assign]
    if not assignments:
        return Visible((), {})
    bit = {node: 1 << i for i, node in enumerate(assignments)}
    for node in assignments:  # a region has done what was lifted out of it
        for region in _lifted_from(node):
            bit[region] = bit.get(region, 0) | bit[node]
    before: dict[Tensor, int] = {}
    for node in nodes:
        mask = bit.get(node, 0)
        for operand in node.inputs:
            mask |= before[operand]
        before[node] = mask
    return Visible(assignments, before)


def latest_assignment(read: Tensor, seen: Visible) -> Tensor | None:
    """The last assignment of its variable that `read` sees."""
    name = read.attrs["name"]
    mask = seen.before.get(read, 0)
    while mask:
        last = mask.bit_length() - 1
        if seen.assignments[last].attrs["variable"] == name:
            return seen.assignments[last]
        mask ^= 1 << last
    return None


def refuse_unordered(seen: Visible) -> None:
    """Raises StateError where one variable is assigned twice and neither comes before the other."""
    latest: dict[str, int] = {}
    for i, node in enumerate(seen.assignments):
        name = node.attrs["variable"]
        if name in latest:
            earlier = seen.assignments[latest[name]]
            if not seen.before[node] >> latest[name] & 1:
                raise StateError(
                    f"variable {name!r} is assigned twice in one run, in no order"
                    f"{at_line(earlier.loc)}{at_line(node.loc)}"
                    "\n  gc.control_dependencies([first]) around the second gives them one"
                )
        latest[name] = i


def _lifted_from(node: Tensor) -> Iterable[Tensor]:
    value = node.inputs[0]
    if value.op is pick and node.attrs["variable"] in value.inputs[0].attrs.get("state", ()):
        yield value.inputs[0]


def lifted_value(assignment: Tensor, new: Mapping[Tensor, Tensor]) -> Tensor:
    """What an assignment lifted out of a region assigns, where the region is rebuilt and it is not."""
    picked = assignment.inputs[0]
    return with_inputs(picked, (new[picked.inputs[0]],))
