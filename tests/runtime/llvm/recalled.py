"""What the processes of `test_templates` run: programs by name; it tells what came out and what it took.

python recalled.py NAME... > report.json
"""

import hashlib
import json
import os
import sys
import threading

import numpy as np

import graphc as gc
from graphc.function import Function
from graphc.op import OPS
from graphc.ops.loop import loop
from graphc.ops.state import pick
from graphc.sizes import unknown
from graphc.tracing import parameter
from passes.stages import listening
from runtime.llvm_backend.engine import llvm

sys.path.append(os.path.join(os.path.dirname(__file__), "..", ".."))
from test_ops import Call

PROGRAMS = {}


def program(function):
    PROGRAMS[function.__name__] = function
    return function


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@program
def training():
    """A network with state: three steps, on batches of two sizes."""
    x, y = gc.placeholder("float32", (None, 12), name="x"), gc.placeholder("int32", (None,), name="y")
    w, b = gc.Variable(draw(12, 5), name="w"), gc.Variable(np.zeros(5, np.float32), name="b")
    logits = gc.tanh(x @ w + b)
    loss = gc.mean(gc.losses.sparse_softmax_cross_entropy(labels=y, logits=logits))
    step = gc.train.Adam(0.05).minimize(loss, var_list=[w, b])
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        call = session.make_callable([loss, step], [x, y])
        losses = [call(draw(n, 12, seed=n), np.arange(n, dtype=np.int32) % 5)[0] for n in (8, 3, 8)]
        return [*losses, *session.run([w, b])]


@program
def loops():
    """A loop whose number of steps is fed, with a branch in it, and one with its gradient."""
    n, x = gc.placeholder("int64", (), name="n"), gc.Variable(draw(6), name="x")

    def body(i, h):
        return i + 1, gc.cond(gc.equal(i % 2, 0), lambda: gc.sin(h), lambda: h * 1.25)

    _, h = gc.while_loop(lambda i, h: i < n, body, [gc.constant(0, "int64"), x * 1.0], maximum_iterations=9)
    rows = gc.stack([x, x * 2.0, gc.stop_gradient(h)])
    carried, all_of_them = gc.scan(lambda c, a: (c * 0.5 + a, gc.sin(c)), gc.zeros((6,)), rows)
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        wanted = [h, carried, all_of_them, *gc.gradients(gc.sum(carried), [x])]
        return [value for steps in (0, 5, 2) for value in session.run(wanted, {n: steps})]


@program
def draws():
    """Random numbers, other ones in each run."""
    x = gc.random.normal((7,), seed=3) + gc.random.uniform((2, 1), seed=4)
    kept = gc.nn.dropout(gc.ones((40,)), 0.5, seed=5)
    with gc.Session(seed=11) as session:
        return [value for _ in range(3) for value in session.run([x, kept])]


@program
def arithmetic():
    """Kernels of each kind: rows, contractions, attention, windows, sorting, indices, integers, bfloat16."""
    rows, cols = gc.placeholder("float32", ("rows", "cols")), gc.placeholder("float32", ("cols", None))
    picture = gc.placeholder("float32", (2, 9, 9, 3))
    near = gc.nn.conv2d(picture, gc.constant(draw(3, 3, 3, 4)), padding="SAME")
    half = gc.cast(rows, "bfloat16") @ gc.cast(cols, "bfloat16")
    counts = gc.cast(rows * 10, "int32") // 3
    heads = gc.reshape(picture[:, :8, :8, :], (2, 8, 2, 12))
    wanted = [
        gc.nn.softmax(rows @ cols), gc.sort(rows, 1), gc.top_k(rows, 3)[1], gc.cumsum(counts, 0),
        gc.cast(half, "float32"), gc.nn.max_pool(near, 2, strides=2, padding="VALID"),
        gc.nn.dot_product_attention(heads, heads, heads, causal=True), gc.gather(cols, [2, 0], axis=0),
        gc.var(rows, 1), gc.transpose(picture, (3, 0, 1, 2)),
    ]  # fmt: skip
    wanted += gc.gradients(gc.sum(near * near), [picture])
    with gc.Session() as session:
        return [
            value
            for m in (5, 6)
            for value in session.run(
                wanted, {rows: draw(m, 7), cols: draw(7, 2 * m), picture: draw(2, 9, 9, 3, seed=m)}
            )
        ]


@program
def growing():
    """The gradient of a loop that only the run knows the steps of: it takes memory while it runs."""
    n, x = gc.placeholder("int64", (), name="n"), gc.placeholder("float32", (None,), name="x")
    start = [gc.constant(0, "int64"), gc.zeros_like(x)]
    h = gc.while_loop(lambda i, h: i < n, lambda i, h: (i + 1, gc.sin(h * x + x)), start)[1]
    wanted = [h, *gc.gradients(gc.sum(h), [x])]
    with gc.Session() as session:
        sizes = ((3, 5), (40, 5), (7, 9))
        return [value for steps, m in sizes for value in session.run(wanted, {n: steps, x: draw(m)})]


@program
def traced():
    """What a loop stacks whose steps only the run knows: the run gives it with its size."""
    n, x = gc.placeholder("int64", (), name="n"), gc.placeholder("float32", (None,), name="x")
    graph = gc.get_default_graph()
    i, h, limit = (parameter(name, t.result, graph) for name, t in zip("ihn", (n, x, n), strict=True))
    body = Function((i, h, limit), (i + 1, gc.sin(h), h * 2.0))
    condition = Function((i, h, limit), (i < limit,))
    begin = gc.constant(0, "int64"), x, n
    made = loop(*begin, body=body, condition=condition, carried=2, shape=(unknown(),))
    wanted = [pick(made, index=2) * 3.0, pick(made, index=1)]
    with gc.Session() as session:
        fed = ((3, 5), (40, 5), (0, 9))
        return [value for steps, m in fed for value in session.run(wanted, {n: steps, x: draw(m)})]


@program
def chosen():
    """Sizes that results give, by kernels: of what is given back, and of what only follows from it."""
    x = gc.placeholder("float32", (None, 6), name="x")
    rows = gc.boolean_mask(x, gc.sum(x, 1) > 0)
    loss = gc.sum(gc.tanh(rows @ gc.constant(draw(6, 3))))
    wanted = [rows * 2.0, loss, *gc.nonzero(x > 1.0), *gc.gradients(loss, [x])]
    with gc.Session() as session:
        return [value for n in (5, 60, 3) for value in session.run(wanted, {x: draw(n, 6)})]


@program
def in_python():
    """Has a step in Python: it is compiled anew by each process."""
    x = gc.placeholder("float32", (None,))
    found = gc.sum(x) * 2.0
    told = gc.py_func(lambda a: a[::-1].copy(), [x], ("float32", (9,)))
    with gc.Session() as session:
        return session.run([found, told], {x: draw(9)})


@program
def shared():
    """Eight threads in one session, from the first run on."""
    x = gc.placeholder("float32", (None, 30))
    y = gc.nn.softmax(gc.exp(x) @ gc.constant(draw(30, 20)))
    results = [None] * 8
    with gc.Session() as session:

        def work(i):
            results[i] = session.run(y, {x: draw(i + 1, 30)})

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return results


@program
def operations():
    """The last example of each op, for all sizes; those with gradients with theirs."""
    found = []
    for op in OPS.values():
        for example in op.examples[-1:]:
            call = Call(op, example, sizes="unknown")
            floats = [x for x in call.inputs if x.dtype.is_floating]
            ends = [gc.sum(y) for y in call.outputs if y.dtype.is_floating] if example.smooth else []
            with call.graph.as_default():
                slopes = gc.gradients(ends, floats) if op.gradient_rule and ends and floats else []
            wanted = [*call.outputs, *(g for g in slopes if g is not None)]
            try:
                found += call.run(wanted, backend="llvm")
            except gc.GraphError as error:  # of an example at the edge
                found.append(str(error))
    return found


def digest(values):
    text = hashlib.sha256()
    for value in values:
        value = np.asarray(value)
        text.update(f"{value.dtype} {value.shape}".encode())
        text.update(np.ascontiguousarray(value).tobytes())
    return text.hexdigest()


def main(names):
    report = {"digests": {}}
    with listening() as heard:
        for name in names or PROGRAMS:
            with gc.Graph(seed=7).as_default():
                report["digests"][name] = digest(v for v in PROGRAMS[name]() if v is not None)
    report["counts"] = dict(heard.counts)
    report["stages"] = sorted(heard.wall)
    report["llvm"] = bool(llvm._load.cache_info().currsize or llvm.binding.cache_info().currsize)
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
