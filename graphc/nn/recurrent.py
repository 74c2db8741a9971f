"""Recurrent networks over time: `lstm`, `gru` and the simple `rnn`, each one `scan`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.explanation import explains
from graphc.freezing import frozen
from graphc.loops import scan
from graphc.ops import add, cast, expand_dims, less, matmul, mul, sigmoid, sub, tanh, transpose, where, zeros
from graphc.ops.slicing import slice_axis
from graphc.ops.source import iota
from graphc.sizes import Size, meet
from graphc.tensor import Tensor

Cell = Callable[[tuple[Tensor, ...], Tensor], tuple[Tensor, ...]]  # state, projected input -> state


@explains
def lstm(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    initial_state: Any = None,
    lengths: Any = None,
    reverse: bool = False,
    time_major: bool = False,
    checkpoint_every: int = 0,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Long short-term memory (Hochreiter, Schmidhuber 1997, with forget gates of Gers et al. 2000).

    The columns of the kernels hold the gates i, f, g, o in this order, as in Keras and PyTorch::

        i, f, g, o = split(x[t] @ kernel + h @ recurrent_kernel + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)

    Args:
        x: the inputs.
        kernel: what takes the inputs to the gates.
        recurrent_kernel: what takes h to the gates.
        bias: of the gates; None for none. (A forget gate biased by 1 remembers from the start.)
        initial_state: a pair (h, c); None for zeros.
        lengths: how many steps each sequence has, integers; steps past it leave the state as it is and
            give zeros.
        reverse: whether to walk from the last step to the first; the outputs stay at their times.
        time_major: whether the first two axes of `x` and of the outputs are (time, batch).
        checkpoint_every: of the `scan`.

    Returns: the outputs h of all steps, and the last state (h, c).

    Shapes: ``[batch, time, features], [features, 4 u], [u, 4 u], [4 u] -> [batch, time, u], ([batch, u],
    [batch, u])``; lengths ``[batch]``.

    Raises: ShapeError, DTypeError where these do not fit.
    """
    plan = _Plan.of(x, kernel, recurrent_kernel, bias, 4, lengths, reverse, time_major, checkpoint_every)
    start = _state(plan, initial_state, 2)

    def cell(state: tuple[Tensor, ...], projected: Tensor) -> tuple[Tensor, ...]:
        h, c = state
        i, f, g, o = _gates(add(projected, matmul(h, plan.recurrent)), 4)
        c = add(mul(sigmoid(f), c), mul(sigmoid(i), tanh(g)))
        return mul(sigmoid(o), tanh(c)), c

    outputs, (h, c) = _unroll(plan, cell, start)
    return outputs, (h, c)


@explains
def gru(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    initial_state: Any = None,
    lengths: Any = None,
    reverse: bool = False,
    time_major: bool = False,
    checkpoint_every: int = 0,
) -> tuple[Tensor, Tensor]:
    """Gated recurrent units (Cho et al. 2014), the reset gate applied after the product with h.

    That is the variant of PyTorch, of cuDNN, and of Keras with ``reset_after=True``. The columns of the
    kernels hold the gates z, r, n in this order, as in Keras (PyTorch has r first)::

        xz, xr, xn = split(x[t] @ kernel + bias[0], 3)
        hz, hr, hn = split(h @ recurrent_kernel + bias[1], 3)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        h = z * h + (1 - z) * tanh(xn + r * hn)

    A `bias` of one axis is ``bias[0]``, and ``bias[1]`` is zero. The arguments are those of `lstm`.

    Returns: the outputs h of all steps, and the last h.

    Shapes: ``[batch, time, features], [features, 3 u], [u, 3 u], [3 u] or [2, 3 u] -> [batch, time, u],
    [batch, u]``; lengths ``[batch]``.

    Raises: ShapeError, DTypeError where these do not fit.
    """
    second: Tensor | None = None
    if bias is not None:
        bias = as_tensor(bias)
        if len(bias.result.sizes) == 2:
            if meet(bias.result.sizes[0], 2) is None:
                raise ShapeError(f"gru: a bias is [3 u] or [2, 3 u], not {bias.type}")
            bias, second = bias[0], bias[1]
    plan = _Plan.of(x, kernel, recurrent_kernel, bias, 3, lengths, reverse, time_major, checkpoint_every)
    start = _state(plan, initial_state, 1)

    def cell(state: tuple[Tensor, ...], projected: Tensor) -> tuple[Tensor, ...]:
        (h,) = state
        product = matmul(h, plan.recurrent)
        xz, xr, xn = _gates(projected, 3)
        hz, hr, hn = _gates(product if second is None else add(product, second), 3)
        z, r = sigmoid(add(xz, hz)), sigmoid(add(xr, hr))
        new = tanh(add(xn, mul(r, hn)))
        return (add(new, mul(z, sub(h, new))),)

    outputs, (h,) = _unroll(plan, cell, start)
    return outputs, h


@explains
def rnn(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    initial_state: Any = None,
    lengths: Any = None,
    reverse: bool = False,
    time_major: bool = False,
    activation: Callable[[Tensor], Tensor] = tanh,
    checkpoint_every: int = 0,
) -> tuple[Tensor, Tensor]:
    """The simple recurrent network (Elman 1990): ``h = activation(x[t] @ kernel + h @ recurrent + bias)``.

    The arguments are those of `lstm`; `activation` is a function of tensors.

    Returns: the outputs h of all steps, and the last h.

    Shapes: ``[batch, time, features], [features, u], [u, u], [u] -> [batch, time, u], [batch, u]``;
    lengths ``[batch]``.

    Raises: ShapeError, DTypeError where these do not fit.
    """
    plan = _Plan.of(x, kernel, recurrent_kernel, bias, 1, lengths, reverse, time_major, checkpoint_every)

    def cell(state: tuple[Tensor, ...], projected: Tensor) -> tuple[Tensor, ...]:
        return (activation(add(projected, matmul(state[0], plan.recurrent))),)

    outputs, (h,) = _unroll(plan, cell, _state(plan, initial_state, 1))
    return outputs, h


@frozen
class _Plan:
    """The inputs of all steps, projected at once (one large product), and how to walk them."""

    projected: Tensor  # [time, batch, gates * units]
    recurrent: Tensor
    units: Size
    lengths: Tensor | None
    reverse: bool
    time_major: bool
    checkpoint: int

    @classmethod
    def of(
        cls,
        x: Any,
        kernel: Any,
        recurrent: Any,
        bias: Any,
        gates: int,
        lengths: Any,
        reverse: bool,
        time_major: bool,
        checkpoint: int,
    ) -> _Plan:
        x, kernel, recurrent = as_tensor(x), as_tensor(kernel), as_tensor(recurrent)
        for tensor, rank in ((x, 3), (kernel, 2), (recurrent, 2)):
            if len(tensor.result.sizes) != rank:
                raise ShapeError(f"{tensor.type} has not the {rank} axes that are wanted")
            if not tensor.dtype.is_floating:
                raise DTypeError(f"a recurrent network is of floats, not of {tensor.dtype}")
        units, columns = recurrent.result.sizes
        features = x.result.sizes[2]
        wanted = units * gates
        fits = [(columns, wanted), (kernel.result.sizes[0], features), (kernel.result.sizes[1], wanted)]
        if any(meet(a, b) is None for a, b in fits):
            raise ShapeError(
                f"for {gates} gates of u units, kernel is [{features}, {gates} u] and "
                f"recurrent_kernel [u, {gates} u], not {kernel.type} and {recurrent.type}"
            )
        projected = matmul(x if time_major else transpose(x, (1, 0, 2)), kernel)
        if bias is not None:
            bias = as_tensor(bias)
            sizes = bias.result.sizes
            if len(sizes) != 1 or meet(sizes[0], wanted) is None:
                raise ShapeError(f"the bias has the shape [{wanted}], not {bias.type}")
            projected = add(projected, bias)
        if lengths is not None:
            lengths = as_tensor(lengths)
            if not lengths.dtype.is_integer or len(lengths.result.sizes) != 1:
                raise DTypeError(f"lengths are integers, one for each sequence, not {lengths.type}")
        return cls(projected, recurrent, units, lengths, reverse, time_major, checkpoint)


def _state(plan: _Plan, given: Any, count: int) -> tuple[Tensor, ...]:
    shape = (plan.projected.result.sizes[1], plan.units)
    if given is None:
        return tuple(zeros(shape, plan.projected.dtype) for _ in range(count))
    listed = list(given) if count > 1 and isinstance(given, list | tuple) else [given]
    if len(listed) != count:
        raise ArgumentError(f"the initial state is {count} tensors, not {given!r}")
    state = tuple(as_tensor(part, plan.projected.dtype) for part in listed)
    for part in state:
        sizes = part.result.sizes
        if len(sizes) != 2 or any(meet(a, b) is None for a, b in zip(sizes, shape, strict=True)):
            raise ShapeError(f"a state is of [batch, units] = {list(shape)}, not {part.type}")
    return state


def _gates(x: Tensor, count: int) -> list[Tensor]:
    width = x.result.sizes[-1] // count
    return [slice_axis(x, -1, width * i, width) for i in range(count)]


def _unroll(plan: _Plan, cell: Cell, start: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    xs: Any = plan.projected
    lengths = plan.lengths
    if lengths is not None:
        xs = (plan.projected, iota(shape=plan.projected.result.sizes[:1]))

    def step(state: tuple[Tensor, ...], x: Any) -> tuple[tuple[Tensor, ...], Tensor]:
        if lengths is None:
            new = cell(state, x)
            return new, new[0]
        projected, time = x
        within = expand_dims(less(time, cast(lengths, "int64")), 1)
        made = cell(state, projected)
        new = tuple(where(within, after, before) for after, before in zip(made, state, strict=True))
        return new, where(within, made[0], 0.0)

    last, outputs = scan(step, tuple(start), xs, reverse=plan.reverse, checkpoint_every=plan.checkpoint)
    return outputs if plan.time_major else transpose(outputs, (1, 0, 2)), last
