"""Windows are views; their sum is the adjoint."""

import numpy as np
import pytest

import graphc as gc
from graphc.op import OPS

RNG = np.random.default_rng(0)
CASES = [
    ((7,), (0,), (3,), (2,), (1,)),
    ((2, 9, 8, 3), (1, 2), (3, 2), (2, 1), (2, 3)),
    ((2, 3, 6, 6), (2, 3), (2, 2), (3, 3), (1, 1)),
    ((5, 4), (0, 1), (1, 4), (1, 1), (4, 1)),
]


@pytest.mark.parametrize(("shape", "axes", "size", "strides", "dilations"), CASES)
def test_windows_are_numpys_sliding_windows(shape, axes, size, strides, dilations):
    x = RNG.normal(size=shape)
    attrs = {"axes": axes, "strides": strides, "dilations": dilations}
    seen = OPS["windows"].meaning(x, size=size, **attrs)
    assert seen.base is not None
    assert not seen.flags.writeable
    reach = tuple((k - 1) * d + 1 for k, d in zip(size, dilations, strict=True))
    expected = np.lib.stride_tricks.sliding_window_view(x, reach, axes)
    last, n = max(axes) + 1, len(axes)
    for i, (axis, s, d) in enumerate(zip(axes, strides, dilations, strict=True)):
        steps = [slice(None)] * expected.ndim
        steps[axis], steps[len(shape) + i] = slice(None, None, s), slice(None, None, d)
        expected = expected[tuple(steps)]
    expected = np.moveaxis(expected, range(len(shape), len(shape) + n), range(last, last + n))
    np.testing.assert_array_equal(seen, expected)
    g = RNG.normal(size=seen.shape)
    back = OPS["overlap_add"].meaning(g, shape=shape, **attrs)
    np.testing.assert_allclose((back * x).sum(), (g * seen).sum())


@pytest.mark.parametrize(
    ("attrs", "text"),
    [
        ({"size": (6,), "strides": (1,), "dilations": (1,)}, "reaches over 6 does not fit axis 0"),
        ({"size": (3,), "strides": (0,), "dilations": (1,)}, "a stride is a whole number from 1 up"),
        ({"size": (3,), "strides": (1,), "dilations": (1, 1)}, "has a size, a stride and a dilation"),
        ({"size": (0,), "strides": (1,), "dilations": (1,)}, "at least one cell"),
    ],
)
def test_mistakes(attrs, text):
    with gc.Graph().as_default(), pytest.raises(gc.GraphError, match=text):
        gc.windows(np.zeros(5), axes=(0,), **attrs)


def test_an_image_too_small_for_the_run_is_told():
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (None,))
        y = gc.windows(x, axes=(0,), size=(4,), strides=(1,), dilations=(1,))
        with gc.Session() as session, pytest.raises(gc.GraphError):
            session.run(y, {x: np.zeros(2, np.float32)})
