"""Kernels of cells: pooling, what follows it, and its gradient, against the reference."""

import numpy as np
import pytest

import graphc as gc
from passes.cells import cells_of
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.text import target_of
from runtime.llvm_backend.loops.cell_steps import LOOPS


def run(build, *arrays, backend="llvm", threads=1, shapes=None):
    """The results of ``build(*placeholders)``, and the executable."""
    with gc.Graph().as_default() as graph:
        shapes = shapes or [x.shape for x in arrays]
        fed = [gc.placeholder(x.dtype.name, shape) for x, shape in zip(arrays, shapes, strict=True)]
        made = build(*fed)
        with gc.Session(graph=graph, backend=backend, threads=threads) as session:
            executable = session.compile(made, fed)
            return session.run(made, dict(zip(fed, arrays, strict=True))), executable


def agree(build, *arrays, shapes=None, exact=True):
    """What LLVM gives is what NumPy gives, on any number of threads; gives the kernels of cells."""
    found, executable = run(build, *arrays, shapes=shapes)
    expected, _ = run(build, *arrays, backend="numpy", shapes=shapes)
    twice, _ = run(build, *arrays, threads=2, shapes=shapes)
    for a, b, c in zip(found, expected, twice, strict=True):
        assert np.array_equal(a, c, equal_nan=True)
        if exact:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(1, np.abs(b).max()))
    kernels = [n for n in executable.function.nodes() if n.op.name == "fused"]
    kinds = {executable.kind_of(step) for step in executable.bound.steps if step.node in kernels}
    assert kinds <= {"llvm"}
    return [n for n in kernels if cells_of(n) is not None]


def image(*shape, dtype="float32", seed=0):
    """With many equal numbers, zeros of both signs among them."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(dtype) * np.float32(-0.5)


def pooled(x):
    y = gc.nn.max_pool(x, 2)
    (slope,) = gc.gradients(y * y * y, [x])
    return [y, slope]


@pytest.mark.parametrize("channels", [8, 13, 16, 31, 64, 100])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_max_pool_and_its_gradient_are_kernels_of_cells(channels, dtype):
    assert len(agree(pooled, image(3, 4, 6, channels, dtype=dtype))) >= 1


def test_which_cells_are_the_largest_is_decided_where_they_are_read():
    """The gradient reads bools then, and not the image once more."""

    def build(x, w):
        z = gc.reshape(gc.nn.max_pool(x, 2), (3, -1)) @ w
        return [z, *gc.gradients(gc.sum(z * z), [x])]

    kernels = agree(build, image(3, 4, 6, 16), image(96, 5), exact=False)
    early, late = ({n.op.name for n in kernel.attrs["body"].nodes()} for kernel in kernels)
    assert {"max", "equal"} <= early
    assert "equal" not in late


def test_not_a_number_is_the_largest_and_nothing_equals_it():
    x = image(2, 4, 4, 16)
    x[0, 1, 1, 3] = x[1, 0, 0, :] = np.nan
    x[0, 2, 2, 5] = np.inf
    x[1, 2:, 2:, 7] = -np.inf
    agree(pooled, x)


def test_equal_largest_elements_share_the_gradient():
    x = np.zeros((1, 2, 2, 8), np.float32)
    (_, slope), _ = run(lambda x: [y := gc.nn.max_pool(x, 2), *gc.gradients(gc.sum(y), [x])], x)
    np.testing.assert_array_equal(slope, np.full_like(x, 0.25))


def test_the_batch_is_known_at_the_run_only():
    for n in (0, 1, 5):
        agree(pooled, image(n, 4, 4, 16), shapes=[("batch", 4, 4, 16)])


@pytest.mark.parametrize(
    ("build", "sizes"),
    [
        (lambda x, c: gc.max(x * c, axis=1), (3, 2, 1)),
        (lambda x, c: gc.max(x * c, axis=1), (1, 2, 8)),
        (lambda x, c: gc.max(x * c, axis=1), (3, 1, 1)),
        (lambda x, c: gc.max(x * c, axis=1), (1, 1, 8)),
        (lambda x, c: gc.max(x, axis=1) * c, (3, 1)),
        (lambda x, c: gc.equal(x + c, gc.max(x, axis=1, keepdims=True)), (1, 2, 1)),
        (lambda x, c: x - gc.max(x, axis=1, keepdims=True) * c, (3, 1, 1)),
    ],
)
def test_operands_of_any_shape_are_broadcast(build, sizes):
    agree(lambda x, c: [build(x, c)], image(3, 2, 8, seed=1), image(*sizes, seed=2))


def test_what_may_fail_does_so_before_cells():
    with gc.Graph().as_default(), gc.Session(backend="llvm") as session:
        x, d = gc.placeholder("float32", (3, 2, 8)), gc.placeholder("int32", (3, 2, 8))
        y = gc.max(x * gc.cast(6 // d, "float32"), axis=1)
        ones, divisors = np.ones((3, 2, 8), np.float32), np.full((3, 2, 8), 2, np.int32)
        assert session.run(y, {x: ones, d: divisors}).tolist() == [[3.0] * 8] * 3
        divisors[1, 1, 3] = 0
        with pytest.raises(gc.errors.DivisionError):
            session.run(y, {x: ones, d: divisors})


def test_axes_may_be_cut_finer_before_and_behind():
    def build(x):
        cells = gc.reshape(gc.neg(gc.reshape(x, (-1, 2, 2, 3, 16))), (-1, 4, 3, 16))
        return [gc.tanh(gc.reshape(gc.max(cells, axis=2), (-1, 2, 2, 16)))]

    (kernel,) = agree(build, image(5, 12, 16), exact=False)
    assert "neg" in [n.op.name for n in kernel.attrs["body"].nodes()]


def test_no_images_at_all():
    assert not agree(pooled, image(0, 4, 4, 16))


def test_more_chunks_than_one():
    assert agree(pooled, image(40, 16, 16, 32))


def test_windows_of_other_forms():
    for size in ((1, 2), (3, 1), (2, 3), (4, 4)):
        agree(lambda x, size=size: [gc.nn.max_pool(x, size)], image(2, 12, 12, 16))


def test_sums_go_through_float64():
    x = np.random.default_rng(1).standard_normal((5, 4, 16)).astype(np.float32)
    x[0, :, 0] = [1e8, 1.0, -1e8, 1.0]

    def build(x):
        return [gc.sum(x, axis=1), gc.min(gc.exp(x * 1e-8), axis=1)]

    agree(build, x, exact=False)
    assert run(build, x)[0][0][0, 0] == 2.0


def test_what_stands_around_comes_along():
    def build(x, bias):
        hidden = gc.reshape(gc.relu(x + bias), (-1, 3, 2, 16))
        return [gc.tanh(gc.max(hidden, axis=2) * 2.0 + bias)]

    x, bias = image(4, 6, 16), np.linspace(-1, 1, 16, dtype=np.float32)
    (kernel,) = agree(build, x, bias, exact=False)
    names = [n.op.name for n in kernel.attrs["body"].nodes() if n.inputs]
    assert names == ["add", "relu", "reshape", "max", "mul", "add", "tanh"]


def test_second_order():
    def build(x):
        y = gc.nn.max_pool(x, 2)
        (first,) = gc.gradients(gc.sum(y * y * y), [x])
        return [*gc.gradients(gc.sum(first * first), [x])]

    agree(build, image(2, 4, 4, 8))


def convolved(x, first, second):
    """Two convolutions of the same size as their images, a pooling, and all slopes."""
    y = gc.relu(gc.nn.conv2d(x, first, padding="SAME") + 0.25)
    z = gc.nn.max_pool(gc.relu(gc.nn.conv2d(y, second, padding="SAME")), 2)
    return [z, *gc.gradients(gc.sum(z * z), [x, first, second])]


@pytest.mark.parametrize("size", [3, 5])
def test_what_is_convolved_next_is_stored_among_zeros(size):
    random = np.random.default_rng(3)
    x = random.standard_normal((2, 6, 8, 3)).astype(np.float32)
    first = random.standard_normal((size, size, 3, 16)).astype(np.float32)
    second = random.standard_normal((size, 3, 16, 32)).astype(np.float32) * 0.1
    agree(convolved, x, first, second, exact=False)
    for shape in (x.shape, ("batch", 6, 8, 3)):
        _, executable = run(convolved, x, first, second, shapes=[shape, first.shape, second.shape])
        nodes = executable.function.nodes()
        framed = [
            n for n in nodes if n.op.name == "fused" for m in n.attrs["body"].outputs if m.op.name == "embed"
        ]
        assert len(framed) == 3  # both that are convolved next, and the slope towards the first of them
        assert sum(n.op.name == "embed" for n in nodes) == 1  # that of what is fed


def test_large_results_are_stored_past_the_caches():
    found = host()
    images = max(found.l3 // 2, 8 * found.l2) // (256 * 256 * 16 * 4) + 1
    kernels = agree(pooled, image(images, 256, 256, 16))
    assert any("nontemporal" in loop.text for kernel in kernels for loop in LOOPS["fused"](kernel))


def test_numbers_are_checked_by_the_same_kernels():
    x = image(2, 4, 4, 13)
    with gc.Graph().as_default() as graph:
        fed = gc.placeholder("float32", x.shape)
        made = pooled(fed)
        with gc.Session(graph=graph, backend="llvm", check_numerics=True) as session:
            for a, b in zip(session.run(made, {fed: x}), run(pooled, x)[0], strict=True):
                np.testing.assert_array_equal(a, b)
            exe = session.compile(made, [fed])
            held = [n for n in exe.function.nodes() if n.op.name == "fused" and cells_of(n)]
            assert bool(held) == target_of(host()).notes
            assert not any("look at" in kernel.name for kernel in exe.kernels)
            inputs = np.require(x, requirements="C")
            assert exe.native.call(inputs) is not NotImplemented
            fed_nan = inputs.copy()
            fed_nan[0, 0, 0, 3] = np.nan
            for a, b in zip(session.run(made, {fed: fed_nan}), run(pooled, fed_nan)[0], strict=True):
                np.testing.assert_array_equal(a, b)  # nothing made it


CHECKED = {  # what is made of 3e38 in one cell, and hidden or left out later
    "a sum": lambda x: gc.sum(gc.reshape(x, (2, 3, 2, 13)), axis=2),
    "hidden": lambda x: gc.min(gc.reshape(x * 2.0, (2, 3, 2, 13)), axis=2),
    "left out": lambda x: gc.max(gc.where(x < 0.0, x * 2.0, 1.0), axis=2),
    "left out behind": lambda x: gc.where(x < 0.0, gc.max(x, axis=2, keepdims=True) * 2.0, 1.0),
    "a quotient": lambda x: gc.max(1.0 / (x * 2.0), axis=2),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CHECKED)
def test_any_cell_that_is_not_finite_is_seen_and_named(name, dtype):
    large = 3e38 if dtype == "float32" else 1.7e308
    messages = []
    for backend in ("llvm", "numpy"):
        with gc.Graph().as_default() as graph:
            fed = gc.placeholder(dtype, (2, 3, 2, 13))
            session = gc.Session(graph=graph, backend=backend, check_numerics=True)
            made = CHECKED[name](fed)
            exe = session.compile(made, [fed])
            if backend == "llvm":
                held = any(n.op.name == "fused" and cells_of(n) for n in exe.function.nodes())
                assert held == target_of(host()).notes
                # Lanes beyond the row raise no flag.
                assert exe.native.call(np.ones((2, 3, 2, 13), dtype)) is not NotImplemented
            for place in ((0, 0, 0, 0), (1, 2, 1, 12), (0, 1, 0, 7)):
                x = np.ones((2, 3, 2, 13), dtype)
                session.run(made, {fed: x})
                x[place] = large
                if name == "a sum":
                    x[..., place[-1]] = large
                with pytest.raises(gc.errors.NumericsError) as raised:
                    session.run(made, {fed: x})
                messages.append((backend, str(raised.value)))
    assert [m for b, m in messages if b == "llvm"] == [m for b, m in messages if b == "numpy"]


def test_a_training_step_of_images_that_are_written_channels_first():
    x = image(2, 3, 8, 8)
    w = np.random.default_rng(2).standard_normal((3, 3, 3, 8)).astype(np.float32)

    def build(x, w):
        y = gc.relu(gc.nn.conv2d(x, w, padding="SAME", data_format="NCHW"))
        y = gc.nn.max_pool(y, 2, data_format="NCHW")
        return [y, *gc.gradients(gc.sum(y * y), [x, w])]

    assert agree(build, x, w, exact=False)


def test_a_loop_whose_result_is_pooled_stays_a_loop():
    def build(x):
        y = gc.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * 2.0), (gc.constant(0), x))[1]
        return [gc.nn.max_pool(y, 2), *gc.gradients(gc.nn.max_pool(y * y, 2), [x])]

    assert agree(build, image(2, 4, 4, 16))


def test_reductions_of_the_same_cells_share_a_kernel_and_of_others_do_not():
    def twice(x):
        cells = gc.reshape(x, (2, 4, 2, 4, 2, 16))
        return [gc.sum(gc.square(cells - gc.max(cells, (2, 4), keepdims=True)), (2, 4))]

    def other(x):
        whole = gc.nn.max_pool(x, 2)
        return [whole, gc.nn.max_pool(whole * 2.0, 2)]

    assert len(agree(twice, image(2, 8, 8, 16))) == 1
    assert len(agree(other, image(2, 8, 8, 16))) == 2


def overlapping(pool, size, strides, padding):
    """A pooling, its gradient, and the gradient of that."""

    def build(x):
        y = pool(x, size, strides, padding)
        (slope,) = gc.gradients(y * y, [x])
        return [y, slope, *gc.gradients(gc.sum(slope * slope), [x])]

    return build


@pytest.mark.parametrize("pool", [gc.nn.max_pool, gc.nn.avg_pool])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 0), (0, 1))])
@pytest.mark.parametrize(("size", "strides"), [(3, 1), (3, 2), ((2, 4), (1, 3)), ((4, 2), 1)])
def test_windows_that_overlap_are_read_where_the_image_lies(pool, size, strides, padding):
    for channels, dtype in ((8, "float32"), (21, "float64"), (64, "float32")):
        x = image(2, 7, 9, channels, dtype=dtype)
        build = overlapping(pool, size, strides, padding)
        kernels = agree(build, x, shapes=[("batch", 7, 9, channels)], exact=False)
        assert any(n.op.name == "windows" for k in kernels for n in k.attrs["body"].nodes())
        _, executable = run(lambda x, pool=pool: pool(x, size, strides, padding), x)
        written = [n.result.sizes for n in executable.function.nodes() if n.op.name == "windows"]
        assert all(sizes[-1] == 1 for sizes in written)  # those that count the cells inside the image


@pytest.mark.parametrize("pool", [gc.nn.max_pool, gc.nn.avg_pool])
def test_cells_of_more_windows_than_are_held_and_of_short_rows(pool):
    agree(overlapping(pool, 5, 1, "SAME"), image(1, 6, 6, 8), exact=False)
    agree(overlapping(pool, 3, 1, "SAME"), image(2, 5, 6, 3), exact=False)


def test_no_window_gives_a_row_more_than_it_meets():
    """Zeros stand for windows that are not there; a zero in the image equals their maximum."""
    x = image(1, 5, 5, 16)
    x[0, 0] = 0
    x[0, 2, 2, 3], x[0, 4, 4, 5], x[0, 0, 1, 7] = np.nan, np.inf, -np.inf
    for padding in ("SAME", "VALID"):
        agree(overlapping(gc.nn.max_pool, 3, 1, padding), x, exact=False)


@pytest.mark.parametrize(("size", "strides", "padding"), [(2, 2, "VALID"), (3, 1, "VALID"), (3, 2, "SAME")])
@pytest.mark.parametrize("channels", [3, 8, 37])
def test_where_the_maximum_is_comes_with_it(size, strides, padding, channels):
    """The first of equal ones, the first NaN; which cell it is, is one number for each cell of all places."""
    x = image(2, 7, 8, channels)
    x[1, 2, 3, 0] = x[1, 3, 3, 0] = np.nan
    x[0, 4:, 4:, 1] = -np.inf
    kernels = agree(lambda x: list(gc.nn.max_pool_with_argmax(x, size, strides, padding)), x)
    if channels >= 8 and padding == "VALID":
        (kernel,) = kernels
        assert {"max", "min"} <= {n.op.name for n in kernel.attrs["body"].nodes()}
