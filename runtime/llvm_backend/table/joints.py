"""Joints: the function of a joint step: each of its chunks is chunks of other kernels, one after the other.

void together(ptr block, i64 chunk)
                         the words: where the parts are, which are steps of the table (`steptable`); how many
                         bytes this block lies behind the first word of the run; the first part of each chunk,
                         and one past the last
"""

from __future__ import annotations

TOGETHER_TEXT = """
define internal void @together(ptr %block, i64 %chunk) {
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
