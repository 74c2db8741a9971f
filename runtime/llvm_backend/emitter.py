"""Emitter: an elementwise op as the text of an LLVM module.

    void kernel(ptr out, ptr x, ptr y, i64 n)

runs one loop over eight elements at a time, then one over what is left. Arrays are contiguous and
alike in shape; `n`, the number of elements, is known only at the run, so one kernel serves all sizes.
"""

from __future__ import annotations

from graphc.types import FLOAT32, FLOAT64, DType
from runtime.llvm_backend.scalars import INTRINSICS, LINES

KERNEL = "kernel"
_WIDTH = 8
_TYPES = {FLOAT32: ("float", "f32"), FLOAT64: ("double", "f64")}

_KERNEL_TEXT = """\
define void @{kernel}(ptr %out.array, {parameters}, i64 %n) {{
  %whole = and i64 %n, -{width}
  call void @wide(ptr %out.array, {parameters}, i64 0, i64 %whole)
  call void @narrow(ptr %out.array, {parameters}, i64 %whole, i64 %n)
  ret void
}}
"""

_LOOP_TEXT = """\
define internal void @{name}(ptr %out.array, {parameters}, i64 %begin, i64 %end) {{
entry:
  %some = icmp ult i64 %begin, %end
  br i1 %some, label %loop, label %done
loop:
  %i = phi i64 [%begin, %entry], [%next, %loop]
{loads}
{line}
  %out.at = getelementptr {scalar}, ptr %out.array, i64 %i
  store {type} %r, ptr %out.at, align {align}
  %next = add i64 %i, {width}
  %more = icmp ult i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


def emit(op: str, operands: int, dtype: DType) -> str | None:
    """The module for `op` on `operands` arrays of `dtype`; None where there is none."""
    if op not in LINES or dtype not in _TYPES:
        return None
    scalar, suffix = _TYPES[dtype]
    wide, wide_suffix = f"<{_WIDTH} x {scalar}>", f"v{_WIDTH}{suffix}"
    names = ("x", "y")[:operands]
    parameters = ", ".join(f"ptr %{name}.array" for name in names)
    parts = [
        _KERNEL_TEXT.format(kernel=KERNEL, parameters=parameters, width=_WIDTH),
        _loop("wide", op, names, scalar, wide, f"<{_WIDTH} x i1>", wide_suffix, _WIDTH),
        _loop("narrow", op, names, scalar, scalar, "i1", suffix, 1),
    ]
    if op in INTRINSICS:
        parts += [
            f"declare {type} @llvm.{INTRINSICS[op]}.{of}({type})\n"
            for type, of in ((wide, wide_suffix), (scalar, suffix))
        ]
    return "".join(parts)


def _loop(
    name: str, op: str, names: tuple[str, ...], scalar: str, type: str, bools: str, suffix: str, width: int
) -> str:
    align = 4 if scalar == "float" else 8
    loads = "\n".join(
        f"  %{x}.at = getelementptr {scalar}, ptr %{x}.array, i64 %i\n"
        f"  %{x} = load {type}, ptr %{x}.at, align {align}"
        for x in names
    )
    return _LOOP_TEXT.format(
        name=name,
        parameters=", ".join(f"ptr %{x}.array" for x in names),
        loads=loads,
        line=LINES[op].format(T=type, B=bools, S=suffix),
        scalar=scalar,
        type=type,
        align=align,
        width=width,
    )
