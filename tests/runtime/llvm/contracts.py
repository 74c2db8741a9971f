"""Runs kernels of contracts in tests: loads them, calls their chunks, compares with the reference."""

import ctypes
import mmap
import os
import sys
from functools import cache
from unittest.mock import patch

import llvmlite.binding as llvm
import numpy as np

from graphc import sizes
from graphc.types import BFLOAT16, BOOL
from runtime.llvm_backend.contractions.block_kernel import emit_block
from runtime.llvm_backend.contractions.contraction import Block, Contract
from runtime.llvm_backend.contractions.framing import PARTIALS
from runtime.llvm_backend.contractions.kernel import emit_contraction
from runtime.llvm_backend.contractions.reference import evaluate_all
from runtime.llvm_backend.contractions.registers import VectorUnit
from runtime.llvm_backend.engine.library import Module, load
from runtime.llvm_backend.engine.machine import host as this_machine
from runtime.llvm_backend.engine.machine import open_target_machine
from runtime.llvm_backend.ir.text import target_of

_GUARD = 1 << 14  # bytes behind the scratch that nothing is written to


def host() -> VectorUnit:
    return this_machine()


@cache
def target_machine():
    return open_target_machine()


def parse(text):
    module = llvm.parse_assembly(text)
    module.verify()
    return module


class Loaded:
    """A kernel in this process."""

    def __init__(self, contract: Contract | Block, machine: VectorUnit | None = None) -> None:
        self.contract = contract
        emit = emit_block if isinstance(contract, Block) else emit_contraction
        self.kernel = emit(contract, machine or host(), target=target_of(this_machine()))
        module = Module("contract", self.kernel.text, self.kernel.functions, effort=self.kernel.effort)
        with patch.dict(os.environ, GRAPHC_CACHE=""):  # nothing is left on the disk
            self.library = load([module])  # code lives as long as this
        addresses = {name: self.library.address("contract", name) for name in self.kernel.functions}
        run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
        self.run = [run(addresses[phase.name]) for phase in self.kernel.phases]
        self.counter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(addresses[self.kernel.functions[0]])

    def block(self, buffers, values=None, threads=1):
        """The argument block, and what must live as long as it does."""
        values, kernel = values or {}, self.kernel
        shared = np.zeros(number(kernel.shared_size, values) + 64, np.uint8)
        scratch = np.full(threads * number(kernel.scratch_size, values) + 64 + _GUARD, 255, np.uint8)
        held = {**buffers, PARTIALS: shared}
        words = [held[name].ctypes.data for name in kernel.buffers]
        words += [-(-scratch.ctypes.data // 64) * 64, 0, *[-1] * len(kernel.phases)]
        assert len(words) == kernel.first_word
        words += [number(word, values) for word in kernel.words]
        return np.array(words, np.int64), shared, scratch

    def plan(self, block):
        """Writes the counts into an argument block."""
        if self.kernel.counted:
            self.counter(block.ctypes.data)
        else:
            block[self.kernel.first_count : self.kernel.first_word] = self.kernel.chunks({})

    def __call__(self, buffers, values=None, order=lambda chunks: chunks):
        block, _shared, scratch = self.block(buffers, values)
        kernel, address = self.kernel, block.ctypes.data
        self.plan(block)
        counts = block[kernel.first_count : kernel.first_word].tolist()
        assert tuple(counts) == kernel.chunks(values or {})
        for run, count in zip(self.run, counts, strict=True):
            for chunk in order(range(count)):
                run(address, chunk)
        assert block[kernel.scratch_word + 1] == 0
        assert (scratch[-_GUARD:] == 255).all()


def number(size, values):
    return sizes.substitute(size, values or {})


def fenced(x):
    """A copy of `x` that ends where memory ends: whoever reads or writes behind it ends the process."""
    if not sys.platform.startswith("linux") or not x.size:
        return x
    size = -(-x.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    pages = mmap.mmap(-1, size + mmap.PAGESIZE)
    found = np.frombuffer(pages, x.dtype, x.size, size - x.nbytes)
    found[:] = x
    fence = ctypes.c_void_p(found.ctypes.data + found.nbytes)
    assert ctypes.CDLL(None).mprotect(fence, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    return found


def extent(contract, access, values=None):
    """The lowest and highest element that an access touches."""
    low = high = number(access.offset, values)
    if any(number(dim.size, values) == 0 for dim in contract.dims if dim.name in access.strides):
        return 0, -1
    for dim in contract.dims:
        far = (number(dim.size, values) - 1) * number(access.stride(dim.name), values)
        low, high = low + min(far, 0), high + max(far, 0)
    return low, high


def make_buffers(contract, values=None, seed=0):
    """Random inputs, and an output of NaN (or 77); behind each of them memory ends."""
    random = np.random.default_rng(seed)
    found = {}
    for access in contract.accesses:
        low, high = extent(contract, access, values)
        assert low >= 0, access.buffer
        size = max(high + 1, 0, found[access.buffer].size if access.buffer in found else 0)
        if access.dtype == BOOL:
            data = random.random(size) < 0.5
        elif access.dtype.is_floating:
            data = random.standard_normal(size).astype(np.float32)
            data = narrow(data) if access.dtype == BFLOAT16 else data.astype(access.dtype.numpy)
        else:
            data = random.integers(0 if access.dtype.kind == "u" else -9, 9, size).astype(access.dtype.numpy)
        found[access.buffer] = data if size else np.zeros(1, data.dtype)[:0]
    for out in results(contract):
        high = max(extent(contract, out, values)[1] + 1, 0)
        filler = 0x7FC0 if out.dtype == BFLOAT16 else np.nan if out.dtype.is_floating else 77
        kind = np.uint16 if out.dtype == BFLOAT16 else out.dtype.numpy
        found[out.buffer] = np.full(high, filler).astype(kind)
    return {name: fenced(x) for name, x in found.items()}


def results(contract):
    return contract.out, *(access for _, access in contract.also)


def narrow(x):
    """float32 to the bits of bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def widen(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def view(contract, buffer, values=None, out=None):
    """An output, shaped as its dims."""
    out = out or contract.out
    shape = [number(dim.size, values) for dim in contract.output_dims]
    strides = [number(out.stride(dim.name), values) * buffer.itemsize for dim in contract.output_dims]
    start = number(out.offset, values)
    if 0 in shape:
        return np.zeros(shape, buffer.dtype)
    return np.lib.stride_tricks.as_strided(buffer[start:], shape, strides)


def check(contract, loaded=None, values=None, machine=None, seed=0, tolerance=None):
    """Runs a contract and compares it with the reference; gives the kernel."""
    loaded = loaded or Loaded(contract, machine)
    buffers = make_buffers(contract, values, seed)
    outs = results(contract)
    names = {out.buffer for out in outs}
    wide = {name: widen(x) if x.dtype == np.uint16 else x for name, x in buffers.items() if name not in names}
    before = {name: buffers[name].copy() for name in names}
    loaded(buffers, values)
    for out, expected in zip(outs, evaluate_all(contract, wide, values), strict=True):
        compare(contract, out, buffers[out.buffer], expected, values, tolerance)
        untouched = np.ones(buffers[out.buffer].size, bool)
        view(contract, untouched, values, out)[...] = False
        np.testing.assert_array_equal(buffers[out.buffer][untouched], before[out.buffer][untouched])
    return loaded


def compare(contract, out, buffer, expected, values, tolerance):
    found = view(contract, buffer, values, out)
    if found.dtype == np.uint16:
        found = widen(np.ascontiguousarray(found))
    if out.dtype.is_floating:
        steps = np.prod([float(number(dim.size, values)) for dim in contract.reduced_dims])
        made = [out.dtype, *(step.dtype for each in contract.prologue for step in each.steps)]
        unit = {2: 2**-8, 4: 2**-23, 8: 2**-52}[min(x.itemsize for x in made if x.is_floating)]
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        limit = tolerance or unit * scale * (4 + steps**0.5)
        np.testing.assert_allclose(found, expected, rtol=0, atol=limit)
    else:
        np.testing.assert_array_equal(found, expected.astype(found.dtype))
