"""What leaves loops: sums of products after them, products that they make anyway."""

import numpy as np
import pytest

import graphc as gc
from passes.pipeline import PIPELINE
from passes.running import replaced

STEPS, BATCH, IN, WIDE = 5, 3, 2, 4


def without(*names):
    """The pipeline with passes of these names left out."""
    return tuple(
        each for each in PIPELINE if getattr(each, "__name__", getattr(each, "name", "")) not in names
    )


def network(**options):
    x = gc.placeholder("float64", (STEPS, BATCH, IN), name="x")
    shapes = {"w": (IN, WIDE), "u": (WIDE, WIDE), "b": (WIDE,)}
    w, u, b = (gc.placeholder("float64", shape, name=name) for name, shape in shapes.items())
    last, ys = gc.scan(
        lambda h, z: (lambda y: (y, y))(gc.tanh(z @ w + h @ u + b)),
        gc.zeros((BATCH, WIDE), "float64"),
        x,
        **options,
    )
    loss = gc.sum(last * last) + gc.sum(gc.sin(ys))
    feeds = {t: np.random.default_rng(i).normal(size=t.shape) / 2 for i, t in enumerate((x, w, u, b))}
    return [loss, *gc.gradients(loss, [x, w, u, b])], feeds


def loops(fetches):
    return [node for node in gc.optimize(fetches).nodes() if node.op.name == "loop"]


def values(fetches, feeds, **options):
    with gc.Session(**options) as session:
        return session.run(fetches, feeds)


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"checkpoint_every": 2}])
@pytest.mark.parametrize("backend", gc.backends())
def test_the_numbers_are_the_same(backend, options):
    fetches, feeds = network(**options)
    plain = without("keep_traces", "sum_after_loops", "turn_operands")
    assert len(plain) == len(PIPELINE) - 3
    found = values(fetches, feeds, backend=backend)
    for a, b in zip(found, values(fetches, feeds, backend="numpy", pipeline=plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


def test_gradients_of_what_all_steps_use_leave_the_loop():
    fetches, _ = network()
    forwards, backwards = loops(fetches)
    assert forwards.attrs["carried"] == backwards.attrs["carried"] == 1  # of w, u and b nothing
    body = [node.op.name for node in backwards.attrs["body"].nodes()]
    assert body.count("einsum") == 0
    assert body.count("matmul") == 2  # towards the h before, and towards x, with u and w turned before
    outside = [node.op.name for node in gc.optimize(fetches).nodes()]
    assert outside.count("matmul") == 1  # x @ w for all steps; h @ u is kept
    assert outside.count("transpose") == 2


def test_what_is_summed_otherwise_stays():
    x = gc.placeholder("float64", (STEPS, BATCH, IN), name="x")

    def step(carry, z):
        total, seen, product = carry
        new = total + gc.transpose(z) @ z
        return (new, seen + gc.sum(new), product * (gc.transpose(z) @ z)), None

    zero = gc.zeros((IN, IN), "float64")
    (total, seen, product), _ = gc.scan(step, (zero, gc.constant(0.0, "float64"), zero + 1.0), x)
    (made,) = loops([total, seen, product])
    assert made.attrs["carried"] == 3
    fetches, feeds = [total, seen, product], {x: np.random.default_rng(0).normal(size=(STEPS, BATCH, IN))}
    for a, b in zip(values(fetches, feeds), values(fetches, feeds, pipeline=()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_sum_of_products_that_a_user_wrote():
    x = gc.placeholder("float64", (STEPS, BATCH, IN), name="x")
    w = gc.placeholder("float64", (BATCH, WIDE), name="w")
    start = gc.placeholder("float64", (IN, WIDE), name="start")
    total = gc.scan(lambda c, z: (c + gc.transpose(gc.tanh(z)) @ w, None), start, x)[0]
    feeds = {t: np.random.default_rng(1).normal(size=t.shape) for t in (x, w, start)}
    right = feeds[start] + np.einsum("tbi,bw->iw", np.tanh(feeds[x]), feeds[w])
    np.testing.assert_allclose(values(total, feeds), right, rtol=1e-12)


def test_passes_left_out_by_name():
    assert replaced(PIPELINE, "sum_after_loops", *()) == without("sum_after_loops")
