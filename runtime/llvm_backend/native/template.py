"""Template: a lowered program as bytes, on which other processes run requests of the same fingerprint.

It holds step table, linked code, signature and arena. Nothing in it is an address: a step names the symbol
that it calls, a word the constant whose address it is to hold. A constant that lies in one of the request's
own arrays (a variable's first value, say) is named by that, others are kept. Sizes name unknown symbols by
their number in the fingerprint; those that passes made have the numbers that follow. Of steps in Python only
those that take memory and give late results are kept.

The form is JSON, and blocks of numbers and bytes whose lengths it gives; nothing in it is executed but the
machine code. The cache's checksum is against accidents: that steps jump where they should is not looked at.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np

from graphc.alignment import aligned
from graphc.sizes import Atom, Call, Size, SizeExpr, Symbol, unknown
from graphc.sizes import symbols as symbols_of
from passes.memory import MemoryPlan
from passes.packing import Slot
from runtime.llvm_backend.engine.linking import Code, UnlinkableError
from runtime.llvm_backend.engine.mapping import MappedCode
from runtime.llvm_backend.native.arena import Arena
from runtime.llvm_backend.native.late_memory import Gift, Growth, Lengthening
from runtime.llvm_backend.native.lowered import Array, Lowered, knows_lines, whole
from runtime.llvm_backend.native.places import Place
from runtime.llvm_backend.native.python_steps import Pause
from runtime.llvm_backend.table.call import Feed, Output, Signature
from runtime.llvm_backend.table.polling import c_library
from runtime.llvm_backend.table.steptable import StepTable

MOST_CONSTANTS = 1 << 20  # bytes of constants that a template keeps
_CALLED = 1  # the field of a step that says what it calls
_ALIGNMENT = 64  # of the constants that are kept, among themselves
_TAKES_MEMORY = {kind.__name__: kind for kind in (Growth, Lengthening)}
_BLOCKS = 5  # what follows the JSON: steps, words, pointers, constants, code


class UnreadableError(Exception):
    """Bytes are no template, or none that can be used here."""


def pack(lowered: Lowered, symbols: Sequence[Symbol], arrays: Sequence[Array]) -> bytes | None:
    """`lowered` as bytes; None where it cannot be kept.

    `symbols` and `arrays` are those of the fingerprint of its request.
    """
    code = None if lowered.library is None else lowered.library.code()
    if code is None or knows_lines(lowered):
        return None
    table, signature, arena = lowered.table, lowered.signature, lowered.arena
    steps, words = table.steps.copy(), table.template.copy()
    try:
        calls = _name_calls(steps, lowered, code)
        constants, kept = _name_constants(words, lowered, arrays)
        sizes = _Sizes(symbols)
        head = {
            "calls": calls,
            "constants": constants,
            "marks": table.marks,
            "feeds": [[f.dtype.str, f.sizes, f.pointers] for f in signature.feeds],
            "outputs": [[o.dtype.str, o.sizes, o.pointers] for o in signature.outputs],
            "call": [signature.hold, signature.form, signature.prelude, signature.main],
            "slots": [[[*map(sizes.write, s.sizes)], s.below, s.phase] for s in arena.plan.slots],
            "room": [*map(sizes.write, arena.room)],
            "arena": [arena.base, arena.capacity, arena.fixed, arena.last],
            "variables": lowered.variables,
            "takes_state": lowered.takes_state,
            "fetches": lowered.fetches,
            "assigned": lowered.assigned,
            "adopted": {name: _number_of(value, arrays) for name, value in lowered.adopted.items()},
            "pauses": [_pause(pause, sizes) for pause in lowered.python],
            "late": lowered.late,
            "symbols": [[sizes.atom(symbol), word] for symbol, word in lowered.symbols.items()],
            "code": [code.size, code.fixed, code.symbols, code.imports],
        }
    except KeyError:  # a function of another library, a constant that passes made
        return None
    if sum(map(len, kept)) > MOST_CONSTANTS:
        return None
    pointers = np.array(table.pointers, np.int64)
    blocks = [steps.tobytes(), words.tobytes(), pointers.tobytes(), b"".join(kept), code.content]
    text = json.dumps(head, separators=(",", ":")).encode()
    return np.array([len(text), *map(len, blocks)], np.int64).tobytes() + text + b"".join(blocks)


def unpack(data: bytes, symbols: Sequence[Symbol], arrays: Sequence[Array]) -> Lowered:
    """What `pack` was given, without what only its own process knew.

    Raises: UnreadableError.
    """
    try:
        return _unpack(data, symbols, arrays)
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableError(str(error)) from None
    except (UnlinkableError, OSError) as error:  # this system makes no pages of code
        raise UnreadableError(str(error)) from None


def _unpack(data: bytes, symbols: Sequence[Symbol], arrays: Sequence[Array]) -> Lowered:
    text, steps, words, pointers, kept, content = _blocks(data)
    head = json.loads(text)
    code = _code(content, head["code"])
    table_steps = np.frombuffer(steps, np.int64).reshape(-1, 8).copy()
    for name, numbers in head["calls"].items():
        table_steps[numbers, _CALLED] = code[name]
    template = np.frombuffer(words, np.int64).copy()
    held = _put_constants(template, head["constants"], kept, arrays)
    sizes = _Sizes(symbols)
    hold, form, prelude, main = head["call"]
    base, capacity, fixed_words, last = head["arena"]
    feeds = (Feed(np.dtype(d), _axes(s), tuple(p)) for d, s, p in head["feeds"])
    outputs = (Output(np.dtype(d), _axes(s), tuple(p)) for d, s, p in head["outputs"])
    slots = (Slot(tuple(map(sizes.read, s)), tuple(below), phase) for s, below, phase in head["slots"])
    pairs = np.frombuffer(pointers, np.int64).reshape(-1, 2).tolist()
    return Lowered(
        table=StepTable(table_steps, template, tuple((x, y) for x, y in pairs), head["marks"], (code, *held)),
        signature=Signature(tuple(feeds), tuple(outputs), hold, form, prelude, main),
        arena=Arena(
            MemoryPlan(tuple(slots), {}, {}, frozenset(), {}),
            tuple(map(sizes.read, head["room"])),
            *(base, capacity, tuple(map(tuple, fixed_words)), last),
        ),
        variables=tuple(head["variables"]),
        takes_state=head["takes_state"],
        fetches=tuple(head["fetches"]),
        assigned=tuple(head["assigned"]),
        adopted={name: arrays[number] for name, number in head["adopted"].items()},
        kinds={},
        python=tuple(_pause_of(written, sizes) for written in head["pauses"]),
        symbols={sizes.symbol(atom): word for atom, word in head["symbols"]},
        places={},
        state=None,
        kernels=(),
        runs={},
        clocks=None,
        late=tuple(head["late"]),
        obstacles={},
        library=None,
        constants=(),
    )


def _blocks(data: bytes) -> Iterator[bytes]:
    """The head and the blocks behind it. Raises: UnreadableError."""
    lengths = np.frombuffer(data, np.int64, 1 + _BLOCKS).tolist()
    ends = np.cumsum([8 * len(lengths), *lengths]).tolist()
    if min(lengths) < 0 or ends[-1] != len(data):
        raise UnreadableError("it is cut off")
    return (data[begin:end] for begin, end in pairwise(ends))


def _code(content: bytes, described: Sequence[Any]) -> MappedCode | dict[str, int]:
    """The functions by name; none of a program that only copies."""
    if not content:
        return {}
    size, fixed, places, imports = described
    return MappedCode(Code(content, size, fixed, places, imports), (), c_library(*imports))


def _put_constants(
    template: Array, constants: Sequence[Sequence[int]], kept: bytes, arrays: Sequence[Array]
) -> list[Array]:
    """Writes the addresses of constants into `template`; gives the arrays that these are in."""
    own = aligned(np.frombuffer(kept, np.uint8).copy())
    held = []
    for word, number, offset in constants:
        array = own if number < 0 else whole(arrays[number])
        if not 0 <= offset <= array.nbytes:
            raise UnreadableError("a constant that is not there")
        template[word] = array.ctypes.data + offset
        held.append(array)
    return held


def _pause(pause: Any, sizes: _Sizes) -> list[Any]:
    """A step in Python that takes memory or gives results, which `_pause_of` reads."""
    if isinstance(pause, Gift):
        return [[place.word, place.dtype.str, [*map(sizes.write, place.sizes)]] for place in pause.places]
    return [pause.__class__.__name__, *astuple(pause)]


def _pause_of(written: list[Any], sizes: _Sizes) -> Pause:
    if written and isinstance(written[0], str):
        return _TAKES_MEMORY[written[0]](*map(int, written[1:]))
    return Gift(tuple(Place(word, np.dtype(d), tuple(map(sizes.read, s))) for word, d, s in written))


def _axes(sizes: Sequence[int | Sequence[int]]) -> tuple[int | tuple[int, ...], ...]:
    return tuple(size if isinstance(size, int) else tuple(size) for size in sizes)


def _number_of(value: Array, arrays: Sequence[Array]) -> int:
    """Which of `arrays` it is. Raises: KeyError."""
    return {id(array): number for number, array in enumerate(arrays)}[id(value)]


def _name_calls(steps: Array, lowered: Lowered, code: Code) -> dict[str, list[int]]:
    """Which steps call which symbol; their addresses are wiped out. Raises: KeyError."""
    assert lowered.library is not None
    names = {at: symbol for symbol, at in lowered.library.functions()}
    called: dict[str, list[int]] = {}
    for number in np.flatnonzero(steps[:, _CALLED]).tolist():
        name = names[int(steps[number, _CALLED])]
        if name not in code.symbols:
            raise KeyError(name)
        called.setdefault(name, []).append(number)
    steps[:, _CALLED] = 0
    return called


def _name_constants(
    words: Array, lowered: Lowered, arrays: Sequence[Array]
) -> tuple[list[tuple[int, int, int]], list[bytes]]:
    """For each word with the address of a constant: the number of the array that it lies in, and where there.

    The number is -1 for what is kept, whose bytes come too. The words are wiped out.
    """
    spans: list[tuple[int, int, int]] = sorted(
        (array.ctypes.data, array.ctypes.data + array.nbytes, number)
        for number, array in enumerate(arrays)
        if array.flags.c_contiguous and array.nbytes
    )
    begins = [begin for begin, _, _ in spans]
    farthest: list[tuple[int, int, int]] = []  # for each of them, the one up to it that ends last
    for span in spans:
        farthest.append(max(farthest[-1], span, key=itemgetter(1)) if farthest else span)
    found: list[tuple[int, int, int]] = []
    kept: list[bytes] = []
    places: dict[int, int] = {}  # of those that are kept, by their identity
    end = 0
    for word, value in lowered.constants:
        begin = value.ctypes.data
        words[word] = 0
        before = bisect_right(begins, begin)  # if one of these holds it, so does the one that ends last
        at, last, number = farthest[before - 1] if before else (0, 0, -1)
        if value.nbytes and begin + value.nbytes <= last:
            found.append((word, number, begin - at))
            continue
        if id(value) not in places:
            places[id(value)] = end
            kept.append(value.tobytes() + bytes(-value.nbytes % _ALIGNMENT))
            end += len(kept[-1])
        found.append((word, -1, places[id(value)]))
    return found, kept


class _Sizes:
    """Writes and reads sizes; `symbols` are the unknown ones. For others, made by passes, new ones serve."""

    def __init__(self, symbols: Sequence[Symbol]) -> None:
        self._symbols = dict(enumerate(symbols))
        self._numbers = {symbol: number for number, symbol in enumerate(symbols)}

    def write(self, size: Size) -> Any:
        """An int, or a list of terms: coefficient and atoms."""
        if not isinstance(size, SizeExpr):
            return int(size)
        return [[n, *map(self.atom, atoms)] for atoms, n in size.terms]

    def atom(self, atom: Atom) -> Any:
        """The name of a symbol, or its number; or a list: the function and its operands."""
        if isinstance(atom, Symbol):
            return self._numbers.setdefault(atom, len(self._numbers)) if atom.name is None else atom.name
        return [atom.function, *map(self.write, atom.operands)]

    def read(self, written: Any) -> Size:
        """The size that `write` wrote."""
        if isinstance(written, int):
            return written
        return SizeExpr(tuple((tuple(map(self._read_atom, atoms)), int(n)) for n, *atoms in written))

    def _read_atom(self, written: Any) -> Atom:
        if isinstance(written, list):
            function, x, y = written
            return Call(function, (self.read(x), self.read(y)))
        return self.symbol(written)

    def symbol(self, written: str | int) -> Symbol:
        """The symbol that `atom` wrote."""
        if isinstance(written, str):
            return Symbol(written)
        found = self._symbols.get(written)
        if found is None:
            found = self._symbols[int(written)] = next(symbols_of(unknown()))
        return found
