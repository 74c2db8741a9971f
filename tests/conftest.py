"""What the whole suite shares."""

import signal
import sys

import pytest

import graphc as gc
from runtime import recognition
from runtime.llvm_backend.engine import built, postponement
from runtime.llvm_backend.table import building

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as jobs in the background inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption(
        "--update-cases", action="store_true", help="write what passes do now into tests/passes/cases/*.gir"
    )


@pytest.fixture(autouse=True, scope="session")
def settled():
    """Nothing is postponed: what is written is there at once.

    Where the engine's text has changed and it was not built anew, tests run what is written, and those of
    `test_built` fail.
    """
    if not all(map(building.is_current, building.PARTS)):
        built.FOLDER = ""
    postponement.patience = 0
    postponement.catch_up()


@pytest.fixture(autouse=True)
def graph():
    """A graph of its own for every test."""
    with gc.Graph(seed=0).as_default() as graph:
        yield graph


@pytest.fixture(params=gc.backends())
def each_backend(request, monkeypatch):
    """Runs a test once on each backend, as the default of its sessions."""
    monkeypatch.setenv("GRAPHC_BACKEND", request.param)
    return request.param


@pytest.fixture
def calls_of():
    """``calls_of(run)``: its result, and how many functions in Python it called, on any machine."""

    def count_calls(run):
        count = 0

        def see(frame, event, argument):
            nonlocal count
            count += event == "call"

        before = sys.getprofile()
        sys.setprofile(see)
        try:
            result = run()
        finally:
            sys.setprofile(before)
        return result, count

    return count_calls


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """No test runs on what another has compiled: many change an op, a pass or the machine."""
    monkeypatch.setattr(recognition, "on_disk", False)
    recognition.forget()
    yield
    recognition.forget()
