"""Phrases: what is written once and copied with other names; texts of kernels that are written once."""

import ctypes

import pytest

from runtime.llvm_backend.contractions import kernel
from runtime.llvm_backend.contractions.kernel import emit_contraction
from runtime.llvm_backend.contractions.registers import AVX512
from runtime.llvm_backend.engine.library import load
from runtime.llvm_backend.engine.objects import Module
from runtime.llvm_backend.ir.writer import Writer
from tests.runtime.llvm.test_gemm import ALIKE


def test_a_phrase_is_written_once_and_runs_wherever_it_is_copied(monkeypatch):
    monkeypatch.setenv("GRAPHC_CACHE", "")
    written = []

    def write(em, operands):
        """The smaller one, by blocks: so a phrase ends in another block than it begins in."""
        written.append(operands)
        x, y = operands
        taken, done, before = em.fresh_label("taken"), em.fresh_label("done"), em.label
        em.do(f"br i1 {em.compare('slt', 'i64', x, y)}, label %{done}, label %{taken}")
        em.begin(taken)
        em.do(f"br label %{done}")
        em.begin(done)
        return [x, em.let(f"phi i64 [{x}, %{before}], [{y}, %{taken}]")]

    w, owner = Writer(), object()
    for name in ("first", "second"):
        w.begin(f"i64 @{name}(i64 %a, i64 %b, i64 %c)")
        same, smaller = w.phrase(owner, 0, ("%a", "%b"), 1, write)
        assert same == "%a"
        _, smallest = w.phrase(owner, 0, (smaller, "%c"), 1, write)
        w.end(f"i64 {smallest}")
    assert len(written) == 1
    library = load([Module("least", w.functions(), ("first", "second"))])
    number = ctypes.c_int64
    for name in ("first", "second"):
        least = ctypes.CFUNCTYPE(number, number, number, number)(library.address("least", name))
        for given in ((3, 1, 2), (1, 2, 3), (2, 3, 1)):
            assert least(*given) == 1


def test_phrases_of_other_owners_and_kinds_are_others():
    w, written = Writer(), []

    def write(em, operands):
        written.append(operands)
        return [em.binary("add", "i64", *operands)]

    w.begin("i64 @sum(i64 %a)")
    for owner, kind in ((written, 0), (written, 1), (w, 0), (written, 0)):
        w.phrase(owner, kind, ("%a", "%a"), 1, write)
    assert len(written) == 3


@pytest.mark.parametrize("name", sorted(ALIKE.keys() - {"turned"}))  # of those the tiles of one are long
def test_texts_of_contracts_that_differ_in_numbers_are_written_once(name):
    kernel._written.cache_clear()
    first, second = (emit_contraction(contract, AVX512) for contract in ALIKE[name])
    assert kernel._written.cache_info().misses == 1
    assert first.text is second.text
    assert first.words != second.words
