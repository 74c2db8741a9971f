"""Blocks: contracts that hand each other what lies in scratch."""

import random

import numpy as np
import pytest

from graphc.sizes import Symbol, named
from graphc.types import FLOAT32, FLOAT64
from tests.runtime.llvm.attention import attend
from tests.runtime.llvm.contracts import Loaded


def attention(q, k, v, scale, mask):
    scores = np.einsum("hqd,hkd->hqk", q, k) * scale + mask
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("hqk,hke->hqe", weights / weights.sum(-1, keepdims=True), v)


def run(loaded, sizes, dtype, values=None, order=lambda chunks: chunks):
    heads, queries, keys, depth, width = sizes
    source = np.random.default_rng(0)
    q, k, v = (
        source.standard_normal(shape)
        for shape in ((heads, queries, depth), (heads, keys, depth), (heads, keys, width))
    )
    mask = np.where(np.arange(keys) <= np.arange(queries)[:, None], 0.0, -1e9)
    buffers = {"q": q, "k": k, "v": v, "scale": np.array(0.3), "mask": mask}
    buffers = {name: np.ascontiguousarray(x, dtype) for name, x in buffers.items()}
    buffers["out"] = np.full((heads, queries, width), np.nan, dtype)
    loaded(buffers, values, order)
    masked = "mask" in loaded.kernel.buffers
    expected = attention(q, k, v, 0.3, mask if masked else 0.0)
    np.testing.assert_allclose(buffers["out"], expected, atol=1e-5 if dtype == np.float32 else 1e-12)
    return buffers["out"].tobytes()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
def test_attention_is_a_block(masked, dtype):
    for sizes in ((3, 64, 64, 32, 32), (2, 37, 50, 20, 33), (1, 1, 1, 1, 1)):
        loaded = Loaded(attend(*sizes, masked=masked, dtype=dtype))
        found = {run(loaded, sizes, dtype.numpy, order=order) for order in (iter, reversed)}
        assert len(found) == 1


def test_one_block_serves_all_sizes():
    names = ("H", "Q", "K")
    loaded = Loaded(attend(*map(named, names), 16, 24, masked=True))
    for sizes in ((1, 1, 1), (2, 5, 7), (3, 65, 130), (40, 16, 16)):
        values = dict(zip(map(Symbol, names), sizes, strict=True))
        shuffle = lambda chunks: random.Random(1).sample(chunks, len(chunks))
        run(loaded, (*sizes, 16, 24), np.float32, values, shuffle)
