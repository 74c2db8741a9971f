"""Long texts are compiled in parts, which do together what the whole does."""

import ctypes

import pytest

from graphc.errors import VerificationError
from passes.stages import listening
from runtime.llvm_backend.engine import library, objects
from runtime.llvm_backend.engine.library import Module, load
from runtime.llvm_backend.engine.linking import UnlinkableError, link
from runtime.llvm_backend.engine.llvm import QUICK, THOROUGH
from runtime.llvm_backend.engine.splitting import join, parts_of, split
from runtime.llvm_backend.table.polling import c_library

MANY = 150


def body(serial):
    """A long way to add `serial` to `%x`."""
    steps = [f"  %v{i + 1} = add nsw i64 %v{i}, {serial}" for i in range(MANY)]
    return "\n".join(
        ["  %v0 = add nsw i64 %x, 0", *steps, f"  %sum = sub nsw i64 %v{MANY}, {serial * (MANY - 1)}"]
    )


def function(name, serial, calls=(), attributes="", linkage="internal "):
    lines = [body(serial), *(f"  %c{i} = call i64 @{other}(i64 %sum)" for i, other in enumerate(calls))]
    total = "%sum"
    for i in range(len(calls)):
        lines.append(f"  %t{i} = add i64 {total}, %c{i}")
        total = f"%t{i}"
    lines.append(f"  ret i64 {total}")
    return f"define {linkage}i64 @{name}(i64 %x) {attributes} {{\n" + "\n".join(lines) + "\n}\n"


def text(serial=1):
    """The kernel calls ``a`` and ``quick``, which calls ``a`` and what the C library has."""
    return (
        "declare i64 @labs(i64)\n"
        + function("kernel", serial, ("quick", "a"), linkage="")
        + function("a", 10)
        + function("quick", 100, ("a", "labs"), "noinline optnone")
    )


def expected(x, serial=1):
    a = lambda y: y + 10
    quick = lambda y: y + 100 + a(y + 100) + abs(y + 100)
    return x + serial + quick(x + serial) + a(x + serial)


def call(made, name="m"):
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(made.address(name))


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path))
    yield tmp_path
    objects._cache_in.cache_clear()


def module(serial, name="m"):
    return Module(name, text(serial), ("kernel",), c_library("labs"))


def test_what_is_quick_is_a_part_of_its_own():
    parts = split(text(), "key")
    assert [effort for _, effort in parts] == [THOROUGH, QUICK]
    slow, quick = (part for part, _ in parts)
    assert "define i64 @a.key(i64 %x)" in slow
    assert "declare i64 @quick.key(i64)" in slow
    assert "define i64 @kernel(" in slow
    assert "define i64 @quick.key(i64 %x) noinline optnone" in quick
    assert "declare i64 @a.key(i64)" in quick
    assert "call i64 @labs(i64" in quick
    assert "@kernel" not in quick


def test_long_ones_are_shared_out():
    functions = [function(f"f{i}", i) for i in range(1, 14)]
    whole = function("kernel", 0, [f"f{i}" for i in range(1, 14)], linkage="") + "".join(functions)
    parts = split(whole, "key")
    assert [effort for _, effort in parts] == [THOROUGH] * len(parts)
    assert len(parts) > 1
    assert max(len(part) for part, _ in parts) < 0.7 * len(whole)
    made = load([Module("m", whole, ("kernel",))])
    assert call(made)(5) == 5 + sum(5 + i for i in range(1, 14))


@pytest.mark.parametrize("mapped", [True, False])
def test_parts_do_what_the_whole_does(monkeypatch, mapped):
    if not mapped:
        monkeypatch.setattr(library, "can_map", lambda: False)
    serial = 1000 + mapped
    with listening() as heard:
        made = load([module(serial), module(serial + 10, "other")])
    assert heard.counts["modules compiled"] == 2
    for x in (-500, 0, 7):
        assert call(made)(x) == expected(x, serial)
        assert call(made, "other")(x) == expected(x, serial + 10)
    code = made.code()
    assert code is None or any("kernel" in name for name in code.symbols)


def test_parts_are_kept_as_one(folder):
    del folder
    load([module(77)])
    with listening() as heard:
        made = load([module(77)])
    assert heard.counts.get("modules compiled", 0) == 0
    assert call(made)(3) == expected(3, 77)
    objects.expect([module(78)])
    assert call(load([module(78)]))(3) == expected(3, 78)


STAYS = {
    "what is short": text()[:3000],
    "data": "@data = private constant i64 7\n" + text(),
    "an address": text().replace("%c1 = call i64 @a(i64 %sum)", "%c1 = ptrtoint ptr @quick to i64"),
    "an address among a call's": text().replace("@a(i64 %sum)", "@a(i64 ptrtoint (ptr @quick to i64))", 1),
    "a result of two": text().replace("i64 @a(", "{ i64, i64 } @a("),
    "a little that is quick": text().replace(" optnone", "")
    + "define internal void @b() noinline optnone {\n  ret void\n}\n",
}


@pytest.mark.parametrize("name", STAYS)
def test_what_stays_whole(name):
    assert split(STAYS[name], "key") == [(STAYS[name], THOROUGH)]


def test_what_is_not_valid_is_told():
    wrong = text().replace("ret i64 %t1", "ret i64 %nothing", 1)
    with pytest.raises(VerificationError, match="kernel m: its LLVM text is not valid"):
        load([Module("m", wrong, ("kernel",), c_library("labs"))])


def test_objects_are_joined_and_taken_apart():
    assert join([b"one"]) == b"one"
    assert list(parts_of(b"one")) == [b"one"]
    images = [b"one", b"", b"three" * 100]
    assert list(parts_of(join(images))) == images
    with pytest.raises(ValueError, match="cut off"):
        list(parts_of(join(images)[:-1]))
    with pytest.raises(UnlinkableError, match="damaged"):
        link([join(images)[:-1]])


def test_objects_call_one_another_and_take_no_addresses():
    other = Module("other", "define i64 @b() {\n  ret i64 7\n}\n", ("b",))
    symbol = f"b.{other.key()}"
    texts = {
        "call": f"declare i64 @{symbol}()\ndefine i64 @kernel() {{\n  %x = call i64 @{symbol}()\n"
        "  ret i64 %x\n}\n",
        "take": f"declare i64 @{symbol}()\ndefine ptr @kernel() {{\n  ret ptr @{symbol}\n}}\n",
    }
    images = {
        name: list(objects.make_objects([other, Module("m", text)]).values()) for name, text in texts.items()
    }
    code = link(images["call"])
    assert symbol in code.symbols
    assert not code.imports
    with pytest.raises(UnlinkableError, match="a function of another object"):
        link(images["take"])
