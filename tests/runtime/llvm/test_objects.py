"""Objects are kept, shared and released; nothing that happens to the cache folder stops a run."""

import ctypes
import gc
import os
import subprocess
import sys
import threading

import pytest

from graphc.errors import VerificationError
from runtime.llvm_backend.engine import cache, compiler, library, llvm, objects
from runtime.llvm_backend.engine.library import Module, load
from runtime.llvm_backend.engine.postponement import catch_up

ADDS = """
define void @kernel(ptr %table) {{
  %old = load i64, ptr %table
  %new = add i64 %old, {0}
  store i64 %new, ptr %table
  ret void
}}
"""


def make_object(name, text):
    module = Module(name, text)
    return objects.make_objects([module])[module.key()]


def adding(value, name=None):
    return Module(name or f"adds {value}", ADDS.format(value))


def call(address, start=0):
    word = ctypes.c_int64(start)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(ctypes.addressof(word))
    return word.value


@pytest.fixture
def folder(tmp_path, monkeypatch):
    objects._coming.clear()  # what a session was about to need, that never ran
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path / "objects"))
    yield tmp_path / "objects"
    objects._cache_in.cache_clear()


def entries(folder):
    return sorted(folder.glob("*.object"))


def test_many_kernels_in_one_library(folder):
    made = load([adding(i) for i in range(5)])
    assert [call(made.address(f"adds {i}"), 10) for i in range(5)] == [10, 11, 12, 13, 14]
    assert len(made) == len(entries(folder)) == 5
    assert "adds 3" in made
    with pytest.raises(KeyError):
        made.address("adds 7")


def test_an_object_comes_from_memory_then_from_the_disk(folder):
    text = ADDS.format(77)
    image = make_object("first", text)
    record = objects.objects().record
    assert (record.absent, record.in_memory, record.on_disk, record.written) == (1, 0, 0, 1)
    assert make_object("second", text) == image
    assert record.in_memory == 1
    objects.objects().forget()
    assert make_object("third", text) == image
    assert (record.absent, record.on_disk) == (1, 1)


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-3], lambda b: b"", lambda b: b[:60] + b"\xff\x00\xff" + b[63:], lambda b: b + b"x"],
)
def test_a_damaged_entry_is_made_anew(folder, damage):
    text = ADDS.format(78)
    image = make_object("k", text)
    (path,) = entries(folder)
    good = path.read_bytes()
    path.write_bytes(damage(good))
    objects.objects().forget()
    assert make_object("k", text) == image
    assert path.read_bytes() == good
    assert objects.objects().record.damaged == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_under_the_name_of_an_entry_is_none(folder):
    text = ADDS.format(79)
    image = make_object("k", text)
    (path,) = entries(folder)
    good = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    objects.objects().forget()
    assert make_object("k", text) == image
    assert path.read_bytes() == good
    assert objects.objects().record.damaged == 1


def test_an_entry_under_the_name_of_another_is_none(folder):
    texts = [ADDS.format(value) for value in (82, 83)]
    images = [make_object("k", text) for text in texts]
    first, second = entries(folder)
    good = second.read_bytes()
    second.write_bytes(first.read_bytes())
    objects.objects().forget()
    assert [make_object("k", text) for text in texts] == images
    assert second.read_bytes() == good
    assert objects.objects().record.damaged == 1


def test_an_object_is_of_one_machine(folder, monkeypatch):
    class Other:
        identity = "another machine"

    here = adding(84).key()
    objects._begun.cache_clear()
    try:
        monkeypatch.setattr(objects, "host", Other)
        assert adding(84).key() != here
    finally:
        objects._begun.cache_clear()
    monkeypatch.undo()
    assert adding(84).key() == here


def test_a_folder_that_cannot_be_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path / "file" / "below"))
    made = load([adding(79)])
    assert call(made.address("adds 79")) == 79
    assert "file" in objects.objects().record.trouble
    monkeypatch.setenv("GRAPHC_CACHE", "")
    assert cache.locate() is None
    assert call(load([adding(80)]).address("adds 80")) == 80


def test_no_code_is_taken_from_a_folder_that_everybody_writes(folder):
    folder.mkdir()
    folder.chmod(0o777)
    make_object("k", ADDS.format(81))
    assert not entries(folder)
    assert "everybody" in objects.objects().record.trouble


def test_what_was_not_used_for_longest_is_removed(tmp_path):
    kept = cache.ByteCache(str(tmp_path), disk_limit=10_000, memory_limit=1500)
    (tmp_path / "mine.txt").write_text("x" * 50_000)  # not the cache's: neither counted nor touched
    (tmp_path / f".{'0' * 16}.tmp").write_text("left by a process that died")
    os.utime(tmp_path / f".{'0' * 16}.tmp", (0, 0))
    for i in range(9):
        kept.put(f"k{i}", bytes(1000))
        os.utime(tmp_path / f"k{i}.object", (i + 1000, i + 1000))
    assert kept.get("k0") is not None  # used just now
    kept.put("k9", bytes(1000))
    names = {path.name for path in entries(tmp_path)}
    assert sum(path.stat().st_size for path in entries(tmp_path)) <= 10_000
    assert {"k0.object", "k9.object"} <= names
    assert "k1.object" not in names
    assert {path.name for path in tmp_path.iterdir()} == {*names, "mine.txt"}
    assert kept.get("k1") is None


def test_what_is_put_again_takes_its_room_in_memory_once():
    kept = cache.ByteCache(None, memory_limit=1500)
    kept.put("first", bytes(500))
    for n in (400, 600, 1000):
        kept.put("again", bytes(n))
    assert len(kept.get("first")) == 500
    assert len(kept.get("again")) == 1000
    kept.put("again", bytes(1001))  # the other was not used for longer
    assert kept.get("first") is None
    assert len(kept.get("again")) == 1001


@pytest.mark.parametrize("locked", [False, True])
def test_many_are_compiled_at_once(monkeypatch, locked):
    monkeypatch.setenv("GRAPHC_CACHE", "")
    if locked:
        monkeypatch.setattr(llvm, "calls", lambda: None)
    start = 50_000 + 100 * locked
    made = load([adding(start + i) for i in range(40)])
    assert [call(made.address(f"adds {start + i}")) for i in range(40)] == [start + i for i in range(40)]
    wrong = [adding(start + 60), Module("the wrong one", "nothing"), adding(start + 61)]
    with pytest.raises(VerificationError, match="kernel the wrong one"):
        load(wrong)


def test_only_whole_names_are_renamed():
    text = (
        "define internal void @kernel.inner(ptr %t) {\n  store i64 3, ptr %t\n  ret void\n}\n"
        "define internal void @kernel_2(ptr %t) {\n  call void @kernel.inner(ptr %t)\n  ret void\n}\n"
        "define void @kernel(ptr %t) {\n  call void @kernel_2(ptr %t)\n  ret void\n}\n"
        "define void @other(ptr %t) {\n  call void @kernel(ptr %t)\n  ret void\n}\n"
    )
    made = load([Module("names", text, ("kernel", "other"))])
    assert call(made.address("names")) == call(made.address("names", "other")) == 3


@pytest.mark.parametrize("text", ["not IR", ADDS.format("%none"), ADDS.format("3.5")])
def test_text_that_is_not_valid_names_its_kernel(text):
    with pytest.raises(VerificationError, match=r"kernel sum\.f32"):
        load([Module("sum.f32", text)])


def test_a_missing_symbol_names_its_kernel():
    text = "declare void @nowhere()\ndefine void @kernel() {\n  call void @nowhere()\n  ret void\n}\n"
    with pytest.raises(VerificationError, match="lost"):
        load([Module("lost", text)])
    with pytest.raises(VerificationError, match="other"):
        load([Module("other", ADDS.format(1), ("not_there",))])
    with pytest.raises(VerificationError, match="two kernels"):
        load([adding(1, "same"), adding(2, "same")])


def test_symbols_are_imported_by_address():
    inner = load([adding(5)])
    text = (
        "declare void @inner(ptr)\ndefine void @kernel(ptr %t) {\n  call void @inner(ptr %t)\n"
        "  call void @inner(ptr %t)\n  ret void\n}\n"
    )
    twice = load([Module("twice", text, imports={"inner": inner.address("adds 5")})])
    assert call(twice.address("twice")) == 10
    other = load([adding(7)])
    both = load(
        [
            Module("fives", text, imports={"inner": inner.address("adds 5")}),
            Module("sevens", text, imports={"inner": other.address("adds 7")}),
        ]
    )
    assert [call(both.address(name)) for name in ("fives", "sevens")] == [10, 14]


def test_equal_kernels_are_one_while_anybody_holds_them():
    first = load([adding(100, "a"), adding(101)])
    second = load([adding(100, "b"), adding(102)])
    address = first.address("a")
    assert second.address("b") == address
    key = adding(100).key()
    assert [identity[0] for identity in library._loaded].count(key) == 1
    del first
    gc.collect()
    assert call(second.address("b")) == 100
    del second
    gc.collect()
    assert key not in [identity[0] for identity in library._loaded]


def test_threads_load_at_once():
    failures = []

    def work(first):
        try:
            for i in range(10):
                made = load([adding(first + i), adding(i)])
                assert call(made.address(f"adds {first + i}")) == first + i
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(1000 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        timeout=300,
    ).stdout


def test_processes_share_a_folder(tmp_path):
    code = (
        "from runtime.llvm_backend.engine.library import Module, load\n"
        "from runtime.llvm_backend.engine.objects import objects\n"
        f"load([Module(str(i), '''{ADDS}'''.format(i)) for i in range(20)])\n"
        "print(objects().record.absent, objects().record.damaged)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "GRAPHC_CACHE": str(tmp_path)}
    both = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert run_python(code, GRAPHC_CACHE=str(tmp_path)).split() == ["0", "0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_after_fork_loads_too():
    code = (
        "import os, sys, ctypes, threading, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from runtime.llvm_backend.engine.library import Module, load\n"
        f"adds = '''{ADDS}'''\n"
        "stop = False\n"
        "def churn():\n"
        "    i = 0\n"
        "    while not stop: i += 1; load([Module(str(i), adds.format(i))])\n"
        "kept = load([Module('kept', adds.format(-5))])\n"
        "thread = threading.Thread(target=churn); thread.start()\n"
        "codes = []\n"
        "for k in range(5):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        made = load([Module('new', adds.format(10**6 + k))])\n"
        "        word = ctypes.c_int64(1)\n"
        "        for at in (kept.address('kept'), made.address('new')):\n"
        "            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(at)(ctypes.addressof(word))\n"
        "        os._exit(0 if word.value == 10**6 + k - 4 else 1)\n"
        "    codes.append(os.waitpid(child, 0)[1])\n"
        "stop = True; thread.join(); print(codes)"
    )
    assert run_python(code, GRAPHC_CACHE="").strip() == "[0, 0, 0, 0, 0]"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_two_thousand_compilations_stay_small():
    code = (
        "import gc\n"
        "from runtime.llvm_backend.engine.library import Module, load\n"
        f"adds = '''{ADDS}'''\n"
        "size = lambda: int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "for i in range(20): load([Module(f'{i}', adds.format(-i))])\n"
        "gc.collect(); before = size()\n"
        "kept = load([Module('kept', adds.format(0))])\n"
        "for i in range(2000):\n"
        "    made = load([Module(f'{i}', adds.format(i)), Module('kept', adds.format(0))])\n"
        "gc.collect(); print((size() - before) >> 20)"
    )
    assert int(run_python(code, GRAPHC_CACHE="")) <= 40


def test_code_made_quickly_is_another_object_that_does_the_same():
    modules = [Module(f"at {effort}", ADDS.format(80_001), effort=effort) for effort in (0, 1)]
    assert modules[0].key() != modules[1].key()
    made = load(modules)
    assert len({made.address(module.name) for module in modules}) == 2
    assert [call(made.address(module.name), 4) for module in modules] == [80_005, 80_005]


def test_what_takes_longest_is_compiled_first(monkeypatch):
    monkeypatch.setattr(compiler, "_count_cores", lambda: 1)  # so that nobody begins before all are told
    ended = []
    texts = [(str(n), adding(70_000).text + "; more\n" * n, llvm.THOROUGH) for n in (3, 1, 9, 5)]
    texts.append(("quick", adding(70_000).text + "; more\n" * 20, llvm.QUICK))
    compiler.finish(compiler.begin(texts, lambda job: ended.append(job.name)))
    assert ended == ["9", "5", "3", "1", "quick"]


def test_what_an_interrupted_thread_took_is_compiled_by_the_next(monkeypatch):
    monkeypatch.setattr(compiler, "_count_cores", lambda: 1)
    jobs = compiler.begin([("one", adding(70_001).text, llvm.THOROUGH)])

    def interrupt(machine, text):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_compile_past_lock", interrupt)
        with pytest.raises(KeyboardInterrupt):
            compiler.finish(jobs)
    assert not jobs[0].done.is_set()
    assert len(compiler.finish(jobs)[0]) > 100


def test_a_cache_knows_whether_it_is_empty(tmp_path):
    assert cache.ByteCache(None).is_empty()
    assert cache.ByteCache(str(tmp_path / "none")).is_empty()
    (tmp_path / "notes.txt").write_text("no entry")
    filled = cache.ByteCache(str(tmp_path))
    assert filled.is_empty()
    filled.put("a" * 40, b"code")
    assert not filled.is_empty()
    catch_up()
    assert not cache.ByteCache(str(tmp_path)).is_empty()
    kept = cache.ByteCache(None)
    kept.put("a" * 40, b"code")
    assert not kept.is_empty()


@pytest.mark.skipif(compiler._count_cores() < 2, reason="nothing is done ahead on one core")
def test_machines_are_open_before_whoever_waits_for_code_asks():
    code = (
        "from runtime.llvm_backend.engine import compiler\n"
        "compiler.get_ready(); compiler.wait(); print(compiler._own_machine.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"  # for code that is made quickly, and for other code


@pytest.mark.skipif(compiler._count_cores() < 2, reason="nothing is done ahead on one core")
@pytest.mark.parametrize(("soon", "thorough"), [(60.0, False), (0.0, True)])
def test_what_comes_soon_does_not_wait_for_what_is_done_ahead(soon, thorough):
    code = (
        "import threading, time\n"
        "from runtime.llvm_backend.engine import compiler, llvm\n"
        "ahead, made, make = [], threading.Event(), compiler._Worker._compile\n"
        "def note(worker, text, effort):\n"
        "    ahead.extend([effort] * (text is compiler._FIRST))\n"
        "    image = make(worker, text, effort)\n"
        "    made.set()\n"
        "    return image\n"
        f"compiler._Worker._compile, compiler._SOON = note, {soon}\n"
        "compiler.get_ready(), made.wait(60), time.sleep(0.5)\n"
        "text = 'define void @f() {\\n  ret void\\n}\\n'\n"
        "(image,) = compiler.finish(compiler.begin([('f', text, llvm.QUICK)]))\n"
        "compiler.wait(); print(len(image) > 0, ahead)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=40
    )  # who waits is told of the text, not of the end of its patience
    assert done.stdout == f"True {[llvm.QUICK, llvm.THOROUGH][: 1 + thorough]}\n"


def test_workers_at_rest_are_taken_again_and_those_at_work_are_not():
    compiler.wait()
    with compiler._books:
        first = compiler._idle_workers(2)
        other = compiler._idle_workers(1)
        assert not {*first} & {*other}
        for worker in first:
            compiler._rest(worker)
        assert {*compiler._idle_workers(2)} <= {*compiler._workers} - {*other}
        known = len(compiler._workers)
        for worker in (*compiler._working,):
            compiler._rest(worker)
        assert len({*compiler._idle_workers(known)}) == len(compiler._workers) == known
        for worker in (*compiler._working,):
            compiler._rest(worker)
