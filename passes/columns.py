"""Columns: reductions over the first axes, down the columns of a matrix that lies row by row.

Their kernel reads every element once, so it computes what makes the elements of others: the squares of a
variance, the products that the gradient of a scale adds up. Those never lie in memory then. What nobody else
needs is taken; what others need too is computed again where it is cheap and reads no more than it makes. At
most MOST_ARRAYS are read. What kernels of rows make, which have it all at hand, is read only in place of what
is reduced.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set

from graphc.function import Function
from graphc.laziness import Lazy
from graphc.op import OPS
from graphc.sizes import Size, product
from graphc.tensor import Tensor
from graphc.types import BFLOAT16, BOOL, FLOAT32, FLOAT64, TensorType
from passes.failure import may_fail
from passes.grouping import accept, enclose
from passes.prologues import CHEAP
from passes.target import Target

MOST_ARRAYS = 2  # of the shape of what is reduced: eight rows of each are read side by side
_MOST_NODES = 8  # that make the elements
_SMALL = 1 << 14  # elements in all of which a contraction takes as long, and takes along what follows
_REDUCTIONS, _TRUTHS = ("sum", "mean", "max", "min", "prod"), ("any", "all", "max", "min")
_NAMES = frozenset((*_REDUCTIONS, *_TRUTHS))
_HELD = (FLOAT32, FLOAT64, BOOL)
_BROADCAST = OPS["broadcast_to"]


def is_of_columns(node: Tensor) -> bool:
    """Whether `node` is a reduction over the first axes that is worth kernels of its own."""
    if node.op.name not in _NAMES:
        return False
    x = node.inputs[0]
    if node.op.name not in (_TRUTHS if BOOL in (x.dtype, node.dtype) else _REDUCTIONS):
        return False
    axes = node.attrs["axis"]
    if x.result.shape is None or BFLOAT16 in (x.dtype, node.dtype) or not axes:
        return False
    if axes != tuple(range(len(axes))) or len(axes) == len(x.result.sizes):
        return False
    rows, columns = matrix_of(node)
    elements = product((rows, columns))
    return columns != 1 and not (isinstance(elements, int) and elements <= _SMALL)


def matrix_of(node: Tensor) -> tuple[Size, Size]:
    """Rows and columns of what a reduction over the first axes reads."""
    sizes, count = node.inputs[0].result.sizes, len(node.attrs["axis"])
    return product(sizes[:count]), product(sizes[count:])


def columns_in(node: Tensor) -> Tensor | None:
    """The reduction down columns in a `fused` node that makes its elements; None where there is none."""
    body: Function = node.attrs["body"]
    given, root = set(body.inputs), body.outputs[0]
    if len(body.outputs) > 1 or not is_of_columns(root) or root.inputs[0] in given:
        return None
    inside = (x for x in body.nodes() if x not in given and x is not root)
    return root if all(_is_element(x, root) for x in inside) else None


def varies(x: Tensor, root: Tensor) -> tuple[bool, bool] | None:
    """Along what of the matrix that `root` reduces `x` varies: rows, columns; None where along some of them.

    >>> varies(scale, root)
    (False, True)
    """
    whole, count = root.inputs[0].result.sizes, len(root.attrs["axis"])
    sizes = (1,) * (len(whole) - len(x.result.sizes)) + x.result.sizes
    parts = (sizes[:count], whole[:count]), (sizes[count:], whole[count:])
    if len(sizes) != len(whole) or any(a != b and any(size != 1 for size in a) for a, b in parts):
        return None
    rows, columns = (any(size != 1 for size in a) for a, _ in parts)
    return rows, columns


def _is_element(x: Tensor, root: Tensor) -> bool:
    """Whether `x` is computed element by element for what `root` reduces."""
    if not isinstance(x.type, TensorType) or x.result.shape != root.inputs[0].result.shape or may_fail(x):
        return False
    if not x.inputs or (x.op is not _BROADCAST and x.op.family != "elementwise"):
        return False
    return all(
        y.dtype in _HELD and y.result.shape is not None and varies(y, root) is not None
        for y in (x, *x.inputs)
    )


def fuse_columns(function: Function, target: Target) -> Function:
    """`function` with reductions down columns, and what makes their elements, in `fused` nodes. Linear."""
    if not target.has_columns:
        return function
    nodes, given = function.nodes(), set(function.inputs)
    reductions = [n for n in nodes if n.op.name in _NAMES and n not in given]
    roots = [n for n in reductions if is_of_columns(n) and not target.contracts(n)]
    if not roots:
        return function
    made = _Elements(function, nodes, roots, target)
    found = {root: chain for root in roots if (chain := made.of(root))}
    taken = {root: chain for root, chain in found.items() if accept((*chain, root), "columns")}
    if not taken:
        return function
    walked = [root.inputs[0].result.sizes for root in taken]
    return enclose(function, nodes, [[root] for root in taken], walked, before=list(taken.values()))


class _Elements:
    """Finds what makes the elements that are reduced."""

    def __init__(
        self, function: Function, nodes: Sequence[Tensor], roots: Iterable[Tensor], target: Target
    ) -> None:
        self._function, self._nodes = function, nodes
        self._given, self._roots, self._target = set(function.inputs), set(roots), target

    @Lazy
    def _place(self) -> dict[Tensor, int]:
        return {node: i for i, node in enumerate(self._nodes)}

    @Lazy
    def _users(self) -> dict[Tensor, set[Tensor | None]]:
        users: dict[Tensor, set[Tensor | None]] = {}
        for node in self._nodes:
            for operand in node.inputs:
                users.setdefault(operand, set()).add(node)
        for node in (*self._function.outputs, *self._function.effects):
            users.setdefault(node, set()).add(None)
        return users

    def of(self, root: Tensor) -> list[Tensor]:
        """The nodes that the kernel of `root` is to compute before it, in order; none where it reads them."""
        base = root.inputs[0]
        if not self._computes(base, root):
            return []
        own: set[Tensor | None] = {root}  # and those whose values nobody else needs
        own |= self._users[base] & self._roots
        found: dict[Tensor, None] = {}
        pending = [base]
        while pending and len(found) <= _MOST_NODES:
            x = pending.pop()
            if x in found or not self._computes(x, root):
                continue
            if self._users[x] <= own:
                own.add(x)
            elif not _is_again(x):
                continue
            found[x] = None
            pending.extend(x.inputs)
        if not found or len(found) > _MOST_NODES or not self._pays(root, found, own):
            return []
        return sorted(found, key=self._place.__getitem__)

    def _computes(self, x: Tensor, root: Tensor) -> bool:
        """Whether the kernel of `root` can compute `x`, a value of the shape of what it reduces."""
        if x in self._given or not _is_element(x, root):
            return False
        return x.op is _BROADCAST or x.op.name in self._target.fusible

    def _is_of_rows(self, x: Tensor, root: Tensor) -> bool:
        """Whether a kernel of rows makes `x`: for each element, or one for each row."""
        if x in self._given or not x.inputs or x.op.name not in self._target.fusible:
            return False
        return x.result.shape == root.inputs[0].result.shape or varies(x, root) == (True, False)

    def _pays(self, root: Tensor, found: Collection[Tensor], own: Set[Tensor | None]) -> bool:
        """Whether less is read and written so."""
        base = root.inputs[0]
        read = dict.fromkeys(y for x in found for y in x.inputs if y not in found)
        whole = [y for y in read if y.result.shape == base.result.shape]
        lone = len(whole) == 1 and own >= set(found)  # read in place of what is reduced
        if len(whole) > MOST_ARRAYS or (not lone and any(self._is_of_rows(y, root) for y in read)):
            return False
        others = len(self._users[base] & self._roots) > 1 and base in own
        return bool(whole) and not (others and any(x.op not in CHEAP | {_BROADCAST} for x in found))


def _is_again(x: Tensor) -> bool:
    """Whether `x` is as soon computed again as read."""
    whole = {y for y in x.inputs if y.result.shape == x.result.shape}
    return x.op in CHEAP and len(whole) == 1 and all(y.dtype.itemsize <= x.dtype.itemsize for y in whole)
