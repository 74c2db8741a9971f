"""Blocks: the functions that copy and clear memory, and run others. Like kernels, they are given words.

void copy(ptr block)     the words: where to, where from, how many bytes
void clear(ptr block)    the words: where, how many bytes
void together(ptr block, i64 chunk)
                         the words: where the parts are, which are steps of the table (`steptable`); how many
                         bytes this block lies behind the first word of the run; the first part of each chunk,
                         and one past the last
"""

from __future__ import annotations

from functools import cache

from runtime.llvm_backend.engine.library import Module, load
from runtime.llvm_backend.table.polling import c_library

FUNCTIONS = ("copy", "clear", "together")

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

define void @together(ptr %block, i64 %chunk) {
entry:
  %parts = load ptr, ptr %block
  %own.at = getelementptr i64, ptr %block, i64 1
  %own = load i64, ptr %own.at
  %back = sub i64 0, %own
  %words = getelementptr i8, ptr %block, i64 %back
  %start.at = getelementptr i64, ptr %own.at, i64 %chunk
  %from.at = getelementptr i64, ptr %start.at, i64 1
  %to.at = getelementptr i64, ptr %start.at, i64 2
  %from = load i64, ptr %from.at
  %to = load i64, ptr %to.at
  br label %next
next:
  %i = phi i64 [%from, %entry], [%i.next, %done]
  %more = icmp slt i64 %i, %to
  br i1 %more, label %part, label %end
part:
  %offset = shl i64 %i, 6
  %s = getelementptr i8, ptr %parts, i64 %offset
  %f.at = getelementptr i64, ptr %s, i64 1
  %a.at = getelementptr i64, ptr %s, i64 2
  %first.at = getelementptr i64, ptr %s, i64 3
  %last.at = getelementptr i64, ptr %s, i64 4
  %f = load ptr, ptr %f.at
  %a = load i64, ptr %a.at
  %first = load i64, ptr %first.at
  %last = load i64, ptr %last.at
  %a.word = getelementptr i8, ptr %words, i64 %a
  br label %run
run:
  %c = phi i64 [%first, %part], [%c.next, %body]
  %some = icmp slt i64 %c, %last
  br i1 %some, label %body, label %done
body:
  call void %f(ptr %a.word, i64 %c)
  %c.next = add i64 %c, 1
  br label %run
done:
  %i.next = add i64 %i, 1
  br label %next
end:
  ret void
}
"""


def blocks_module() -> Module:
    """The module of all of them."""
    return Module("blocks", _TEXT, FUNCTIONS, c_library("memcpy", "memset"))


@cache
def block_function(name: str) -> int:
    """Where one of `FUNCTIONS` begins."""
    return load([blocks_module()]).pin().address("blocks", name)
