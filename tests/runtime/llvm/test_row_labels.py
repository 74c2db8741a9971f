"""Rows by labels: what named forms become, one element of a row, and rows with one element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphc as gc
from runtime.llvm_backend.rows import row_elements, row_labels, row_writer

FORMS: dict[str, Callable[[Any, Any], Any]] = {
    "softmax": lambda x, _: gc.nn.softmax(x),
    "log_softmax": lambda x, _: gc.nn.log_softmax(x),
    "layer_norm": lambda x, _: gc.nn.layer_norm(x, 2.0, 1.0),
    "logsumexp": lambda x, _: gc.logsumexp(x, -1),
    "logsumexp_of_a_product": lambda x, y: gc.logsumexp(x * 2.0 + y, -1) * 3.0,
    "dense_cross_entropy": lambda x, y: gc.losses.softmax_cross_entropy(labels=y, logits=x),
    "sparse_cross_entropy": lambda x, y: gc.losses.sparse_softmax_cross_entropy(
        labels=gc.cast(y[:, 0], "int64"), logits=x
    ),
    "variance": lambda x, _: gc.var(x, -1),
    "deviation": lambda x, _: gc.std(x, -1),
    "norm": lambda x, _: gc.norm(x, axis=-1),
    "root_mean_square": lambda x, _: x * gc.rsqrt(gc.mean(x * x, -1, keepdims=True) + 1e-6),
    "cosine": lambda x, y: gc.losses.cosine_distance(labels=y, predictions=x),
}
SIZES = [(6, 40), (1, 33), (5, 17)]


def _steps(executable: Any) -> list[str]:
    return [step["op"] for step in executable.record["steps"] if step["kernel"] != "view"]


def _compare(
    make: Callable[..., Any],
    arrays: list[Any],
    shapes: list[Any] | None = None,
    others: Sequence[list[Any]] = (),
    **options: Any,
) -> Any:
    """What the compiled graph gives, which is what its meaning gives, and its executable; `others` too."""
    found = []
    for backend in ("numpy", "llvm"):
        with gc.Graph().as_default() as graph:
            feeds = [
                gc.placeholder(str(a.dtype), a.shape if shapes is None else shapes[i])
                for i, a in enumerate(arrays)
            ]
            fetched = make(*feeds)
            with gc.Session(graph=graph, backend=backend, **options) as session:
                given = (dict(zip(feeds, each, strict=True)) for each in (arrays, *others))
                found.append([value for feed in given for value in session.run(fetched, feed)])
                executable = session.compile(fetched, feeds)
    for a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype
        near = {"float16": 4e-3, "float32": 4e-6}.get(str(a.dtype), 1e-12)
        np.testing.assert_allclose(b, a, rtol=near, atol=near)
    return found[1], executable


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("what", ["forward", "backward", "both"])
def test_named_forms_are_one_node(form: str, known: bool, what: str) -> None:
    x, y = np.random.default_rng(3).uniform(0.0, 1.0, (2, 6, 40)).astype(np.float32)
    g = np.random.default_rng(4).standard_normal((6, 40)).astype(np.float32)
    with gc.Graph().as_default():
        rank = FORMS[form](gc.constant(x), gc.constant(y)).ndim
    slope = g if rank == 2 else g[:, 0]

    def make(x: Any, y: Any, g: Any) -> Any:
        result = FORMS[form](x, y)
        back = gc.gradients(result, [x], g)[0]
        return {"forward": [result], "backward": [back], "both": [result, back]}[what]

    shapes = None if known else [("n", 40), ("n", 40), ("n", 40)[:rank]]
    _, executable = _compare(make, [x, y, slope], shapes)
    cut = form == "sparse_cross_entropy"  # its labels are cut out of an array before
    assert [op for op in _steps(executable) if not (cut and op in ("strided_slice", "copy"))] == ["fused"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("labels", ["uint8", "int16", "int32", "int64", "uint64"])
def test_cross_entropy_of_every_dtype(dtype: str, labels: str) -> None:
    given = []
    for rows, classes in ((3, 5), (4, 1), (1, 7), (0, 3), (6, 100), (2, 1000), (7, 33)):
        random = np.random.default_rng(classes)
        logits = (random.standard_normal((rows, classes)) * 5).astype(dtype)
        chosen = random.integers(0, min(classes, 256), rows).astype(labels)
        given.append([logits, chosen, random.standard_normal(rows).astype(dtype)])

    def make(x: Any, label: Any, g: Any) -> Any:
        loss = gc.losses.sparse_softmax_cross_entropy(labels=label, logits=x)
        return [loss, gc.gradients(loss, [x], g)[0]]

    for check in (False, True):
        for arrays in given:
            _compare(make, arrays, check_numerics=check)
        _compare(make, given[0], [("n", "c"), ("n",), ("n",)], given[1:], check_numerics=check)


def test_an_element_is_not_touched_by_its_neighbours() -> None:
    x = np.array(
        [[np.nan, 1, 2], [-np.inf, 0, 1], [np.inf, 0, 1], [-np.inf] * 3, [1e30, -1e30, 0], [0, -20, -0.0]],
        np.float32,
    )

    def make(x: Any, label: Any) -> Any:
        away = x * 2.0
        return [gc.ops.pick_class(away, label), gc.logsumexp(x, -1), gc.nn.log_softmax(x)]

    for label in range(3):
        found, _ = _compare(make, [x, np.full(6, label, np.int32)])
        np.testing.assert_array_equal(found[0], x[:, label] * 2)
    assert np.signbit(found[0][5])  # of a -0.0, which no sum would give back


def test_what_is_put_is_there_alone() -> None:
    for classes in (1, 3, 15, 16, 17, 33, 100):
        labels = np.arange(-2, classes + 2)
        shape = len(labels), classes
        x = np.full(len(labels), np.nan, np.float32)
        x[::2] = -0.0

        def make(x: Any, label: Any, shape: Any = shape) -> Any:
            made = gc.ops.put_class(x, label, shape=shape)
            return [made, gc.abs(made) * 2.0]

        (found, _), executable = _compare(make, [x, labels])
        assert _steps(executable) == ["fused"]
        wanted = np.zeros(shape, np.float32)
        inside = (labels >= 0) & (labels < classes)
        wanted[inside, labels[inside]] = x[inside]
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


@pytest.mark.parametrize("bad", [5, -1, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("known", [True, False])
def test_a_label_of_no_class_is_named_before_anything_is_assigned(bad: int, known: bool) -> None:
    with gc.Graph().as_default() as graph:
        logits = gc.placeholder("float32", (3, 5) if known else ("n", "c"))
        labels = gc.placeholder("int32", (3,) if known else ("n",))
        total = gc.Variable(np.zeros((), np.float32), name="total")
        loss = gc.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits)
        step = total.assign_add(gc.sum(loss) + 1.0)
        with gc.Session(graph=graph, backend="llvm") as session:
            session.run(gc.global_variables_initializer())
            feeds = {logits: np.zeros((3, 5), np.float32), labels: np.array([0, bad, 4], np.int32)}
            with pytest.raises(
                gc.IndexOutOfRangeError, match=f"label {bad} is none of the 5 classes"
            ) as error:
                session.run(step, feeds)
            assert "test_row_labels.py" in str(error.value)
            assert session.run(total) == 0.0
            session.run(step, {**feeds, labels: np.array([0, 1, 4], np.int32)})
            assert session.run(total) != 0.0


def test_rows_without_classes() -> None:
    with gc.Graph().as_default() as graph:
        x = gc.placeholder("float32", ("n", "c"))
        labels = gc.placeholder("int32", ("n",))
        picked = gc.ops.pick_class(gc.exp(x), labels) * 2.0
        with gc.Session(graph=graph, backend="llvm") as session:
            assert session.run(picked, {x: np.zeros((0, 0)), labels: np.zeros(0, np.int32)}).shape == (0,)
            with pytest.raises(gc.IndexOutOfRangeError):
                session.run(picked, {x: np.zeros((2, 0)), labels: np.zeros(2, np.int32)})


def test_what_is_only_picked_from_is_in_no_loop() -> None:
    x = np.random.default_rng(0).standard_normal((4, 50)).astype(np.float32)
    label = np.array([0, 7, 49, 3])

    def make(x: Any, label: Any) -> Any:
        return [gc.losses.sparse_softmax_cross_entropy(labels=label, logits=x)]

    with gc.Graph().as_default() as graph:
        feeds = [gc.placeholder(str(a.dtype), a.shape) for a in (x, label)]
        with gc.Session(graph=graph, backend="llvm") as session:
            kernels = session.compile(make(*feeds), feeds).kernels
    (plan,) = (kernel.plan for kernel in kernels if kernel is not None)
    assert [node.op.name for node in plan.picked_from] == ["sub"]
    assert len([phase for phase in plan.phases if phase.vectors or phase.reductions]) == 2
    assert not plan.kept


def test_numbers_of_short_rows_stay_vectors() -> None:
    """A row of a few elements is no more work than what is one number a row."""
    for inner, count in ((4, 2), (40, 1)):
        y, x = np.full(5, 0.5, np.float32), np.ones((5, inner), np.float32)
        _, executable = _compare(lambda y, x: [x * gc.expand_dims(gc.tanh(y), -1)], [y, x])
        assert _steps(executable) == ["fused"] * count


@pytest.mark.parametrize("shape", [(1, 9), (2, 1), (1, 1), (3, 2, 20), (3, 1, 20), (20,)])
def test_labels_of_other_ranks(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float64)
    label = np.random.default_rng(2).integers(0, shape[-1], shape[:-1])

    def make(x: Any, label: Any) -> Any:
        picked = gc.ops.pick_class(gc.exp(x) / gc.sum(gc.exp(x), -1, keepdims=True), label)
        return [picked, gc.gradients(gc.log(picked), [x])[0]]

    _compare(make, [x, label])


def test_what_is_picked_is_not_overwritten_before() -> None:
    """A result may lie where an operand does, unless an element of that is picked after its loop."""

    def make(x: Any, label: Any) -> Any:
        far = gc.sort(x * 3.0)  # which nobody else holds
        waves = gc.sin(far)
        total = gc.sum(waves, -1, keepdims=True)
        return [gc.matmul(waves, gc.transpose(waves)), gc.ops.pick_class(far * total, label)]

    x = np.random.default_rng(6).standard_normal((5, 40))
    _compare(make, [x, np.array([0, 39, 5, 17, 39])])


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_with_labels(seed: int) -> None:
    random = np.random.default_rng(seed)
    arrays = [random.random((3, 9)), random.integers(0, 9, 3).astype(np.int32)]

    def make(x: Any, label: Any) -> Any:
        rows, numbers = [x], [gc.sum(x, -1)]
        for _ in range(30):
            a, b = (rows[i] for i in random.integers(max(0, len(rows) - 8), len(rows), 2))
            n = numbers[random.integers(len(numbers))]
            made = {
                0: lambda a=a, b=b: gc.matmul(a, gc.transpose(b)) @ b * 0.01,
                1: lambda a=a, b=b: a - gc.mean(b, axis=-1, keepdims=True),
                2: lambda a=a, b=b: gc.sin(a) * gc.mean(gc.cos(b)),
                3: lambda a=a, n=n: a * gc.expand_dims(gc.tanh(n), -1),
                4: lambda b=b, n=n: gc.ops.put_class(n, label, shape=(3, 9)) + b,
                5: lambda a=a, b=b: gc.tanh(a) * b,
                6: lambda a=a: gc.ops.pick_class(a, label) * 0.5,
                7: lambda a=a: gc.logsumexp(a, -1),
            }[int(random.integers(8))]()
            (rows if made.ndim == 2 else numbers).append(made)
        return [rows[-1], rows[len(rows) // 2], numbers[-1], gc.mean(rows[-1]), gc.mean(numbers[0])]

    state = random.bit_generator.state

    def again(*feeds: Any) -> Any:
        random.bit_generator.state = state  # the same graph for each backend
        return make(*feeds)

    _compare(again, arrays)


def _off_by_one(*given: Any) -> str:
    em, one, dtype, value, index, j = given
    return str(row_labels.put_at(em, one, dtype, value, one.let(f"add i64 {index}, 1"), j))


def _the_next(one: Any, index: str, classes: str) -> str:
    return str(one.let(f"urem i64 {one.let(f'add i64 {index}, 1')}, {classes}"))


@pytest.mark.parametrize(("name", "wrong"), [("put_at", _off_by_one), ("checked_index", _the_next)])
def test_a_wrong_kernel_is_named(monkeypatch: pytest.MonkeyPatch, name: str, wrong: Any) -> None:
    monkeypatch.setattr(row_elements if name == "put_at" else row_writer, name, wrong)
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (3, 21 if name == "put_at" else 22), name="x")
        labels = gc.placeholder("int32", (3,), name="labels")
        loss = gc.losses.sparse_softmax_cross_entropy(labels=labels, logits=x)
        fetched = gc.gradients(loss, [x])[0] if name == "put_at" else loss
        feeds = {x: np.arange(3.0 * x.shape[1]).reshape(x.shape), labels: np.array([0, 3, 9], np.int32)}
        report = gc.check_passes(fetched, feeds, backend="llvm")
    assert not report.ok
    assert report.finding.name == "llvm"
    assert "fused" in report.finding.before


def test_the_logarithm_of_a_sum_is_of_float64() -> None:
    x = np.full((4, 1000), -np.log(1000.0), np.float32)
    fed = gc.placeholder("float32", x.shape)
    with gc.Session(backend="llvm") as session:
        found = session.run(gc.logsumexp(fed, -1), {fed: x})
    np.testing.assert_allclose(found, np.float64(x[:, 0]) + np.log(1000.0), rtol=1e-6, atol=0)
