"""Fingerprint: what requests share that are the same but for names, lines and the numbers of unknown sizes.

Two requests of one fingerprint are prepared, planned and lowered alike, so one of them serves as the other's
(`runtime.recognition`). It is a hash of a text that says all that passes and backends may look at: each
node's op, operands, attributes and type; which are fetched, fed, and of which ranks. Constants are in it by
the hash of their bytes. Where a node is made of more than that (an op of the user's own, a function of
Python's) there is no fingerprint: nobody can tell whether two of those are the same.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphc.freezing import frozen
from graphc.function import Function, bodies, in_order
from graphc.op import OPS, Op
from graphc.sizes import Atom, Size, SizeExpr, Symbol
from graphc.tensor import Tensor
from graphc.types import DType, TensorType, TupleType
from passes.pipeline import Request

MOST_NODES = 20_000  # of a request, those of bodies included
MOST_BYTES = 16 << 20  # of its constants
MOST_ASSIGNED = 1 << 20  # of its constants, where it does no more than assign them
_ASSIGNING = frozenset(("constant", "broadcast_to", "assign", "group"))


@frozen
class Fingerprint:
    """The hash, what it is of, and the unknown sizes and the constants in the order in which they occur.

    Of two requests of one hash, the unknown sizes correspond in that order, and so do the constants.
    """

    digest: str
    symbols: tuple[Symbol, ...]
    nodes: int
    constant_bytes: int
    arrays: tuple[np.ndarray[Any, Any], ...]


class _UnknownError(Exception):
    """There is something in it of which nobody can say what it is."""


def fingerprint(request: Request) -> Fingerprint | None:
    """The fingerprint of `request`; None where there is none, or it takes too long. Linear.

    To assign large constants, as an initializer does, and zeros beside them, as an optimizer has, is compiled
    sooner than their bytes are hashed.
    """
    nodes, speller = request.nodes(), _Speller()
    if _assigned_bytes(nodes) > MOST_ASSIGNED:
        return None
    try:
        text = "\n".join(speller.request(request, nodes))
    except _UnknownError:
        return None
    symbols = tuple(speller.symbols)
    # The order of terms and factors follows that of the serial numbers.
    order = sorted(range(len(symbols)), key=lambda i: symbols[i].serial)
    digest = hashlib.sha256(f"{order}\n{text}".encode()).hexdigest()
    return Fingerprint(digest, symbols, speller.nodes, speller.bytes, tuple(speller.arrays))


def _assigned_bytes(nodes: Sequence[Tensor]) -> int:
    """The bytes of constants among `nodes`, if those do no more than assign them; else 0."""
    found = 0
    for node in nodes:
        if node.op.name not in _ASSIGNING:
            return 0
        if node.op.name == "constant":
            found += node.attrs["value"].nbytes
    return found


class _Speller:
    """Writes down one request, each thing so that no other can be read into it."""

    def __init__(self) -> None:
        self.symbols: dict[Symbol, int] = {}  # the unknown ones, numbered as they occur
        self.nodes = self.bytes = 0
        self.arrays: list[np.ndarray[Any, Any]] = []
        self._ops: dict[Op, str] = {}
        self._types: dict[int, str] = {}  # by identity, which the nodes keep
        self._bodies: dict[Function, int] = {}

    def request(self, request: Request, nodes: Sequence[Tensor]) -> Iterator[str]:
        """All that `request` says, the bodies of its `nodes` first, each behind those within it."""
        for body in in_order(_bodies_of(nodes), lambda body: _bodies_of(body.nodes())):
            yield self._body(body)
            self._bodies[body] = len(self._bodies)
        number = _numbered(nodes)
        yield from self._lines(nodes, number)
        yield ",".join([number[node] for node in request.fetches])
        yield ",".join([number[node] for node in request.feeds])
        for node in request.feeds:
            if node in request.types:
                yield f"{number[node]}:{self._type(request.types[node])}"
        for symbol, size in request.sizes.items():
            yield f"{self._atom(symbol)}={size}"

    def _lines(self, nodes: Sequence[Tensor], number: dict[Tensor, str]) -> Iterator[str]:
        self.nodes += len(nodes)
        if self.nodes > MOST_NODES:
            raise _UnknownError
        for node in nodes:
            operands = ",".join(map(number.__getitem__, node.inputs))
            attrs = ""
            for name, value in node.attrs.items():
                attrs += f",{name}={self._value(value)}"
            op = self._ops.get(node.op) or self._op(node.op)
            type = self._types.get(id(node.type)) or self._type(node.type)
            yield f"{op}({operands}{attrs}){type}"

    def _op(self, op: Op) -> str:
        if OPS.get(op.name) is not op or not op.__module__.startswith("graphc."):
            raise _UnknownError  # its meaning is its user's, who may change it
        self._ops[op] = op.name
        return op.name

    def _value(self, value: Any) -> str:
        kind = value.__class__
        if kind is int:
            return f"i{value}"
        if kind is str:
            return f"s{len(value)}:{value}"
        if value is None or kind is bool:
            return str(value)
        if kind is float:
            return f"f{struct.pack('<d', value).hex()}"  # -0.0 is not 0.0, nor one NaN another
        if kind is tuple:
            items = [f"i{item}" if item.__class__ is int else self._value(item) for item in value]
            return f"({','.join(items)})"
        if kind is DType:
            return f"d{value.name}"
        if isinstance(value, SizeExpr):
            return self._size(value)
        if kind is np.ndarray or isinstance(value, np.generic):
            return self._array(np.asarray(value))
        if isinstance(value, Function):
            return f"b{self._bodies[value]}"
        if isinstance(value, TensorType | TupleType):
            return self._type(value)
        raise _UnknownError

    def _array(self, value: np.ndarray[Any, Any]) -> str:
        self.bytes += value.nbytes
        if value.dtype.hasobject or self.bytes > MOST_BYTES:
            raise _UnknownError
        self.arrays.append(value)
        content = hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()
        return f"a{value.dtype.str}{value.shape}{content}"

    def _body(self, body: Function) -> str:
        nodes = body.nodes()
        number = _numbered(nodes)
        parts = [str(len(body.inputs)), *self._lines(nodes, number)]
        parts.append(",".join([number[node] for node in body.outputs]))
        parts.append(",".join([number[node] for node in body.effects]))
        return "{" + "\n".join(parts) + "}"

    def _type(self, type: TensorType | TupleType) -> str:
        if isinstance(type, TupleType):
            return f"<{';'.join([self._type(element) for element in type.elements])}>"
        sizes = ("?",) if type.shape is None else type.shape
        shape = ",".join([self._size(size) if size.__class__ is SizeExpr else str(size) for size in sizes])
        found = self._types[id(type)] = f"{type.dtype.name}[{shape}]"
        return found

    def _size(self, size: Size) -> str:
        if not isinstance(size, SizeExpr):
            return str(size)
        terms = [f"{n}{''.join([f'*{self._atom(atom)}' for atom in atoms])}" for atoms, n in size.terms]
        return f"z({'+'.join(terms)})"

    def _atom(self, atom: Atom) -> str:
        if not isinstance(atom, Symbol):
            x, y = map(self._size, atom.operands)
            return f"{atom.function}({x},{y})"
        if atom.name is not None:
            return f"n{atom.name}"
        return f"u{self.symbols.setdefault(atom, len(self.symbols))}"


def _bodies_of(nodes: Sequence[Tensor]) -> list[Function]:
    return [body for node in nodes if node.op.has_bodies for _, body in bodies(node)]


def _numbered(nodes: Sequence[Tensor]) -> dict[Tensor, str]:
    return dict(zip(nodes, map(str, range(len(nodes))), strict=True))
