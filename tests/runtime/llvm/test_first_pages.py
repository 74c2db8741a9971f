"""While LLVM makes code, large outputs get their pages, and a first run finds them there."""

import threading
import time

import numpy as np
import pytest

import graphc as gc
from runtime import recognition
from runtime.llvm_backend.engine import compiler, llvm
from runtime.llvm_backend.native.first_pages import _MOST, fill_pages
from runtime.llvm_backend.table import builtin
from runtime.llvm_backend.table.call import Output

pytestmark = pytest.mark.skipif(bool(builtin.find_trouble()), reason="there are no builtins here")
TEXT = "define i64 @f{0}() {{\n  ret i64 {0}\n}}\n"


def page_faults():
    resource = pytest.importorskip("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@pytest.fixture
def patient(monkeypatch):
    """LLVM waits until somebody waits for its code, and has done all else that there is to do."""
    compile_text = compiler._compile_past_lock

    def wait_and_compile(machine, text):
        for _ in range(6000 if text != compiler._FIRST else 0):
            if compiler._asides:
                break
            time.sleep(0.01)
        while compiler._step_aside():
            pass
        return compile_text(machine, text)

    monkeypatch.setattr(compiler, "_compile_past_lock", wait_and_compile)


@pytest.mark.skipif(compiler._count_cores() < 2, reason="whoever waits is who compiles")
def test_whoever_waits_for_code_goes_through_the_steps(monkeypatch):
    compile_text, over, taken = compiler._compile_past_lock, threading.Event(), []

    def wait_and_compile(machine, text):
        assert over.wait(60)
        return compile_text(machine, text)

    def steps():
        for number in range(5):
            taken.append(number)
            yield
        over.set()

    monkeypatch.setattr(compiler, "_compile_past_lock", wait_and_compile)
    with compiler.meanwhile(steps()):
        (image,) = compiler.finish(compiler.begin([("f", TEXT.format(1), llvm.QUICK)]))
    assert image.startswith(b"\x7fELF")
    assert taken == list(range(5))


def test_steps_end_with_what_they_are_beside():
    taken, ended = [], []

    def steps():
        try:
            while True:
                taken.append(threading.get_ident())
                yield
        finally:
            ended.append(len(taken))

    with compiler.meanwhile(steps()):
        compiler.finish(compiler.begin([(f"f{i}", TEXT.format(i), llvm.QUICK) for i in (2, 3)]))
    assert ended == ([len(taken)] if taken else [])
    compiler.finish(compiler.begin([(f"f{i}", TEXT.format(i), llvm.QUICK) for i in (4, 5)]))
    assert ended == ([len(taken)] if taken else [])


def test_a_step_that_fails_is_told_and_the_next_compilation_has_none():
    def steps():
        raise MemoryError("no memory for this")
        yield

    with pytest.raises(MemoryError, match="for this"), compiler.meanwhile(steps()):
        assert compiler._step_aside()
    assert not compiler._step_aside()


def test_large_outputs_of_known_sizes_have_blocks_that_lie_idle_then():
    gc.Session(backend="llvm", threads=1)  # loads the pool
    kinds = {
        "known": Output(np.dtype(np.float32), (1027, 1031), ()),
        "two": Output(np.dtype(np.float64), (1027, 1031), ()),
        "small": Output(np.dtype(np.float32), (7, 11), ()),
        "unknown": Output(np.dtype(np.float32), (1027, (3,)), ()),
        "empty": Output(np.dtype(np.float32), (1027, 0, 1031), ()),
        "too large": Output(np.dtype(np.uint8), (_MOST + 1,), ()),
    }
    idle = builtin.idle_bytes()
    steps = fill_pages(tuple(kinds.values()))
    assert sum(1 for _ in steps) == -(-1027 * 1031 * 4 // (1 << 21)) + -(-1027 * 1031 * 8 // (1 << 21))
    taken = builtin.idle_bytes() - idle
    assert 1027 * 1031 * 12 <= taken < 1027 * 1031 * 12 + 2048
    steps = fill_pages(tuple(kinds.values()))
    next(steps)
    assert builtin.idle_bytes() < idle + taken
    steps.close()
    assert builtin.idle_bytes() == idle + taken


def test_a_first_run_finds_the_pages_of_its_output(patient, monkeypatch, tmp_path):
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path))  # so that code is made
    recognition.forget()
    x = gc.placeholder("float32", (907, 853), name="x")  # no other test has blocks of this size
    y = gc.exp(x * 0.0078125) - x
    given = np.random.default_rng(3).standard_normal((907, 853)).astype(np.float32)
    with gc.Session(backend="llvm", threads=2) as session:
        executable = session.compile(y, [x])
        step = session.make_callable(y, [x])
        before = page_faults()
        result = step(given)
        faults = page_faults() - before
        kept = [step(given) for _ in range(2)]
    assert executable.native is not None
    assert faults < 400  # the output is 756 pages of 4 KB
    wanted = np.exp(given.astype(np.float64) / 128) - given
    for each in (result, *kept):
        np.testing.assert_allclose(each, wanted, rtol=1e-6, atol=1e-6)
