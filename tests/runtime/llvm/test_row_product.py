"""Products of one row: where the reduction is parted, in how many parts, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.sizes import named
from graphc.types import FLOAT16, FLOAT32, FLOAT64, INT32
from runtime.llvm_backend.contractions.contraction import Access, Expression, Step
from runtime.llvm_backend.contractions.framing import PARTIALS
from runtime.llvm_backend.contractions.kernel import emit_contraction
from runtime.llvm_backend.contractions.registers import AVX2, AVX512, NEON
from runtime.llvm_backend.contractions.row_product import part_reduction
from tests.runtime.llvm.contracts import Loaded, check, make_buffers, view
from tests.runtime.llvm.frontends import einsum, matmul


def parts(contract, machine=AVX512):
    made = part_reduction(contract, machine)
    if made is None:
        return None
    (count,) = (dim.size for dim in made[0].dims if dim.name == "part")
    return count


@pytest.mark.parametrize(
    ("columns", "steps", "count"),
    [
        (512, 784, 4),  # 6 times the grain: four parts are fairer than six
        (256, 512, 2),
        (256, 256, None),  # small
        (512, 787, None),  # of no whole parts
        (512, 1029, 7),
        (4096, 1024, None),  # whole pages as it is
        (16, 65_536, 16),
        (16, 131_072, None),  # cut anyway
    ],
)
def test_a_reduction_is_parted_by_its_sizes(columns, steps, count):
    assert parts(matmul(1, columns, steps)) == count
    assert parts(matmul(1, columns, steps), AVX2) == count
    assert parts(matmul(1, columns, steps), NEON) == count


def test_only_one_row_of_a_matrix_in_rows_is_parted():
    assert parts(matmul(2, 512, 784)) is None
    assert parts(matmul(named("m"), 512, 784)) is None
    assert parts(matmul(1, 512, named("k"))) is None
    assert parts(matmul(1, 512, 784, transpose_y=True)) is None
    assert parts(matmul(1, 512, 784, batch=[(4, False, False)])) is None
    assert parts(matmul(1, 512, 784, dtype=FLOAT16)) is None
    assert (
        parts(einsum("ab,abn->n", {"a": 28, "b": 28, "n": 512}, strides=({"a": 30, "b": 1}, None, None)))
        is None
    )


RELU = Expression((Access("bias", 0, {"n": 1}),), (Step("add", (0, 1), FLOAT32), Step("relu", (2,), FLOAT32)))
CASES = {
    "wide": matmul(1, 512, 784),
    "epilogue": matmul(1, 500, 784, epilogue=RELU),
    "columns that do not fill vectors": matmul(1, 331, 600),
    "few columns": matmul(1, 10, 40_000),
    "of doubles": matmul(1, 300, 512, dtype=FLOAT64),
    "of integers": matmul(1, 300, 512, dtype=INT32),
    "of a column": einsum("kn,k->n", {"k": 512, "n": 256}),
    "that lies apart": einsum("k,kn->n", {"k": 512, "n": 256}, strides=({"k": 3}, {"k": 300, "n": 1}, None)),
}


@pytest.mark.parametrize("contract", CASES.values(), ids=CASES.keys())
def test_parts_add_up(contract):
    kernel = check(contract).kernel
    assert [phase.name for phase in kernel.phases] == ["kernel", "kernel.finish"]
    count = parts(contract, AVX512)
    assert kernel.chunks({})[0] % count == 0
    assert PARTIALS in kernel.buffers


def test_chunks_in_any_order_leave_the_same_bits():
    contract = matmul(1, 512, 784, epilogue=RELU)
    loaded, seen = Loaded(contract), []
    for order in (lambda chunks: chunks, lambda chunks: reversed(list(chunks))):
        buffers = make_buffers(contract)
        loaded(buffers, order=order)
        seen.append(view(contract, buffers["out"]).copy())
    np.testing.assert_array_equal(seen[0], seen[1])


def test_sums_of_a_narrow_row_are_made_four_at_a_time():
    text = emit_contraction(matmul(1, 10, 256), AVX512).text
    loop = text[text.index(".tile.1.1.1.last") :]
    assert loop.count("llvm.fmuladd.v16f32(") >= 4
    wide = emit_contraction(matmul(3, 10, 256), AVX512).text
    assert "fadd" in text
    assert "fadd" not in wide
    for steps in (15, 16, 17, 18, 19, 255):
        check(matmul(1, 10, steps))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_session_gives_the_same_bits_at_any_number_of_threads(threads):
    random = np.random.default_rng(0)
    x, w, b = (random.standard_normal(shape).astype(np.float32) for shape in ((1, 784), (784, 512), (512,)))
    graph = gc.Graph()
    with graph.as_default():
        fed = gc.placeholder("float32", shape=(1, 784))
        y = gc.nn.relu(gc.matmul(fed, gc.constant(w)) + gc.constant(b))
    alone, several = (
        gc.Session(graph=graph, backend="llvm", threads=count).run(y, {fed: x}) for count in (1, threads)
    )
    np.testing.assert_array_equal(alone, several)
    np.testing.assert_allclose(several, np.maximum(x.astype(float) @ w + b, 0), rtol=0, atol=1e-3)
