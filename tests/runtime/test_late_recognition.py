"""While nothing is kept, a request is compiled before it is told from others, and what is equal finds it."""

import os

import numpy as np
import pytest

import graphc as gc
from passes.stages import listening
from runtime import recognition
from runtime.llvm_backend.engine import postponement
from runtime.llvm_backend.engine.postponement import catch_up

FED = np.array([1.0, 2.0, 4.0], np.float32)


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    """Nothing is kept, and nothing is done before it is asked for."""
    monkeypatch.setenv("GRAPHC_BACKEND", "llvm")
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path))
    recognition.forget()
    monkeypatch.setattr(recognition, "on_disk", True)
    monkeypatch.setattr(postponement, "patience", 1000)
    yield
    recognition.forget()
    catch_up()


@pytest.fixture
def told(monkeypatch):
    """The requests that were told from others."""
    found, fingerprint = [], recognition.fingerprint

    def tell(request):
        found.append(request)
        return fingerprint(request)

    monkeypatch.setattr(recognition, "fingerprint", tell)
    return found


def compiled(*ops, backend="llvm"):
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder("float32", [3])
        fetches = [op(x) for op in ops]
    session = gc.Session(graph, backend=backend)
    with listening() as heard:
        executable = session.compile(fetches, [x])
    expected = [np.exp(FED), np.sqrt(FED), np.tanh(FED)][: len(ops)]
    for result, wanted in zip(session.run(fetches, {x: FED}), expected, strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-6)
    return executable, heard.counts["requests recognised"]


def test_a_first_request_is_told_from_others_later(told):
    executable, recognised = compiled(gc.exp)
    assert (told, recognised) == ([], 0)
    catch_up()
    assert told == [executable.request]
    assert compiled(gc.exp)[1] == 1
    assert len(told) == 2


def test_an_equal_request_does_not_wait_for_that(told):
    compiled(gc.exp)
    assert compiled(gc.exp)[1] == 1
    assert len(told) == 2
    catch_up()
    assert len(told) == 2


def test_what_cannot_be_equal_is_left_for_later(told, tmp_path):
    first = compiled(gc.exp)[0].request
    second = compiled(gc.exp, gc.sqrt)[0].request
    assert first not in told
    catch_up()
    assert len(told) == 2
    assert first in told
    assert second in told
    assert any(tmp_path.iterdir())


def test_another_process_finds_it(told, monkeypatch):
    compiled(gc.exp)
    catch_up()
    recognition.forget()
    assert compiled(gc.exp)[1] == 1


def test_where_nothing_can_be_kept_no_request_is_told_from_others(told):
    compiled(gc.exp, backend="numpy")
    catch_up()
    assert told == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_what_is_left_for_later_stays_with_the_parent():
    compiled(gc.exp)
    assert recognition._late
    child = os.fork()
    if not child:
        os._exit(len(recognition._late))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert compiled(gc.exp)[1] == 1
