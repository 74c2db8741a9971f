"""Call code: the native function that all builtins share.

    ptr call(ptr self, ptr args, i64 nargs)                  METH_FASTCALL

`self` is a `Tables`, those of one executable (`call` makes them), which keeps alive what its words point to.
References are counted only by functions of Python's.

All of it but the run of the steps has the GIL, which is its lock: words are claimed, and runs counted, by
plain loads and stores. Steps that are known to be brief keep it too: to let it go and take it again takes
longer than they do.

The code is made quickly rather than thoroughly (`llvm.QUICK`) where it does not come with this package, which
the text makes up for: a value that another block uses is then written to memory and read again, and a phi is
copied there and back. So loops count in memory themselves, and blocks load what they need.
``%x = field name`` loads a word of the tables.
"""

from __future__ import annotations

from runtime.llvm_backend.engine.llvm import QUICK
from runtime.llvm_backend.engine.objects import Module
from runtime.llvm_backend.table.arraycode import HELD, array_text
from runtime.llvm_backend.table.blockpool import FUNCTIONS, pool_text
from runtime.llvm_backend.table.polling import DEADLINE
from runtime.llvm_backend.table.steploop import BUSY, CHUNK, DETAIL, DONE, PAUSED, POSITION, PYTHON_STEP

# The tables of a call, word by word.
FIELDS = (
    *("feeds", "feed_stream", "outputs", "output_stream", "states", "steps"),
    *("prelude", "main", "handler", "slow", "form", "hold", "scalars", "count", "memory", "brief"),
    *("named", "names", "values", "kept"),
)
_ADDRESSES = (
    *(
        "feed_stream",
        "output_stream",
        "states",
        "steps",
        "handler",
        "slow",
        "count",
        "memory",
        "names",
        "values",
    ),
)
SINGLE, TUPLE, LIST = range(3)  # the form of the result
AT_WORDS = 16  # byte of an object of ctypes where the address of its words is: CPython's ctypes.h

NAME = "call"
_CALL = """
@array_type = external global i8
@not_implemented = external global i8
@format = private constant [4 x i8] c"nnn\\00"
declare ptr @array_new(ptr, i32, ptr, i32, ptr, ptr, i32, i32, ptr)
declare ptr @array_scalar(ptr, ptr, ptr)
declare i64 @run(ptr, ptr)
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare i32 @PyErr_CheckSignals()
declare ptr @PyObject_CallFunction(ptr, ptr, ...)
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)
declare ptr @PyObject_GetItem(ptr, ptr)
declare void @PyErr_Clear()
declare ptr @PyTuple_New(i64)
declare i32 @PyTuple_SetItem(ptr, i64, ptr)
declare ptr @PyList_New(i64)
declare i32 @PyList_SetItem(ptr, i64, ptr)

define ptr @call(ptr %self, ptr %args, i64 %nargs) {{
  %number = alloca i64
  %argument = alloca ptr
  %entry = alloca ptr
  %left = alloca i64
  %result = alloca ptr
  %k = alloca i64
  %named = alloca i64
  %tables.at = getelementptr i8, ptr %self, i64 {AT_WORDS}
  %tables = load ptr, ptr %tables.at
  %feeds = field feeds
  %fed = icmp eq i64 %nargs, %feeds
  br i1 %fed, label %counting, label %slow
counting:
  %counter = field count
  %uncounted = icmp eq ptr %counter, null
  br i1 %uncounted, label %ready, label %going
going:
  %stopped.at = getelementptr i64, ptr %counter, i64 1
  %is_stopped = load i64, ptr %stopped.at
  %goes = icmp eq i64 %is_stopped, 0
  br i1 %goes, label %ready, label %slow
ready:
  %states = field states
  %states.all = load i64, ptr %states
  store i64 0, ptr %number
  br label %choose

choose:
  %s = load i64, ptr %number
  %any = icmp slt i64 %s, %states.all
  br i1 %any, label %try, label %slow
try:
  %s.after = add i64 %s, 1
  store i64 %s.after, ptr %number
  %state.at = getelementptr ptr, ptr %states, i64 %s.after
  %words = load ptr, ptr %state.at
  %busy.at = getelementptr i64, ptr %words, i64 {busy}
  %busy = load i64, ptr %busy.at
  %free = icmp eq i64 %busy, 0
  br i1 %free, label %claimed, label %choose

claimed:
  store i64 1, ptr %busy.at
  store i64 0, ptr %named
  %kept = field kept
  %kept.list = getelementptr i8, ptr %words, i64 %kept
  %feed_stream = field feed_stream
  store ptr %feed_stream, ptr %entry
  store ptr %args, ptr %argument
  %args.end = getelementptr ptr, ptr %args, i64 %nargs
  br label %feed
feed:
  %argument.at = load ptr, ptr %argument
  %fed.all = icmp eq ptr %argument.at, %args.end
  br i1 %fed.all, label %name, label %feed.one
feed.one:
  %argument.after = getelementptr ptr, ptr %argument.at, i64 1
  store ptr %argument.after, ptr %argument
  %array = load ptr, ptr %argument.at
  %feed.at = load ptr, ptr %entry
  %feed.next = call ptr @take(ptr %words, ptr %array, ptr %feed.at)
  store ptr %feed.next, ptr %entry
  %feed.bad = icmp eq ptr %feed.next, null
  br i1 %feed.bad, label %give_up, label %feed

name:
  %named.now = load i64, ptr %named
  %named.all = field named
  %named.done = icmp eq i64 %named.now, %named.all
  br i1 %named.done, label %begin, label %name.one
name.one:
  %names = field names
  %name.at = getelementptr ptr, ptr %names, i64 %named.now
  %name.text = load ptr, ptr %name.at
  %values = field values
  %mapping = load ptr, ptr %values
  %value = call ptr @PyObject_GetItem(ptr %mapping, ptr %name.text)
  %value.none = icmp eq ptr %value, null
  br i1 %value.none, label %unknown, label %name.known
name.known:
  %kept.at = getelementptr ptr, ptr %kept.list, i64 %named.now
  store ptr %value, ptr %kept.at
  %named.next = add i64 %named.now, 1
  store i64 %named.next, ptr %named
  %value.feed = load ptr, ptr %entry
  %value.next = call ptr @take(ptr %words, ptr %value, ptr %value.feed)
  store ptr %value.next, ptr %entry
  %value.bad = icmp eq ptr %value.next, null
  br i1 %value.bad, label %give_up, label %name
unknown:
  call void @PyErr_Clear()
  br label %give_up

begin:
  %chunk.at = getelementptr i64, ptr %words, i64 {chunk}
  %deadline.at = getelementptr i64, ptr %words, i64 {deadline}
  store i64 0, ptr %words
  store i64 0, ptr %chunk.at
  store i64 0, ptr %deadline.at
  %prelude = field prelude
  %has_prelude = icmp sge i64 %prelude, 0
  br i1 %has_prelude, label %prelude.run, label %outputs
prelude.run:
  %prelude.at = getelementptr i64, ptr %words, i64 {position}
  store i64 %prelude, ptr %prelude.at
  %prelude.steps = field steps
  %prelude.status = call i64 @run(ptr %words, ptr %prelude.steps)
  %prelude.done = icmp eq i64 %prelude.status, {DONE}
  br i1 %prelude.done, label %outputs, label %give_up

outputs:
  %output_stream = field output_stream
  store ptr %output_stream, ptr %entry
  %outputs.all = field outputs
  store i64 %outputs.all, ptr %left
  br label %output
output:
  %outputs.left = load i64, ptr %left
  %outputs.none = icmp eq i64 %outputs.left, 0
  br i1 %outputs.none, label %main, label %output.one
output.one:
  %outputs.less = sub i64 %outputs.left, 1
  store i64 %outputs.less, ptr %left
  %output.at = load ptr, ptr %entry
  %memory = field memory
  %scalars = field scalars
  %output.next = call ptr @give(ptr %words, ptr %output.at, ptr %memory, i64 %scalars)
  store ptr %output.next, ptr %entry
  %output.bad = icmp eq ptr %output.next, null
  br i1 %output.bad, label %fail, label %output

main:
  %position.at = getelementptr i64, ptr %words, i64 {position}
  %start = field main
  store i64 %start, ptr %position.at
  br label %walk
walk:
  %steps = field steps
  %brief = field brief
  %keeps = icmp ne i64 %brief, 0
  br i1 %keeps, label %walk.brief, label %walk.free
walk.brief:
  %brief.status = call i64 @run(ptr %words, ptr %steps)
  store i64 %brief.status, ptr %k
  br label %walked
walk.free:
  %thread = call ptr @PyEval_SaveThread()
  %free.status = call i64 @run(ptr %words, ptr %steps)
  store i64 %free.status, ptr %k
  call void @PyEval_RestoreThread(ptr %thread)
  br label %walked
walked:
  %status = load i64, ptr %k
  %done = icmp eq i64 %status, {DONE}
  br i1 %done, label %finish, label %stopped
stopped:
  %paused = icmp eq i64 %status, {PAUSED}
  br i1 %paused, label %signals, label %handle
signals:
  %signals.failed = call i32 @PyErr_CheckSignals()
  %interrupted = icmp ne i32 %signals.failed, 0
  br i1 %interrupted, label %fail, label %walk
handle:
  %s.chosen = load i64, ptr %number
  %s.number = sub i64 %s.chosen, 1
  %detail.at = getelementptr i64, ptr %words, i64 {detail}
  %detail = load i64, ptr %detail.at
  %handler = field handler
  %answer = call ptr (ptr, ptr, ...) @PyObject_CallFunction(ptr %handler, ptr @format, i64 %status,
    i64 %s.number, i64 %detail)
  %raised = icmp eq ptr %answer, null
  br i1 %raised, label %fail, label %handled
handled:
  call void @Py_DecRef(ptr %answer)
  %goes_on = icmp eq i64 %status, {PYTHON_STEP}
  br i1 %goes_on, label %walk, label %retreat

finish:
  %hold = field hold
  %hold.list = getelementptr i8, ptr %words, i64 %hold
  %form = field form
  %is_single = icmp eq i64 %form, {SINGLE}
  br i1 %is_single, label %single, label %several
single:
  %only = call ptr @collect(ptr %hold.list)
  store ptr %only, ptr %result
  %only.none = icmp eq ptr %only, null
  br i1 %only.none, label %fail, label %leave
several:
  %length = field outputs
  store i64 0, ptr %k
  %is_tuple = icmp eq i64 %form, {TUPLE}
  br i1 %is_tuple, label %tuple, label %list
tuple:
  %tuple.new = call ptr @PyTuple_New(i64 %length)
  store ptr %tuple.new, ptr %result
  br label %collected
list:
  %list.new = call ptr @PyList_New(i64 %length)
  store ptr %list.new, ptr %result
  br label %collected
collected:
  %all = load ptr, ptr %result
  %all.none = icmp eq ptr %all, null
  br i1 %all.none, label %fail, label %fill
fill:
  %k.now = load i64, ptr %k
  %filled.all = icmp eq i64 %k.now, %length
  br i1 %filled.all, label %leave, label %item
item:
  %k.next = add i64 %k.now, 1
  store i64 %k.next, ptr %k
  %item.offset = mul i64 %k.now, {HELD_BYTES}
  %item.at = getelementptr i8, ptr %hold.list, i64 %item.offset
  %thing = call ptr @collect(ptr %item.at)
  %thing.none = icmp eq ptr %thing, null
  br i1 %thing.none, label %item.fail, label %item.ready
item.fail:
  call void @Py_DecRef(ptr %all)
  br label %fail
item.ready:
  %in_tuple = icmp eq i64 %form, {TUPLE}
  br i1 %in_tuple, label %item.tuple, label %item.list
item.tuple:
  %rc.tuple = call i32 @PyTuple_SetItem(ptr %all, i64 %k.now, ptr %thing)
  br label %fill
item.list:
  %rc.list = call i32 @PyList_SetItem(ptr %all, i64 %k.now, ptr %thing)
  br label %fill
leave:
  %leave.named = load i64, ptr %named
  call void @let_go(ptr %kept.list, i64 %leave.named)
  store i64 0, ptr %busy.at
  %count = field count
  %counts = icmp ne ptr %count, null
  br i1 %counts, label %counted, label %given
counted:
  %count.before = load i64, ptr %count
  %count.after = add i64 %count.before, 1
  store i64 %count.after, ptr %count
  br label %given
given:
  %given.result = load ptr, ptr %result
  ret ptr %given.result

fail:
  %fail.outputs = field outputs
  %fail.hold = field hold
  call void @drop(ptr %words, i64 %fail.outputs, i64 %fail.hold)
  %fail.named = load i64, ptr %named
  call void @let_go(ptr %kept.list, i64 %fail.named)
  store i64 0, ptr %busy.at
  ret ptr null
retreat:
  %retreat.outputs = field outputs
  %retreat.hold = field hold
  call void @drop(ptr %words, i64 %retreat.outputs, i64 %retreat.hold)
  br label %give_up
give_up:
  %give_up.named = load i64, ptr %named
  call void @let_go(ptr %kept.list, i64 %give_up.named)
  store i64 0, ptr %busy.at
  br label %slow
slow:
  %slow.way = field slow
  %has_slow = icmp ne ptr %slow.way, null
  br i1 %has_slow, label %other_way, label %sentinel
other_way:
  %slow.result = call ptr @PyObject_Vectorcall(ptr %slow.way, ptr %args, i64 %nargs, ptr null)
  ret ptr %slow.result
sentinel:
  call void @Py_IncRef(ptr @not_implemented)
  ret ptr @not_implemented
}}
"""


def _with_fields(text: str) -> str:
    """`text` with what its lines ``%value = field name`` stand for."""
    lines = []
    for line in text.split("\n"):
        value, is_field, name = line.partition(" = field ")
        if is_field:
            kind = "ptr" if name in _ADDRESSES else "i64"
            lines.append(f"{value}.field = getelementptr i64, ptr %tables, i64 {FIELDS.index(name)}")
            lines.append(f"{value} = load {kind}, ptr {value.strip()}.field")
        else:
            lines.append(line)
    return "\n".join(lines)


def call_module() -> Module:
    """The module of `call`, which imports functions of Python and NumPy, and `run`."""
    call = _CALL.format(
        AT_WORDS=AT_WORDS,
        HELD_BYTES=8 * HELD,
        busy=BUSY,
        position=POSITION,
        chunk=CHUNK,
        detail=DETAIL,
        deadline=DEADLINE,
        DONE=DONE,
        PAUSED=PAUSED,
        PYTHON_STEP=PYTHON_STEP,
        SINGLE=SINGLE,
        TUPLE=TUPLE,
    )
    text = _with_fields(call) + array_text() + pool_text()
    return Module(NAME, text, ("call", *FUNCTIONS), effort=QUICK)
