"""Objects linked and mapped without LLVM, against what JITLink makes of them."""

import ctypes
import gc
import random
import subprocess
import sys

import numpy as np
import pytest

import graphc
from passes.stages import listening
from runtime.llvm_backend.engine import library, linking, mapping, objects
from runtime.llvm_backend.engine.library import Module, load
from runtime.llvm_backend.engine.linking import UnlinkableError, link
from runtime.llvm_backend.engine.mapping import MappedCode, can_map
from runtime.llvm_backend.table.callcode import call_module
from runtime.llvm_backend.table.polling import c_library

pytestmark = pytest.mark.skipif(not can_map(), reason="objects of this system are JITLink's")

# All that objects have: calls within and without, constants, a table of jumps, words that are written, and
# the address of a function that is imported.
TEXT = """
@count = internal global i64 0
@start = internal global i64 SERIAL
@table = private constant [4 x double] [double 1.5, double 2.5, double 3.5, double SERIAL.0], align 32
declare i64 @strlen(ptr)
declare i32 @abs(i32)
@toupper = external global i8
define internal i64 @chosen(i64 %i) noinline {
entry:
  switch i64 %i, label %other [i64 0, label %a
    i64 1, label %b
    i64 2, label %c
    i64 3, label %d
    i64 4, label %e]
a:
  ret i64 7
b:
  %up = call i32 @abs(i32 -5)
  %wide = sext i32 %up to i64
  ret i64 %wide
c:
  %before = load i64, ptr @count
  %after = add i64 %before, 1
  store i64 %after, ptr @count
  ret i64 %after
d:
  %at = getelementptr [4 x double], ptr @table, i64 0, i64 %i
  %number = load double, ptr %at
  %whole = fptosi double %number to i64
  ret i64 %whole
e:
  %begun = load i64, ptr @start
  %next = add i64 %begun, 1
  store i64 %next, ptr @start
  ret i64 %begun
other:
  ret i64 -1
}
define i64 @kernel(i64 %i) {
  %found = call i64 @chosen(i64 %i)
  ret i64 %found
}
define ptr @imported() {
  ret ptr @toupper
}
define i64 @length(ptr %text) {
  %n = call i64 @strlen(ptr %text)
  ret i64 %n
}
"""


def module(serial, name="all"):
    text = TEXT.replace("SERIAL", str(serial))
    imports = c_library("strlen", "abs", "toupper")
    return Module(name, text, ("kernel", "imported", "length"), imports)


def use(made, name="all"):
    def function(which, result, *arguments):
        return ctypes.CFUNCTYPE(result, *arguments)(made.address(name, which))

    kernel = function("kernel", ctypes.c_int64, ctypes.c_int64)
    length = function("length", ctypes.c_int64, ctypes.c_char_p)
    imported = function("imported", ctypes.c_void_p)
    return [*(kernel(i) for i in (0, 1, 2, 2, 3, 4, 4, 5)), length(b"twelve bytes"), imported()]


@pytest.fixture(autouse=True)
def on_no_disk(monkeypatch):
    monkeypatch.setenv("GRAPHC_CACHE", "")
    yield
    objects._cache_in.cache_clear()


def by_llvm(heard):
    return sum(n for name, n in heard.counts.items() if name.startswith("modules linked by LLVM"))


@pytest.mark.parametrize("llvm", [False, True])
def test_both_linkers_make_the_same_of_an_object(monkeypatch, llvm):
    monkeypatch.setattr(library, "can_map", lambda: not llvm)
    serial = 100 + llvm
    with listening() as heard:
        made = load([module(serial)])
    assert by_llvm(heard) == llvm
    toupper = c_library("toupper")["toupper"]
    assert use(made) == [7, 5, 1, 2, serial, serial, serial + 1, -1, 12, toupper]


def test_objects_of_one_library_stay_apart():
    made = load([module(200 + i, f"m{i}") for i in range(9)])
    for i in range(9):
        assert use(made, f"m{i}")[2:7] == [1, 2, 200 + i, 200 + i, 201 + i]


def rights_at(address):
    with open("/proc/self/maps", encoding="ascii") as maps:
        rows = [line.split()[:2] for line in maps]
    return [
        rights
        for span, rights in rows
        if int(span.split("-")[0], 16) <= address < int(span.split("-")[1], 16)
    ]


def test_pages_of_code_are_not_written_and_go_with_the_library(monkeypatch):
    freed = []

    class Watched:
        mmap, mprotect = mapping.system().mmap, mapping.system().mprotect

        @staticmethod
        def munmap(address, size):
            freed.append((address, size))

    made = load([module(300)])
    address = made.address("all")
    assert rights_at(address) == ["r-xp"]
    gc.collect()
    monkeypatch.setattr(mapping, "system", lambda: Watched)
    del made
    gc.collect()
    monkeypatch.undo()
    for begin, size in freed:  # and whatever else another thread let go of just then
        mapping.system().munmap(begin, size)
    assert sum(begin <= address < begin + size for begin, size in freed) == 1


def test_what_is_refused_goes_through_llvm(monkeypatch):
    monkeypatch.setattr(linking, "_DIRECT", frozenset())
    with listening() as heard:
        made = load([module(400)])
    assert by_llvm(heard) == 1
    assert use(made)[:4] == [7, 5, 1, 2]


def test_a_system_without_such_pages_goes_through_llvm(monkeypatch):
    class Strict:
        mmap, munmap = mapping.system().mmap, mapping.system().munmap

        @staticmethod
        def mprotect(address, size, rights):
            return -1

    monkeypatch.setattr(mapping, "system", lambda: Strict)
    with listening() as heard:
        made = load([module(500)])
    assert by_llvm(heard) == 1
    assert use(made)[:4] == [7, 5, 1, 2]


def test_code_is_the_same_wherever_it_is_mapped():
    made = load([Module("add", "define i64 @kernel(i64 %x) {\n  %y = add i64 %x, 77\n  ret i64 %y\n}\n")])
    code = made.code()
    again = MappedCode(code, code.symbols, {})
    assert again.code() == code
    (symbol,) = code.symbols
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(again[symbol])(3) == 80
    assert load([module(600)]).code() is None  # it has written to what it was made of


def test_a_symbol_that_is_missing_is_refused():
    code = link(objects.make_objects([module(700)]).values())
    with pytest.raises(UnlinkableError, match="abs"):
        MappedCode(code, (), c_library("strlen", "toupper"))
    with pytest.raises(UnlinkableError, match="lost"):
        MappedCode(code, ("lost",), c_library("strlen", "toupper", "abs"))


def test_two_objects_with_one_name_are_refused():
    (image,) = objects.make_objects([module(800)]).values()
    with pytest.raises(UnlinkableError, match="two functions"):
        link([image, image])


@pytest.mark.parametrize("image", [b"", b"\x7fELF", b"no object" * 20, bytes(5000), b"\xff" * 5000])
def test_what_is_no_object_is_refused(image):
    with pytest.raises(UnlinkableError):
        link([image])


def test_damaged_objects_are_refused_or_linked_within_their_bounds():
    images = [*objects.make_objects([module(900), call_module()]).values()]
    draw, refused = random.Random(5), 0
    for number in range(1500):
        image = bytearray(images[number % 2])
        for _ in range(draw.choice((1, 1, 2, 8))):
            image[draw.randrange(len(image))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        if draw.random() < 0.2:
            del image[draw.randrange(len(image)) :]
        try:
            code = link([bytes(image)])
        except UnlinkableError:
            refused += 1
        else:
            assert len(code.content) < 1 << 24
            assert all(0 <= at <= len(code.content) for at in code.symbols.values())
    assert refused > 100


def test_sections_that_do_not_end_are_refused():
    (image,) = objects.make_objects([module(950)]).values()
    damaged = bytearray(image)
    begin = int.from_bytes(image[40:48], "little")
    count = int.from_bytes(image[60:62], "little")
    for section in range(count):
        at = begin + 64 * section
        if int.from_bytes(image[at + 4 : at + 8], "little") == 8:  # zeros that the file does not hold
            damaged[at + 32 : at + 40] = b"\xff" * 8
    assert damaged != image
    with pytest.raises(UnlinkableError, match="large"):
        link([bytes(damaged)])


def test_relocations_beyond_their_sections_are_refused():
    (image,) = objects.make_objects([call_module()]).values()

    def number(at, size=8):
        return int.from_bytes(image[at : at + size], "little")

    begin = number(40)
    tables = [begin + 64 * i for i in range(number(60, 2)) if number(begin + 64 * i + 4, 4) == 4]
    places = [  # of the first relocation, and how long what it is in is: where that is in memory
        (number(table + 24), number(target + 32))
        for table in tables
        if number((target := begin + 64 * number(table + 44, 4)) + 8) & 2 and number(target + 4, 4) == 1
    ]
    assert places
    for at, size in places:
        damaged = bytearray(image)
        damaged[at : at + 8] = (size - 3).to_bytes(8, "little")
        with pytest.raises(UnlinkableError, match="beyond"):
            link([bytes(damaged)])


def test_programs_need_no_linker_of_llvm():
    x = graphc.placeholder("float32", (None, 40), name="x")
    w = graphc.Variable(np.ones((40, 8), np.float32), name="w")
    loss = graphc.mean(graphc.nn.softmax(graphc.tanh(x @ w)) ** 2)
    ordered = graphc.sort(graphc.cumsum(x, 1), 1)
    step = graphc.train.Adam(0.1).minimize(loss, var_list=[w])
    with graphc.Session(backend="llvm", threads=2) as session, listening() as heard:
        session.run(graphc.global_variables_initializer())
        session.run([loss, ordered, step], {x: np.ones((5, 40), np.float32)})
    assert heard.counts["modules from cache"] + heard.counts["modules compiled"] > 3
    assert by_llvm(heard) == 0


def test_nothing_of_llvm_is_loaded_to_link():
    code = (
        "import sys\n"
        "import runtime.llvm_backend.engine.linking, runtime.llvm_backend.engine.mapping\n"
        "print('llvmlite' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "False"
