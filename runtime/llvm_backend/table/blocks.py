"""Blocks: the functions that copy and clear memory. Like kernels, they are given words.

void copy(ptr block)     the words: where to, where from, how many bytes
void clear(ptr block)    the words: where, how many bytes
"""

from __future__ import annotations

from functools import cache

from runtime.llvm_backend.engine.library import Module, load
from runtime.llvm_backend.table.polling import c_library

FUNCTIONS = ("copy", "clear")

_TEXT = """
declare ptr @memcpy(ptr, ptr, i64)
declare ptr @memset(ptr, i32, i64)

define void @copy(ptr %block) {
  %from.at = getelementptr i64, ptr %block, i64 1
  %bytes.at = getelementptr i64, ptr %block, i64 2
  %to = load ptr, ptr %block
  %from = load ptr, ptr %from.at
  %bytes = load i64, ptr %bytes.at
  %same = call ptr @memcpy(ptr %to, ptr %from, i64 %bytes)
  ret void
}

define void @clear(ptr %block) {
  %bytes.at = getelementptr i64, ptr %block, i64 1
  %to = load ptr, ptr %block
  %bytes = load i64, ptr %bytes.at
  %same = call ptr @memset(ptr %to, i32 0, i64 %bytes)
  ret void
}
"""


def blocks_module() -> Module:
    """The module of `copy` and `clear`."""
    return Module("blocks", _TEXT, FUNCTIONS, c_library("memcpy", "memset"))


@cache
def block_function(name: str) -> int:
    """Where `copy` or `clear` begins."""
    return load([blocks_module()]).pin().address("blocks", name)
