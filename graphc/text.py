"""The text of a graph: `show` writes it, `graphc.parsing.parse` reads it.

    graph(%x: f32[batch,784], %labels: i64[batch]) {
      %0 = variable(name='w', dtype=f32, shape=[784,10]) : f32[784,10]
      %1 = matmul(%x, %0) : f32[batch,10]            # digits.py:21
      %out = exp(%1) : f32[batch,10]                 # digits.py:22 (backward)
      return %out
    }

Grammar; ``[ ]`` is optional, ``{ }`` repeats, quoted marks stand for themselves:

    block  = "graph(" [ref ":" type {"," ref ":" type}] ") {" newline {line newline} "}"
    line   = ref "=" op "(" [operand {"," operand}] ") :" result ["#" place]
           | "init" ref ["untrainable"] | "run" ref {"," ref} | "return" [ref {"," ref}]
    operand = ref | key "=" (value | block)            all refs come before all keys
    value  = "None" | "True" | "False" | int | float | "nan" | ["-"] "inf" | string | dtype | type
           | "(" [value {"," value} [","]] ")" | "[" [size {"," size}] "]" | "size[" size "]"
           | "types" result | dtype "[" [int {"," int}] "]{" [number {"," number}] "}" | "@" word
    ref    = "%" (digits | name | string)             digits alone number what has no name
    result = type | "(" [type {"," type}] ")"         "()" is an operation
    type   = dtype "[" ("..." | [size {"," size}]) "]"    dtype is f32, i64, u8, bf16, bool, ...
    size   = sums and products, "//", "%", "max(,)" of ints, names and unknowns "?0", "?1", ...
    place  = (file | string) ":" digits ["(backward)"]

The inputs are placeholders. ``init`` marks the assignment that gives a variable its initial value;
``run`` lists the effects; ``return`` comes last. What a line leaves out of an op's attributes has its
default. Names hold letters of any script, digits, and ``_ . - / :``; others are quoted with Python's
escapes. Numbers and names are those of their block. Arrays of up to 16 elements stand in the text, larger
ones beside it under ``@c0``. Blank lines and other comments are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from graphc.errors import FetchError, UnknownFetchError, UnknownNameError
from graphc.function import Function, topological
from graphc.graph import Graph, get_default_graph
from graphc.literals import Speller, spell_file, spell_name, stated_attributes
from graphc.location import Location
from graphc.nesting import flatten
from graphc.parsing import parse as parse  # the way back, under the same roof
from graphc.tensor import Tensor
from graphc.types import TupleType
from graphc.variable import Variable

_COLUMN = 48  # where locations begin, unless the line is longer


def show(fetches: Any) -> str:
    """The text of a Function, of a Graph or of what `fetches` reach.

    These are any nesting of tensors, variables, operations, and names of the default graph.

    Large constants stay beside: `show_with_data` gives them too. A Graph that holds no Function
    shows all its named tensors, and how its variables begin.

    Raises: FetchError for what is none of these.
    """
    return show_with_data(fetches)[0]


def show_with_data(fetches: Any) -> tuple[str, dict[str, np.ndarray[Any, Any]]]:
    """The text and, by the names it calls them, the large arrays beside it."""
    variables = fetches.variables.values() if isinstance(fetches, Graph) else ()
    return spell_function(as_function(fetches), variables)[:2]


def spell_function(
    function: Function, variables: Iterable[Variable] = ()
) -> tuple[str, dict[str, np.ndarray[Any, Any]], list[object]]:
    """The text of `function`, with how `variables` begin; arrays beside it; what no text can hold."""
    printer = _Printer()
    printer.print(function, [v for v in variables if v.has_initial_value])
    return "".join(printer.parts), printer.speller.data, printer.speller.opaque


def as_function(fetches: Any) -> Function:
    """What `fetches` stand for as a Function of the placeholders that they reach.

    Operations become effects. A Graph stands for the Function it holds, else for what it names.

    Raises: FetchError.
    """
    if isinstance(fetches, Function):
        return fetches
    extra: list[Tensor] = []
    if isinstance(fetches, Graph):
        if fetches.function is not None:
            return fetches.function
        leaves = [t for t in fetches.tensors.values() if t.op.name != "placeholder"]
        inputs = [t for t in fetches.tensors.values() if t.op.name == "placeholder"]
        extra = [v.initializer for v in fetches.variables.values() if v.has_initial_value]
    else:
        leaves, inputs = [as_fetch(leaf) for leaf in flatten(fetches)], []
    reached = topological([*inputs, *leaves, *extra])
    return Function(
        inputs=tuple(node for node in reached if node.op.name == "placeholder"),
        outputs=tuple(leaf for leaf in leaves if not isinstance(leaf.type, TupleType)),
        effects=tuple(leaf for leaf in leaves if isinstance(leaf.type, TupleType)),
    )


def as_fetch(leaf: Any) -> Tensor:
    """The tensor that `leaf` stands for: a tensor, a variable, or the name of one in the default graph.

    Raises: FetchError.
    """
    if isinstance(leaf, str):
        try:
            return get_default_graph().get_tensor(leaf)
        except UnknownNameError as error:
            raise UnknownFetchError(str(error)) from None
    if isinstance(leaf, Variable):
        return leaf.value()
    if not isinstance(leaf, Tensor):
        raise FetchError(f"a tensor, a variable, an operation or a name is wanted, not {leaf!r}")
    return leaf


class _Printer:
    """Prints functions within functions without recursion: a generator for each open block."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.speller = Speller()

    def print(self, function: Function, variables: Sequence[Variable]) -> None:
        open_blocks = [self._block(function, "", variables)]
        while open_blocks:
            body = next(open_blocks[-1], None)
            if body is None:
                open_blocks.pop()
            else:
                open_blocks.append(self._block(body, "  " * len(open_blocks), ()))

    def _block(self, function: Function, indent: str, variables: Sequence[Variable]) -> Iterator[Function]:
        """Prints `function` up to its closing brace; gives each body at the place where it stands."""
        parts, spell = self.parts, self.speller
        roots = (*function.outputs, *function.effects, *(v.initializer for v in variables))
        nodes = topological(roots, first=function.inputs)
        refs = _refs(nodes, len(function.inputs))
        header = ", ".join(f"{refs[node]}: {spell.type(node.type)}" for node in function.inputs)
        parts.append(f"graph({header}) {{\n")
        for node in nodes[len(function.inputs) :]:
            start = len(parts)
            parts.append(
                f"{indent}  {refs[node]} = {node.op.name}({', '.join(map(refs.__getitem__, node.inputs))}"
            )
            separator = ", " if node.inputs else ""
            for key, value, is_shape in stated_attributes(node):
                parts.append(f"{separator}{key}=")
                if isinstance(value, Function):
                    yield value
                    start = len(parts)
                    parts.append(f"{indent}  }}")
                else:
                    parts.append(spell.value(value, is_shape))
                separator = ", "
            line = "".join((*parts[start:], ") : ", spell.type(node.type)))
            parts[start:] = [line + _place(node.loc, len(line))]
        for variable in variables:
            mark = "" if variable.trainable else " untrainable"
            parts.append(f"{indent}  init {refs[variable.initializer]}{mark}\n")
        if function.effects:
            parts.append(f"{indent}  run {', '.join(refs[node] for node in function.effects)}\n")
        parts.append(f"{indent}  return {', '.join(refs[node] for node in function.outputs)}".rstrip() + "\n")
        if not indent:
            parts.append("}")


def _refs(nodes: Sequence[Tensor], inputs: int) -> dict[Tensor, str]:
    """``%name`` for the first node of each name, ``%0``, ``%1``, ... for the others."""
    refs: dict[Tensor, str] = {}
    taken: set[str] = set()
    number = 0
    for i, node in enumerate(nodes):
        name = node.attrs.get("name") if i < inputs else node.name
        if isinstance(name, str) and name and name not in taken:
            taken.add(name)
            refs[node] = f"%{spell_name(name)}"
        else:
            refs[node] = f"%{number}"
            number += 1
    return refs


def _place(location: Location | None, width: int) -> str:
    if location is None:
        return "\n"
    mark = " (backward)" if location.backward else ""
    file = spell_file(os.path.basename(location.filename) or "?")
    return f"{' ' * max(2, _COLUMN - width)}# {file}:{location.line}{mark}\n"
