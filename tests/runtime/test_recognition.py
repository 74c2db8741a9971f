"""Equal requests are compiled once; what differs is compiled by itself; errors name their own lines."""

import contextlib
import gc as garbage
import os
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import graphc as gc
from passes import fingerprint as fingerprints
from passes.fingerprint import fingerprint
from passes.pipeline import Request
from passes.stages import listening
from passes.target import Target
from runtime import recognition

FED = np.array([1.0, 2.0, 4.0], np.float32)


@pytest.fixture(autouse=True)
def native(monkeypatch):
    monkeypatch.setenv("GRAPHC_BACKEND", "llvm")


def compiled(define, **options):
    """What `define()` -> (fetches, feeds) is compiled to in a session of its own, and what that heard."""
    graph = gc.Graph()
    with graph.as_default():
        fetches, feeds = define()
    session = gc.Session(graph, **options)
    with listening() as heard:
        executable = session.compile(fetches, feeds)
    return session, executable, heard


def is_recognised(define, **options):
    return bool(compiled(define, **options)[2].counts["requests recognised"])


def line(scale=2.0, dtype="float32", name="w", keep=False, constant=(1.0, 2.0, 3.0), label="x", size=3):
    x = gc.placeholder(dtype, [size], name=label)
    w = gc.Variable(np.ones(3, dtype), name=name)
    return [gc.sum(gc.exp(x * w) * scale + np.array(constant, dtype), keepdims=keep)], [x]


def test_what_only_assigns_large_constants_is_compiled_sooner_than_their_bytes_are_hashed(monkeypatch):
    def initializer(*more):
        gc.Variable(np.arange(8, dtype=np.float32), name="v")
        return [gc.global_variables_initializer(), *more], []

    assert not is_recognised(initializer)
    assert is_recognised(initializer)
    monkeypatch.setattr(fingerprints, "MOST_ASSIGNED", 31)
    assert not is_recognised(initializer)
    _, executable, heard = compiled(initializer)
    assert heard.entered["lowering"] == 1
    assert executable.native is not None

    def with_slots():
        w = gc.Variable(np.arange(8, dtype=np.float32), name="w")
        gc.train.Adam(0.1).minimize(gc.sum(w * w))
        return initializer()

    assert not is_recognised(with_slots)
    assert not is_recognised(with_slots)

    def computes():
        return initializer(gc.exp(gc.constant([1.0])))

    assert not is_recognised(computes)
    assert is_recognised(computes)


def train(rate=0.125):
    x, y = gc.placeholder("float32", ["n", 4], name="x"), gc.placeholder("float32", ["n"], name="y")
    w = gc.Variable(np.zeros((4, 1), np.float32), name="w")
    loss = gc.mean(gc.square((x @ w)[:, 0] - y))
    return [loss, gc.train.Adam(rate).minimize(loss)], [x, y]


def test_an_equal_graph_is_not_compiled_again():
    _, first, heard = compiled(train)
    assert heard.entered["lowering"] == 1
    assert heard.entered["fuse"]
    _, second, heard = compiled(train)
    assert heard.counts["requests recognised"] == 1
    assert set(heard.entered) == {"recognise"}  # no pass, no plan, no lowering, nothing loaded
    assert second.native is not first.native


def test_programs_that_take_memory_while_they_run_share_no_memory():
    def define():
        n, x = gc.placeholder("int64", (), name="n"), gc.placeholder("float32", [None], name="x")
        begin = [gc.constant(0, "int64"), gc.zeros_like(x)]
        h = gc.while_loop(lambda i, h: i < n, lambda i, h: (i + 1, gc.sin(h + x)), begin)[1]
        return gc.gradients(gc.sum(h), [x]), [n, x]

    made = [compiled(define) for _ in range(2)]
    assert [heard.counts["requests recognised"] for _, _, heard in made] == [0, 1]
    runs = [
        session.make_callable(executable.request.fetches, executable.feeds) for session, executable, _ in made
    ]
    found = {n: [run(n, FED * 0.1)[0] for run in runs] for n in (3, 100, 7, 0)}
    assert all(np.array_equal(*pair) for pair in found.values())
    assert found[3][0].all()
    assert not found[0][0].any()


def test_equal_graphs_give_equal_results_apart_from_one_another():
    random = np.random.default_rng(0)
    fed = [random.standard_normal((5, 4)).astype(np.float32), random.standard_normal(5).astype(np.float32)]
    histories = []
    for steps in (3, 5, 4):
        graph = gc.Graph()
        with graph.as_default():
            fetches, feeds = train()
            begin = gc.global_variables_initializer()
        with gc.Session(graph) as session:
            session.run(begin)
            step = session.make_callable(fetches, feeds)
            histories.append([float(step(*fed)[0]) for _ in range(steps)])
    assert histories[0] == histories[1][:3]
    assert histories[1][:4] == histories[2]
    assert histories[1][4] < histories[1][0]


@pytest.mark.parametrize(
    "other",
    [
        {"scale": 2.5},
        {"dtype": "float64"},
        {"name": "v"},
        {"keep": True},
        {"constant": (1.0, 2.0, 3.5)},
        {"constant": (1.0, 2.0, -3.0)},
        {"size": None},
        {"size": "n"},
    ],
)
def test_what_differs_is_compiled_by_itself(other):
    assert not is_recognised(line)
    assert is_recognised(line)
    assert not is_recognised(lambda: line(**other))
    assert is_recognised(lambda: line(**other))


def test_zeros_of_either_sign_and_bools_and_ints_differ():
    digests = set()
    for value in (np.float32(0.0), np.float32(-0.0), np.float64(0.0), np.int64(0), np.bool_(False)):
        graph = gc.Graph()
        with graph.as_default():
            digests.add(fingerprint(Request((gc.constant(value),), ())).digest)
    assert len(digests) == 5


def test_the_order_of_what_is_fetched_and_fed_counts():
    def pair(turned_out, turned_in):
        def define():
            x, y = (gc.placeholder("float32", [3], name=name) for name in "xy")
            fetches, feeds = [x - y, x * y], [x, y]
            return fetches[:: -1 if turned_out else 1], feeds[:: -1 if turned_in else 1]

        return define

    assert [is_recognised(pair(a, b)) for a in (0, 1) for b in (0, 1)] == [False] * 4
    session, executable, _ = compiled(pair(True, True))
    found = session.run(executable.request.fetches, dict(zip(executable.feeds, (FED, 2 * FED), strict=True)))
    np.testing.assert_array_equal(found, [2 * FED * FED, FED])


def test_options_count():
    assert not is_recognised(line, threads=2)
    assert not is_recognised(line, threads=1)
    assert not is_recognised(line, threads=2, fast_math=True)
    assert not is_recognised(line, threads=2, check_numerics=True)
    assert is_recognised(line, threads=2)
    assert is_recognised(line, threads=2, check_numerics=True)


def test_those_who_look_at_compiling_see_all_of_it(tmp_path, monkeypatch):
    from passes.pipeline import PIPELINE
    from passes.record import recording

    compiled(line)
    seen = []

    def look(function, target):
        seen.append(function)
        return function

    for _ in range(2):
        assert not is_recognised(line, pipeline=(*PIPELINE, look))
    assert len(seen) == 2
    assert not is_recognised(line, verify=True)
    assert not is_recognised(line, verify=True)
    with recording() as log:
        compiled(line)
    assert log.counters.nodes_visited
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path))
    compiled(line)
    assert list(tmp_path.iterdir())


def test_unknown_sizes_are_told_apart_by_place():
    def define():
        x, y = gc.placeholder("float32", [None, 2]), gc.placeholder("float32", [None])
        return [gc.sum(x, 1) * 2, gc.exp(y)], [x, y]

    for rows, length in ((3, 5), (40, 7), (2, 900)):
        session, executable, heard = compiled(define)
        x, y = np.ones((rows, 2), np.float32), np.zeros(length, np.float32)
        for _ in range(2):
            sums, powers = session.run(
                executable.request.fetches, dict(zip(executable.feeds, (x, y), strict=True))
            )
            np.testing.assert_array_equal(sums, np.full(rows, 4.0))
            np.testing.assert_array_equal(powers, np.ones(length))
    assert heard.counts["requests recognised"] == 1


def test_two_unknown_sizes_are_not_one():
    def twice(same):
        def define():
            size = gc.placeholder("float32", [None])
            other = size if same else gc.placeholder("float32", [None])
            return [gc.exp(size), gc.exp(other)], [size] if same else [size, other]

        return define

    assert not is_recognised(twice(True))
    assert not is_recognised(twice(False))


def test_errors_name_the_lines_of_their_own_program():
    def first():
        x, i = gc.placeholder("float32", [3], name="x"), gc.placeholder("int32", [2], name="i")
        return [gc.gather(x, i)], [x, i]

    def second():
        x, i = gc.placeholder("float32", [3], name="x"), gc.placeholder("int32", [2], name="i")
        return [gc.gather(x, i)], [x, i]  # the line that fails

    texts = []
    for define in (first, second):
        session, executable, heard = compiled(define)
        with pytest.raises(gc.IndexOutOfRangeError) as caught:
            session.run(executable.request.fetches, dict(zip(executable.feeds, (FED, [0, 7]), strict=True)))
        texts.append((str(caught.value), define.__code__.co_firstlineno + 2))
    assert heard.counts["requests recognised"] == 1
    for text, number in texts:
        assert f"test_recognition.py:{number}" in text


def test_a_variable_without_a_value_is_named():
    compiled(line)
    session, executable, heard = compiled(line)
    assert heard.counts["requests recognised"] == 1
    with pytest.raises(gc.UninitializedError, match="'w'"):
        session.run(executable.request.fetches, {executable.feeds[0]: FED})


def test_what_is_looked_at_is_its_own():
    _, first, _ = compiled(train)
    _, second, heard = compiled(train)
    assert heard.counts["requests recognised"] == 1
    assert {node.owner for node in second.function.nodes()} == {second.request.fetches[0].owner}
    kinds = [[executable.kind_of(step) for step in executable.bound.steps] for executable in (first, second)]
    assert kinds[0] == kinds[1]
    assert "llvm" in kinds[0]
    assert [kernel.text for kernel in first.kernels] == [kernel.text for kernel in second.kernels]
    assert first.peak_bytes({"n": 9}) == second.peak_bytes({"n": 9})
    for part in ("kernels", "memory", "variables"):
        assert first.record[part] == second.record[part]
    assert first.native.memory == second.native.memory
    assert first.native.returns == second.native.returns


def test_no_graph_is_held():
    session, executable, _ = compiled(train)
    graph = weakref.ref(session.graph)
    del session, executable
    garbage.collect()
    assert graph() is None
    assert is_recognised(train)


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(recognition, "MOST", 4)
    for i in range(8):
        compiled(lambda i=i: line(scale=float(i)))
    assert len(recognition._kept) == 4
    assert not is_recognised(lambda: line(scale=0.0))
    assert is_recognised(lambda: line(scale=7.0))
    monkeypatch.setattr(recognition, "MOST_BYTES", 1)
    compiled(lambda: line(scale=9.0))
    assert (all(kept.bytes > 1 for kept in recognition._kept.values()), len(recognition._kept)) == (True, 4)


def test_what_is_too_large_or_not_graphcs_own_has_no_fingerprint(monkeypatch):
    def of(define):
        graph = gc.Graph()
        with graph.as_default():
            fetches, feeds = define()
        return fingerprint(Request(tuple(fetches), tuple(feeds)))

    def python():
        x = gc.placeholder("float32", [3])
        return [gc.py_func(np.sin, [x], ("float32", [3]))], [x]

    assert of(line) is not None
    assert not is_recognised(python)
    assert not is_recognised(python)
    monkeypatch.setattr(gc.exp, "__module__", "users.own")
    assert of(line) is None
    monkeypatch.undo()
    monkeypatch.setattr(fingerprints, "MOST_BYTES", 8)
    assert of(line) is None
    monkeypatch.undo()
    monkeypatch.setattr(fingerprints, "MOST_NODES", 3)
    assert of(line) is None


def test_a_fingerprint_that_forgets_attributes_is_noticed(monkeypatch):
    """A planted fault: the checks above would see it."""
    monkeypatch.setattr(fingerprints._Speller, "_value", lambda self, value: "")
    compiled(line)
    with pytest.raises(AssertionError):
        assert not is_recognised(lambda: line(scale=3.0))


def test_bodies_are_looked_into():
    def loop(step):
        def define():
            x = gc.placeholder("float32", [])
            return [gc.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * step), (0, x))[1]], [x]

        return define

    results = []
    for step in (2.0, 3.0, 2.0, 3.0):
        session, executable, heard = compiled(loop(step))
        results.append(float(session.run(executable.request.fetches, {executable.feeds[0]: 1.0})[0]))
    assert results == [8.0, 27.0, 8.0, 27.0]
    assert heard.counts["requests recognised"] == 1


def test_threads_may_compile_the_same_at_once():
    results = [None] * 6

    def work(i):
        session, executable, _ = compiled(train)
        with session.graph.as_default():
            begin = gc.global_variables_initializer()
        session.run(begin)
        fed = dict(zip(executable.feeds, (np.ones((3, 4), np.float32), FED), strict=True))
        results[i] = [float(session.run(executable.request.fetches, fed)[0]) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [results[0]] * 6


def test_llvm_is_not_asked_for_again(tmp_path):
    """In a process of its own: what has been forgotten nowhere is still there after the graph is gone."""
    environment = {**os.environ, "GRAPHC_CACHE": str(tmp_path)}  # nothing that an earlier process left
    code = (
        "import numpy as np, graphc as gc\n"
        "from passes.stages import listening\n"
        "for i in range(3):\n"
        "    g = gc.Graph()\n"
        "    with g.as_default():\n"
        "        x = gc.placeholder('float32', [3]); y = gc.tanh(x) * 2\n"
        "    with gc.Session(g) as s, listening() as heard:\n"
        "        s.run(y, {x: np.ones(3, np.float32)})\n"
        "    del g, s, x, y\n"
        "    print(heard.counts['requests recognised'], heard.entered['lowering'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["0", "1", "1", "0", "1", "0"]


@pytest.mark.parametrize("change", [{"verify": True}, {"memory_budget": 1 << 20}, {"pipeline": ()}])
def test_what_is_compiled_in_another_way_is_no_ones_but_its_own(change):
    """A file of the disk does not tell them apart."""
    target = Target("llvm")
    assert recognition._may_share(target)
    assert not recognition._may_share(replace(target, **change))


@pytest.mark.parametrize("moment", range(1, 7))
def test_who_interrupts_breaks_nothing_that_is_kept(moment):
    """Keys are hashed in Python, which Ctrl-C may end in the midst of any change to what is kept."""

    class Key:
        left = 0

        def __hash__(self):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return 1

    recognition.forget()
    found, key = SimpleNamespace(constant_bytes=0, nodes=1, symbols=()), Key()
    for interrupt in (True, False):
        key.left = moment if interrupt else 0
        with contextlib.suppress(KeyboardInterrupt):
            for _ in range(3):
                recognition._keep(key, found, "template")
                recognition._find(key)
    assert recognition._find(key).template == "template"
    recognition.forget()
