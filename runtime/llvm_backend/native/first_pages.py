"""First pages: large outputs of a first run get theirs while LLVM makes the code.

The system gives memory when it is first written to, page by page, and clears it: 3 ms for 16 MB. Threads
that write side by side may even clear the same large page each, and all but one throw it away. Where an
output has a known size, its block is taken from the pool before there is code, filled with pages by whoever
has nothing to compile, and put back, where the first run finds it.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Generator, Sequence

from graphc.alignment import LARGE_PAGE
from runtime.llvm_backend.table import builtin
from runtime.llvm_backend.table.call import Output

_FEWEST = 1 << 18  # bytes: for what is smaller the C library has mostly memory that was in use before
_MOST = 1 << 26  # of a program, which may never run


def fill_pages(outputs: Sequence[Output]) -> Generator[None]:
    """Steps, of a large page each, that give `outputs` of known sizes their first pages."""
    if builtin.find_trouble() or not builtin.CODE.is_loaded:
        return
    take, give_back = builtin.blocks()
    left, taken = _MOST, []
    try:
        for output in outputs:
            known = [size for size in output.sizes if isinstance(size, int)]
            count = math.prod(known) * output.dtype.itemsize if len(known) == len(output.sizes) else 0
            if _FEWEST <= count <= left and (block := take(None, count)):
                left -= count
                taken.append(block)
                for at in range(0, count, LARGE_PAGE):
                    ctypes.memset(block + at, 0, min(LARGE_PAGE, count - at))  # without the GIL
                    yield
    finally:
        for block in taken:
            give_back(None, block, 0)
