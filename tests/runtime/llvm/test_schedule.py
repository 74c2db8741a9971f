"""Roles are derived from strides alone."""

import numpy as np
import pytest

import graphc as gc
from graphc.sizes import Symbol, named
from graphc.types import BFLOAT16, FLOAT16, FLOAT64
from runtime.llvm_backend.contractions.grid import Grid, part_range
from runtime.llvm_backend.contractions.kernel import emit_contraction
from runtime.llvm_backend.contractions.planning import plan
from runtime.llvm_backend.contractions.registers import (
    AVX2,
    AVX512,
    NEON,
    SSE,
    Vectors,
    choose_tile,
    even_part,
)
from runtime.llvm_backend.contractions.schedule import OUT, A, B
from runtime.llvm_backend.ir.writer import Evaluator
from tests.runtime.llvm.frontends import (
    Convolution,
    convolve,
    convolve_filter_gradient,
    einsum,
    matmul,
    pool,
    reduction,
)


def scheduled(contract, machine=AVX512):
    return plan(contract, machine)


def test_the_vector_dim_is_contiguous_in_the_output():
    schedule = scheduled(matmul(65, 130, 70))
    assert (schedule.form, schedule.column.size, schedule.column.strides[OUT]) == ("outer", 130, 1)
    assert [loop.size for loop in schedule.rows] == [65]
    assert schedule.operands[B].buffer == "y"
    turned = scheduled(einsum("ij,jk->ki", {"i": 300, "j": 40, "k": 500}))
    assert turned.operands[B].buffer == "x"
    assert turned.column.size == 300


def test_neighbouring_dims_merge():
    rows = scheduled(einsum("btk,kn->btn", {"b": named("b"), "t": named("t"), "k": 20, "n": 40})).rows
    assert [loop.size for loop in rows] == [named("b") * named("t")]
    conv = scheduled(convolve(Convolution(2, 10, 12, 8, 32)))
    assert [loop.size for loop in conv.reduction] == [3, 24]  # kw and ci are one run
    assert len(scheduled(convolve(Convolution(2, 10, 12, 8, 32, dilation=(2, 2)))).reduction) == 3
    assert scheduled(convolve(Convolution(2, 8, 8, 32, 64, kernel=(1, 1)))).rows[0].size == 128


def test_batch_moves_both_operands():
    schedule = scheduled(matmul(9, 33, 20, batch=[(2, True, False), (3, True, True)]))
    assert [loop.size for loop in schedule.batch] == [3]
    assert [loop.size for loop in schedule.rows] == [2, 9]
    grouped = scheduled(convolve(Convolution(2, 10, 12, 32, 64, groups=4)))
    assert [loop.size for loop in grouped.batch] == [4]


def test_b_is_packed_where_its_lanes_are_apart_or_it_is_used_much_and_crowds_the_cache():
    assert not scheduled(matmul(64, 64, 64)).pack
    assert not scheduled(matmul(512, 512, 512)).pack
    assert not scheduled(matmul(1000, 1000, 1000)).pack
    assert scheduled(matmul(1024, 1024, 1024)).pack  # its rows begin at one place of a page each
    assert not scheduled(matmul(8, 1024, 1024)).pack
    assert scheduled(matmul(1000, 1000, 2300)).pack  # too long
    assert scheduled(matmul(500, 1000, 1000), Vectors(64, 32, l2=1 << 19)).pack
    assert scheduled(matmul(512, 512, 512, transpose_y=True)).transposed
    assert scheduled(matmul(32, 32, 32, dtype=FLOAT16)).pack
    assert not scheduled(matmul(32, 32, 32, dtype=BFLOAT16)).pack
    assert scheduled(matmul(named("m"), 1024, 600)).adaptive
    assert not scheduled(matmul(named("m"), 1000, 600)).pack
    assert scheduled(matmul(1000, named("n"), 784)).pack  # how far its rows are apart only the run knows
    assert not scheduled(matmul(1000, named("n"), 16)).pack


def test_where_l3_is_far_every_panel_is_packed_that_is_used_much_and_more_than_a_little():
    far = Vectors(64, 32, far_l3=True)
    for sizes in (
        (128, 512, 784),
        (512, 512, 512),
        (1000, 1000, 1000),
        (18, 512, 512),
        (48, 512, 128),
        (40, 512, 256),
    ):
        assert not scheduled(matmul(*sizes)).pack
        assert scheduled(matmul(*sizes), far).pack
    for sizes in (
        (64, 64, 64),
        (8, 512, 784),
        (512, 64, 512),
        (32, 512, 128),
        (12, 512, 784),
    ):  # little, used by one tile, packed as it lies, of little by five tiles, by two
        assert not scheduled(matmul(*sizes), far).pack
    assert scheduled(matmul(40, 512, 200, dtype=FLOAT64), far).pack
    for contract in (matmul(40, 512, 200), matmul(40, 512, named("k"))):  # how large B is only the run knows
        assert not scheduled(contract, far).pack


def test_where_l3_is_far_a_little_panel_is_packed_if_its_rows_fall_in_few_sets_of_l1():
    far = Vectors(64, 32, far_l3=True)
    for sizes, packed in (
        ((2048, 2048, 16), True),  # its rows begin at one place of a page each
        ((2048, 512, 64), True),  # at two
        ((2048, 1000, 64), False),  # in all of them
        ((2048, 1000, 72), True),
        ((2048, 2048, 4), False),
        ((2048, 2048, 6), True),
        ((40, 512, 64), False),  # used by too few tiles
    ):
        assert scheduled(matmul(*sizes), far).pack == packed
        assert not scheduled(matmul(*sizes)).pack


def test_where_l3_is_far_a_row_alone_reads_long_pieces_if_there_are_panels_for_many_threads():
    far = Vectors(64, 32, far_l3=True)
    assert (scheduled(matmul(1, 4096, 64)).vectors, scheduled(matmul(1, 4096, 64), far).vectors) == (8, 24)
    for contract in (matmul(1, 1520, 64), matmul(2, 4096, 64)):
        assert scheduled(contract).vectors == scheduled(contract, far).vectors
    for batch, vectors in ([], 8), ([(3, True, True)], 16):  # threads share out rows too
        contract = matmul(1, 1536, 64, batch=batch)
        assert (scheduled(contract).vectors, scheduled(contract, far).vectors) == (vectors, 24)


def test_a_is_copied_only_where_its_steps_fall_in_one_cache_set():
    assert scheduled(matmul(1024, 1024, 1024, transpose_x=True)).copy
    assert not scheduled(matmul(1000, 1000, 1000, transpose_x=True)).copy
    assert not scheduled(matmul(1024, 1024, 1024)).copy


def test_where_l3_is_far_a_is_not_copied_but_few_steps_are_a_block_where_their_lines_fall_in_few_sets():
    far = Vectors(64, 32, far_l3=True)
    for rows, columns in ((512, 128), (128, 512), (1024, 1024)):
        contract = matmul(rows, columns, 1024, transpose_x=True)
        assert scheduled(contract).block is None
        assert scheduled(contract, far).block == 171  # six alike
        assert not scheduled(contract, far).copy
    for contract in (
        matmul(500, 512, 1024, transpose_x=True),  # lines are apart by other numbers
        matmul(512, 512, 384, transpose_x=True),  # two blocks are no more than one
        matmul(512, 512, 1024),  # a line has many steps
    ):
        assert scheduled(contract, far).block is None
    assert scheduled(matmul(512, 512, 1024, dtype=FLOAT16, transpose_x=True), far).copy


def test_lanes_are_steps_where_only_the_reduction_is_contiguous():
    assert scheduled(matmul(8, 512, 512, transpose_y=True)).form == "dot"
    assert scheduled(matmul(512, 512, 512, transpose_y=True)).form == "outer"
    assert scheduled(matmul(200, 1, 512)).form == "dot"
    assert scheduled(reduction({"a": 50, "b": 60}, "a", "add")).form == "dot"
    assert scheduled(reduction({"a": 50, "b": 60}, "b", "add")).form == "outer"


def test_short_rows_are_tiled_with_those_above():
    schedule = scheduled(convolve(Convolution(8, 9, 9, 64, 64)))
    assert schedule.pair * schedule.height > 4
    assert schedule.rows[-1].size == 7


def test_a_long_reduction_is_blocked_and_a_very_long_one_cut():
    assert scheduled(matmul(64, 64, 1024)).block is None
    assert 1000 <= scheduled(matmul(64, 64, 4096)).block <= 1200
    assert not scheduled(matmul(1024, 1024, 65_536)).cut
    assert scheduled(matmul(1024, 1024, 65_537)).cut == 65_536
    gradient = scheduled(convolve_filter_gradient(Convolution(64, 28, 28, 1, 4)))
    assert gradient.block is not None
    assert not gradient.cut


def test_a_reduction_of_few_outputs_that_no_cache_holds_is_cut_in_blocks():
    schedule = scheduled(matmul(64, 128, 12_544))
    assert schedule.cut == schedule.block == 1141
    assert scheduled(matmul(4, 128, 12_544)).cut == 0  # reading B takes as long, whoever reads it
    assert scheduled(matmul(64, 16, 12_544)).cut == 0  # B is in the cache
    assert scheduled(matmul(1024, 1024, 12_544)).cut == 0  # sums would be as much to move as operands


def test_threads_share_out_the_steps_of_a_filters_gradient():
    gradient = convolve_filter_gradient(Convolution(64, 30, 30, 32, 64))
    assert (scheduled(gradient).by_parts, scheduled(gradient).cut) == (True, 4 * 28 * 28)
    assert not plan(gradient, AVX512, alone=False).by_parts
    assert scheduled(convolve_filter_gradient(Convolution(64, 30, 30, 1, 32))).cut == 16 * 28 * 28
    assert not scheduled(convolve_filter_gradient(Convolution(16, 30, 30, 1, 32))).cut  # few products
    assert not scheduled(convolve_filter_gradient(Convolution(2, 30, 30, 32, 64))).cut  # one block
    assert not scheduled(convolve_filter_gradient(Convolution(64, 30, 30, 64, 64))).cut  # more outputs
    assert not scheduled(matmul(64, 128, 12_544)).by_parts  # a product of matrices
    some = scheduled(convolve_filter_gradient(Convolution(named("N"), 30, 30, 32, 64)))
    assert some.by_parts
    assert some.cut < 16 * 28 * 28


def test_tiles_of_two_vectors_are_alike_in_the_rows_of_an_image():
    assert scheduled(convolve(Convolution(8, 30, 30, 32, 32))).height == 7  # of 28; 10, 9, 9 would be cheaper
    assert scheduled(convolve(Convolution(8, 30, 30, 32, 64))).height == 6
    assert scheduled(convolve(Convolution(8, 25, 25, 32, 32))).height == 12  # 23 is prime
    assert scheduled(matmul(28, 32, 64)).height == 10


def test_where_an_index_is_a_block_the_next_loop_is_it():
    gradient = scheduled(convolve_filter_gradient(Convolution(64, 30, 30, 32, 64)))
    assert [loop.size for loop in gradient.reduction] == [64, 28, 28]
    assert (gradient.outer, gradient.block) == (1, 28)
    whole = scheduled(convolve_filter_gradient(Convolution(named("N"), 30, 30, 32, 64)))
    assert (whole.outer, whole.block) == (1, 28)


def test_depthwise_and_pooling_have_lanes_in_both_operands():
    for contract in (
        convolve(Convolution(2, 10, 12, 40, 40, groups=40)),
        pool(Convolution(2, 9, 9, 40, 40), "max"),
    ):
        schedule = scheduled(contract)
        assert schedule.lanes_in_a
        assert not schedule.pack
    assert scheduled(convolve(Convolution(2, 10, 12, 40, 40))).column.strides[A] == 0


@pytest.mark.parametrize("machine", [AVX512, AVX2, NEON, SSE])
def test_tiles_leave_registers_free(machine):
    for rows in (1, 2, 3, 5, 7, 8, 13, 64, 100, 1000):
        for vectors in (1, 2, 3, 4, 5, 8, 64, 128):
            far = machine is AVX512 and vectors == 128
            height, across = choose_tile(rows, vectors, machine.vector_registers, far=far)
            held = across if rows > 1 else 1  # a row alone reads B where it multiplies
            free = machine.vector_registers - height * across - held
            assert free >= max(2, machine.vector_registers // 8)
            assert height <= rows
            assert across <= vectors
    assert scheduled(matmul(64, 64, 64, dtype=FLOAT64), machine).width == machine.vector_bytes // 8


def test_what_is_known_at_the_run_is_never_planned_as_nothing():
    """``x[-1:4]`` of a middling size has no row, and that of four has one."""
    x, w = np.arange(60.0).reshape(4, 15), np.ones((15, 33))
    with gc.Graph().as_default(), gc.Session() as session:
        given = gc.placeholder("float64", (None, None), name="x")
        y = gc.matmul(given[-1:4], w)
        np.testing.assert_array_equal(session.run(y, {given: x}), x[-1:4] @ w)
        np.testing.assert_array_equal(session.run(y, {given: np.ones((9, 15))}), np.zeros((0, 33)))


def test_even_parts():
    assert [even_part(128, 12), even_part(12, 12), even_part(13, 12), even_part(1, 8)] == [12, 12, 7, 1]


def test_tiles_of_any_number_of_rows_are_low():
    assert scheduled(matmul(named("m"), 10, 256)).height == 12
    assert scheduled(matmul(192, 10, 256)).height > 12
    assert scheduled(matmul(named("m"), 512, 784)).height == scheduled(matmul(192, 512, 784)).height


@pytest.mark.parametrize(
    ("rows", "columns", "steps", "chunks"),
    [
        (64, 64, 64, 1),
        (128, 128, 32, 1),
        (2, 512, 784, 2),  # most of a million steps are shared by two
        (200, 10, 256, 2),  # masked lanes take as long as others
        (400, 10, 256, 4),  # more than that evenly
        (22, 512, 784, 24),  # three parts of each of eight panels: none is joined with another
        (492, 512, 784, 56),  # L2 holds a sixth of the rows; and what is between the halves
    ],
)
def test_work_is_shared_out_evenly(rows, columns, steps, chunks):
    kernel = emit_contraction(matmul(named("m"), columns, steps), AVX512)
    assert kernel.chunks({Symbol("m"): rows}) == (chunks,)


@pytest.mark.parametrize("count", [*range(1, 30), 170, 171])
def test_either_half_of_the_rows_has_as_many_parts(count):
    w = Evaluator({})
    for parts in range(1, min(count, 9) + 1):
        grid = Grid(1, parts, 1, 1, 1, 1, 0, (count,), parts, parts)
        ranges = [part_range(w, grid, part) for part in range(parts)]
        assert [i for start, stop in ranges for i in range(start, stop)] == list(range(count))
        assert all(start < stop for start, stop in ranges)
        sizes = [stop - start for start, stop in ranges]
        if parts % 2 and parts > 1:
            assert sizes.pop(parts // 2) in (1, 2)
            assert sum(sizes[: parts // 2]) == sum(sizes[parts // 2 :])


def test_wide_tiles_go_two_steps_at_a_time_where_b_lies_in_rows():
    def steps(contract):
        text = emit_contraction(contract, AVX512).text
        start = text.index("define internal void @kernel.tile.1.6.4.none(")
        return text.count("call <16 x float> @llvm.fmuladd", start, text.index("\n}", start)) / 24

    assert steps(matmul(named("m"), 512, 784)) == 2
    assert steps(matmul(named("m"), 512, 785)) == 1
    assert steps(matmul(named("m"), 512, named("k"))) == 1
    assert steps(matmul(1026, 1024, 1024)) == 1  # packed
