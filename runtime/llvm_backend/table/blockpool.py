"""Block pool: outputs that were let go become the memory of new ones, so no page is asked for twice.

An output of `SMALLEST` bytes or more lies in a block of the pool, and its array says so to NumPy (its
memory handler, NEP 49): when the array dies, NumPy hands the block back. So the old value of a variable
that nobody holds any more is where the next one is written, and what a caller drops is where the next
result is. At most `LIMIT` bytes lie idle: what would be too much lets all idle blocks go. Blocks begin with a
line of the cache, as NumPy's own memory does not: a vector that lies in two is loaded and stored twice.

The functions run with the GIL, which is their only lock. A block begins with a line that holds its size:

    ptr pool.take(i64 bytes)                              null: there is no memory
    void pool.free(ptr ctx, ptr data, i64 bytes)          these four are NumPy's PyDataMemAllocator
    ptr pool.malloc(ptr ctx, i64 bytes)
    ptr pool.calloc(ptr ctx, i64 count, i64 bytes)
    ptr pool.realloc(ptr ctx, ptr data, i64 bytes)
    i64 pool.count()                                      the bytes that lie idle
"""

from __future__ import annotations

import sys

from graphc.alignment import LARGE_PAGE

SMALLEST = 1 << 10
LIMIT = 256 << 20
LARGE = 1 << 22  # bytes of a block that is worth large pages: it begins with one
FUNCTIONS = ("pool.malloc", "pool.calloc", "pool.realloc", "pool.free", "pool.count")
_ADVISES = ("madvise",) if sys.platform == "linux" else ()
IMPORTS = ("aligned_alloc", "free", "memset", "memcpy", *_ADVISES)  # of the C library
_MADV_HUGEPAGE = 14  # linux/mman.h
_GRAIN, _LINE, _BUCKETS, _DEPTH = 10, 64, 128, 64  # bits of a grain; blocks are told by their grains

# Large pages, as NumPy asks for: of those of 4 KB, 25 MB have more than a core remembers. Where a block does
# not begin with one, its ends are up to 500 small ones; so is one of which a byte was touched before.
_ADVICE = """\
  br i1 %large, label %advise, label %advised
advise:
  %rc = call i32 @madvise(ptr %made, i64 %capacity, i32 {advice})
  br label %advised
advised:
"""

_TEXT = """
declare ptr @aligned_alloc(i64, i64)
declare void @free(ptr)
declare ptr @memset(ptr, i32, i64)
declare ptr @memcpy(ptr, ptr, i64)
@pool.blocks = internal global [{slots} x ptr] zeroinitializer
@pool.counts = internal global [{buckets} x i64] zeroinitializer
@pool.idle = internal global i64 0

define internal void @pool.let_go() {{
entry:
  br label %buckets
buckets:
  %b = phi i64 [0, %entry], [%b.next, %emptied]
  %b.more = icmp slt i64 %b, {buckets}
  br i1 %b.more, label %bucket, label %done
bucket:
  %count.at = getelementptr i64, ptr @pool.counts, i64 %b
  %count = load i64, ptr %count.at
  %row = mul i64 %b, {depth}
  br label %blocks
blocks:
  %i = phi i64 [0, %bucket], [%i.next, %block]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %block, label %emptied
block:
  %slot = add i64 %row, %i
  %at = getelementptr ptr, ptr @pool.blocks, i64 %slot
  %memory = load ptr, ptr %at
  call void @free(ptr %memory)
  %i.next = add i64 %i, 1
  br label %blocks
emptied:
  store i64 0, ptr %count.at
  %b.next = add i64 %b, 1
  br label %buckets
done:
  store i64 0, ptr @pool.idle
  ret void
}}

define internal ptr @pool.take(i64 %bytes) {{
entry:
  %up = add i64 %bytes, {grain_rest}
  %grains = lshr i64 %up, {grain}
  %capacity = shl i64 %grains, {grain}
  %bucket = and i64 %grains, {bucket_mask}
  %count.at = getelementptr i64, ptr @pool.counts, i64 %bucket
  %count = load i64, ptr %count.at
  %row = mul i64 %bucket, {depth}
  br label %search
search:
  %i = phi i64 [%count, %entry], [%i.next, %look]
  %some = icmp sgt i64 %i, 0
  br i1 %some, label %look, label %ask
look:
  %i.next = sub i64 %i, 1
  %slot = add i64 %row, %i.next
  %at = getelementptr ptr, ptr @pool.blocks, i64 %slot
  %idle = load ptr, ptr %at
  %has = load i64, ptr %idle
  %fits = icmp eq i64 %has, %capacity
  br i1 %fits, label %found, label %search
found:
  %last = sub i64 %count, 1
  %last.slot = add i64 %row, %last
  %last.at = getelementptr ptr, ptr @pool.blocks, i64 %last.slot
  %moved = load ptr, ptr %last.at
  store ptr %moved, ptr %at
  store i64 %last, ptr %count.at
  %idle.before = load i64, ptr @pool.idle
  %idle.after = sub i64 %idle.before, %capacity
  store i64 %idle.after, ptr @pool.idle
  br label %give
ask:
  %whole = add i64 %capacity, {line}
  %large = icmp uge i64 %capacity, {large}
  %begin = select i1 %large, i64 {large_begin}, i64 {line}
  %first = call ptr @aligned_alloc(i64 %begin, i64 %whole)
  %scarce = icmp eq ptr %first, null
  br i1 %scarce, label %again, label %fresh
again:
  call void @pool.let_go()
  %second = call ptr @aligned_alloc(i64 %begin, i64 %whole)
  %none = icmp eq ptr %second, null
  br i1 %none, label %nothing, label %fresh
fresh:
  %made = phi ptr [%first, %ask], [%second, %again]
{advice}  store i64 %capacity, ptr %made
  br label %give
give:
  %block = phi ptr [%idle, %found], [%made, {fresh}]
  %data = getelementptr i8, ptr %block, i64 {line}
  ret ptr %data
nothing:
  ret ptr null
}}

define void @pool.free(ptr %ctx, ptr %data, i64 %bytes) {{
entry:
  %none = icmp eq ptr %data, null
  br i1 %none, label %done, label %some
some:
  %block = getelementptr i8, ptr %data, i64 -{line}
  %capacity = load i64, ptr %block
  %large = icmp ugt i64 %capacity, {limit}
  br i1 %large, label %drop, label %weigh
weigh:
  %idle = load i64, ptr @pool.idle
  %after = add i64 %idle, %capacity
  %over = icmp ugt i64 %after, {limit}
  br i1 %over, label %make_room, label %place
make_room:
  call void @pool.let_go()
  br label %place
place:
  %grains = lshr i64 %capacity, {grain}
  %bucket = and i64 %grains, {bucket_mask}
  %count.at = getelementptr i64, ptr @pool.counts, i64 %bucket
  %count = load i64, ptr %count.at
  %full = icmp sge i64 %count, {depth}
  br i1 %full, label %drop, label %keep
keep:
  %row = mul i64 %bucket, {depth}
  %slot = add i64 %row, %count
  %at = getelementptr ptr, ptr @pool.blocks, i64 %slot
  store ptr %block, ptr %at
  %count.next = add i64 %count, 1
  store i64 %count.next, ptr %count.at
  %idle.now = load i64, ptr @pool.idle
  %idle.next = add i64 %idle.now, %capacity
  store i64 %idle.next, ptr @pool.idle
  ret void
drop:
  call void @free(ptr %block)
  ret void
done:
  ret void
}}

define i64 @pool.count() {{
  %idle = load i64, ptr @pool.idle
  ret i64 %idle
}}

define ptr @pool.malloc(ptr %ctx, i64 %bytes) {{
  %data = call ptr @pool.take(i64 %bytes)
  ret ptr %data
}}

define ptr @pool.calloc(ptr %ctx, i64 %count, i64 %bytes) {{
entry:
  %pair = call {{i64, i1}} @llvm.umul.with.overflow.i64(i64 %count, i64 %bytes)
  %all = extractvalue {{i64, i1}} %pair, 0
  %over = extractvalue {{i64, i1}} %pair, 1
  br i1 %over, label %nothing, label %some
some:
  %data = call ptr @pool.take(i64 %all)
  %none = icmp eq ptr %data, null
  br i1 %none, label %nothing, label %clear
clear:
  %same = call ptr @memset(ptr %data, i32 0, i64 %all)
  ret ptr %data
nothing:
  ret ptr null
}}
declare {{i64, i1}} @llvm.umul.with.overflow.i64(i64, i64)

define ptr @pool.realloc(ptr %ctx, ptr %data, i64 %bytes) {{
entry:
  %new = call ptr @pool.take(i64 %bytes)
  %none = icmp eq ptr %new, null
  %fresh = icmp eq ptr %data, null
  %ready = or i1 %none, %fresh
  br i1 %ready, label %done, label %copy
copy:
  %block = getelementptr i8, ptr %data, i64 -{line}
  %capacity = load i64, ptr %block
  %less = icmp ult i64 %capacity, %bytes
  %moved = select i1 %less, i64 %capacity, i64 %bytes
  %same = call ptr @memcpy(ptr %new, ptr %data, i64 %moved)
  call void @pool.free(ptr %ctx, ptr %data, i64 0)
  br label %done
done:
  ret ptr %new
}}
"""


def pool_text() -> str:
    """The functions of the pool; what they call are `IMPORTS`."""
    declared, advice, fresh, begin = "", "", "%fresh", _LINE
    if _ADVISES:
        declared, fresh, begin = "declare i32 @madvise(ptr, i64, i32)\n", "%advised", LARGE_PAGE
        advice = _ADVICE.format(advice=_MADV_HUGEPAGE)
    return declared + _TEXT.format(
        advice=advice,
        fresh=fresh,
        large=LARGE,
        large_begin=begin,
        slots=_BUCKETS * _DEPTH,
        buckets=_BUCKETS,
        depth=_DEPTH,
        bucket_mask=_BUCKETS - 1,
        grain=_GRAIN,
        grain_rest=(1 << _GRAIN) - 1,
        line=_LINE,
        limit=LIMIT,
    )
