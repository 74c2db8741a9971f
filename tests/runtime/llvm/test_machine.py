"""What the system tells of its CPU is what LLVM finds, and it is told without LLVM."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.llvm_backend.engine import compiler, llvm
from runtime.llvm_backend.engine.machine import as_probed, as_told, host, open_target_machine

ROOT = Path(__file__).resolve().parents[3]
INTEL = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: {model}
stepping\t: 4
flags\t\t: fpu sse2 avx avx2 fma f16c {flags}

processor\t: 1
flags\t\t: none
"""
ASKED = "numpy._core._multiarray_umath.__cpu_features__"  # where NumPy keeps what the CPU said
AVX512 = "avx512f avx512bw avx512vl avx512_vnni"


@pytest.fixture
def told(tmp_path, monkeypatch):
    """The machine that a description is of, on Linux on x86-64 wherever this runs."""
    monkeypatch.setattr("runtime.llvm_backend.engine.machine.architecture", lambda: "x86_64")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ASKED, {})  # nor what the CPU of this run says

    def read(text):
        path = tmp_path / "cpuinfo"
        path.write_text(text, encoding="ascii")
        return as_told(str(path))

    return read


def test_the_system_and_llvm_tell_of_one_machine():
    found = as_told()
    if found is None:
        pytest.skip("this system does not describe its CPU, so LLVM is asked")
    assert replace(found, identity="") == replace(as_probed(), identity="")


def test_a_machine_is_known_and_code_is_keyed_without_llvm():
    code = (
        "import sys; from runtime.llvm_backend.engine.machine import as_told, host\n"
        "from runtime.llvm_backend.engine.objects import Module\n"
        "host(), Module('m', 'text').key(); print(as_told() is None or 'llvmlite' not in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "True"


def test_the_widest_vectors_are_not_always_the_best(told):
    server, older_server, client = (told(INTEL.format(model=model, flags=AVX512)) for model in (106, 85, 126))
    assert (server.vector_bytes, older_server.vector_bytes, client.vector_bytes) == (64, 64, 32)
    for machine in (server, older_server, client):
        assert (machine.vector_registers, machine.masks, machine.int8, machine.half) == (32, True, True, True)
        assert not machine.bf16
        assert not machine.f16


@pytest.mark.parametrize(("flag", "feature"), [("avx512f", "AVX512F"), ("avx2", "AVX2")])
def test_the_system_is_not_believed_where_the_cpu_says_otherwise(told, monkeypatch, flag, feature):
    # Valgrind shows a process a CPU without AVX-512, and the system describes its own: LLVM could not make
    # instructions of that description for this CPU.
    text = INTEL.format(model=85, flags=AVX512)
    assert told(text) is not None
    for seen in ({feature: True}, {}, {"SSE2": False}):
        monkeypatch.setattr(ASKED, seen)
        assert told(text) is not None
    monkeypatch.setattr(ASKED, {feature: False})
    assert told(text) is None
    assert told(text.replace(flag, "")) is not None


def test_l3_is_far_on_the_mesh_of_a_server(told):
    server, client = (INTEL.format(model=model, flags=AVX512) for model in (85, 126))
    others = (client, server.replace("GenuineIntel", "AuthenticAMD"), INTEL.format(model=85, flags=""))
    assert told(server).far_l3
    assert not any(told(text).far_l3 for text in others)


def test_each_feature_counts(told):
    plain = told(INTEL.format(model=106, flags=""))
    assert (plain.vector_bytes, plain.vector_registers, plain.masks, plain.fma) == (32, 16, False, True)
    more = told(INTEL.format(model=106, flags=f"{AVX512} avx512_bf16 avx512_fp16"))
    assert more.bf16
    assert more.f16
    assert len({plain.identity, more.identity, told(INTEL.format(model=85, flags="")).identity}) == 3


@pytest.mark.parametrize("text", ["", "processor : 0\n", INTEL.replace("flags", "Features")], ids=len)
def test_what_is_not_described_is_asked_of_llvm(told, text):
    assert told(text) is None


TEXT = "define i32 @kernel(i32 %x) {\n  %y = mul i32 %x, 8421\n  ret i32 %y\n}\n"


@pytest.mark.parametrize("known", [llvm._KNOWN, ()], ids=["known", "unknown"])
def test_code_is_the_same_whoever_opens_llvm(monkeypatch, known):
    """An llvmlite of another version is asked itself, and its functions are looked at."""
    binding = llvm.binding()
    expected = open_target_machine().emit_object(binding.parse_assembly(TEXT, binding.create_context()))
    monkeypatch.setattr(llvm, "_KNOWN", known)
    llvm._load.cache_clear()
    try:
        assert llvm.calls() is not None
        assert compiler._compile_past_lock(llvm.open_machine(host().level), TEXT) == expected
    finally:
        llvm._load.cache_clear()


def test_functions_of_another_form_are_not_called(monkeypatch):
    signature = (llvm._SIGNATURES["ParseAssembly"][0], ())
    monkeypatch.setattr(llvm, "_KNOWN", ())
    monkeypatch.setitem(llvm._SIGNATURES, "ParseAssembly", signature)
    llvm._load.cache_clear()
    try:
        assert llvm.calls() is None
    finally:
        llvm._load.cache_clear()


def test_to_compile_takes_none_of_the_modules_of_llvmlite(tmp_path):
    code = (
        "import sys, graphc as gc; from runtime.llvm_backend.engine import llvm\n"
        "from runtime.llvm_backend.engine.mapping import can_map\n"
        "gc.Session(threads=1).run(gc.exp(gc.constant([1.0, 2.0])) * gc.constant(3.0))\n"
        "print(llvm._open_known() is None or not can_map() or 'llvmlite' not in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True,
        env={**os.environ, "GRAPHC_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.strip() == "True"


def test_another_llvm_makes_other_code(monkeypatch, told):
    one = told(INTEL.format(model=85, flags=""))
    monkeypatch.setattr(llvm, "version", lambda: "another")
    assert told(INTEL.format(model=85, flags="")).identity != one.identity


def test_another_view_of_the_cpu_makes_other_code(monkeypatch, told):
    one = told(INTEL.format(model=85, flags=""))
    monkeypatch.setattr(ASKED, {"AVX2": True})
    assert told(INTEL.format(model=85, flags="")).identity != one.identity
