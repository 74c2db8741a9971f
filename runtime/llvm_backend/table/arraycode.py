"""Array code: how native code reads the ndarrays that are fed and makes those that are given back.

Both follow streams of words, which `call` describes. The fields of an ndarray are read where NumPy's own
headers have them; `builtin` sees first whether they are there.
"""

from __future__ import annotations

from runtime.llvm_backend.table.blockpool import SMALLEST

FIXED, BIND, SAME, ANY = range(4)  # what the size on an axis of a feed must be
MOST_AXES = 64

# The fields of an ndarray, in bytes: numpy/ndarraytypes.h.
AT_TYPE, AT_DATA, AT_RANK, AT_SIZES, AT_STRIDES, AT_OWNER, AT_DTYPE, AT_FLAGS = 8, 16, 24, 32, 40, 48, 56, 64
AT_HANDLER, ARRAY_BYTES = 88, 96  # of NumPy 1.22 and later
C_CONTIGUOUS, OWNS, ALIGNED, WRITEABLE = 1, 4, 256, 1024

_FEED = """
define internal void @scatter(ptr %words, ptr %list, i64 %n, i64 %value) {{
entry:
  br label %top
top:
  %k = phi i64 [0, %entry], [%k.next, %body]
  %more = icmp slt i64 %k, %n
  br i1 %more, label %body, label %done
body:
  %offset.at = getelementptr i64, ptr %list, i64 %k
  %offset = load i64, ptr %offset.at
  %to = getelementptr i8, ptr %words, i64 %offset
  store i64 %value, ptr %to
  %k.next = add i64 %k, 1
  br label %top
done:
  ret void
}}

; What follows in the stream, or null where the array is not as its entry says.
define internal ptr @take(ptr %words, ptr %array, ptr %entry) {{
begin:
  %type.at = getelementptr i8, ptr %array, i64 {AT_TYPE}
  %type = load ptr, ptr %type.at
  %exact = icmp eq ptr %type, @array_type
  br i1 %exact, label %fields, label %bad
fields:
  %dtype.at = getelementptr i8, ptr %array, i64 {AT_DTYPE}
  %dtype = load ptr, ptr %dtype.at
  %dtype.wanted = load ptr, ptr %entry
  %dtype.good = icmp eq ptr %dtype, %dtype.wanted
  %flags.at = getelementptr i8, ptr %array, i64 {AT_FLAGS}
  %flags = load i32, ptr %flags.at
  %flags.masked = and i32 %flags, {good}
  %flags.good = icmp eq i32 %flags.masked, {good}
  %rank.at = getelementptr i8, ptr %array, i64 {AT_RANK}
  %rank.32 = load i32, ptr %rank.at
  %rank = sext i32 %rank.32 to i64
  %rank.wanted.at = getelementptr i64, ptr %entry, i64 1
  %rank.wanted = load i64, ptr %rank.wanted.at
  %rank.good = icmp eq i64 %rank, %rank.wanted
  %good.1 = and i1 %dtype.good, %flags.good
  %good = and i1 %good.1, %rank.good
  br i1 %good, label %pointers, label %bad
pointers:
  %n.at = getelementptr i64, ptr %entry, i64 2
  %n = load i64, ptr %n.at
  %list = getelementptr i64, ptr %entry, i64 3
  %data.at = getelementptr i8, ptr %array, i64 {AT_DATA}
  %data = load i64, ptr %data.at
  call void @scatter(ptr %words, ptr %list, i64 %n, i64 %data)
  %first = getelementptr i64, ptr %list, i64 %n
  %sizes.at = getelementptr i8, ptr %array, i64 {AT_SIZES}
  %sizes = load ptr, ptr %sizes.at
  br label %axes
axes:
  %axis = phi i64 [0, %pointers], [%axis.next, %fits]
  %at = phi ptr [%first, %pointers], [%at.next, %fits]
  %more = icmp slt i64 %axis, %rank
  br i1 %more, label %look, label %whole
look:
  %kind = load i64, ptr %at
  %value.at = getelementptr i64, ptr %at, i64 1
  %value = load i64, ptr %value.at
  %m.at = getelementptr i64, ptr %at, i64 2
  %m = load i64, ptr %m.at
  %targets = getelementptr i64, ptr %at, i64 3
  %size.at = getelementptr i64, ptr %sizes, i64 %axis
  %size = load i64, ptr %size.at
  switch i64 %kind, label %fits [
    i64 {FIXED}, label %fixed
    i64 {BIND}, label %bind
    i64 {SAME}, label %same
  ]
fixed:
  %is_fixed = icmp eq i64 %size, %value
  br i1 %is_fixed, label %fits, label %bad
bind:
  call void @scatter(ptr %words, ptr %targets, i64 %m, i64 %size)
  br label %fits
same:
  %bound.at = getelementptr i8, ptr %words, i64 %value
  %bound = load i64, ptr %bound.at
  %is_same = icmp eq i64 %size, %bound
  br i1 %is_same, label %fits, label %bad
fits:
  %at.next = getelementptr i64, ptr %targets, i64 %m
  %axis.next = add i64 %axis, 1
  br label %axes
whole:
  ret ptr %at
bad:
  ret ptr null
}}
"""

_OUTPUT = """
; Allocates an output; what follows in the stream, or null with an exception set.
define internal ptr @give(ptr %words, ptr %entry, ptr %handler) {{
begin:
  %sizes = alloca [{MOST_AXES} x i64]
  %number = load i64, ptr %entry
  %number.32 = trunc i64 %number to i32
  %rank.at = getelementptr i64, ptr %entry, i64 1
  %rank = load i64, ptr %rank.at
  %rank.32 = trunc i64 %rank to i32
  %hold.at = getelementptr i64, ptr %entry, i64 2
  %hold = load i64, ptr %hold.at
  %itemsize.at = getelementptr i64, ptr %entry, i64 3
  %itemsize = load i64, ptr %itemsize.at
  %n.at = getelementptr i64, ptr %entry, i64 4
  %n = load i64, ptr %n.at
  %list = getelementptr i64, ptr %entry, i64 5
  %first = getelementptr i64, ptr %list, i64 %n
  br label %axes
axes:
  %axis = phi i64 [0, %begin], [%axis.next, %put]
  %at = phi ptr [%first, %begin], [%at.next, %put]
  %bytes = phi i64 [%itemsize, %begin], [%bytes.next, %put]
  %more = icmp slt i64 %axis, %rank
  br i1 %more, label %look, label %make
look:
  %kind = load i64, ptr %at
  %value.at = getelementptr i64, ptr %at, i64 1
  %value = load i64, ptr %value.at
  %fixed = icmp eq i64 %kind, {FIXED}
  br i1 %fixed, label %put, label %word
word:
  %word.at = getelementptr i8, ptr %words, i64 %value
  %bound = load i64, ptr %word.at
  br label %put
put:
  %size = phi i64 [%value, %look], [%bound, %word]
  %size.at = getelementptr i64, ptr %sizes, i64 %axis
  store i64 %size, ptr %size.at
  %bytes.next = mul i64 %bytes, %size
  %at.next = getelementptr i64, ptr %at, i64 2
  %axis.next = add i64 %axis, 1
  br label %axes
make:
  %pooled = icmp ne ptr %handler, null
  %large = icmp uge i64 %bytes, {SMALLEST}
  %from_pool = and i1 %pooled, %large
  br i1 %from_pool, label %draw, label %plain
draw:
  %block = call ptr @pool.take(i64 %bytes)
  %dry = icmp eq ptr %block, null
  br i1 %dry, label %plain, label %wrap
wrap:
  %around = call ptr @array_new(ptr @array_type, i32 %rank.32, ptr %sizes, i32 %number.32, ptr null,
    ptr %block, i32 0, i32 {given}, ptr null)
  %around.none = icmp eq ptr %around, null
  br i1 %around.none, label %return, label %own
return:
  call void @pool.free(ptr null, ptr %block, i64 %bytes)
  ret ptr null
own:
  %flags.at = getelementptr i8, ptr %around, i64 {AT_FLAGS}
  %flags = load i32, ptr %flags.at
  %flags.own = or i32 %flags, {OWNS}
  %handler.at = getelementptr i8, ptr %around, i64 {AT_HANDLER}
  call void @Py_IncRef(ptr %handler)
  store ptr %handler, ptr %handler.at
  store i32 %flags.own, ptr %flags.at
  br label %note
plain:
  %made = call ptr @array_new(ptr @array_type, i32 %rank.32, ptr %sizes, i32 %number.32, ptr null, ptr null,
    i32 0, i32 0, ptr null)
  %none = icmp eq ptr %made, null
  br i1 %none, label %bad, label %note
note:
  %array = phi ptr [%around, %own], [%made, %plain]
  %hold.word = getelementptr i8, ptr %words, i64 %hold
  store ptr %array, ptr %hold.word
  %data.at = getelementptr i8, ptr %array, i64 {AT_DATA}
  %data = load i64, ptr %data.at
  call void @scatter(ptr %words, ptr %list, i64 %n, i64 %data)
  ret ptr %at
bad:
  ret ptr null
}}

; Drops the outputs that a call made in vain.
define internal void @drop(ptr %words, i64 %outputs, i64 %hold) {{
entry:
  %list = getelementptr i8, ptr %words, i64 %hold
  br label %top
top:
  %i = phi i64 [0, %entry], [%i.next, %next]
  %more = icmp slt i64 %i, %outputs
  br i1 %more, label %body, label %done
body:
  %at = getelementptr ptr, ptr %list, i64 %i
  %array = load ptr, ptr %at
  %none = icmp eq ptr %array, null
  br i1 %none, label %next, label %let_go
let_go:
  store ptr null, ptr %at
  call void @Py_DecRef(ptr %array)
  br label %next
next:
  %i.next = add i64 %i, 1
  br label %top
done:
  ret void
}}
"""


def array_text() -> str:
    """The functions `take`, `give` and `drop`, for a module that declares what they call."""
    return (_FEED + _OUTPUT).format(
        AT_TYPE=AT_TYPE,
        AT_DATA=AT_DATA,
        AT_RANK=AT_RANK,
        AT_SIZES=AT_SIZES,
        AT_DTYPE=AT_DTYPE,
        AT_FLAGS=AT_FLAGS,
        AT_HANDLER=AT_HANDLER,
        OWNS=OWNS,
        SMALLEST=SMALLEST,
        given=C_CONTIGUOUS | ALIGNED | WRITEABLE,
        FIXED=FIXED,
        BIND=BIND,
        SAME=SAME,
        MOST_AXES=MOST_AXES,
        good=C_CONTIGUOUS | ALIGNED,
    )
