"""Block hiding: keys behind the last one that a query of a block sees, which the block does not visit.

Where scores are ``where(mask, x, -inf)`` and their rows a softmax, a key that the mask hides weighs 0. So all
members of a block run over the keys up to the last one that one of its queries sees: of a causal mask about
half of them. Which those are the mask itself says, at the run; so padding is left out too.

``0 v`` is 0 only where v is finite: where one of the hidden values is not, all keys are visited.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from graphc.sizes import Size, SizeExpr, Symbol, substitute, symbols
from runtime.llvm_backend.contractions.contraction import Access, Hidden
from runtime.llvm_backend.ir.text import float_text
from runtime.llvm_backend.ir.values import memory_scalar
from runtime.llvm_backend.ir.writer import Value, Writer

_CHUNK = 64  # keys that are looked at together
_BYTES = 64  # of values that are looked at together
_SEEN = Symbol(None, -1)  # how many keys are visited: no user's symbol has such a number

SEEN: Size = SizeExpr((((_SEEN,), 1),))

Place = Callable[[Access], str]  # the address of an access, at the outer index


def depends(size: Size) -> bool:
    """Whether `size` is known only when the keys are."""
    return _SEEN in symbols(size)


def largest(size: Size, keys: Size) -> Size:
    """`size` where all `keys` are visited."""
    return substitute(size, {_SEEN: keys})


def factor(size: Size) -> Size | None:
    """What `size` is a multiple of `SEEN` by; None where it is none."""
    found = substitute(size, {_SEEN: 1})
    return found if found * SEEN == size else None


def write_seen(w: Writer, hidden: Hidden, place: Place) -> Value:
    """How many keys are visited at an outer index: an i64."""
    keys, scalar = w.word(hidden.keys), memory_scalar(hidden.other.dtype)
    other = w.value(f"load {scalar}, ptr {place(hidden.other)}")
    hides = w.value(f"fcmp oeq {scalar} {other}, {float_text(scalar, -inf)}")

    def look() -> list[str]:
        seen = w.max(_last_seen(w, hidden, place(hidden.mask), keys), 1)
        wild = _any_wild(w, hidden, place(hidden.values), seen, keys)
        return [str(w.select(wild, keys, seen))]

    (found,) = w.choose(hides, look, lambda: [str(keys)], ["i64"])
    return found


def _last_seen(w: Writer, hidden: Hidden, mask: str, keys: Value) -> Value:
    """The end of the last keys of which a query sees one; those before come along."""
    step = w.word(hidden.mask.stride(hidden.row))
    rows: Value = 1 if step == 0 else w.word(hidden.rows)

    def seen(type: str, key: Value) -> str:
        def join(row: Value, before: list[str]) -> list[str]:
            at = w.address(mask, w.add(w.mul(row, step), key), "i8")
            return [w.value(f"or {type} {before[0]}, {w.value(f'load {type}, ptr {at}, align 1')}")]

        (found,) = w.loop(rows, join, [(type, "zeroinitializer" if type != "i8" else "0")])
        return found

    def chunk(key: Value, before: list[str]) -> list[str]:
        of = f"<{_CHUNK} x i8>"
        w.declare(f"i8 @llvm.vector.reduce.or.v{_CHUNK}i8({of})")
        found = w.value(f"call i8 @llvm.vector.reduce.or.v{_CHUNK}i8({of} {seen(of, key)})")
        return [str(w.select(w.value(f"icmp ne i8 {found}, 0"), w.add(key, _CHUNK), before[0]))]

    def rest(key: Value, before: list[str]) -> list[str]:
        return [str(w.select(w.value(f"icmp ne i8 {seen('i8', key)}, 0"), keys, before[0]))]

    whole = w.mul(w.div(keys, _CHUNK), _CHUNK)
    (last,) = w.loop(whole, chunk, [("i64", "0")], step=_CHUNK)
    (last,) = w.loop(keys, rest, [("i64", last)], start=whole)
    return last


def _any_wild(w: Writer, hidden: Hidden, values: str, start: Value, stop: Value) -> str:
    """Whether a value of the keys from `start` to `stop` is NaN or infinite: an i1."""
    scalar = memory_scalar(hidden.values.dtype)
    width = _BYTES // hidden.values.dtype.itemsize
    step, size = w.word(hidden.values.stride(hidden.key)), w.word(hidden.width)
    whole = w.mul(w.div(size, width), width)
    wide = f"<{width} x {scalar}>"

    def wild(type: str, masks: str, at: Value, before: str) -> str:
        value = w.value(
            f"load {type}, ptr {w.address(values, at, scalar)}, align {hidden.values.dtype.itemsize}"
        )
        apart = w.value(f"fsub {type} {value}, {value}")
        return w.value(f"or {masks} {before}, {w.value(f'fcmp uno {type} {apart}, {apart}')}")

    def key(number: Value, before: list[str]) -> list[str]:
        begin = w.mul(number, step)
        (many,) = w.loop(
            whole,
            lambda i, x: [wild(wide, f"<{width} x i1>", w.add(begin, i), x[0])],
            [(f"<{width} x i1>", before[0])],
            step=width,
        )
        (one,) = w.loop(
            size, lambda i, x: [wild(scalar, "i1", w.add(begin, i), x[0])], [("i1", before[1])], start=whole
        )
        return [many, one]

    masks = f"<{width} x i1>"
    many, one = w.loop(stop, key, [(masks, "zeroinitializer"), ("i1", "false")], start=start)
    w.declare(f"i1 @llvm.vector.reduce.or.v{width}i1({masks})")
    found = w.value(f"call i1 @llvm.vector.reduce.or.v{width}i1({masks} {many})")
    return w.value(f"or i1 {found}, {one}")
