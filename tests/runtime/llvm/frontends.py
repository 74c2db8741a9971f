"""Front ends for tests: what matrix products, convolutions, their gradients and pooling are as contracts.

All of them are strides and nothing else. Arrays are row-major; buffers are called x, y (or w) and out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.errors import ArgumentError
from graphc.sizes import Size, product
from graphc.types import FLOAT32, DType
from runtime.llvm_backend.contractions.contraction import (
    Access,
    Contract,
    Dim,
    Expression,
    row_major,
)
from runtime.llvm_backend.ir.lanes import Combine


def einsum(
    equation: str,
    sizes: Mapping[str, Size],
    *,
    strides: Sequence[Mapping[str, Size] | None] = (None, None, None),
    dtype: DType = FLOAT32,
    out_dtype: DType | None = None,
    prologue: tuple[Expression, ...] = (),
    epilogue: Expression = Expression(),  # noqa: B008 - it is immutable
) -> Contract:
    """``"bmk,bkn->bmn"`` and any other of one or two operands, with sums over what is not in the result.

    Shapes: one letter an axis; `sizes` gives each letter's. `strides` of the operands and the result
    replace the row-major ones. Raises: ArgumentError for a letter without a size or an operand.
    """
    left, _, result = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    if len(operands) > 2 or set(result) - set("".join(operands)) or len(set(result)) != len(result):
        raise ArgumentError(f"{equation!r} is not a contraction of one or two operands")
    if missing := set("".join(operands)) - set(sizes):
        raise ArgumentError(f"{equation!r} has letters {sorted(missing)} without a size")
    accesses = []
    for number, letters in enumerate([*operands, result]):
        given = strides[number if number < len(operands) else 2]
        dense = row_major(letters, [sizes[letter] for letter in letters])
        if len(set(letters)) != len(letters):  # a diagonal: its strides add up
            dense = {}
            for i, letter in enumerate(letters):
                dense[letter] = dense.get(letter, 0) + product(sizes[x] for x in letters[i + 1 :])
        name = "out" if number == len(operands) else "xy"[number]
        kind = (out_dtype or dtype) if name == "out" else dtype
        accesses.append(Access(name, 0, dense if given is None else given, kind))
    return Contract(
        tuple(Dim(letter, sizes[letter]) for letter in dict.fromkeys(result + "".join(operands))),
        tuple(accesses[:-1]),
        accesses[-1],
        "multiply_add" if len(operands) == 2 else "add",
        prologue,
        epilogue,
    )


def matmul(
    m: Size,
    n: Size,
    k: Size,
    *,
    batch: Sequence[tuple[Size, bool, bool]] = (),
    transpose_x: bool = False,
    transpose_y: bool = False,
    dtype: DType = FLOAT32,
    out_dtype: DType | None = None,
    prologue: tuple[Expression, ...] = (),
    epilogue: Expression = Expression(),  # noqa: B008 - it is immutable
) -> Contract:
    """``out[..., m, n] = sum(x[..., m, k] * y[..., k, n])``.

    `batch` has for each leading axis its size and whether x, y have it; one that has not is broadcast.
    Transposed, x lies as ``[..., k, m]`` and y as ``[..., n, k]``.
    """
    names = [f"b{i}" for i in range(len(batch))]
    tails = (("k", "m") if transpose_x else ("m", "k"), ("n", "k") if transpose_y else ("k", "n"), ("m", "n"))
    sizes: dict[str, Size] = {"m": m, "n": n, "k": k} | {
        name: size for name, (size, _, _) in zip(names, batch, strict=True)
    }
    strides = []
    for number, tail in enumerate(tails):
        has = [name for name, axis in zip(names, batch, strict=True) if number == 2 or axis[1 + number]]
        axes = [*has, *tail]
        strides.append(row_major(axes, [sizes[name] for name in axes]))
    return Contract(
        tuple(Dim(name, size) for name, size in sizes.items()),
        (Access("x", 0, strides[0], dtype), Access("y", 0, strides[1], dtype)),
        Access("out", 0, strides[2], out_dtype or dtype),
        "multiply_add",
        prologue,
        epilogue,
    )


@dataclass(frozen=True, slots=True)
class Convolution:
    """A 2-D convolution on an input that is padded already.

    Shapes: x ``[batch, height, width, channels]``, w ``[kh, kw, channels / groups, filters]``, out
    ``[batch, (height - (kh-1) d - 1) // s + 1, ..., filters]`` with stride s and dilation d.
    """

    batch: Size
    height: Size
    width: Size
    channels: int
    filters: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    dtype: DType = FLOAT32

    @property
    def out_sizes(self) -> tuple[Size, Size]:
        """Height and width of the output."""
        found = []
        for size, k, s, d in zip(
            (self.height, self.width), self.kernel, self.stride, self.dilation, strict=True
        ):
            found.append((size - (k - 1) * d - 1) // s + 1)
        return found[0], found[1]

    def dims(self) -> tuple[Dim, ...]:
        """Batch, output row and column, group, kernel row and column, input and output channel."""
        high, wide = self.out_sizes
        names = ("b", "oh", "ow", "g", "kh", "kw", "ci", "co")
        per = self.channels // self.groups, self.filters // self.groups
        return tuple(map(Dim, names, (self.batch, high, wide, self.groups, *self.kernel, *per)))

    def x(self, dtype: DType | None = None) -> Access:
        """Windows of the input: overlapping strides."""
        row, image = self.width * self.channels, self.height * self.width * self.channels
        strides = {"b": image, "oh": row * self.stride[0], "ow": self.channels * self.stride[1]}
        strides |= {"g": self.channels // self.groups, "kh": row * self.dilation[0]}
        strides |= {"kw": self.channels * self.dilation[1], "ci": 1}
        return Access("x", 0, strides, dtype or self.dtype)

    def w(self) -> Access:
        """The filter."""
        per = self.channels // self.groups
        strides: dict[str, Size] = {"kh": self.kernel[1] * per * self.filters, "kw": per * self.filters}
        strides |= {"ci": self.filters, "g": self.filters // self.groups, "co": 1}
        return Access("w", 0, strides, self.dtype)

    def y(self) -> Access:
        """The output."""
        high, wide = self.out_sizes
        strides = {"b": high * wide * self.filters, "oh": wide * self.filters, "ow": self.filters}
        strides |= {"g": self.filters // self.groups, "co": 1}
        return Access("y", 0, strides, self.dtype)


def _named(access: Access, buffer: str) -> Access:
    return Access(buffer, access.offset, access.strides, access.dtype)


def convolve(
    conv: Convolution,
    *,
    epilogue: Expression = Expression(),  # noqa: B008 - it is immutable
) -> Contract:
    """``out[b, oh, ow, g co] = sum(x[b, s oh + d kh, s ow + d kw, g ci] * w[kh, kw, ci, g co])``."""
    return Contract(conv.dims(), (conv.x(), conv.w()), _named(conv.y(), "out"), epilogue=epilogue)


def convolve_filter_gradient(conv: Convolution) -> Contract:
    """The gradient of the filter from x and the output's gradient y: the same dims, other roles."""
    return Contract(conv.dims(), (conv.x(), conv.y()), _named(conv.w(), "out"))


def convolve_input_gradient(conv: Convolution) -> tuple[Contract, ...]:
    """The gradient of the padded x, from w and the output's gradient y padded by ``pads`` zeros.

    A contract for each phase of the stride: row ``s p + r`` of x meets only the filter rows kh with
    ``d kh = r (mod s)``. Each is a convolution of stride 1 with the filter flipped (negative strides)
    that writes a strided view of the result. Buffers: y (padded, see `gradient_padding`), w, out.
    Phases that no filter tap meets are contracts without a step: they write zeros.
    """
    found = []
    (high, wide), (before_h, before_w) = gradient_padding(conv)
    row = wide * conv.filters
    per = conv.channels // conv.groups
    for phase_h in range(conv.stride[0]):
        for phase_w in range(conv.stride[1]):
            first = [phase_h, phase_w]
            taps = [_taps(conv, axis, first[axis]) for axis in (0, 1)]
            sizes = [
                (size - p + s - 1) // s
                for size, p, s in zip((conv.height, conv.width), first, conv.stride, strict=True)
            ]
            if any(isinstance(size, int) and size <= 0 for size in sizes):
                continue
            (kh, lag_h, tap_h, many_h), (kw, lag_w, tap_w, many_w) = taps
            dims = (
                *(Dim("b", conv.batch), Dim("ih", sizes[0]), Dim("iw", sizes[1]), Dim("g", conv.groups)),
                *(
                    Dim("kh", many_h),
                    Dim("kw", many_w),
                    Dim("co", conv.filters // conv.groups),
                    Dim("ci", per),
                ),
            )
            origin = (before_h - lag_h[0]) * row + (before_w - lag_w[0]) * conv.filters
            y = Access(
                "y",
                origin,
                {"b": high * row, "ih": row, "iw": conv.filters, "g": conv.filters // conv.groups, "co": 1}
                | {"kh": -lag_h[1] * row, "kw": -lag_w[1] * conv.filters},
                conv.dtype,
            )
            tap = conv.kernel[1] * per * conv.filters
            w = Access(
                "w",
                kh * tap + kw * per * conv.filters,
                {"kh": tap_h * tap, "kw": tap_w * per * conv.filters, "co": 1, "ci": conv.filters}
                | {"g": conv.filters // conv.groups},
                conv.dtype,
            )
            line = conv.width * conv.channels
            strides: dict[str, Size] = {"b": conv.height * line, "ih": line * conv.stride[0]}
            strides |= {"iw": conv.channels * conv.stride[1], "g": per, "ci": 1}
            place = phase_h * line + phase_w * conv.channels
            found.append(Contract(dims, (y, w), Access("out", place, strides, conv.dtype)))
    return tuple(found)


def _taps(conv: Convolution, axis: int, phase: int) -> tuple[int, tuple[int, int], int, int]:
    """The filter taps that a phase meets: the first, (lag of it, lag of a step), their step, how many.

    Input row ``s p + phase`` is ``s o + d k`` for output row ``o = p - (d k - phase) / s``.
    """
    size, s, d = conv.kernel[axis], conv.stride[axis], conv.dilation[axis]
    met = [k for k in range(size) if (d * k - phase) % s == 0]
    if not met:
        return 0, (0, 0), 1, 0
    step = met[1] - met[0] if len(met) > 1 else 1
    return met[0], ((d * met[0] - phase) // s, d * step // s), step, len(met)


def gradient_padding(conv: Convolution) -> tuple[tuple[Size, Size], tuple[int, int]]:
    """How the output's gradient is padded for `convolve_input_gradient`: its sizes, and zeros before it."""
    sizes: list[Size] = []
    before = []
    for axis in (0, 1):
        s, d, k = conv.stride[axis], conv.dilation[axis], conv.kernel[axis]
        ahead = (d * (k - 1)) // s + 1
        before.append(ahead)
        full = (conv.height, conv.width)[axis]
        sizes.append((full + s - 1) // s + ahead + 1)
    return (sizes[0], sizes[1]), (before[0], before[1])


def pool(
    conv: Convolution,
    combine: Combine,
    *,
    epilogue: Expression = Expression(),  # noqa: B008 - it is immutable
) -> Contract:
    """Maxima or sums over windows of a padded input; `conv.filters` is `conv.channels`."""
    x = conv.x()
    strides = {"c" if name == "ci" else name: stride for name, stride in x.strides.items() if name != "g"}
    high, wide = conv.out_sizes
    dims = (
        *(Dim("b", conv.batch), Dim("oh", high), Dim("ow", wide), Dim("c", conv.channels)),
        *(Dim("kh", conv.kernel[0]), Dim("kw", conv.kernel[1])),
    )
    out = row_major(("b", "oh", "ow", "c"), (conv.batch, high, wide, conv.channels))
    return Contract(
        dims, (Access("x", 0, strides, conv.dtype),), Access("out", 0, out, conv.dtype), combine, (), epilogue
    )


def reduction(
    sizes: Mapping[str, Size],
    kept: str,
    combine: Combine,
    *,
    dtype: DType = FLOAT32,
    epilogue: Expression = Expression(),  # noqa: B008 - it is immutable
) -> Contract:
    """A row-major array combined over every axis that is not `kept`."""
    names = list(sizes)
    x = row_major(names, list(sizes.values()))
    out = row_major(list(kept), [sizes[name] for name in kept])
    return Contract(
        tuple(Dim(name, size) for name, size in sizes.items()),
        (Access("x", 0, x, dtype),),
        Access("out", 0, out, dtype),
        combine,
        (),
        epilogue,
    )
