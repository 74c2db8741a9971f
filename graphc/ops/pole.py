"""Pole: whether a value may be infinite although all that it is made of is finite.

A product slopes by its other operand. Where that is ``log(x)``, ``1 / x`` or the like, the branch of a
`where` that is not taken would send back 0 times infinity.
"""

from __future__ import annotations

import numpy as np

from graphc.tensor import Tensor

_POLES = {  # ops that are infinite at some finite place, and the operand that says where
    "acosh": 0, "atanh": 0, "cosh": 0, "digamma": 0, "div": 1, "exp": 0, "expm1": 0, "lgamma": 0, "log": 0,
    "log1p": 0, "polygamma": 0, "power": 1, "reciprocal": 0, "rsqrt": 0, "sinh": 0, "tan": 0,
}  # fmt: skip
_HANDING_ON = frozenset(
    ("abs", "add", "broadcast_to", "cast", "div", "expand_dims", "guarded_multiply", "identity", "mul", "neg",
     "power", "reshape", "sqrt", "square", "squeeze", "sub", "transpose")
)  # fmt: skip
_MOST = 32  # nodes looked at: what lies further off has been through so much that nobody knows


def may_be_infinite(x: Tensor) -> bool:
    """Whether arithmetic near `x` has a pole: a logarithm, a division, a power, an exponential.

    What is kept from its pole by a constant, as in ``log(x + 1e-8)`` and ``x / 2``, has none.
    """
    stack, seen = [x], {x}
    while stack and len(seen) <= _MOST:
        node = stack.pop()
        place = _POLES.get(node.op.name)
        if place is not None and not _is_kept_off(node.inputs[place]):
            return True
        if node.op.name in _HANDING_ON:
            new = [operand for operand in node.inputs if operand not in seen]
            seen.update(new)
            stack += new
    return False


def _is_kept_off(x: Tensor) -> bool:
    """Whether `x` is a constant that is positive, or a sum with one."""
    return _is_positive(x) or (x.op.name == "add" and any(map(_is_positive, x.inputs)))


def _is_positive(x: Tensor) -> bool:
    while x.op.name in ("broadcast_to", "cast"):
        x = x.inputs[0]
    return x.op.name == "constant" and bool(np.all(x.attrs["value"] > 0))
