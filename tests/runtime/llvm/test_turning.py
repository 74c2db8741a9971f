"""Filters whose lanes lie apart are laid out once, before the product of many rows."""

from dataclasses import replace

import numpy as np
import pytest

from graphc.sizes import Symbol, named
from graphc.types import FLOAT16, FLOAT32, FLOAT64
from runtime.llvm_backend.contractions.contraction import Access, Expression, Step, row_major
from runtime.llvm_backend.contractions.kernel import emit_contraction
from runtime.llvm_backend.contractions.planning import plan
from runtime.llvm_backend.contractions.registers import AVX2, AVX512, Vectors
from runtime.llvm_backend.contractions.schedule import B
from runtime.llvm_backend.contractions.turning import turn_lanes
from tests.runtime.llvm.contracts import Loaded, check, make_buffers
from tests.runtime.llvm.frontends import Convolution, convolve, convolve_input_gradient, matmul

MANY = Convolution(6, 30, 30, 8, 40)
FAR = Vectors(64, 32, far_l3=True)  # which packs what is laid out as well


def apart(contract, flipped=()):
    """`contract` with its filters one after another, as in files of other libraries."""
    w = next(access for access in contract.ins if access.buffer == "w")
    sizes = {dim.name: dim.size for dim in contract.dims}
    kept = sorted(
        (name for name, stride in w.strides.items() if stride), key=lambda name: abs(w.strides[name])
    )
    strides = row_major(kept, [sizes[name] for name in kept])
    start = sum((sizes[name] - 1) * strides[name] for name in flipped)
    turned = {name: -stride if name in flipped else stride for name, stride in strides.items()}
    laid = replace(w, offset=start, strides=turned)
    return replace(contract, ins=tuple(laid if access is w else access for access in contract.ins))


def bias_relu(lane, dtype=FLOAT32):
    reads = (Access("bias", 0, {lane: 1}, dtype),)
    return Expression(reads, (Step("add", (0, 1), dtype), Step("relu", (2,), dtype)))


@pytest.mark.parametrize("machine", [None, AVX512, AVX2, FAR], ids=["host", "AVX512", "AVX2", "far L3"])
@pytest.mark.parametrize(
    "contract",
    [
        apart(convolve(MANY)),
        apart(convolve(MANY), flipped=("kh", "kw")),
        replace(apart(convolve(MANY)), epilogue=bias_relu("co")),
        apart(convolve(Convolution(6, 30, 30, 300, 33))),  # blocks of the reduction
        apart(convolve_input_gradient(MANY)[0]),
        apart(convolve(Convolution(6, 30, 30, 8, 200))),
    ],
    ids=["plain", "flipped", "epilogue", "blocks", "input gradient", "panels"],
)
def test_the_product_is_that_of_filters_as_they_lay(contract, machine):
    loaded = check(contract, machine=machine)
    assert [phase.name for phase in loaded.kernel.phases] == ["kernel", "kernel.finish"]
    assert loaded.kernel.schedules[1].column.strides[B] == 1
    buffers, again = make_buffers(contract), make_buffers(contract)
    loaded(buffers)
    loaded(again, order=lambda chunks: reversed(list(chunks)))
    np.testing.assert_array_equal(buffers["out"], again["out"])


def test_images_may_be_known_at_the_run():
    contract = apart(convolve(replace(MANY, batch=named("N"))))
    loaded = Loaded(contract)
    assert len(loaded.run) == 2
    for images in (0, 1, 7):
        check(contract, loaded, {Symbol("N"): images})


@pytest.mark.parametrize(
    "contract",
    [
        convolve(MANY),  # lanes lie side by side
        apart(convolve(replace(MANY, batch=2))),  # few rows
        apart(convolve(Convolution(6, 30, 30, 1, 32))),  # few elements
        apart(convolve(replace(MANY, dtype=FLOAT16))),
        apart(convolve(replace(MANY, groups=2))),  # each group has filters of its own
        matmul(8192, 64, 64, transpose_y=True),  # squares are transposed
        apart(convolve(replace(MANY, dtype=FLOAT64))),  # of two steps
        replace(
            apart(convolve(MANY)),
            prologue=(Expression(), Expression((), (Step("relu", (0,), FLOAT32),))),
        ),
    ],
    ids=["beside", "few rows", "few elements", "float16", "groups", "squares", "float64", "prologue"],
)
def test_others_are_packed_or_read_where_they_lie(contract):
    assert turn_lanes(contract, plan(contract, AVX512)) is None
    assert "kernel.finish" not in [phase.name for phase in emit_contraction(contract, AVX512).phases]
