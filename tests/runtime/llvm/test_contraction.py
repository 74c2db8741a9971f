"""The kernel IR: what it refuses, and that the reference means what NumPy means."""

import numpy as np
import pytest

from graphc.errors import ArgumentError
from graphc.sizes import Symbol, named
from graphc.types import BOOL, FLOAT32, FLOAT64
from runtime.llvm_backend.contractions.contraction import (
    Access,
    Block,
    Contract,
    Dim,
    Expression,
    Scratch,
    Step,
)
from runtime.llvm_backend.contractions.reference import evaluate
from tests.runtime.llvm.frontends import (
    Convolution,
    convolve,
    convolve_filter_gradient,
    convolve_input_gradient,
    einsum,
    gradient_padding,
    matmul,
    pool,
)

M, N, K = Dim("m", 3), Dim("n", 4), Dim("k", 5)
X, Y = Access("x", 0, {"m": 5, "k": 1}), Access("y", 0, {"k": 4, "n": 1})
OUT = Access("out", 0, {"m": 4, "n": 1})


def refused(match, *arguments, **more):
    with pytest.raises(ArgumentError, match=match):
        Contract(*arguments, **more)


def test_what_does_not_fit_is_refused():
    refused("distinct", (M, M), (X, Y), OUT)
    refused("no dims", (M, N), (X, Y), OUT)
    refused("does not combine", (M, N, K), (X,), OUT)
    refused("does not combine", (M, N, K), (X, Y), OUT, "max")
    refused("same address", (M, N, K), (X, Y), Access("out", 0, {"m": 0, "n": 1}))
    refused("one prologue", (M, N, K), (X, Y), OUT, prologue=(Expression(),))
    refused("has the size", (M, N, Dim("k", -1)), (X, Y), OUT)
    refused("bool", (M, K), (Access("x", 0, {"m": 5, "k": 1}, BOOL),), Access("out", 0, {"m": 1}), "max")
    refused("reduced dim", (M, N, K), (X, Y), OUT, epilogue=Expression((X,), (Step("add", (0, 1), FLOAT32),)))
    refused("not yet", (M, N, K), (X, Y), OUT, epilogue=Expression((), (Step("add", (0, 1), FLOAT32),)))
    refused("without a step", (M, N, K), (X, Y), OUT, epilogue=Expression((OUT,)))
    moved = Expression((Y,), (Step("add", (0, 1), FLOAT32),))
    refused("moves along", (M, N, K), (X, Y), OUT, prologue=(moved, Expression()))


def test_a_block_hands_on_what_it_has_written():
    first = Contract((M, N, K), (X, Y), Access("s", 0, {"m": 4, "n": 1}))
    second = Contract((M, N), (Access("s", 0, {"m": 4, "n": 1}),), OUT, "add")
    scratch = (Scratch("s", 12, FLOAT32),)
    assert Block((M,), (first, second), scratch).contracts == (first, second)
    with pytest.raises(ArgumentError, match="before it is written"):
        Block((M,), (second, first), scratch)
    with pytest.raises(ArgumentError, match="outer dims"):
        Block((Dim("b", 2),), (first,), scratch)


def test_equal_contracts_are_equal_and_hash_alike():
    assert matmul(3, 4, 5) == matmul(3, 4, 5)
    assert hash(matmul(3, 4, 5)) == hash(matmul(3, 4, 5))
    assert matmul(3, 4, 5) != matmul(3, 4, 5, transpose_x=True)


def test_the_reference_means_einsum():
    random = np.random.default_rng(0)
    x, y = random.standard_normal((3, 5)), random.standard_normal((5, 4))
    contract = matmul(3, 4, 5, dtype=FLOAT64)
    np.testing.assert_allclose(evaluate(contract, {"x": x, "y": y}), x @ y)
    size = named("rows")
    contract = matmul(size, 4, 5, dtype=FLOAT64)
    np.testing.assert_allclose(evaluate(contract, {"x": x, "y": y}, {Symbol("rows"): 2}), x[:2] @ y)
    contract = einsum("ij,kj->ki", {"i": 3, "j": 5, "k": 4}, dtype=FLOAT64)
    z = random.standard_normal((4, 5))
    np.testing.assert_allclose(evaluate(contract, {"x": x, "y": z}), z @ x.T)


def convolution(x, w, stride, dilation, groups=1):
    """By its definition."""
    kh, kw, ci, filters = w.shape
    high = (x.shape[1] - (kh - 1) * dilation[0] - 1) // stride[0] + 1
    wide = (x.shape[2] - (kw - 1) * dilation[1] - 1) // stride[1] + 1
    out = np.zeros((x.shape[0], high, wide, filters))
    per = filters // groups
    for i in range(kh):
        for j in range(kw):
            window = x[:, i * dilation[0] :: stride[0], j * dilation[1] :: stride[1]][:, :high, :wide]
            for g in range(groups):
                part = window[..., g * ci : (g + 1) * ci] @ w[i, j, :, g * per : (g + 1) * per]
                out[..., g * per : (g + 1) * per] += part
    return out


LAYERS = [
    Convolution(2, 7, 9, 4, 6, dtype=FLOAT64),
    Convolution(2, 8, 9, 4, 6, stride=(2, 2), dtype=FLOAT64),
    Convolution(1, 9, 11, 4, 6, kernel=(3, 2), stride=(2, 3), dilation=(2, 1), dtype=FLOAT64),
    Convolution(2, 8, 9, 4, 6, kernel=(2, 2), stride=(3, 3), groups=2, dtype=FLOAT64),
    Convolution(1, 10, 10, 3, 2, kernel=(3, 3), stride=(2, 2), dilation=(2, 2), dtype=FLOAT64),
    Convolution(1, 9, 9, 3, 2, kernel=(1, 1), stride=(2, 2), dtype=FLOAT64),
]


@pytest.mark.parametrize("conv", LAYERS)
def test_convolution_and_its_gradients_are_strides(conv):
    random = np.random.default_rng(1)
    x = random.standard_normal((conv.batch, conv.height, conv.width, conv.channels))
    w = random.standard_normal((*conv.kernel, conv.channels // conv.groups, conv.filters))
    y = convolution(x, w, conv.stride, conv.dilation, conv.groups)
    found = evaluate(convolve(conv), {"x": x, "w": w})
    np.testing.assert_allclose(found.reshape(y.shape), y, atol=1e-12)

    g = random.standard_normal(y.shape)
    moved = random.standard_normal(w.shape)
    change = np.sum(g * convolution(x, moved, conv.stride, conv.dilation, conv.groups))
    contract = convolve_filter_gradient(conv)
    found = evaluate(contract, {"x": x, "y": g})
    names = [dim.name for dim in contract.output_dims]
    found = found.transpose([names.index(name) for name in ("kh", "kw", "ci", "g", "co")])
    np.testing.assert_allclose(np.sum(found.reshape(w.shape) * moved), change, atol=1e-9)

    moved = random.standard_normal(x.shape)
    change = np.sum(g * convolution(moved, w, conv.stride, conv.dilation, conv.groups))
    (high, wide), (above, left) = gradient_padding(conv)
    padded = np.zeros((conv.batch, high, wide, conv.filters))
    padded[:, above : above + y.shape[1], left : left + y.shape[2]] = g
    total = np.full(x.shape, np.nan)
    for contract in convolve_input_gradient(conv):
        part = evaluate(contract, {"y": padded, "w": w})
        out = contract.out
        step = [out.strides[dim.name] * 8 for dim in contract.output_dims]
        np.lib.stride_tricks.as_strided(total.reshape(-1)[out.offset :], part.shape, step)[...] = part
    np.testing.assert_allclose(np.sum(total * moved), change, atol=1e-9)


def test_pooling_is_a_convolution_without_a_filter():
    x = np.random.default_rng(2).standard_normal((2, 7, 9, 5))
    conv = Convolution(2, 7, 9, 5, 5, kernel=(3, 2), stride=(2, 3), dtype=FLOAT64)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 2), axis=(1, 2))[:, ::2, ::3]
    np.testing.assert_array_equal(evaluate(pool(conv, "max"), {"x": x}), windows.max((-1, -2)))
    np.testing.assert_allclose(evaluate(pool(conv, "add"), {"x": x}), windows.sum((-1, -2)))
