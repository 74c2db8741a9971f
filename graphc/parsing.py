"""Reading the text of a graph back; the grammar stands in `graphc.text`.

One line at a time, with the open blocks on a stack: no recursion, whatever the text nests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, FormatError
from graphc.function import Function
from graphc.graph import Graph, check_name
from graphc.literals import Parameter, parameters
from graphc.location import Location
from graphc.op import NO_ATTRS, OPS, Op
from graphc.tensor import Tensor
from graphc.tokens import Reader
from graphc.types import DType, TensorType, TupleType, Type, format_type
from graphc.variable import Variable
from graphc.verification import accepts, agree


def parse(text: str, data: Mapping[str, Any] | None = None, seed: int | None = None) -> Graph:
    """The graph that `text` spells: a Graph that holds its Function, its named tensors, its variables.

    Args:
        text: what `graphc.text.show` writes.
        data: the large arrays that stand beside the text, by name.
        seed: of the new graph.

    Every type is inferred again by the op's rule and compared with the text.

    Raises: FormatError, with the line, for whatever is not such a text.
    """
    if not isinstance(text, str):
        raise FormatError(f"the text of a graph is a str, not {type(text).__name__}")
    return _Parser(Reader(text, data or {}), Graph(seed)).parse()


@dataclass(slots=True)
class _Call:
    """A node while its line is read."""

    key: str | int
    op: Op
    operands: list[Tensor] = field(default_factory=list)
    attrs: dict[str, Any] = field(default_factory=dict)
    body: str = ""  # the attribute whose block is open


@dataclass(slots=True)
class _Block:
    """An open block: what its names mean, and the call that it is the body of."""

    call: _Call | None
    nodes: dict[str | int, Tensor] = field(default_factory=dict)
    inputs: list[Tensor] = field(default_factory=list)
    effects: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] | None = None


class _Parser:
    def __init__(self, reader: Reader, graph: Graph) -> None:
        self.reader, self.graph = reader, graph
        self.blocks: list[_Block] = []
        self.variables: dict[str, tuple[TensorType, Location | None]] = {}
        self.initial: dict[str, tuple[Tensor, bool]] = {}

    def parse(self) -> Graph:
        reader = self.reader
        if not reader.next_line():
            reader.fail("the text holds no graph")
        reader.expect("graph")
        self._open(None)
        whole: _Block | None = None
        while reader.next_line():
            if whole is not None:
                reader.fail("the text goes on after the graph")
            whole = self._statement()
        if whole is None:
            reader.fail("the text ends inside a block")
        self._register(whole)
        return self.graph

    def _register(self, whole: _Block) -> None:
        """Makes the graph know what the text names."""
        graph = self.graph
        graph.function = _function(whole)
        names = dict.fromkeys([*self.initial, *self.variables])
        names.update(dict.fromkeys(key for key in whole.nodes if isinstance(key, str)))
        for name in names:
            graph.unique_name(name)
        for name in dict.fromkeys([*self.initial, *self.variables]):
            type, location = self.variables[name]
            assignment, trainable = self.initial.get(name, (None, True))
            Variable.declare(graph, name, type, assignment, trainable, location)
        for node in whole.nodes.values():
            if node.name is not None:
                graph.register(node)

    # Blocks and lines.

    def _open(self, call: _Call | None) -> None:
        """A header, from the bracket behind ``graph`` to the end of the line."""
        reader = self.reader
        block = _Block(call)
        reader.expect("(")
        while not reader.accept(")"):
            if block.inputs:
                reader.expect(",")
            key = self._new(block)
            reader.expect(":")
            type = reader.type()
            if isinstance(type, TupleType):
                reader.fail(f"an input is a single value, not {type}")
            name = key if isinstance(key, str) else ""
            attrs = {"name": name, "dtype": type.dtype, "shape": type.shape}
            known_as = name if name and call is None else None
            node = Tensor(OPS["placeholder"], (), attrs, type, None, known_as, self.graph)
            block.nodes[key] = node
            block.inputs.append(node)
        reader.expect("{")
        reader.end_line()
        self.blocks.append(block)

    def _statement(self) -> _Block | None:
        """One line; the outermost block where it closes that."""
        reader, block = self.reader, self.blocks[-1]
        if reader.accept("}"):
            if block.outputs is None:
                reader.fail("the block ends without `return`")
            self.blocks.pop()
            call = block.call
            if call is None:
                reader.end_line()
                return block
            call.attrs[call.body] = _function(block)
            self._arguments(call, first=False)
            return None
        if block.outputs is not None:
            reader.fail("`return` is the last line of a block")
        if reader.kind == "ref":
            key = self._new(block)
            reader.expect("=")
            name = reader.take("word", "an op")
            if name not in OPS:
                reader.fail(f"there is no op {name[:60]!r}")
            if name == "placeholder":
                reader.fail("placeholders stand in the header of a block")
            reader.expect("(")
            self._arguments(_Call(key, OPS[name]), first=True)
            return None
        keyword = reader.take("word", "a line such as `%0 = exp(%x) : f32[2]`")
        if keyword == "return":
            block.outputs = self._refs() if reader.kind == "ref" else []
        elif keyword == "run":
            block.effects.extend(self._refs())
        elif keyword == "init":
            self._initial()
        else:
            reader.fail(f"a line begins with a name, init, run or return, not {keyword[:40]!r}")
        reader.end_line()
        return None

    def _new(self, block: _Block) -> str | int:
        key = self.reader.ref()
        if key in block.nodes:
            self.reader.fail(f"%{key} is defined twice")
        return key

    def _ref(self) -> Tensor:
        key = self.reader.ref()
        node = self.blocks[-1].nodes.get(key)
        if node is None:
            self.reader.fail(f"nothing is named %{key} here")
        return node

    def _refs(self) -> list[Tensor]:
        refs = [self._ref()]
        while self.reader.accept(","):
            refs.append(self._ref())
        return refs

    def _initial(self) -> None:
        node = self._ref()
        if len(self.blocks) > 1 or node.op.name != "assign":
            self.reader.fail("init is for assignments in the outermost block")
        name = node.attrs["variable"]
        if name in self.initial:
            self.reader.fail(f"the variable {name!r} begins twice")
        self.initial[name] = node, not self.reader.accept("untrainable")

    # Nodes.

    def _arguments(self, call: _Call, first: bool) -> None:
        """The arguments from here on; a body suspends the line until its block is closed."""
        reader = self.reader
        nodes = self.blocks[-1].nodes
        while not reader.accept(")"):
            if not first:
                reader.expect(",")
            first = False
            if reader.kind == "ref":
                if call.attrs:
                    reader.fail("operands come before attributes")
                operand = nodes.get(key := reader.ref())
                if operand is None:
                    reader.fail(f"nothing is named %{key} here")
                call.operands.append(operand)
                continue
            name = reader.take("word", "an operand or an attribute")
            if name not in parameters(call.op):
                reader.fail(f"{call.op.name} has no attribute {name[:60]!r}")
            if name in call.attrs:
                reader.fail(f"{name} is given twice")
            reader.expect("=")
            if reader.accept("graph"):
                call.body = name
                self._open(call)
                return
            call.attrs[name] = reader.value()
        reader.expect(":")
        stated = reader.type()
        place = reader.place()
        self._make(call, stated, None if place is None else Location(*place))

    def _make(self, call: _Call, stated: Type, location: Location | None) -> None:
        """The node of a finished line, once its type is what the op says."""
        op, operands, reader = call.op, tuple(call.operands), self.reader
        least = len(op.operands) - op.variadic
        if len(operands) < least or (len(operands) > least and not op.variadic):
            reader.fail(f"{op.name} takes {least} operands, not {len(operands)}")
        attrs: Mapping[str, Any] = NO_ATTRS
        schema = parameters(op)
        try:
            if schema:
                attrs = op.canonical(operands, self._complete(call, schema))
            op.require_one_dtype(operands)
            type = op.infer(operands, attrs)
            if op.body_inputs is not None:
                self._check_bodies(op, operands, attrs)
        except FormatError:
            raise
        except Exception as error:  # a rule may fail in any way on what no user's call would give it
            reader.fail(f"{op.name}: {error}")
        if type != stated and not agree(stated, type, operands, attrs):
            reader.fail(f"the text says {self._spell(stated)}, the op says {self._spell(type)}")
        name = call.key if isinstance(call.key, str) else None
        node = Tensor(op, operands, attrs, stated, location, name, self.graph)
        self.blocks[-1].nodes[call.key] = node
        if op.name in ("variable", "assign"):
            self._declare(node)

    def _spell(self, type: Type) -> str:
        return format_type(type, self.reader.spell)

    def _complete(self, call: _Call, schema: Mapping[str, Parameter]) -> dict[str, Any]:
        """The attributes in the order of the signature, those left out by their defaults."""
        attrs = {}
        for key, parameter in schema.items():
            if key not in call.attrs:
                if parameter.required:
                    self.reader.fail(f"{call.op.name} misses its attribute {key}")
                attrs[key] = parameter.default
                continue
            value = attrs[key] = call.attrs[key]
            wanted = _KINDS.get(parameter.kind)
            if value is None and parameter.optional:
                continue
            if wanted is not None and not isinstance(value, wanted):
                self.reader.fail(f"{call.op.name}: {key} is a {parameter.kind}, not {_brief(value)}")
            if isinstance(value, Function) and parameter.kind != "Function":
                self.reader.fail(f"{call.op.name}: {key} is no graph")
        if call.op.name == "constant":
            value, dtype = attrs["value"], attrs["dtype"]
            if not isinstance(value, np.ndarray) or value.dtype != dtype.numpy:
                self.reader.fail(f"the value of a constant of {dtype} is an array of it, not {_brief(value)}")
        return attrs

    def _check_bodies(self, op: Op, operands: tuple[Tensor, ...], attrs: Mapping[str, Any]) -> None:
        assert op.body_inputs is not None
        for name, given in op.body_inputs(*operands, **attrs).items():
            taken = [node.type for node in attrs[name].inputs]
            if not accepts(op, taken, given):
                taken_text, given_text = (", ".join(map(self._spell, types)) for types in (taken, given))
                self.reader.fail(f"{op.name}: {name} takes ({taken_text}) and is given ({given_text})")

    def _declare(self, node: Tensor) -> None:
        """Remembers the variable that a read or an assignment tells of."""
        name = node.attrs["name" if node.op.name == "variable" else "variable"]
        try:
            check_name(name)
        except ArgumentError as error:
            self.reader.fail(str(error))
        declared = TensorType(node.attrs["dtype"], node.attrs["shape"])
        known, _ = self.variables.setdefault(name, (declared, node.loc))
        if known != declared:
            self.reader.fail(
                f"the variable {name!r} is {self._spell(declared)} here and {self._spell(known)} before"
            )


_KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "bool": bool,
    "Function": Function,
    "DType": DType,
    "Shape": tuple,
}


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _function(block: _Block) -> Function:
    return Function(tuple(block.inputs), tuple(block.outputs or ()), tuple(block.effects))
