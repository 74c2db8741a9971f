"""Python's search for dead cycles rests while something is compiled, and only then."""

import gc as collector
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import graphc as gc
from graphc.collector import resting
from runtime import compilation


@pytest.fixture(autouse=True)
def on():
    was = collector.isenabled()
    collector.enable()
    yield
    (collector.enable if was else collector.disable)()


def test_it_rests_inside_and_goes_on_afterwards():
    with resting():
        assert not collector.isenabled()
        with resting():
            pass
        assert not collector.isenabled()
    assert collector.isenabled()


def test_it_goes_on_after_an_error():
    with pytest.raises(KeyError), resting():
        {}["nothing"]
    assert collector.isenabled()


def test_what_was_off_stays_off():
    collector.disable()
    with resting():
        pass
    assert not collector.isenabled()


def test_it_goes_on_when_the_last_of_several_threads_is_done():
    inside, done = threading.Event(), threading.Event()

    def other():
        with resting():
            inside.set()
            done.wait()

    thread = threading.Thread(target=other)
    with resting():
        thread.start()
        inside.wait()
    assert not collector.isenabled()
    done.set()
    thread.join()
    assert collector.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_inside_searches():
    with resting():
        child = os.fork()
        if not child:
            os._exit(0 if collector.isenabled() else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert collector.isenabled()


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_it_rests_while_a_session_compiles(monkeypatch, backend):
    found = []
    inner = compilation.compile_request

    def noted(*given):
        found.append(collector.isenabled())
        return inner(*given)

    monkeypatch.setattr(compilation, "compile_request", noted)
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (3,), name="x")
        session = gc.Session(backend=backend)
        assert np.array_equal(session.run(x + 1, {x: np.zeros(3, np.float32)}), np.ones(3))
    assert found == [False]
    assert collector.isenabled()


def test_it_rests_while_graphc_is_loaded_which_is_old_then():
    code = """
import gc, sys
searches = []
gc.callbacks.append(lambda *_: searches.append("graphc.errors" in sys.modules))
import graphc
assert not any(searches)
assert gc.isenabled() and not gc.get_freeze_count()
assert gc.get_count()[0] < 2000, gc.get_count()
kept = gc.get_objects(generation=2)
assert any(x is graphc.Tensor for x in kept)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_the_first_programs_of_a_process_make_is_old():
    code = """
import gc
import numpy as np
import graphc
x = graphc.placeholder("float32", [None, 8], name="x")
y = graphc.nn.softmax(graphc.tanh(x @ np.ones((8, 8), np.float32)))
session = graphc.Session()
searches = []
gc.collect()
gc.callbacks.append(lambda *_: searches.append(1))
session.run(y, {x: np.ones((2, 8), np.float32)})
assert not searches
assert gc.isenabled() and not gc.get_freeze_count()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
