"""Steps: elements of memory that lie some apart, picked out of whole vectors.

For a step of 3 three vectors are loaded that lie behind one another, and each lane is taken from one of
them. The last vector ends with the last element that is wanted: nothing behind that is read, nor before the
first one. A gather takes an instruction for every element, this a few for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.llvm_backend.ir.text import Module, load_text, vector_of

MOST_STEPS = 8  # vectors that one is picked out of


def load_steps(
    module: Module,
    let: Callable[[str], str],
    scalar: str,
    width: int,
    pointer: str,
    step: int,
    align: int,
    mask: str | None = None,
    others: str = "zeroinitializer",
) -> str:
    """`width` elements, the first at `pointer`, each `step` further on (back, where that is negative).

    `let` names what an instruction computes. With `mask` only the first lanes, for which it holds, are
    loaded; the others are those of `others`, which are all alike.
    """
    many, last = abs(step), (width - 1) * abs(step)
    if step < 0:
        pointer = let(f"getelementptr {scalar}, ptr {pointer}, i64 {-last}")
    starts = [*(number * width for number in range(many - 1)), last + 1 - width]
    parts = []
    for start in starts:
        at = let(f"getelementptr {scalar}, ptr {pointer}, i64 {start}") if start else pointer
        distances = [place if step > 0 else last - place for place in range(start, start + width)]
        inside = mask
        if mask is not None:  # up to the last element that counts
            inside = _shuffled(let, "i1", width, mask, "poison", [-(-x // many) for x in distances])
        parts.append(let(load_text(module, scalar, width, at, align, inside, others)))
    places = [k * many if step > 0 else last - k * many for k in range(width)]
    own = [min(place // width, many - 1) for place in places]  # the part that each lane is in
    found = parts[0]
    if many == 1:
        return found if step > 0 else _shuffled(let, scalar, width, found, "poison", places)
    for number in range(1, many):
        lanes = [
            k if number > 1 and which < number else place - starts[which] + width * (which == number)
            for k, (which, place) in enumerate(zip(own, places, strict=True))
        ]
        kept = [lane if which <= number else None for lane, which in zip(lanes, own, strict=True)]
        found = _shuffled(let, scalar, width, found, parts[number], kept)
    return found


def _shuffled(
    let: Callable[[str], str], scalar: str, width: int, x: str, y: str, lanes: Sequence[int | None]
) -> str:
    of = vector_of(scalar, width)
    text = ", ".join("i32 poison" if lane is None else f"i32 {lane}" for lane in lanes)
    return let(f"shufflevector {of} {x}, {of} {y}, <{width} x i32> <{text}>")
