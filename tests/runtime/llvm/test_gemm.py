"""Generated contractions agree with the reference, whatever their sizes, strides, dtypes and chunks."""

import itertools
import re
from dataclasses import replace

import llvmlite.binding as llvm
import numpy as np
import pytest

import graphc as gc
from graphc.sizes import Symbol, named
from graphc.types import BFLOAT16, BOOL, FLOAT16, FLOAT32, FLOAT64, INT32, INT64, UINT32
from runtime.llvm_backend.contractions.contraction import Access, Contract, Dim, Expression, Step, row_major
from runtime.llvm_backend.contractions.kernel import emit_contraction
from runtime.llvm_backend.contractions.planning import plan
from runtime.llvm_backend.contractions.registers import AVX2, AVX512, NEON, SSE, Vectors
from tests.runtime.llvm.contracts import Loaded, check, host, make_buffers, parse, target_machine
from tests.runtime.llvm.frontends import (
    Convolution,
    convolve,
    convolve_filter_gradient,
    convolve_input_gradient,
    einsum,
    matmul,
    pool,
    reduction,
)

LAYER = Convolution
M, N, K, B = (named(name) for name in "MNKB")


def values(**sizes):
    return {Symbol(name): size for name, size in sizes.items()}


def bias_relu_residual(n, dtype=FLOAT32):
    """``relu(acc + bias[n]) + residual[m, n]``."""
    reads = (Access("bias", 0, {"n": 1}, dtype), Access("residual", 0, {"m": n, "n": 1}, dtype))
    return Expression(
        reads, (Step("add", (0, 1), dtype), Step("relu", (3,), dtype), Step("add", (4, 2), dtype))
    )


def lanes_apart(contract):
    """`contract` with its output turned around: vectors of it are written lane by lane."""
    out = contract.out
    kept = sorted(contract.output_dims, key=lambda dim: out.stride(dim.name))
    strides = row_major([dim.name for dim in kept], [dim.size for dim in kept])
    return replace(contract, out=replace(out, strides=strides))


TRANSPOSES = list(itertools.product((False, True), repeat=2))
SHAPES = [(1, 1, 1), (1, 7, 5), (7, 1, 5), (7, 5, 1), (1, 1, 9), (65, 130, 70), (31, 37, 41), (1, 512, 300)]
SHAPES += [
    (8, 512, 64),
    (3, 2, 1500),
    (200, 200, 1500),
    (31, 64, 5000),
    (2, 3, 140_000),
    (0, 4, 3),
    (4, 3, 0),
]

CONTRACTS = {
    **{f"matmul {shape}": matmul(*shape) for shape in SHAPES},
    "few rows of another's rows": matmul(8, 130, 300, transpose_y=True),
    "copied": matmul(256, 200, 300, transpose_x=True),
    "few steps at once": matmul(256, 72, 500, transpose_x=True),
    "copied, transposed": matmul(512, 330, 70, transpose_x=True, transpose_y=True),
    "broadcast batch": matmul(9, 33, 20, batch=[(2, True, False), (3, False, True)]),
    "epilogue": matmul(33, 200, 40, epilogue=bias_relu_residual(200)),
    "epilogue of blocks": matmul(33, 200, 4000, epilogue=bias_relu_residual(200)),
    "epilogue of parts": matmul(33, 200, 140_000, epilogue=bias_relu_residual(200)),
    "epilogue of a dot": matmul(5, 40, 300, transpose_y=True, epilogue=bias_relu_residual(40)),
    "blocks in half": matmul(9, 20, 3000, dtype=FLOAT16),
    "parts in bfloat16": matmul(3, 20, 70_000, dtype=BFLOAT16),
    "convolution": convolve(LAYER(2, 10, 12, 5, 40)),
    "strided, dilated": convolve(LAYER(2, 15, 17, 5, 32, stride=(2, 2), dilation=(2, 2))),
    "short rows": convolve(LAYER(2, 9, 9, 64, 64)),
    "first layer": convolve(LAYER(2, 28, 28, 1, 32)),
    "1 x 1": convolve(LAYER(2, 8, 8, 32, 64, kernel=(1, 1))),
    "grouped": convolve(LAYER(2, 10, 12, 32, 64, groups=4)),
    "depthwise": convolve(LAYER(2, 10, 12, 40, 40, groups=40)),
    "one filter": convolve(LAYER(2, 10, 12, 16, 1)),
    "filter gradient": convolve_filter_gradient(LAYER(2, 10, 12, 5, 48)),
    "strided filter gradient": convolve_filter_gradient(LAYER(2, 15, 17, 32, 64, stride=(2, 2))),
    "depthwise filter gradient": convolve_filter_gradient(LAYER(2, 10, 12, 40, 40, groups=40)),
    "filter gradient of blocks": convolve_filter_gradient(LAYER(8, 30, 30, 16, 32)),
    "filter gradient of few sums": convolve_filter_gradient(LAYER(9, 18, 18, 20, 64)),
    "filters that lie apart": lanes_apart(convolve_filter_gradient(LAYER(9, 18, 18, 20, 64))),
    "very many of them": lanes_apart(convolve_filter_gradient(LAYER(110, 26, 26, 3, 40))),
    "filter gradient of parts": convolve_filter_gradient(LAYER(100, 30, 30, 1, 32)),
    **{
        f"input gradient {number}.{phase}": contract
        for number, conv in enumerate(
            (
                LAYER(2, 9, 11, 5, 20),
                LAYER(2, 9, 11, 5, 20, stride=(2, 2)),
                LAYER(1, 13, 14, 5, 20, stride=(3, 2), dilation=(2, 1)),
                LAYER(2, 9, 11, 1, 20),
                LAYER(2, 9, 11, 6, 8, groups=2),
                LAYER(1, 9, 9, 3, 8, kernel=(1, 1), stride=(2, 2)),
            )
        )
        for phase, contract in enumerate(convolve_input_gradient(conv))
    },
    **{
        f"{combine} {dtype}": pool(LAYER(2, 9, 9, 40, 40, stride=(2, 2), dtype=dtype), combine)
        for combine in ("add", "max", "min")
        for dtype in (FLOAT32, FLOAT64, INT32, UINT32)
    },
    **{
        f"{combine} kept {kept!r}": reduction({"a": 7, "b": 33, "c": 50}, kept, combine)
        for combine in ("add", "max")
        for kept in ("", "a", "b", "c", "ab", "bc", "ac", "abc")
    },
    "sum of all": reduction({"a": 300_000}, "", "add"),
    "long row sums": reduction({"a": 3, "b": 100_000}, "a", "add"),
    "long column maxima": reduction({"a": 100_000, "b": 3}, "b", "max"),
    "outer product": einsum("i,j->ij", {"i": 30, "j": 40}),
    "inner product": einsum("i,i->", {"i": 1000}),
    "trace": einsum("ii->", {"i": 30}),
    "diagonal": einsum("ii->i", {"i": 30}),
    "result turned": einsum("ij,jk->ki", {"i": 30, "j": 40, "k": 50}),
    "two reduced": einsum("abc,cbd->da", {"a": 5, "b": 6, "c": 7, "d": 20}),
    "all kinds of dims": einsum("ijk,ilm->iljkm", {"i": 3, "j": 4, "k": 5, "l": 2, "m": 6}),
    "reduced in one": einsum("ij,ik->", {"i": 30, "j": 4, "k": 5}),
    "elementwise": einsum("ij,ij->ij", {"i": 30, "j": 45}),
    "transpose": einsum("ij->ji", {"i": 30, "j": 45}),
    "heads": einsum("btk,khd->bhtd", {"b": 2, "t": 9, "k": 33, "h": 3, "d": 20}),
}


@pytest.mark.parametrize("name", CONTRACTS)
def test_agrees_with_the_reference(name):
    check(CONTRACTS[name])


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64, FLOAT16, BFLOAT16, INT32, INT64])
def test_dtypes_and_transposes(dtype):
    for x, y in TRANSPOSES:
        check(matmul(17, 31, 29, transpose_x=x, transpose_y=y, dtype=dtype))
        check(matmul(33, 40, 50, batch=[(2, True, True)], transpose_x=x, transpose_y=y, dtype=dtype))
    check(matmul(17, 31, 29, dtype=BFLOAT16, out_dtype=FLOAT32))


SYMBOLIC = {
    "rows": (matmul(M, 70, 33), [{"M": m} for m in (0, 1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 100, 257)]),
    "rows, epilogue": (
        matmul(M, 70, 300, epilogue=bias_relu_residual(70)),
        [{"M": m} for m in (1, 3, 6, 7, 50, 200)],
    ),
    "rows, transposed": (matmul(M, 70, 33, transpose_y=True), [{"M": m} for m in (1, 2, 5, 8, 100)]),
    "rows, packed or not": (matmul(M, 1024, 520), [{"M": m} for m in (1, 5, 47, 48, 49, 300)]),
    "all": (
        matmul(M, N, K),
        [
            {"M": m, "N": n, "K": k}
            for m, n, k in ((1, 1, 1), (5, 7, 9), (65, 130, 70), (100, 64, 2000), (3, 1, 0), (4, 5, 70_000))
        ],
    ),
    "all transposed": (
        matmul(M, N, K, transpose_x=True, transpose_y=True),
        [{"M": m, "N": n, "K": k} for m, n, k in ((1, 1, 1), (5, 7, 9), (65, 130, 70), (4, 5, 70_000))],
    ),
    "batch": (
        matmul(M, N, K, batch=[(B, True, True)]),
        [
            {"B": b, "M": m, "N": n, "K": k}
            for b, m, n, k in ((1, 1, 1, 1), (3, 5, 7, 9), (2, 65, 130, 70), (0, 3, 3, 3))
        ],
    ),
    "reduced batch": (matmul(33, 70, K, transpose_x=True), [{"K": k} for k in (0, 1, 64, 3000, 100_000)]),
    "reduced batch, epilogue": (
        matmul(33, 70, K, transpose_x=True, epilogue=bias_relu_residual(70)),
        [{"K": k} for k in (1, 100, 100_000)],
    ),
    "images": (convolve(LAYER(B, 10, 12, 5, 40)), [{"B": b} for b in (1, 2, 7)]),
    "image sizes": (
        convolve(LAYER(2, M, N, 5, 40)),
        [{"M": m, "N": n} for m, n in ((3, 3), (10, 12), (9, 30))],
    ),
    "reduced images": (convolve_filter_gradient(LAYER(B, 10, 12, 5, 40)), [{"B": b} for b in (1, 2, 1200)]),
    "row sums": (
        reduction({"a": M, "b": N}, "a", "add"),
        [{"M": m, "N": n} for m, n in ((1, 1), (5, 100), (3, 100_000))],
    ),
    "column maxima": (
        reduction({"a": M, "b": N}, "b", "max"),
        [{"M": m, "N": n} for m, n in ((1, 1), (5, 100), (3, 1000), (100_000, 3))],
    ),
}


@pytest.mark.parametrize("name", SYMBOLIC)
def test_one_kernel_serves_all_sizes(name):
    contract, sizes = SYMBOLIC[name]
    loaded = Loaded(contract)
    for size in sizes:
        check(contract, loaded, values(**size))


def test_a_prologue_runs_on_each_element_once():
    half = Expression((), (Step("cast", (0,), FLOAT32), Step("relu", (1,), FLOAT32)))
    scale = Expression(
        (Access("scale", 0, {"n": 1}),), (Step("cast", (0,), FLOAT32), Step("mul", (2, 1), FLOAT32))
    )
    for x, y in TRANSPOSES:
        for dtype in (FLOAT16, FLOAT32, INT32):
            contract = matmul(
                40,
                50,
                60,
                transpose_x=x,
                transpose_y=y,
                dtype=dtype,
                out_dtype=FLOAT32,
                prologue=(half, scale),
            )
            check(contract)
    conv = convolve(LAYER(2, 9, 9, 8, 20))
    relu = Expression((), (Step("relu", (0,), FLOAT32),))
    check(Contract(conv.dims, conv.ins, conv.out, prologue=(relu, Expression())))
    square = Expression((Access("x", 0, {"a": 50, "b": 1}),), (Step("mul", (0, 1), FLOAT32),))
    sums = reduction({"a": 9, "b": 50}, "a", "add")
    check(Contract(sums.dims, sums.ins, sums.out, "add", (square,)))


def test_an_epilogue_is_any_elementwise_ops():
    n = 70
    reads = (
        Access("bias", 0, {"n": 1}),
        Access("keep", 0, {"m": n, "n": 1}, BOOL),
        Access("scale", 0, {}),
        Access("row", 0, {"m": 1}, FLOAT16),
    )
    steps = (
        *(Step("add", (0, 1), FLOAT32), Step("tanh", (5,), FLOAT32), Step("mul", (6, 3), FLOAT32)),
        *(Step("cast", (4,), FLOAT32), Step("sigmoid", (8,), FLOAT32), Step("add", (7, 9), FLOAT32)),
        *(Step("where", (2, 10, 3), FLOAT32), Step("exp", (11,), FLOAT32)),
    )
    epilogue = Expression(reads, steps)
    for k in (20, 5000, 70_000):
        check(matmul(33, n, k, epilogue=epilogue), tolerance=2e-2)
    check(matmul(5, n, 300, transpose_y=True, epilogue=epilogue), tolerance=2e-2)
    loaded = Loaded(matmul(M, n, K, epilogue=epilogue))
    for m, k in ((1, 3), (7, 300), (50, 70_000)):
        check(loaded.contract, loaded, values(M=m, K=k), tolerance=2e-2)
    positive = Expression((Access("zero", 0, {}),), (Step("greater", (0, 1), BOOL),))
    check(matmul(9, 40, 30, out_dtype=BOOL, epilogue=positive))
    narrow = Expression((), (Step("erf", (0,), FLOAT32), Step("cast", (1,), BFLOAT16)))
    check(matmul(9, 40, 30, out_dtype=BFLOAT16, epilogue=narrow))


def test_nan_and_infinities_come_through():
    contract = matmul(5, 20, 9)
    buffers = make_buffers(contract)
    buffers["x"][4], buffers["x"][20] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        expected = buffers["x"].reshape(5, 9) @ buffers["y"].reshape(9, 20)
    Loaded(contract)(buffers)
    found = buffers["out"].reshape(5, 20)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    for combine in ("max", "min"):
        for kept in ("a", "b"):
            contract = reduction({"a": 20, "b": 30}, kept, combine)
            buffers = make_buffers(contract)
            buffers["x"][77] = np.nan
            Loaded(contract)(buffers)
            assert np.isnan(buffers["out"]).sum() == 1


@pytest.mark.parametrize(
    "machine", [AVX512, AVX2, NEON, SSE, Vectors(4, 16)], ids=["512", "256", "neon", "sse", "1"]
)
def test_any_width_is_right(machine):
    for name in ("matmul (65, 130, 70)", "copied", "epilogue", "convolution", "depthwise", "max kept 'a'"):
        check(CONTRACTS[name], machine=machine)
    check(matmul(9, 33, 40, transpose_y=True), machine=machine)


SHIPPED = {
    "square": matmul(512, 512, 512),
    "any size": matmul(M, N, K),
    "layer": matmul(128, 512, 784),
    "few rows": matmul(8, 512, 512),
    "turned": matmul(256, 256, 256, transpose_y=True),
    "convolution": convolve(LAYER(8, 58, 58, 64, 64)),
    "short rows": convolve(LAYER(8, 16, 16, 256, 256)),
    "filter gradient": convolve_filter_gradient(LAYER(8, 58, 58, 64, 64)),
    "double": matmul(512, 512, 512, dtype=FLOAT64),
}


def inner_loops(assembly):
    """The blocks of each micro-kernel that jump back to themselves."""
    for function in re.split(r"\n(?=(?!\.L)[\w.$]+:)", assembly):
        name = function.split(":", 1)[0]
        if ".tile." not in name:
            continue
        for block in re.split(r"\n(?=\.LBB)", function):
            label = re.match(r"(\.LBB\w+):", block)
            if label and re.search(rf"\tj\w+\t{re.escape(label[1])}\b", block):
                yield name, block


@pytest.mark.skipif(not llvm.get_process_triple().startswith("x86_64"), reason="reads x86 assembly")
@pytest.mark.parametrize("name", SHIPPED)
def test_no_inner_loop_spills(name):
    if not host().fma:
        pytest.skip("the tiles are for machines with fused multiply-adds")
    kernel = emit_contraction(SHIPPED[name], host())
    loops = list(inner_loops(target_machine().emit_assembly(parse(kernel.text))))
    assert loops
    for function, block in loops:
        if ".all" in function and not host().masks:
            continue  # masks are vectors there: the tile of the last columns keeps one in memory for each
        stores = [line for line in block.splitlines() if re.search(r"v?mov\w+\t%[xyz]mm\d+, .*%rsp", line)]
        assert not stores, (function, stores)
        assert "call" not in block


def test_equal_contracts_give_equal_text():
    assert (
        emit_contraction(matmul(M, 70, 33), AVX512).text == emit_contraction(matmul(M, 70, 33), AVX512).text
    )
    first = emit_contraction(matmul(named("m"), named("n"), named("k")), AVX512)
    assert first.text == emit_contraction(matmul(M, N, K), AVX512).text  # names are no part of it


ALIKE = {
    "sizes": (matmul(128, 512, 784), matmul(128, 256, 512)),
    "rows known at the run": (matmul(M, 512, 784), matmul(N, 1024, 300)),
    "odd lengths": (matmul(60, 128, 33), matmul(30, 256, 51)),
    "turned": (matmul(256, 256, 64, transpose_y=True), matmul(128, 512, 1600, transpose_y=True)),
    "convolution": (convolve(LAYER(8, 58, 58, 64, 64)), convolve(LAYER(3, 58, 30, 32, 64))),
    "equal numbers": (matmul(512, 512, 512), matmul(512, 256, 1024)),
}


@pytest.mark.parametrize("name", ALIKE)
def test_contracts_of_other_sizes_share_their_text(name):
    first, second = (emit_contraction(contract, AVX512) for contract in ALIKE[name])
    assert first.text == second.text
    assert first.words != second.words


def test_what_changes_the_code_is_part_of_the_text():
    first = matmul(60, 64, 33)
    for other in (
        matmul(61, 64, 33),
        matmul(60, 65, 33),
        matmul(M, 64, 33),
        matmul(60, 64, 33, transpose_x=True),
        matmul(60, 64, 33, dtype=FLOAT64),
    ):
        assert emit_contraction(first, AVX512).text != emit_contraction(other, AVX512).text


@pytest.mark.parametrize("rows", [1, 4, 13, 14, 15, 29, 61])
def test_of_rows_that_only_the_run_knows_no_more_are_copied(rows):
    """Their steps are a page apart, and tiles of the rest may reach beyond the last one."""
    m, k, n = Dim("m", M), Dim("k", 300), Dim("n", 130)
    x, y = Access("x", 0, {"m": 1, "k": 1024}), Access("y", 0, {"k": 130, "n": 1})
    contract = Contract((m, k, n), (x, y), Access("out", 0, {"m": 130, "n": 1}))
    machine = replace(host(), far_l3=False)
    assert plan(contract, machine).copy
    check(contract, values={Symbol("M"): rows}, machine=machine)


@pytest.mark.parametrize("sizes", [(1201, 1300, 20), (2047, 1024, 33)])
def test_lines_of_a_large_result_may_be_asked_for_beyond_its_edges(sizes):
    check(matmul(*sizes), machine=replace(host(), far_l3=True))


@pytest.mark.parametrize("threads", [1, 2])
def test_partial_sums_and_copies_of_operands_lie_apart(threads):
    """A long reduction is cut, and both operands' steps are apart: each chunk copies what it reads."""
    random = np.random.default_rng(0)
    a, b = (random.integers(-3, 4, shape).astype(np.float32) for shape in ((70_000, 3), (48, 70_000)))
    with gc.Graph().as_default(), gc.Session(backend="llvm", threads=threads) as session:
        x, y = (gc.placeholder("float32", array.shape) for array in (a, b))
        found = session.run(gc.matmul(gc.transpose(x), gc.transpose(y)), {x: a, y: b})
    np.testing.assert_array_equal(found, a.T @ b.T)
