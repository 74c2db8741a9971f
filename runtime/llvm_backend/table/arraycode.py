"""Array code: how native code reads the ndarrays that are fed and makes those that are given back.

Both follow streams of words, which `call` describes. The fields of an ndarray are read where NumPy's own
headers have them; `builtin` sees first whether they are there.

Until it is given, an output is held by `HELD` words of the run: its array; or null, a value without axes that
is to be a scalar of NumPy's, and its dtype. For that no array is made.
"""

from __future__ import annotations

from runtime.llvm_backend.table.blockpool import SMALLEST

FIXED, BIND, SAME, ANY = range(4)  # what the size on an axis of a feed must be
MOST_AXES = 64
HELD = 3  # words for each output

# The fields of an ndarray, in bytes: numpy/ndarraytypes.h.
AT_TYPE, AT_DATA, AT_RANK, AT_SIZES, AT_STRIDES, AT_OWNER, AT_DTYPE, AT_FLAGS = 8, 16, 24, 32, 40, 48, 56, 64
AT_HANDLER, ARRAY_BYTES = 88, 96  # of NumPy 1.22 and later
C_CONTIGUOUS, OWNS, ALIGNED, WRITEABLE = 1, 4, 256, 1024

_FEED = """
define internal void @scatter(ptr %words, ptr %list, i64 %n, i64 %value) {{
  %next = alloca ptr
  store ptr %list, ptr %next
  %end = getelementptr i64, ptr %list, i64 %n
  br label %top
top:
  %at = load ptr, ptr %next
  %over = icmp eq ptr %at, %end
  br i1 %over, label %done, label %body
body:
  %offset = load i64, ptr %at
  %to = getelementptr i8, ptr %words, i64 %offset
  store i64 %value, ptr %to
  %after = getelementptr i64, ptr %at, i64 1
  store ptr %after, ptr %next
  br label %top
done:
  ret void
}}

; What follows in the stream, or null where the array is not as its entry says.
define internal ptr @take(ptr %words, ptr %array, ptr %entry) {{
  %next = alloca ptr
  %axis.next = alloca ptr
  %type.at = getelementptr i8, ptr %array, i64 {AT_TYPE}
  %type = load ptr, ptr %type.at
  %exact = icmp eq ptr %type, @array_type
  br i1 %exact, label %fields, label %bad
fields:
  %dtype.at = getelementptr i8, ptr %array, i64 {AT_DTYPE}
  %dtype = load ptr, ptr %dtype.at
  %dtype.wanted = load ptr, ptr %entry
  %dtype.good = icmp eq ptr %dtype, %dtype.wanted
  br i1 %dtype.good, label %layout, label %bad
layout:
  %flags.at = getelementptr i8, ptr %array, i64 {AT_FLAGS}
  %flags = load i32, ptr %flags.at
  %flags.masked = and i32 %flags, {good}
  %flags.good = icmp eq i32 %flags.masked, {good}
  br i1 %flags.good, label %axes.number, label %bad
axes.number:
  %rank.at = getelementptr i8, ptr %array, i64 {AT_RANK}
  %rank.32 = load i32, ptr %rank.at
  %rank = sext i32 %rank.32 to i64
  %rank.wanted.at = getelementptr i64, ptr %entry, i64 1
  %rank.wanted = load i64, ptr %rank.wanted.at
  %rank.good = icmp eq i64 %rank, %rank.wanted
  br i1 %rank.good, label %pointers, label %bad
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
  %sizes.end = getelementptr i64, ptr %sizes, i64 %rank
  store ptr %first, ptr %next
  store ptr %sizes, ptr %axis.next
  br label %axes
axes:
  %at = load ptr, ptr %next
  %size.at = load ptr, ptr %axis.next
  %over = icmp eq ptr %size.at, %sizes.end
  br i1 %over, label %whole, label %look
look:
  %kind = load i64, ptr %at
  %value.at = getelementptr i64, ptr %at, i64 1
  %value = load i64, ptr %value.at
  %m.at = getelementptr i64, ptr %at, i64 2
  %m = load i64, ptr %m.at
  %targets = getelementptr i64, ptr %at, i64 3
  %follows = getelementptr i64, ptr %targets, i64 %m
  store ptr %follows, ptr %next
  %size.after = getelementptr i64, ptr %size.at, i64 1
  store ptr %size.after, ptr %axis.next
  %size = load i64, ptr %size.at
  switch i64 %kind, label %axes [
    i64 {FIXED}, label %fixed
    i64 {BIND}, label %bind
    i64 {SAME}, label %same
  ]
fixed:
  %is_fixed = icmp eq i64 %size, %value
  br i1 %is_fixed, label %axes, label %bad
bind:
  call void @scatter(ptr %words, ptr %targets, i64 %m, i64 %size)
  br label %axes
same:
  %bound.at = getelementptr i8, ptr %words, i64 %value
  %bound = load i64, ptr %bound.at
  %is_same = icmp eq i64 %size, %bound
  br i1 %is_same, label %axes, label %bad
whole:
  ret ptr %at
bad:
  ret ptr null
}}
"""

_OUTPUT = """
; Makes room for an output; what follows in the stream, or null with an exception set.
define internal ptr @give(ptr %words, ptr %entry, ptr %handler, i64 %scalars) {{
  %sizes = alloca [{MOST_AXES} x i64]
  %next = alloca ptr
  %size.next = alloca ptr
  %bytes = alloca i64
  %made = alloca ptr
  %hold.at = getelementptr i64, ptr %entry, i64 2
  %hold = load i64, ptr %hold.at
  %held = getelementptr i8, ptr %words, i64 %hold
  %rank.at = getelementptr i64, ptr %entry, i64 1
  %rank = load i64, ptr %rank.at
  %itemsize.at = getelementptr i64, ptr %entry, i64 3
  %itemsize = load i64, ptr %itemsize.at
  store i64 %itemsize, ptr %bytes
  %n.at = getelementptr i64, ptr %entry, i64 5
  %n = load i64, ptr %n.at
  %list = getelementptr i64, ptr %entry, i64 6
  %first = getelementptr i64, ptr %list, i64 %n
  store ptr %first, ptr %next
  store ptr %sizes, ptr %size.next
  %sizes.end = getelementptr i64, ptr %sizes, i64 %rank
  %axes.none = icmp eq i64 %rank, 0
  %scalar.wanted = icmp ne i64 %scalars, 0
  %is_scalar = and i1 %axes.none, %scalar.wanted
  br i1 %is_scalar, label %scalar, label %axes
scalar:
  %dtype.at = getelementptr i64, ptr %entry, i64 4
  %dtype = load i64, ptr %dtype.at
  %value.held = getelementptr i64, ptr %held, i64 1
  %dtype.held = getelementptr i64, ptr %held, i64 2
  store i64 %dtype, ptr %dtype.held
  %value.to = ptrtoint ptr %value.held to i64
  call void @scatter(ptr %words, ptr %list, i64 %n, i64 %value.to)
  ret ptr %first
axes:
  %size.at = load ptr, ptr %size.next
  %over = icmp eq ptr %size.at, %sizes.end
  br i1 %over, label %make, label %look
look:
  %size.after = getelementptr i64, ptr %size.at, i64 1
  store ptr %size.after, ptr %size.next
  %at = load ptr, ptr %next
  %at.next = getelementptr i64, ptr %at, i64 2
  store ptr %at.next, ptr %next
  %value.at = getelementptr i64, ptr %at, i64 1
  %value = load i64, ptr %value.at
  store i64 %value, ptr %size.at
  %kind = load i64, ptr %at
  %fixed = icmp eq i64 %kind, {FIXED}
  br i1 %fixed, label %put, label %word
word:
  %word.at = getelementptr i8, ptr %words, i64 %value
  %bound = load i64, ptr %word.at
  store i64 %bound, ptr %size.at
  br label %put
put:
  %size = load i64, ptr %size.at
  %bytes.before = load i64, ptr %bytes
  %bytes.after = mul i64 %bytes.before, %size
  store i64 %bytes.after, ptr %bytes
  br label %axes
make:
  %number = load i64, ptr %entry
  %number.32 = trunc i64 %number to i32
  %rank.32 = trunc i64 %rank to i32
  %unpooled = icmp eq ptr %handler, null
  br i1 %unpooled, label %plain, label %weigh
weigh:
  %bytes.all = load i64, ptr %bytes
  %small = icmp ult i64 %bytes.all, {SMALLEST}
  br i1 %small, label %plain, label %draw
draw:
  %block = call ptr @pool.take(i64 %bytes.all)
  %dry = icmp eq ptr %block, null
  br i1 %dry, label %plain, label %wrap
wrap:
  %around = call ptr @array_new(ptr @array_type, i32 %rank.32, ptr %sizes, i32 %number.32, ptr null,
    ptr %block, i32 0, i32 {given}, ptr null)
  store ptr %around, ptr %made
  %around.none = icmp eq ptr %around, null
  br i1 %around.none, label %return, label %own
return:
  call void @pool.free(ptr null, ptr %block, i64 %bytes.all)
  ret ptr null
own:
  call void @Py_IncRef(ptr %handler)
  %flags.at = getelementptr i8, ptr %around, i64 {AT_FLAGS}
  %flags = load i32, ptr %flags.at
  %flags.own = or i32 %flags, {OWNS}
  %handler.at = getelementptr i8, ptr %around, i64 {AT_HANDLER}
  store ptr %handler, ptr %handler.at
  store i32 %flags.own, ptr %flags.at
  br label %note
plain:
  %array.plain = call ptr @array_new(ptr @array_type, i32 %rank.32, ptr %sizes, i32 %number.32, ptr null,
    ptr null, i32 0, i32 0, ptr null)
  store ptr %array.plain, ptr %made
  %none = icmp eq ptr %array.plain, null
  br i1 %none, label %bad, label %note
note:
  %array = load ptr, ptr %made
  store ptr %array, ptr %held
  %data.at = getelementptr i8, ptr %array, i64 {AT_DATA}
  %data = load i64, ptr %data.at
  call void @scatter(ptr %words, ptr %list, i64 %n, i64 %data)
  %follows = load ptr, ptr %next
  ret ptr %follows
bad:
  ret ptr null
}}

; An output that is held, as it is to be given; null with an exception set.
define internal ptr @collect(ptr %held) {{
  %array = load ptr, ptr %held
  store ptr null, ptr %held
  %none = icmp eq ptr %array, null
  br i1 %none, label %scalar, label %whole
whole:
  ret ptr %array
scalar:
  %value = getelementptr i64, ptr %held, i64 1
  %dtype.at = getelementptr i64, ptr %held, i64 2
  %dtype = load ptr, ptr %dtype.at
  %made = call ptr @array_scalar(ptr %value, ptr %dtype, ptr null)
  ret ptr %made
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
  %offset = mul i64 %i, {HELD_BYTES}
  %at = getelementptr i8, ptr %list, i64 %offset
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

_VARIABLES = """
; Lets go of `n` objects.
define internal void @let_go(ptr %list, i64 %n) {{
  %left = alloca i64
  store i64 %n, ptr %left
  br label %top
top:
  %some = load i64, ptr %left
  %none = icmp eq i64 %some, 0
  br i1 %none, label %done, label %one
one:
  %less = sub i64 %some, 1
  store i64 %less, ptr %left
  %at = getelementptr ptr, ptr %list, i64 %less
  %thing = load ptr, ptr %at
  call void @Py_DecRef(ptr %thing)
  br label %top
done:
  ret void
}}
"""


def array_text() -> str:
    """The functions `take`, `give`, `collect`, `drop`, `let_go`; a module of them declares what they call."""
    return (_FEED + _OUTPUT + _VARIABLES).format(
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
        HELD_BYTES=8 * HELD,
        good=C_CONTIGUOUS | ALIGNED,
    )
