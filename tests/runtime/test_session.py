"""What a session promises: one executable for all sizes, specialisation, names, closing, numerics."""

import errno
import os
import threading
from dataclasses import replace

import numpy as np
import pytest

import graphc as gc
from graphc import files


def test_a_second_batch_size_builds_nothing():
    x = gc.placeholder("float32", (None, 2), name="x")
    y = gc.sum(x * 2.0, axis=1)
    with gc.Session() as session:
        np.testing.assert_array_equal(session.run(y, {x: [[1, 2]]}), [6])
        np.testing.assert_array_equal(session.run(y, {"x": np.ones((3, 2))}), [4, 4, 4])
        assert session.run(y, {x: np.ones((0, 2))}).shape == (0,)
        assert session.compile_count == 1


def test_a_one_fed_for_an_unknown_size_broadcasts_and_so_do_gradients():
    x, y = (gc.placeholder("float64", (None,), name=n) for n in "xy")
    product = x * y
    slopes = gc.gradients(product, [x, y])
    with gc.Session() as session:
        fetches = [product, *slopes]
        session.run(fetches, {x: [1.0, 2.0], y: [3.0, 4.0]})
        count = session.compile_count
        value, dx, dy = session.run(fetches, {x: [1.0, 2.0], y: [3.0]})
        assert (value.tolist(), dx.tolist(), dy.tolist()) == ([3, 6], [3, 3], [3])
        assert session.compile_count == count + 1
        session.run(fetches, {x: np.ones(5), y: [3.0]})
        session.run(fetches, {x: np.ones(5), y: np.ones(5)})
        assert session.compile_count == count + 1
        with pytest.raises(
            gc.ShapeError, match=r"(?s)mul: sizes differ.*test_session.py.*axis 0 of placeholder 'x'"
        ):
            session.run(fetches, {x: [1.0, 2.0], y: [1.0, 2.0, 3.0]})


def test_a_one_never_broadcasts_for_a_named_size_or_in_matmul():
    x, y = gc.placeholder("float64", ("n",), name="x"), gc.placeholder("float64", ("m",), name="y")
    a, b = gc.placeholder("float64", (2, None)), gc.placeholder("float64", (None, 2))
    with gc.Session() as session:
        with pytest.raises(gc.ShapeError, match="n = 1 and m = 3"):
            session.run(x + y, {x: [1.0], y: [1.0, 2.0, 3.0]})
        with pytest.raises(gc.ShapeError, match="matmul: sizes differ"):
            session.run(a @ b, {a: np.ones((2, 1)), b: np.ones((3, 2))})


def test_unknown_rank_has_an_executable_for_each_rank():
    x = gc.placeholder("float32", name="x")
    y = gc.sum(x * 2, axis=-1)
    with gc.Session() as session:
        assert session.run(y, {x: [1, 2]}) == 6
        assert session.run(y, {x: np.ones((2, 3))}).shape == (2,)
        assert session.run(y, {x: np.ones((5, 4))}).shape == (5,)
        assert session.compile_count == 2
        with pytest.raises(gc.FeedError, match="rank of placeholder 'x'"):
            session.compile(y, [x])
        assert session.compile(y, {x: [1.0]}) is session.compile(y, {x: [2.0, 3.0]})


def test_a_fed_intermediate_is_used_and_gradients_reach_through_it():
    c = gc.constant(2.0)
    x = gc.placeholder("float32", (), name="x")
    s = x * c
    t = s * s
    (slope,) = gc.gradients(t, [x])
    with gc.Session() as session:
        assert session.run([t, slope], {x: 3.0}) == [36.0, 24.0]
        assert session.run([t, slope], {x: 3.0, s: 5.0}) == [25.0, 20.0]
        assert session.run(t, {s: 1.0}) == 1.0


def test_make_callable_is_positional():
    x, y = gc.placeholder("float32", (), name="x"), gc.placeholder("float32", ())
    w = gc.Variable(1.0, name="w")
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        step = session.make_callable({"d": x - y, "w": w}, [x, "placeholder"])
        assert step(3, 1) == {"d": 2.0, "w": 1.0}
        assert session.make_callable(w * x, [w, x])(5.0, 2.0) == 10.0
        with pytest.raises(gc.FeedError, match="2 values are to be fed, and 1"):
            step(3)
        with pytest.raises(gc.FeedError, match="placeholder 'x' is fed twice"):
            session.make_callable(x, [x, "x"])
    with pytest.raises(gc.SessionClosedError):
        step(3, 1)


def test_entering_makes_the_graph_current_and_leaving_closes():
    other = gc.Graph()
    session = gc.Session(graph=other)
    with session:
        assert gc.get_default_graph() is other
        seen = []
        thread = threading.Thread(target=lambda: seen.append(gc.get_default_graph()))
        thread.start()
        thread.join()
        assert seen[0] is not other
    assert gc.get_default_graph() is not other
    session.close()
    for use in (lambda: session.run([]), lambda: session.__enter__(), lambda: session.save("x.npz")):
        with pytest.raises(gc.SessionClosedError, match="session is closed"):
            use()


def test_what_is_made_of_a_tensor_belongs_to_its_graph():
    """Outside of its context too: in another thread, or where it comes from a text."""
    with gc.Graph().as_default() as other:
        x = gc.placeholder("float32", (2,), name="x")
        w = gc.Variable([1.0, 2.0], name="w")
    made = {
        x * 2: [2, 6],
        [1, 2] - w: [0, 0],
        gc.where(x > 1, x, 0): [0, 3],
        gc.concat([x, [5.0]], 0): [1, 3, 5],
        x[[1, 0]]: [3, 1],
        gc.one_hot(gc.cast(x, "int32"), 2): [[0, 1], [0, 0]],
        gc.map_fn(lambda row: row * w[1] + 1, x): [3, 7],
        gc.while_loop(lambda i, a: i < 2, lambda i, a: (i + 1, a + x), (0, x))[1]: [3, 9],
        gc.losses.mean_squared_error(labels=[1.0, 1.0], predictions=x): 2,
        w.scatter_add([0], [4.0]): [5, 2],
    }
    assert {tensor.graph for tensor in made} == {other}
    with gc.Session(graph=other, threads=1) as session:
        session.run(w.initializer)
        for found, wanted in zip(session.run(list(made), {x: [1, 3]}), made.values(), strict=True):
            np.testing.assert_array_equal(found, wanted)
    with pytest.raises(gc.GraphMismatchError, match="'w' and the result of constant"):
        gc.constant(1.0) + w


@pytest.mark.parametrize("backend", gc.backends())
def test_closed_by_another_thread_a_session_says_so_and_keeps_nothing(backend):
    v = gc.Variable([1.0, 2.0], name="v")
    x = gc.placeholder("float32", (2,), name="x")
    closing = []

    def close(array):
        closing[0].close()
        return array

    doubled, assigned = x + v, v.assign(gc.reshape(gc.py_func(close, [x], "float32"), (2,)))
    for way in ("run", "step", "assignment"):
        session = gc.Session(backend=backend, threads=1)
        closing[:] = [session]
        session.run(v.initializer)
        step = session.make_callable(doubled, [x])
        for _ in range(2):
            assert (step([1, 1]).tolist(), session.run(doubled, {x: [1, 1]}).tolist()) == ([2, 3], [2, 3])
        if way == "assignment":
            assert session.run(assigned, {x: [5, 6]}).tolist() == [5, 6]
        else:  # between its first look and the reading of the variables
            ones = np.ones(2, np.float32)
            variables = session._state.variables
            session._state = replace(session._state, variables=Closing(session, variables))
            with pytest.raises(gc.SessionClosedError):
                step(ones) if way == "step" else session.run(doubled, {x: ones})
        assert "closed" in repr(session)
        assert not session._state.variables


class Closing(dict):
    """Variables whose session is closed as soon as one of them is looked for."""

    def __init__(self, session, variables):
        super().__init__()
        self.session = session

    def __missing__(self, name):
        self.session.close()
        raise KeyError(name)

    def get(self, name, default=None):
        self.session.close()
        return default


def test_environment_and_arguments(monkeypatch):
    assert gc.backends() == ("numpy", "llvm")
    monkeypatch.setenv("GRAPHC_BACKEND", "llvm")
    monkeypatch.setenv("GRAPHC_THREADS", "3")
    assert (gc.Session().backend, gc.Session().threads) == ("llvm", 3)
    assert (gc.Session(backend="numpy").backend, gc.Session(threads=1).threads) == ("numpy", 1)
    monkeypatch.setenv("GRAPHC_THREADS", "100000")
    assert gc.Session(backend="numpy").threads == gc.Session(backend="numpy", threads=10**30).threads == 1024
    monkeypatch.setenv("GRAPHC_THREADS", "0")
    with pytest.raises(gc.ArgumentError, match="GRAPHC_THREADS"):
        gc.Session()
    monkeypatch.setenv("GRAPHC_BACKEND", "cuda")
    with pytest.raises(gc.ArgumentError, match="GRAPHC_BACKEND is 'numpy' or 'llvm', not 'cuda'"):
        gc.Session()
    for wrong in ({"graph": 3}, {"threads": 0}, {"threads": True}, {"backend": "tpu"}, {"seed": "x"}):
        with pytest.raises(gc.ArgumentError):
            gc.Session(**{"backend": "numpy", "threads": 1, **wrong})


def test_check_numerics_names_the_op_and_line():
    x = gc.placeholder("float32", (None,), name="x")
    y = gc.log(x) + 1.0
    with gc.Session(check_numerics=True) as session:
        assert session.run(y, {x: [1.0]}) == [1.0]
        with pytest.raises(gc.NumericsError, match=r"(?s)log: its result has NaN.*test_session.py"):
            session.run(y, {x: [-1.0]})
        assert np.isnan(session.run(y, {x: [np.nan]}))  # it was fed, not made


def test_errors_while_running_name_op_line_and_types():
    x = gc.placeholder("float32", (None, 3), name="x")
    rows = gc.gather(x, [5])
    with gc.Session() as session, pytest.raises(gc.IndexOutOfRangeError) as caught:
        session.run(rows, {x: np.ones((2, 3))})
    text = str(caught.value)
    assert "index 5" in text
    assert "rows = gc.gather(x, [5])" in text
    assert "x is placeholder 'x': f32[2,3], made at test_session.py" in text


def test_a_long_chain_runs():
    total = gc.constant(0.0)
    for _ in range(20_000):
        total = total + 1.0
    with gc.Session() as session:
        assert session.run(total) == 20_000


def test_dumps_after_each_pass(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path))
    x = gc.placeholder("float32", (), name="x")
    (slope,) = gc.gradients(x * x, [x])
    with gc.Session() as session:
        assert session.run(slope, {x: 3.0}) == 6.0
    names = sorted(file.name for file in tmp_path.iterdir())
    assert any("differentiate" in name for name in names)
    assert "add" in (tmp_path / names[-1]).read_text()
    for text in (file.read_text() for file in tmp_path.iterdir()):
        assert gc.show(gc.parse(text)) == text


def test_a_dump_that_cannot_be_written_names_its_file(tmp_path, monkeypatch):
    def full(file, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path))
    monkeypatch.setattr(files, "write_text", full)
    with gc.Session() as session, pytest.raises(OSError, match=r"No space left on device: '.*\.gir'"):
        session.run(gc.constant(1.0) + 2.0)
    assert not [*tmp_path.iterdir()]


def test_a_context_that_another_thread_entered_ends_for_that_alone():
    """As in a child after fork, where what other threads were in is let go of by the only one left."""
    entered = []

    def enter():
        entered.append(gc.Graph().as_default())
        entered[0].__enter__()

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    with gc.Graph().as_default() as graph:
        entered.clear()  # which ends it
        assert gc.get_default_graph() is graph


def test_a_file_is_no_folder_for_dumps(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("")
    monkeypatch.setenv("GRAPHC_DUMP", str(path))
    x = gc.placeholder("float32", (), name="x")
    with (
        gc.Session() as session,
        pytest.raises(gc.ArgumentError, match=r"GRAPHC_DUMP names a folder, and .*file"),
    ):
        session.run(gc.sinh(x) * 3.25, {x: 3.0})


def test_the_executable_shows_what_was_compiled():
    import json

    x = gc.placeholder("float32", ("batch", 4), name="x")
    u = gc.placeholder("float64", (None,), name="u")
    with gc.Session(backend="numpy") as session:
        executable = session.compile([x + x, u * 2.0], [x, u])
        assert len(executable.function.inputs) == 2
        assert [s["kernel"] for s in executable.record["steps"]] == ["meaning", "meaning"]
        assert json.loads(json.dumps(executable.record))["backend"] == "numpy"
        small, large = (executable.peak_bytes({"batch": n, "u": (7,)}) for n in (10, 1010))
        assert large - small == 1000 * 4 * 4 * 2  # x and x + x
        with pytest.raises(gc.ArgumentError, match="batch"):
            executable.peak_bytes({})
        assert session.run(x + x, {x: np.ones((2, 4))}).shape == (2, 4)


def test_a_variable_made_of_a_variable_begins_as_that_does(each_backend):
    """Also where both get their values in one run, and where the first is a draw."""
    first = gc.Variable(gc.random.normal([3]))
    second, wide = gc.Variable(first), gc.Variable(first, dtype="float64")
    with gc.Session() as session:
        session.run(gc.global_variables_initializer())
        drawn = session.run(first)
        session.run(first.assign(np.zeros(3)))
        np.testing.assert_array_equal(session.run(second), drawn)
        np.testing.assert_array_equal(session.run(wide), drawn.astype(np.float64))
