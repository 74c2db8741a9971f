"""What elementwise ops are in LLVM IR: one line for each op. An op without a line runs by its meaning.

In a line, ``%r`` is the result, ``%x`` and ``%y`` the operands, ``{T}`` their type (a vector or a
scalar), ``{B}`` the type of a comparison of them and ``{S}`` the suffix of intrinsics. There is no
fast-math flag anywhere: the numbers are NumPy's to the last bit.
"""

from __future__ import annotations

INTRINSICS = {
    "abs": "fabs",
    "ceil": "ceil",
    "floor": "floor",
    "sqrt": "sqrt",
}

# A comparison that is unordered-or-larger keeps x where it is NaN, and y where that is NaN.
_SELECT = """\
  %larger = fcmp {compare} {{T}} %x, %y
  %nan = fcmp uno {{T}} %x, %x
  %keep = or {{B}} %larger, %nan
  %r = select {{B}} %keep, {{T}} %x, {{T}} %y"""

LINES = {
    "add": "  %r = fadd {T} %x, %y",
    "sub": "  %r = fsub {T} %x, %y",
    "mul": "  %r = fmul {T} %x, %y",
    "div": "  %r = fdiv {T} %x, %y",
    "neg": "  %r = fneg {T} %x",
    "square": "  %r = fmul {T} %x, %x",
    "maximum": _SELECT.format(compare="oge"),
    "minimum": _SELECT.format(compare="ole"),
    **{name: f"  %r = call {{T}} @llvm.{function}.{{S}}({{T}} %x)" for name, function in INTRINSICS.items()},
}
