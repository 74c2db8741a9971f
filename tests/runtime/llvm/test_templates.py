"""Requests that another process compiled run on what it left on the disk: no pass, no lowering, no LLVM."""

import gc as garbage
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import graphc as gc
from graphc.errors import IndexOutOfRangeError
from passes.stages import listening
from runtime import recognition
from runtime.llvm_backend.backend import LlvmBackend
from runtime.llvm_backend.engine import objects
from runtime.llvm_backend.engine.cache import ByteCache
from runtime.llvm_backend.engine.mapping import can_map
from runtime.llvm_backend.engine.splitting import parts_of
from runtime.llvm_backend.native import shelf, template
from runtime.llvm_backend.native.template import UnreadableError, unpack
from runtime.sources import sources

pytestmark = pytest.mark.skipif(not can_map(), reason="only code that is linked here is kept")

SCRIPT = Path(__file__).with_name("recalled.py")
NAMES = ("training", "loops", "draws", "arithmetic", "growing", "traced", "chosen", "shared")
PASSES = frozenset(("define", "simplify", "fuse", "plan", "lowering", "IR text", "codegen", "bind"))


def begin(folder, *names):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "GRAPHC_CACHE": str(folder)}
    environment.pop("GRAPHC_DUMP", None)
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *names], env=environment, stdout=subprocess.PIPE, text=True
    )


def finish(process):
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return json.loads(out)


def run(folder, *names):
    return finish(begin(folder, *names))


def recalled(report):
    return report["counts"].get("requests recalled from disk", 0)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A folder that a process has left its templates in, and what it told."""
    folder = tmp_path_factory.mktemp("compiled")
    return folder, run(folder, *NAMES, "in_python")


@pytest.fixture
def folder(compiled, tmp_path):
    return Path(shutil.copytree(compiled[0], tmp_path / "cache"))


def test_another_process_runs_on_what_one_has_compiled(compiled):
    folder, first = compiled
    assert (recalled(first), first["llvm"]) == (0, True)
    again = run(folder, *NAMES)
    assert again["digests"] == {name: first["digests"][name] for name in NAMES}
    assert recalled(again) == again["counts"]["requests recognised"] == 10  # and one on another thread
    assert not again["llvm"]
    assert not PASSES & set(again["stages"])


def test_what_has_steps_in_python_is_lowered_anew_but_not_compiled(compiled):
    folder, first = compiled
    again = run(folder, "in_python")
    assert again["digests"]["in_python"] == first["digests"]["in_python"]
    assert recalled(again) == 0
    assert {"simplify", "lowering"} <= set(again["stages"])
    assert not again["llvm"]  # all objects are there


def test_every_op_gives_the_same_bits_in_a_process_that_recalls_it(tmp_path):
    first, again = run(tmp_path, "operations"), run(tmp_path, "operations")
    assert again["digests"] == first["digests"]
    assert recalled(again) > 100
    assert "modules compiled" not in again["counts"]


def test_entries_under_the_names_of_others_are_none(compiled, folder):
    paths = sorted(folder.glob("*.object"))
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    again = run(folder, "loops", "training")
    assert recalled(again) == 0
    assert again["digests"] == {name: compiled[1]["digests"][name] for name in ("loops", "training")}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_read(compiled, folder):
    folder.chmod(0o500)
    try:
        assert recalled(run(folder, "training")) == 3
    finally:
        folder.chmod(0o700)


def test_processes_write_at_once(tmp_path):
    reports = [finish(process) for process in [begin(tmp_path, "training", "loops") for _ in range(3)]]
    assert len({json.dumps(report["digests"]) for report in reports}) == 1
    assert recalled(run(tmp_path, "training", "loops")) == 5
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".object"]


# In one process, which forgets.


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    garbage.collect()  # what tests before left: of kernels that are loaded nothing is remembered
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(recognition, "on_disk", True)
    yield
    objects._cache_in.cache_clear()


def compile_anew(build, **options):
    """What a session that knows of no other gives for ``build()``: fetches and feeds; what was counted."""
    recognition.forget()
    with gc.Graph(seed=1).as_default():
        fetches, feeds = build()
        with gc.Session(backend="llvm", **options) as session:
            with listening() as heard:
                executable = session.compile(fetches, [*feeds])
            values = session.run(fetches, feeds)
    return values, heard.counts["requests recalled from disk"], executable


def scaled():
    x = gc.placeholder("float32", (None, "n"), name="x")
    y = gc.tanh(x * 2.0 + gc.constant(np.arange(6, dtype=np.float32))) @ gc.constant(
        np.eye(6, dtype=np.float32)
    )
    return y, {x: np.ones((4, 6), np.float32)}


def growing():
    """Takes memory while it runs: the gradient of a loop whose steps only the run knows."""
    n, x = gc.placeholder("int64", (), name="n"), gc.placeholder("float32", (None,), name="x")
    begin = [gc.constant(0, "int64"), gc.zeros_like(x)]
    h = gc.while_loop(lambda i, h: i < n, lambda i, h: (i + 1, gc.sin(h + x)), begin)[1]
    return gc.gradients(gc.sum(h), [x]), {n: np.array(30), x: np.ones(5, np.float32)}


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:70],
        lambda data: data + b"more",
        lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
        lambda data: bytes(len(data)),
    ],
)
def test_damaged_entries_are_made_anew(on_disk, damage):
    first, _, _ = compile_anew(scaled)
    for path in Path(objects.objects().folder).iterdir():
        path.write_bytes(damage(path.read_bytes()))
    for count in (0, 1):
        objects.objects().forget()
        values, recalled, _ = compile_anew(scaled)
        np.testing.assert_array_equal(values, first)
        assert recalled == count


@pytest.mark.parametrize("how", ["file", "nothing", "everybody"])
def test_a_folder_that_is_of_no_use_is_no_error(on_disk, monkeypatch, tmp_path, how):
    first, _, _ = compile_anew(scaled)
    folder = Path(objects.objects().folder)
    objects.objects().forget()
    if how == "everybody":
        folder.chmod(0o777)
    else:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path / "file") if how == "file" else "")
    for _ in range(2):
        values, recalled, _ = compile_anew(scaled)
        np.testing.assert_array_equal(values, first)
        assert recalled == 0
        objects.objects().forget()


@pytest.mark.parametrize(
    "change",
    [
        ("sources", lambda: "another version"),
        ("sources", lambda: None),
        ("_FORMAT", "another form"),
        ("host", lambda: gc_machine(l2=12345)),
    ],
)
def test_another_graphc_or_machine_has_templates_of_its_own(on_disk, monkeypatch, change):
    assert [compile_anew(scaled)[1] for _ in range(2)] == [0, 1]
    monkeypatch.setattr(shelf, *change)
    assert compile_anew(scaled)[1] == 0
    monkeypatch.undo()


def gc_machine(**changes):
    from dataclasses import replace

    from runtime.llvm_backend.engine.machine import host

    return replace(host(), **changes)


def test_another_session_has_templates_of_its_own(on_disk):
    for options in ({"threads": 1}, {"threads": 2}, {"fast_math": True}, {"check_numerics": True}):
        assert compile_anew(scaled, **options)[1] == 0
        assert compile_anew(scaled, **options)[1] == 1


@pytest.mark.parametrize(
    ("build", "given"), [(scaled, {"x": (4, 6)}), (growing, {"x": (5,)})], ids=["scaled", "growing"]
)
def test_what_is_looked_at_is_made_by_the_passes(on_disk, build, given):
    _, _, first = compile_anew(build)
    _, count, again = compile_anew(build)
    assert count == 1
    assert [kernel.text for kernel in again.kernels] == [kernel.text for kernel in first.kernels]
    assert gc.show(again.function) == gc.show(first.function)
    assert again.peak_bytes(given) == first.peak_bytes(given) > 0
    assert again.record["kernels"] == first.record["kernels"]
    assert again.native.returns == 0


def test_errors_name_the_line_of_the_program_at_hand(on_disk, monkeypatch):
    def first():
        x, i = gc.placeholder("float32", (None,), name="x"), gc.placeholder("int64", (2,), name="i")
        return gc.gather(x, i) * 2.0, {x: np.ones(5, np.float32), i: np.array([0, 4])}

    def second():
        x, i = gc.placeholder("float32", (None,), name="x"), gc.placeholder("int64", (2,), name="i")
        y = gc.gather(x, i) * 2.0  # the line in question
        return y, {x: np.ones(5, np.float32), i: np.array([0, 7])}

    assert [compile_anew(first)[1] for _ in range(2)] == [0, 1]
    monkeypatch.setattr(LlvmBackend, "remember", None)  # nothing is compiled but what tells the error
    number = second.__code__.co_firstlineno + 2
    with pytest.raises(IndexOutOfRangeError, match="7") as caught:
        compile_anew(second)
    assert f"test_templates.py:{number}" in str(caught.value)


def test_the_first_values_of_variables_are_those_of_the_program_at_hand(on_disk):
    values = np.arange(300_000, dtype=np.float64)  # more than a template keeps

    def build():
        v = gc.Variable(values.copy(), name="v")
        return [gc.global_variables_initializer(), gc.exp(gc.constant([1.0]))], {}, v

    for count in (0, 1):
        recognition.forget()
        with gc.Graph().as_default():
            init, _, v = build()
            with listening() as heard, gc.Session(backend="llvm") as session:
                session.run(init)
                np.testing.assert_array_equal(session.run(v), values)
        assert heard.counts["requests recalled from disk"] == 2 * count
    assert max(path.stat().st_size for path in Path(objects.objects().folder).iterdir()) < 20_000


def test_constants_that_are_large_or_changed_are_not_taken_from_the_disk(on_disk, monkeypatch):
    def build(scale=1.0):
        # Folded into one that no node of the program has.
        folded = gc.constant(np.arange(4000, dtype=np.float32) * scale) * 3.0
        x = gc.placeholder("float32", (4000,), name="x")
        return x + folded, {x: np.zeros(4000, np.float32)}

    assert compile_anew(build)[1] == 0
    assert compile_anew(lambda: build(2.0))[1] == 0
    values, count, _ = compile_anew(build)
    assert count == 1
    np.testing.assert_array_equal(values, np.arange(4000, dtype=np.float32) * 3)
    monkeypatch.setattr(template, "MOST_CONSTANTS", 100)
    assert [compile_anew(lambda: build(5.0))[1] for _ in range(2)] == [0, 0]


def entries():
    """The templates that the folder has: those that are no objects."""
    found = {}
    for path in Path(objects.objects().folder).glob("*.object"):
        data = ByteCache(str(path.parent)).get(path.stem)
        if not next(parts_of(data)).startswith(b"\x7fELF"):
            found[path.stem] = data
    return found


SOURCES = len(sources() or "")  # what an entry begins with


@pytest.fixture
def kept(on_disk, monkeypatch):
    """``kept(build)``: the template of what that asks for, and the symbols and arrays of the request."""

    def keep(build):
        asked = []

        def pack(lowered, *given):
            asked.append(given)
            return template.pack(lowered, *given)

        monkeypatch.setattr(shelf, "pack", pack)
        compile_anew(build)
        (data,) = entries().values()
        return data[SOURCES:], *asked

    return keep


def test_templates_that_say_something_else_are_made_anew(on_disk):
    first, _, _ = compile_anew(scaled)
    ((key, data),) = entries().items()
    begin, changed = data.index(b'"feeds"'), bytearray(data)
    changed[begin : begin + 7] = b'"foods"'
    ByteCache(objects.objects().folder).put(key, bytes(changed))
    objects.objects().forget()
    values, count, _ = compile_anew(scaled)
    assert count == 0
    np.testing.assert_array_equal(values, first)
    objects.objects().forget()
    assert compile_anew(scaled)[1] == 1


@pytest.mark.parametrize("build", [scaled, growing])
def test_no_bytes_but_a_template_are_read(kept, build):
    data, asked = kept(build)
    draw = np.random.default_rng(3)
    assert unpack(data, *asked)
    text_end = 48 + int(np.frombuffer(data, np.int64, 1)[0])
    refused = 0
    for _ in range(300):
        changed = bytearray(data)
        for at in draw.integers(0, text_end, 3):  # numbers of steps have no bounds to be checked
            changed[at] = draw.integers(0, 256)
        try:
            unpack(bytes(changed[: draw.integers(0, len(data))] if draw.random() < 0.3 else changed), *asked)
        except UnreadableError:
            refused += 1
    assert refused > 200
    for junk in (b"", b"[]", bytes(48), b"\xff" * 48, b"[" * 100_000):
        with pytest.raises(UnreadableError):
            unpack(junk, *asked)


def rewritten(data, change):
    """A template whose lengths and JSON ``change(lengths, head)`` has changed."""
    lengths = np.frombuffer(data, np.int64, 6).tolist()
    head = json.loads(data[48 : 48 + lengths[0]])
    rest = data[48 + lengths[0] :]
    change(lengths, head)
    text = json.dumps(head).encode()
    lengths[0] = len(text) if lengths[0] > 0 else lengths[0]
    return np.array(lengths, np.int64).tobytes() + text + rest


def test_constants_lie_where_there_are_some(kept):
    data, asked = kept(scaled)
    assert unpack(rewritten(data, lambda lengths, head: None), *asked)

    def move(offset):
        def change(lengths, head):
            head["constants"][0][2] = offset

        return change

    def swap(lengths, head):
        lengths[4], lengths[5] = -8, lengths[4] + lengths[5] + 8

    for change in (move(1 << 20), move(-8), swap):
        with pytest.raises(UnreadableError):
            unpack(rewritten(data, change), *asked)


def test_constants_are_found_in_arrays_that_hold_others():
    whole, ones = np.arange(100.0), np.ones(3)
    constants = (whole[50:60], whole[10:11], ones, ones, np.full(2, 7.0), whole[90:])
    words = np.ones(len(constants), np.int64)
    lowered = SimpleNamespace(constants=tuple(enumerate(constants)))
    found, others = template._name_constants(words, lowered, [whole, whole[10:12], np.arange(5)])
    assert found == [(0, 0, 400), (1, 0, 80), (2, -1, 0), (3, -1, 0), (4, -1, 64), (5, 0, 720)]
    assert [len(each) for each in others] == [64, 64]
    assert not words.any()
