"""However the outputs of a contraction are handed out, their bits are the same."""

import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from graphc.sizes import Symbol, named
from runtime.llvm_backend.table.pool import pool
from runtime.llvm_backend.table.steploop import DONE
from runtime.llvm_backend.table.steptable import RunWords, TableBuilder
from tests.runtime.llvm.contracts import Loaded, make_buffers, number
from tests.runtime.llvm.frontends import Convolution, convolve, matmul, reduction

M = named("M")


def values(**sizes):
    return {Symbol(name): size for name, size in sizes.items()}


@pytest.mark.parametrize(
    "contract",
    [
        matmul(300, 200, 500),
        matmul(70, 100, 200_000),
        matmul(8, 600, 512, transpose_y=True),
        convolve(Convolution(8, 20, 20, 16, 40)),
        reduction({"a": 400_000}, "", "add"),
    ],
    ids=["matmul", "cut", "dot", "convolution", "sum"],
)
def test_chunks_in_any_order_give_the_same_bits(contract):
    loaded = Loaded(contract)
    assert max(loaded.kernel.chunks({})) > 1
    found = []
    for order in (
        lambda chunks: chunks,
        reversed,
        lambda chunks: random.Random(0).sample(chunks, len(chunks)),
    ):
        buffers = make_buffers(contract)
        loaded(buffers, order=order)
        found.append(buffers["out"].tobytes())
    assert len(set(found)) == 1


def test_threads_share_scratch_without_a_clash():
    contract = matmul(300, 200, 500, transpose_y=True)
    loaded = Loaded(contract)
    expected = make_buffers(contract)
    loaded(expected)
    assert number(loaded.kernel.scratch_size, {}) > 0
    for _ in range(5):
        buffers = make_buffers(contract)
        block, _shared, _scratch = loaded.block(buffers, threads=4)
        loaded.plan(block)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(partial(loaded.run[0], block.ctypes.data), range(loaded.kernel.chunks({})[0])))
        assert buffers["out"].tobytes() == expected["out"].tobytes()
        assert block[loaded.kernel.scratch_word + 1] == 0


@pytest.mark.parametrize("rows", [1, 50, 700])
def test_a_step_table_runs_a_contraction(rows):
    """Two steps: `plan` writes the chunks of each phase into the block, which the parallel ones read."""
    loaded = Loaded(matmul(M, 150, 300, transpose_y=True))
    kernel, address = loaded.kernel, partial(loaded.library.address, "contract")
    buffers = make_buffers(loaded.contract, values(M=rows))
    words, *held = loaded.block(buffers, values(M=rows), threads=4)
    builder = TableBuilder()
    block = builder.block(words.tolist())
    builder.kernel(address(f"{kernel.name}.plan"), block)
    for place, phase in enumerate(kernel.phases, block + kernel.first_count):
        builder.parallel(address(phase.name), block, place)
    table = builder.build([loaded.library])
    loaded(buffers, values(M=rows))
    expected = buffers["out"].copy()
    for threads in (1, 2, 4):
        state = RunWords(table)
        workers = pool(threads)
        state.use_pool(workers.fork, workers.state)
        buffers["out"].fill(0)
        state.begin()
        assert table.run(state) == DONE
        np.testing.assert_array_equal(buffers["out"], expected)
    del held


def test_bits_do_not_depend_on_the_other_rows():
    """A row's result is the same whichever rows are computed with it, and in whichever tile it falls."""
    contract = matmul(M, 150, 300)
    loaded = Loaded(contract)
    whole = make_buffers(contract, values(M=64))
    loaded(whole, values(M=64))
    rows = whole["out"].reshape(64, 150)
    for first, last in ((0, 1), (3, 8), (10, 23), (1, 64)):
        part = {"x": whole["x"][first * 300 : last * 300].copy(), "y": whole["y"]}
        part["out"] = np.zeros((last - first) * 150, np.float32)
        loaded(part, values(M=last - first))
        np.testing.assert_array_equal(part["out"].reshape(-1, 150), rows[first:last])
