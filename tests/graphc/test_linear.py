"""matmul, einsum and tensordot against NumPy."""

import tracemalloc

import numpy as np
import pytest

import graphc as gc
from graphc.ops import contraction

RNG = np.random.default_rng(0)


def run(fetches, feeds=None):
    with gc.Session() as session:
        return session.run(fetches, feeds or {})


EQUATIONS = [
    ("ij,jk", (2, 3), (3, 4)),
    ("ba", (2, 3)),
    ("ii", (3, 3)),
    ("iij->ij", (3, 3, 2)),
    ("i,i", (4,), (4,)),
    ("ij,kl->iljk", (2, 3), (4, 2)),
    ("...ij,...jk", (2, 1, 2, 3), (5, 3, 4)),
    ("i...->...", (3, 2, 2)),
    ("i...j,j...->...i", (2, 3, 4), (4, 5, 3)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("ij,ij,ij->i", (2, 3), (2, 3), (2, 3)),
    ("a,ab,abc,cd->d", (2,), (2, 3), (2, 3, 4), (4, 5)),
    ("iij,jkk->ik", (2, 2, 3), (3, 4, 4)),
    ("nhwijc,ijco->nhwo", (1, 2, 2, 3, 3, 2), (3, 3, 2, 4)),
    ("ij->", (2, 3)),
    (" i j , j -> i ", (2, 3), (3,)),
]


@pytest.mark.parametrize("case", EQUATIONS, ids=[case[0] for case in EQUATIONS])
def test_einsum_is_numpys(case):
    equation, *shapes = case
    arrays = [RNG.normal(size=shape) for shape in shapes]
    expected = np.einsum(equation, *arrays)
    fed = [gc.placeholder("float64", (None,) * a.ndim) for a in arrays]
    got = gc.einsum(equation, *fed)
    np.testing.assert_allclose(run(got, dict(zip(fed, arrays, strict=True))), expected, atol=1e-13)
    known = gc.einsum(equation, *arrays)
    assert known.shape == expected.shape
    slopes = gc.gradients(gc.sum(known), [x for x in known.inputs if x.op.name == "constant"])
    for slope in run(slopes):
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("most", [1, 7, 10**6])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_letters_of_one_operand_are_summed_part_by_part(most, dtype, monkeypatch):
    monkeypatch.setattr(contraction, "_MOST_HELD", most)
    for equation, *shapes in (
        ("i,j->", (5,), (4,)),
        ("bik,bkj->b", (2, 5, 3), (2, 3, 4)),
        ("ij,k->j", (3, 2), (6,)),
        ("ijk,ij->i", (2, 1, 5), (2, 3)),
        ("i,j->", (0,), (4,)),
    ):
        arrays = [RNG.normal(size=shape).astype(dtype) for shape in shapes]
        found = contraction.contract(*arrays, equation=equation)
        expected = np.einsum(equation, *(array.astype("float64") for array in arrays))
        assert (found.dtype, found.shape) == (dtype, expected.shape)
        loose = 20 * np.finfo(dtype).eps
        np.testing.assert_allclose(found, expected, rtol=loose, atol=loose)


def test_no_sum_of_one_operand_overflows_where_no_product_does():
    x = np.full(5, 3e38, np.float32)
    found = contraction.contract(x, np.full(3, 1e-3, np.float32), equation="i,j->")
    assert found == pytest.approx(4.5e36)


def test_few_products_are_held_at_once():
    x = np.ones(8192, np.float32)
    tracemalloc.start()
    try:
        assert contraction.contract(x, x, equation="i,j->") == x.size**2
        assert tracemalloc.get_traced_memory()[1] < x.size**2
    finally:
        tracemalloc.stop()


def test_gradients_of_a_chain_of_letters():
    xs = [gc.constant(RNG.normal(size=s)) for s in ((2, 3, 3), (3, 4), (2, 5))]
    y = gc.sum(gc.square(gc.einsum("ajj,jk,ab->kb", *xs)))
    slopes = run(gc.gradients(y, xs))
    for i, x in enumerate(xs):
        value, step = run(x), RNG.normal(size=x.shape)
        ends = []
        for sign in (1, -1):
            moved = [*xs]
            moved[i] = gc.constant(value + sign * 1e-6 * step)
            ends.append(run(gc.sum(gc.square(gc.einsum("ajj,jk,ab->kb", *moved)))))
        np.testing.assert_allclose((slopes[i] * step).sum(), (ends[0] - ends[1]) / 2e-6, rtol=1e-6)


def test_six_letters_are_one_matrix_product(monkeypatch):
    """A loop over the letters would take far longer."""
    shapes, product = [], np.matmul
    monkeypatch.setattr(
        np, "matmul", lambda a, b, **rest: (shapes.append((a.shape, b.shape)), product(a, b, **rest))[1]
    )
    x, w = RNG.normal(size=(16, 16, 16, 3, 3, 32)).astype("f"), RNG.normal(size=(3, 3, 32, 32)).astype("f")
    y = gc.einsum("nhwijc,ijco->nhwo", x, w)
    with gc.Session(backend="numpy") as session:
        found = session.run(y)
    np.testing.assert_allclose(
        found, np.tensordot(x, w, ((3, 4, 5), (0, 1, 2))).reshape(found.shape), rtol=1e-4
    )
    assert [(a[-2:], b[-2:]) for a, b in shapes] == [((16**3, 288), (288, 32))]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_floats_are_summed_in_float32(dtype):
    x = gc.cast(gc.ones((1, 4096)), dtype)
    products = [gc.matmul(x, gc.transpose(x)), gc.einsum("ij,kj->ik", x, x)]
    assert [float(v[0, 0]) for v in run([gc.cast(p, "float32") for p in products])] == [4096, 4096]


def test_integers_wrap():
    x = np.full((1, 4), 100, np.int8)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(run(gc.matmul(x, x.T)), np.matmul(x, x.T))


@pytest.mark.parametrize("axes", [0, 1, 2, ([0, 2], [2, 1]), (1, 0)])
def test_tensordot_is_numpys(axes):
    x, y = RNG.normal(size=(3, 3, 3)), RNG.normal(size=(3, 3, 3))
    np.testing.assert_allclose(run(gc.tensordot(x, y, axes)), np.tensordot(x, y, axes))


def test_unknown_rank():
    x = gc.placeholder("float64", None)
    y = gc.einsum("...ij->...ji", x)
    value = RNG.normal(size=(2, 3, 4))
    np.testing.assert_array_equal(run(y, {x: value}), value.swapaxes(-1, -2))
    np.testing.assert_allclose(run(gc.matmul(x, np.ones(4)), {x: value}), value.sum(-1))


A = np.zeros((2, 3), np.float32)
MISTAKES = [
    (lambda: gc.matmul(A, A), r"matmul: inner sizes differ: f32\[2,3\] @ f32\[2,3\]"),
    (
        lambda: gc.placeholder("float32", ("batch", 784)) @ gc.constant(np.zeros((512, 10), "f")),
        r"matmul: inner sizes differ: f32\[batch,784\] @ f32\[512,10\]",
    ),
    (lambda: gc.matmul(A, 2.0), "matmul: an operand has no axes"),
    (lambda: gc.matmul(np.zeros((2, 2, 3)), np.zeros((3, 3, 1))), "batch axes do not broadcast"),
    (lambda: gc.matmul(A, np.zeros((3, 2), int)), "do not mix"),
    (lambda: gc.einsum("ij,jk->ik", A, A), "einsum: letter 'j' is 3 and 2"),
    (lambda: gc.einsum("ijk->i", A), "einsum: 'ijk' has 3 axes, and its operand is"),
    (lambda: gc.einsum("ij->iz", A), "letter 'z' of the output is in no operand"),
    (lambda: gc.einsum("ij->ii", A), "letter 'i' is twice in the output"),
    (lambda: gc.einsum("ij,jk", A), "is about 2 operands, and 1 are given"),
    (lambda: gc.einsum("i1", A), "not made of letters"),
    (lambda: gc.einsum("...i->i", A), "'...', but not in the output"),
    (lambda: gc.tensordot(A, A, 1), "axis 1 of f32.2,3. and axis 0 of f32.2,3. have different sizes"),
    (lambda: gc.tensordot(A, A, 3), "3 axes cannot meet"),
]


@pytest.mark.parametrize(("mistake", "text"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes_are_told_at_definition(mistake, text):
    with pytest.raises(gc.GraphError, match=text):
        mistake()
