"""Convolution, pooling, activations, attention and losses against independent references."""

import itertools
import math

import numpy as np
import pytest
from scipy import special

import graphc as gc

RNG = np.random.default_rng(0)


def run(fetches, feeds=None, graph=None):
    with gc.Session(graph=graph) as session:
        return session.run(fetches, feeds or {})


def padding_of(padding, n, k, s, d):
    if padding == "VALID":
        return 0, 0
    reach = (k - 1) * d + 1
    total = max((math.ceil(n / s) - 1) * s + reach - n, 0)
    return total // 2, total - total // 2


def looped_conv(x, w, s, padding, d, groups=1):
    """The definition, one output cell at a time, in float64."""
    pads = [padding_of(padding, x.shape[i + 1], w.shape[i], s[i], d[i]) for i in (0, 1)]
    x = np.pad(x, ((0, 0), *pads, (0, 0)))
    h, v = ((x.shape[i + 1] - (w.shape[i] - 1) * d[i] - 1) // s[i] + 1 for i in (0, 1))
    out = np.zeros((len(x), h, v, w.shape[3]))
    inputs, outputs = w.shape[2], w.shape[3] // groups
    for n, i, j, o in itertools.product(*map(range, out.shape)):
        first = o // outputs * inputs
        for a, b in itertools.product(range(w.shape[0]), range(w.shape[1])):
            cell = x[n, i * s[0] + a * d[0], j * s[1] + b * d[1], first : first + inputs]
            out[n, i, j, o] += cell @ w[a, b, :, o]
    return out


CONVOLUTIONS = [
    ((2, 5, 6, 2), (3, 3, 2, 3), (1, 1), "SAME", (1, 1), 1),
    ((1, 5, 6, 2), (2, 3, 2, 3), (2, 2), "SAME", (1, 1), 1),
    ((2, 7, 7, 4), (3, 2, 2, 4), (2, 1), "SAME", (1, 1), 2),
    ((1, 7, 8, 2), (3, 3, 2, 1), (1, 1), "SAME", (2, 2), 1),
    ((1, 7, 8, 2), (3, 2, 2, 3), (1, 2), "VALID", (2, 1), 1),
    ((1, 6, 5, 3), (1, 1, 3, 2), (3, 2), "SAME", (1, 1), 1),
    ((1, 8, 9, 1), (2, 2, 1, 1), (3, 4), "SAME", (1, 1), 1),
    ((0, 5, 5, 2), (3, 3, 2, 2), (1, 1), "SAME", (1, 1), 1),
]


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("known", [True, False])
def test_conv2d_is_its_definition(case, known):
    shape, filters, strides, padding, dilations, groups = case
    x, w = RNG.normal(size=shape), RNG.normal(size=filters)
    fed = gc.placeholder("float64", shape if known else (None, None, None, shape[3]))
    options = {"padding": padding, "dilations": dilations, "groups": groups}
    expected = looped_conv(x, w, strides, padding, dilations, groups)
    y = gc.nn.conv2d(fed, w, strides, **options)
    planes = gc.nn.conv2d(gc.transpose(fed, (0, 3, 1, 2)), w, strides, data_format="NCHW", **options)
    got, channels_first = run([y, planes], {fed: x})
    np.testing.assert_allclose(got, expected, atol=1e-12)
    np.testing.assert_allclose(channels_first.transpose(0, 2, 3, 1), expected, atol=1e-12)
    if known:
        assert y.shape == expected.shape


@pytest.mark.parametrize("case", CONVOLUTIONS[:7])
def test_gradients_of_conv2d_are_adjoint(case):
    """y is linear in x and in w: <g, conv(x, w)> = <dx, x> = <dw, w>."""
    shape, filters, strides, padding, dilations, groups = case
    x, w = gc.constant(RNG.normal(size=shape)), gc.constant(RNG.normal(size=filters))
    y = gc.nn.conv2d(x, w, strides, padding, dilations, groups)
    g = gc.constant(RNG.normal(size=y.shape))
    dx, dw = gc.gradients(y, [x, w], grad_ys=g)
    a, b, c = run([gc.sum(g * y), gc.sum(dx * x), gc.sum(dw * w)])
    np.testing.assert_allclose([b, c], a)


def test_conv2d_transpose_is_the_gradient():
    x = gc.placeholder("float64", ("n", 7, 6, 2))
    w = gc.constant(RNG.normal(size=(3, 3, 2, 4)))
    for padding, strides in itertools.product(("SAME", "VALID", ((1, 0), (2, 1))), (1, 2)):
        y = gc.nn.conv2d(x, w, strides, padding)
        g = RNG.normal(size=run(gc.shape(y), {x: np.zeros((2, 7, 6, 2))}))
        (expected,) = gc.gradients(y, [x], grad_ys=[gc.constant(g)])
        got = gc.nn.conv2d_transpose(g, w, gc.shape(x), strides, padding)
        a, b = run([expected, got], {x: np.zeros((2, 7, 6, 2))})
        np.testing.assert_allclose(a, b)


def test_depthwise_conv2d_is_grouped():
    x, w = RNG.normal(size=(2, 5, 5, 3)), RNG.normal(size=(3, 2, 3, 2))
    got = run(gc.nn.depthwise_conv2d(x, w, 2, "SAME"))
    expected = looped_conv(x, w.reshape(3, 2, 1, 6), (2, 2), "SAME", (1, 1), groups=3)
    np.testing.assert_allclose(got, expected)


@pytest.mark.parametrize(
    ("size", "strides", "padding"), [(2, 2, "VALID"), ((3, 2), (2, 1), "SAME"), (2, 3, "SAME")]
)
def test_pooling(size, strides, padding):
    x = RNG.normal(size=(2, 7, 5, 3))
    k = size if isinstance(size, tuple) else (size, size)
    s = strides if isinstance(strides, tuple) else (strides, strides)
    pads = [padding_of(padding, x.shape[i + 1], k[i], s[i], 1) for i in (0, 1)]
    padded = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=np.nan)
    rows = range(0, padded.shape[1] - k[0] + 1, s[0])
    columns = range(0, padded.shape[2] - k[1] + 1, s[1])
    seen = np.stack([np.stack([padded[:, i : i + k[0], j : j + k[1]] for j in columns], 1) for i in rows], 1)
    biggest, average = run(
        [gc.nn.max_pool(x, size, strides, padding), gc.nn.avg_pool(x, size, strides, padding)]
    )
    np.testing.assert_allclose(biggest, np.nanmax(seen, (3, 4)))
    np.testing.assert_allclose(average, np.nanmean(seen, (3, 4)))
    values, places = run(gc.nn.max_pool_with_argmax(x, size, strides, padding))
    np.testing.assert_array_equal(values, biggest)
    planes = x.reshape(2, 35, 3)
    np.testing.assert_array_equal(
        np.take_along_axis(planes, places.reshape(2, -1, 3), 1).reshape(values.shape), values
    )


def test_unpooling_puts_back():
    x = gc.constant(RNG.normal(size=(1, 4, 4, 2)))
    values, places = gc.nn.max_pool_with_argmax(x, 2)
    back = gc.nn.max_unpool(values, places, (4, 4))
    got, grad = run([back, gc.gradients(gc.sum(back * back), [x])[0]])
    kept = got != 0
    assert kept.sum() == 8
    np.testing.assert_array_equal(got[kept], run(x)[kept])
    np.testing.assert_allclose(grad, 2 * got)


def test_resize_nearest():
    x = np.arange(12.0).reshape(1, 3, 4, 1)
    got = run(gc.nn.resize_nearest(x, (5, 2)))[0, :, :, 0]
    np.testing.assert_array_equal(got, x[0, :, :, 0][np.arange(5) * 3 // 5][:, [0, 2]])


def test_activations_against_scipy():
    x = RNG.normal(size=50) * 4
    nn = gc.nn
    pairs = [
        (nn.relu6(x), np.clip(x, 0, 6)),
        (nn.leaky_relu(x), np.where(x > 0, x, 0.2 * x)),
        (nn.elu(x), np.where(x > 0, x, np.expm1(x))),
        (nn.selu(x), 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
        (nn.gelu(x), x * special.ndtr(x)),
        (nn.silu(x), x * special.expit(x)),
        (nn.softsign(x), x / (1 + abs(x))),
        (nn.softplus(x), np.logaddexp(x, 0)),
        (nn.softmax(x), special.softmax(x)),
        (nn.log_softmax(x), special.log_softmax(x)),
    ]
    for got, expected in zip(run([p[0] for p in pairs]), (p[1] for p in pairs), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-15)


def test_softmax_of_extremes():
    x = gc.constant([[1000.0, 1000.0], [-np.inf, -np.inf], [-np.inf, 3.0], [np.nan, 1.0]])
    soft, log = gc.nn.softmax(x), gc.nn.log_softmax(x)
    slopes = gc.gradients([gc.sum(soft[:3] * [1.0, 2.0])], [x])
    a, b, g = run([soft, log, slopes[0]])
    np.testing.assert_array_equal(a, [[0.5, 0.5], [0, 0], [0, 1], [np.nan, np.nan]])
    np.testing.assert_allclose(b[:3], [[-math.log(2)] * 2, [-np.inf] * 2, [-np.inf, 0]], rtol=1e-6)
    assert np.isfinite(g).all()


def test_attention():
    q, k, v = (RNG.normal(size=(2, 3, n, d)) for n, d in ((4, 8), (5, 8), (5, 6)))
    mask = RNG.random((4, 5)) < 0.7
    mask[1] = False
    scores = np.where(mask, q @ k.swapaxes(-1, -2) / math.sqrt(8), -np.inf)
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(special.softmax(scores, -1)) @ v
    got = gc.nn.dot_product_attention(q, k, v, mask=mask)
    np.testing.assert_allclose(run(got), expected)
    causal = run(gc.nn.dot_product_attention(k, k, v, causal=True))
    np.testing.assert_allclose(causal[:, :, 0], v[:, :, 0])


def test_normalization():
    x = RNG.normal(size=(6, 5)) + 1e4
    got = run(gc.nn.layer_norm(x, scale=2.0, offset=1.0))
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * 2 + 1
    np.testing.assert_allclose(got, expected)
    mean, variance = gc.nn.moments(x, 0)
    got = run(gc.nn.batch_norm(x, mean=mean, variance=variance))
    np.testing.assert_allclose(got, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3))


def test_dropout_keeps_the_mean(graph):
    x = gc.Variable(np.ones(20000, np.float32))
    y = gc.nn.dropout(x, 0.25)
    slope = gc.gradients(y, [x])[0]
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        a, b = session.run([y, slope])
        assert not np.array_equal(a, session.run(y))
    np.testing.assert_array_equal(a, b)
    assert {*np.unique(a)} == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(a.mean() - 1) < 0.02
    assert gc.nn.dropout(x, 0.0).op.name == "variable"


def test_cross_entropies():
    logits, labels = RNG.normal(size=(4, 3)) * 5, np.array([0, 2, 1, 1])
    hot = np.eye(3)[labels]
    expected = -special.log_softmax(logits, -1)[np.arange(4), labels]
    sparse = gc.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits)
    dense = gc.losses.softmax_cross_entropy(labels=hot, logits=logits)
    sigmoid = gc.losses.sigmoid_cross_entropy(labels=hot, logits=logits)
    a, b, c = run([sparse, dense, sigmoid])
    np.testing.assert_allclose(a, expected)
    np.testing.assert_allclose(b, expected)
    np.testing.assert_allclose(c, np.logaddexp(0, logits) - hot * logits, atol=1e-12)
    extreme = gc.constant([[1e4, -1e4, -np.inf]])
    np.testing.assert_array_equal(
        run(gc.losses.softmax_cross_entropy(labels=[[1.0, 0, 0]], logits=extreme)), [0]
    )


def test_sigmoid_cross_entropy_curves_at_zero():
    x = gc.placeholder("float64", ())
    loss = gc.losses.sigmoid_cross_entropy(labels=1.0, logits=x)
    (first,) = gc.gradients(loss, [x])
    (second,) = gc.gradients(first, [x])
    assert run([first, second], {x: 0.0}) == [-0.5, 0.25]
    assert run(loss, {x: 50.0}) == pytest.approx(math.exp(-50))


@pytest.mark.parametrize("label", [3, -1])
def test_label_that_numbers_no_class(label):
    loss = gc.losses.sparse_softmax_cross_entropy(labels=[label], logits=[[1.0, 2.0, 3.0]])
    with pytest.raises(gc.IndexOutOfRangeError, match=f"label {label} is none of the 3 classes"):
        run(loss)


def test_scalar_losses():
    y, p = RNG.normal(size=6), RNG.normal(size=6) * 3
    d = p - y
    loss = gc.losses
    pairs = [
        (loss.mean_squared_error(labels=y, predictions=p), (d**2).mean()),
        (loss.absolute_difference(labels=y, predictions=p), abs(d).mean()),
        (loss.huber(labels=y, predictions=p), special.huber(1.0, d).mean()),
        (loss.hinge(labels=y > 0, logits=p), np.maximum(0, 1 - np.sign(y) * p).mean()),
        (loss.kl_divergence(labels=[0.5, 0.5, 0.0], predictions=[0.25, 0.5, 0.25]), 0.5 * math.log(2)),
        (loss.cosine_distance(labels=y, predictions=p), 1 - y @ p / np.sqrt((y @ y) * (p @ p))),
    ]
    for got, expected in zip(run([q[0] for q in pairs]), (q[1] for q in pairs), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_labels_in_python_take_the_dtype_of_the_predictions(dtype):
    p, loss = gc.constant([0.25, 0.75], dtype), gc.losses
    made = [
        loss.mean_squared_error(labels=[0.1, 0.9], predictions=p),
        loss.mean_squared_error(labels=0.1, predictions=p),
        loss.absolute_difference(labels=[0, 1], predictions=p),
        loss.huber(labels=[0.1, 0.9], predictions=p),
        loss.hinge(labels=[True, False], logits=p),
        loss.kl_divergence(labels=[0.1, 0.9], predictions=p),
        loss.softmax_cross_entropy(labels=[0.1, 0.9], logits=p),
        loss.sigmoid_cross_entropy(labels=[0.1, 0.9], logits=p),
        gc.tensordot(p, [0.1, 0.9], 1),
    ]
    assert {str(y.dtype) for y in made} == {dtype}
    if dtype == "float64":  # 0.1 was no float32 on the way
        np.testing.assert_allclose(run(made[0]), (0.15**2 * 2) / 2, rtol=1e-15)


IMAGE = np.zeros((1, 4, 4, 2), np.float32)
MISTAKES = [
    (lambda: gc.nn.conv2d(IMAGE, np.zeros((3, 3, 3, 4), "f")), "conv2d: the channels differ"),
    (
        lambda: gc.nn.conv2d(IMAGE, np.zeros((3, 3, 1, 3), "f"), groups=2),
        "2 groups do not divide the 3 channels",
    ),
    (lambda: gc.nn.conv2d(IMAGE[0], np.zeros((3, 3, 2, 3), "f")), "conv2d: x has the axes n, h, w and c"),
    (lambda: gc.nn.conv2d(IMAGE, np.zeros((3, 3, 2), "f")), "conv2d: filters has the axes height"),
    (lambda: gc.nn.conv2d(IMAGE, np.zeros((3, 3, 2, 1), "f"), padding="FULL"), "conv2d: padding is"),
    (
        lambda: gc.nn.conv2d(IMAGE, np.zeros((3, 3, 2, 1), "f"), 0),
        "conv2d: strides is a whole number from 1 up",
    ),
    (lambda: gc.nn.conv2d(IMAGE, np.zeros((5, 5, 2, 1), "f"), padding="VALID"), "5 x 5 cells does not fit"),
    (lambda: gc.nn.conv2d(IMAGE, np.zeros((3, 3, 2, 1), "f"), data_format="HWC"), "data_format is"),
    (lambda: gc.nn.max_pool(IMAGE, 5), "does not fit"),
    (
        lambda: gc.nn.conv2d_transpose(IMAGE, np.zeros((3, 3, 1, 2), "f"), (1, 9, 9, 1), 2),
        "output_shape .1,9,9,1. does not fit",
    ),
    (lambda: gc.nn.softmax([1, 2]), "softmax: a float is wanted"),
    (lambda: gc.nn.dropout(IMAGE, 1.5), "a rate lies between 0 and 1"),
    (
        lambda: gc.losses.sparse_softmax_cross_entropy(labels=[[1]], logits=[[1.0, 2.0]]),
        "labels i32.1,1. are not one for each row",
    ),
    (
        lambda: gc.losses.sparse_softmax_cross_entropy(labels=[1.0], logits=[[1.0, 2.0]]),
        "labels are integers",
    ),
]


@pytest.mark.parametrize(("mistake", "text"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes_are_told_at_definition(mistake, text):
    with pytest.raises(gc.GraphError, match=text):
        mistake()
