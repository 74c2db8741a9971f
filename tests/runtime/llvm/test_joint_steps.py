"""Joint steps: small updates as one step of the table, with the bits that they have one by one."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import graphc as gc
from passes.record import recording
from runtime.llvm_backend.native import joint_steps
from runtime.llvm_backend.table.steploop import KINDS
from runtime.recognition import forget

JOINT, PART = KINDS.index("joint"), KINDS.index("part")
SHAPES = ((4, 3), (3, 17), (17, 33), (33, 2))


def model(optimizer, dtype="float32"):
    x = gc.placeholder(dtype, (5, 4), name="x")
    h, random = x, np.random.default_rng(0)
    for i, shape in enumerate(SHAPES):
        w = gc.Variable(random.normal(size=shape).astype(dtype), name=f"w{i}")
        b = gc.Variable(np.zeros(shape[1], dtype), name=f"b{i}")
        h = gc.tanh(h @ w + b)
    loss = gc.sum(gc.square(h))
    return x, loss, optimizer.minimize(loss)


def trained(make, threads=1, steps=4, dtype="float32", **options):
    """The variables after some steps, and how many joint steps and parts the table has."""
    forget()
    with gc.Graph(seed=0).as_default() as graph:
        x, loss, step = model(make(), dtype)
        feed = {x: np.linspace(-1, 1, 20).reshape(5, 4).astype(dtype)}
        with gc.Session(graph=graph, backend="llvm", threads=threads, **options) as session:
            session.run(gc.global_variables_initializer())
            for _ in range(steps):
                session.run([loss, step], feed)
            kinds = session.compile([loss, step], [x]).native.lowered.table.steps[:, 0].tolist()
            return session.run(list(graph.variables)), kinds.count(JOINT), kinds.count(PART)


@pytest.fixture
def no_cache(monkeypatch):
    monkeypatch.setenv("GRAPHC_CACHE", "")


MAKERS = {
    "adam": lambda: gc.train.Adam(0.01),
    "adamw": lambda: gc.train.AdamW(0.01),
    "momentum": lambda: gc.train.Momentum(0.01, nesterov=True),
    "rmsprop": lambda: gc.train.RMSProp(0.01, momentum=0.5, centered=True),
    "adadelta": lambda: gc.train.Adadelta(),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("chunk", [1, joint_steps.CHUNK])
def test_the_bits_are_those_of_single_steps(no_cache, monkeypatch, name, chunk):
    with monkeypatch.context() as patch:
        patch.setattr(joint_steps, "MOST_CHUNKS", 0)
        expected, joint, _ = trained(MAKERS[name])
        assert joint == 0
    monkeypatch.setattr(joint_steps, "CHUNK", chunk)
    for threads in (1, 2, 4):
        found, joint, parts = trained(MAKERS[name], threads)
        assert joint == 1
        assert parts >= 4
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_array_equal(a, b)


def joint_in(build):
    """How many joint steps what ``build()`` -> (fetches, feed) asks for has; both backends give the same."""
    forget()
    found = []
    for backend in ("llvm", "numpy"):
        with gc.Graph(seed=0).as_default() as graph:
            fetches, feed = build()
            with gc.Session(graph=graph, backend=backend, threads=4) as session:
                session.run(gc.global_variables_initializer())
                values = session.run(fetches, feed)
                found.append([*(v for v in values if v is not None), *session.run(list(graph.variables))])
                if backend == "llvm":
                    kinds = session.compile(fetches, [*feed]).native.lowered.table.steps[:, 0].tolist()
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    return kinds.count(JOINT)


def test_what_reads_another_comes_after_it(no_cache, monkeypatch):
    monkeypatch.setattr(joint_steps, "CHUNK", 1)

    def build():
        x = gc.placeholder("float32", (4, 6), name="x")
        first = gc.tanh(x) * 2.0
        second = gc.exp(gc.reshape(first, (2, 12)))
        return [first, second], {x: np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)}

    assert joint_in(build) == 0


def test_what_takes_places_in_the_arena_stands_alone(no_cache):
    def build():
        x, y = gc.placeholder("float32", (4, 6), name="x"), gc.placeholder("float32", (6,), name="y")
        a, b = gc.tanh(x) * 2.0, gc.tanh(y) * 3.0
        return [gc.concat([a, gc.expand_dims(b, 0)], 0)], {
            x: np.ones((4, 6), np.float32),
            y: np.ones(6, np.float32),
        }

    assert joint_in(build) == 0


def test_what_keeps_rows_in_scratch_stands_alone(no_cache):
    """Steps share their scratch, one after the other."""

    def build():
        given = [gc.placeholder("float32", (6, n), name=f"x{n}") for n in (40, 300)]
        return [gc.nn.softmax(gc.tanh(x)) for x in given], {
            x: np.linspace(-1, 1, 6 * x.shape[1]).reshape(x.shape) for x in given
        }

    assert joint_in(build) == 0


def test_variables_without_elements_are_updated_too(no_cache):
    def build():
        shapes = (0,), (3, 0), (0, 3), (5,), (2, 3)
        variables = [gc.Variable(np.ones(shape, np.float32), name=f"v{i}") for i, shape in enumerate(shapes)]
        return [gc.group([v.assign(gc.tanh(v) * 2.0) for v in variables])], {}

    assert joint_in(build) == 1


def test_both_backends_agree(no_cache):
    found, _, _ = trained(MAKERS["adam"], dtype="float64")
    with gc.Graph(seed=0).as_default() as graph:
        x, loss, step = model(MAKERS["adam"](), "float64")
        with gc.Session(graph=graph, backend="numpy") as session:
            session.run(gc.global_variables_initializer())
            for _ in range(4):
                session.run([loss, step], {x: np.linspace(-1, 1, 20).reshape(5, 4)})
            expected = session.run(list(graph.variables))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_it_is_decided_in_the_record(no_cache):
    forget()
    with gc.Graph().as_default():
        x, loss, step = model(gc.train.Adam())
        with recording() as log, gc.Session(backend="llvm", threads=1) as session:
            session.compile([loss, step], [x])
    (decision,) = [d for d in log.decisions if d.kind == "fork"]
    assert decision.accepted
    assert decision.reason == "together"
    assert decision.details["parts"] == len(decision.nodes) == 8


def test_numbers_are_looked_at_and_nothing_is_committed(no_cache):
    forget()
    with gc.Graph().as_default() as graph:
        rate = gc.placeholder("float32", (), name="rate")
        x, _, step = model(gc.train.Momentum(rate))
        with gc.Session(graph=graph, backend="llvm", check_numerics=True) as session:
            session.run(gc.global_variables_initializer())
            session.run(step, {x: np.ones((5, 4)), rate: 0.01})
            before = session.run(list(graph.variables))
            with pytest.raises(gc.NumericsError):
                session.run(step, {x: np.ones((5, 4)), rate: 3e38})
            for a, b in zip(before, session.run(list(graph.variables)), strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_profile_times_each_update(no_cache):
    forget()
    with gc.Graph().as_default():
        x, loss, step = model(gc.train.Adam(0.01))
        with gc.Session(backend="llvm", threads=1) as session:
            session.run(gc.global_variables_initializer())
            table = session.profile([loss, step], {x: np.ones((5, 4))}, runs=2)
    updates = [
        step
        for step, told in zip(table.executable.bound.steps, table.steps, strict=True)
        if told.op == "fused" and "optimizer.minimize" in told.at
    ]
    assert len(updates) >= 2 * len(SHAPES)
    for times in table._each:  # that they are timed: the least of them take no tick of the clock
        assert all(update in times for update in updates)


def test_steps_of_other_processes_are_joint_too(tmp_path):
    """What is left on the disk names functions, those of parts among them."""
    program = (
        "import numpy as np, graphc as gc\n"
        "from tests.runtime.llvm.test_joint_steps import MAKERS, trained\n"
        "found = trained(MAKERS['adam'])\n"
        "print(sum(float(np.abs(x).sum()) for x in found[0]), *found[1:])\n"
    )
    environment = {**os.environ, "GRAPHC_CACHE": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    told = [
        subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert told[0] == told[1]
    assert told[0].split()[1] == "1"


@pytest.mark.parametrize(
    ("parts", "entries", "starts"),
    [
        ([(1, 3), (2, 3)], [(0, 0), (1, 0), (1, 1)], [0, 3]),  # all in one go
        ([(2, 6), (1, 3)], [(0, 0), (0, 1), (1, 0)], [0, 1, 3]),  # 6 and 6 are more than 10; 6 and 3 are not
        (
            [(1, 11), (3, 4)],
            [(0, 0), (1, 0), (1, 1), (1, 2)],
            [0, 1, 3, 4],
        ),  # too much alone
        ([(1, 5), (2, 5)], [(0, 0), (1, 0), (1, 1)], [0, 2, 3]),  # exactly as much as one takes
    ],
)
def test_chunks_go_together_as_long_as_they_are_little_work(monkeypatch, parts, entries, starts):
    """`parts` are chunks and the work of each; `entries` are the part and the chunk."""
    monkeypatch.setattr(joint_steps, "CHUNK", 10)
    written = []
    builder = SimpleNamespace(joint=lambda entries, starts: written.append((entries, starts)))
    writer = SimpleNamespace(stamped=lambda pattern, step: step)
    members = [
        SimpleNamespace(pattern=SimpleNamespace(runs=[(7, 0)]), step=i, chunks=chunks, work=work)
        for i, (chunks, work) in enumerate(parts)
    ]
    joint_steps.JointSteps(builder, writer, None, None)._write(members)
    assert written == [([(7, part, chunk, chunk + 1) for part, chunk in entries], starts)]
