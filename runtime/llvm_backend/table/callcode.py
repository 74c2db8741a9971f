"""Call code: the native function that all builtins share.

    ptr call(ptr self, ptr args, i64 nargs)                  METH_FASTCALL

`self` is a capsule around the tables of one executable (`call` makes them). References are counted only
by functions of Python's. A capsule owns, as its context, the Python object that keeps the tables alive.
"""

from __future__ import annotations

from runtime.llvm_backend.engine.objects import Module
from runtime.llvm_backend.table.arraycode import array_text
from runtime.llvm_backend.table.blockpool import FUNCTIONS, pool_text
from runtime.llvm_backend.table.polling import DEADLINE
from runtime.llvm_backend.table.steploop import BUSY, CHUNK, DETAIL, DONE, PAUSED, POSITION, PYTHON_STEP

# The tables of a call, word by word.
FIELDS = (
    *("feeds", "feed_stream", "outputs", "output_stream", "states", "steps"),
    *("prelude", "main", "handler", "slow", "form", "hold", "scalars", "count", "memory"),
)
_ADDRESSES = (*("feed_stream", "output_stream", "states", "steps", "handler", "slow", "count", "memory"),)
SINGLE, TUPLE, LIST = range(3)  # the form of the result

_CALL = """
@array_type = external global i8
@not_implemented = external global i8
@format = private constant [4 x i8] c"nnn\\00"
declare ptr @array_new(ptr, i32, ptr, i32, ptr, ptr, i32, i32, ptr)
declare ptr @array_return(ptr)
declare i64 @run(ptr, ptr)
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
declare ptr @PyCapsule_GetPointer(ptr, ptr)
declare ptr @PyCapsule_GetContext(ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare i32 @PyErr_CheckSignals()
declare ptr @PyObject_CallFunction(ptr, ptr, ...)
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)
declare ptr @PyTuple_New(i64)
declare i32 @PyTuple_SetItem(ptr, i64, ptr)
declare ptr @PyList_New(i64)
declare i32 @PyList_SetItem(ptr, i64, ptr)

define void @destroy(ptr %capsule) {{
  %owned = call ptr @PyCapsule_GetContext(ptr %capsule)
  call void @Py_DecRef(ptr %owned)
  ret void
}}

define ptr @call(ptr %self, ptr %args, i64 %nargs) {{
entry:
  %tables = call ptr @PyCapsule_GetPointer(ptr %self, ptr null)
{fields}
  %fed = icmp eq i64 %nargs, %FEEDS
  br i1 %fed, label %ready, label %slow
ready:
  %states.all = load atomic i64, ptr %STATES acquire, align 8
  br label %choose

choose:
  %s = phi i64 [0, %ready], [%s.next, %taken]
  %any = icmp slt i64 %s, %states.all
  br i1 %any, label %try, label %slow
try:
  %s.after = add i64 %s, 1
  %state.at = getelementptr ptr, ptr %STATES, i64 %s.after
  %words = load ptr, ptr %state.at
  %busy.at = getelementptr i64, ptr %words, i64 {busy}
  %claim = cmpxchg ptr %busy.at, i64 0, i64 1 acq_rel monotonic
  %mine = extractvalue {{i64, i1}} %claim, 1
  br i1 %mine, label %feeds, label %taken
taken:
  %s.next = add i64 %s, 1
  br label %choose

feeds:
  %i = phi i64 [0, %try], [%i.next, %feed]
  %feed.at = phi ptr [%FEED_STREAM, %try], [%feed.next, %feed]
  %feeds.more = icmp slt i64 %i, %FEEDS
  br i1 %feeds.more, label %feed.begin, label %prelude
feed.begin:
  %array.at = getelementptr ptr, ptr %args, i64 %i
  %array = load ptr, ptr %array.at
  %feed.next = call ptr @take(ptr %words, ptr %array, ptr %feed.at)
  %feed.bad = icmp eq ptr %feed.next, null
  br i1 %feed.bad, label %give_up, label %feed
feed:
  %i.next = add i64 %i, 1
  br label %feeds

prelude:
  %position.at = getelementptr i64, ptr %words, i64 {position}
  %chunk.at = getelementptr i64, ptr %words, i64 {chunk}
  %detail.at = getelementptr i64, ptr %words, i64 {detail}
  %deadline.at = getelementptr i64, ptr %words, i64 {deadline}
  store i64 0, ptr %words
  store i64 0, ptr %chunk.at
  store i64 0, ptr %deadline.at
  %has_prelude = icmp sge i64 %PRELUDE, 0
  br i1 %has_prelude, label %prelude.run, label %outputs
prelude.run:
  store i64 %PRELUDE, ptr %position.at
  %prelude.status = call i64 @run(ptr %words, ptr %STEPS)
  %prelude.done = icmp eq i64 %prelude.status, {DONE}
  br i1 %prelude.done, label %outputs, label %give_up

outputs:
  %o = phi i64 [0, %prelude], [0, %prelude.run], [%o.next, %output]
  %output.at = phi ptr [%OUTPUT_STREAM, %prelude], [%OUTPUT_STREAM, %prelude.run], [%output.next, %output]
  %outputs.more = icmp slt i64 %o, %OUTPUTS
  br i1 %outputs.more, label %output.begin, label %main
output.begin:
  %output.next = call ptr @give(ptr %words, ptr %output.at, ptr %MEMORY)
  %output.bad = icmp eq ptr %output.next, null
  br i1 %output.bad, label %fail, label %output
output:
  %o.next = add i64 %o, 1
  br label %outputs

main:
  store i64 %MAIN, ptr %position.at
  br label %walk
walk:
  %thread = call ptr @PyEval_SaveThread()
  %status = call i64 @run(ptr %words, ptr %STEPS)
  call void @PyEval_RestoreThread(ptr %thread)
  switch i64 %status, label %handle [
    i64 {DONE}, label %finish
    i64 {PAUSED}, label %signals
  ]
signals:
  %signals.failed = call i32 @PyErr_CheckSignals()
  %interrupted = icmp ne i32 %signals.failed, 0
  br i1 %interrupted, label %fail, label %walk
handle:
  %detail = load i64, ptr %detail.at
  %answer = call ptr (ptr, ptr, ...) @PyObject_CallFunction(ptr %HANDLER, ptr @format, i64 %status, i64 %s,
    i64 %detail)
  %raised = icmp eq ptr %answer, null
  br i1 %raised, label %fail, label %handled
handled:
  call void @Py_DecRef(ptr %answer)
  %goes_on = icmp eq i64 %status, {PYTHON_STEP}
  br i1 %goes_on, label %walk, label %retreat

finish:
  %hold.list = getelementptr i8, ptr %words, i64 %HOLD
  %scalars = icmp ne i64 %SCALARS, 0
  switch i64 %FORM, label %single [
    i64 {TUPLE}, label %tuple
    i64 {LIST}, label %list
  ]
single:
  %only.array = load ptr, ptr %hold.list
  store ptr null, ptr %hold.list
  br i1 %scalars, label %only.convert, label %leave
only.convert:
  %only.scalar = call ptr @array_return(ptr %only.array)
  %only.none = icmp eq ptr %only.scalar, null
  br i1 %only.none, label %fail, label %leave
tuple:
  %tuple.new = call ptr @PyTuple_New(i64 %OUTPUTS)
  br label %collected
list:
  %list.new = call ptr @PyList_New(i64 %OUTPUTS)
  br label %collected
collected:
  %all = phi ptr [%tuple.new, %tuple], [%list.new, %list]
  %all.none = icmp eq ptr %all, null
  br i1 %all.none, label %fail, label %fill
fill:
  %k = phi i64 [0, %collected], [%k.next, %filled]
  %fill.more = icmp slt i64 %k, %OUTPUTS
  br i1 %fill.more, label %item, label %leave
item:
  %item.at = getelementptr ptr, ptr %hold.list, i64 %k
  %made.k = load ptr, ptr %item.at
  store ptr null, ptr %item.at
  br i1 %scalars, label %item.convert, label %item.ready
item.convert:
  %scalar.k = call ptr @array_return(ptr %made.k)
  %scalar.none = icmp eq ptr %scalar.k, null
  br i1 %scalar.none, label %item.fail, label %item.ready
item.fail:
  call void @Py_DecRef(ptr %all)
  br label %fail
item.ready:
  %array.k = phi ptr [%made.k, %item], [%scalar.k, %item.convert]
  %is_tuple = icmp eq i64 %FORM, {TUPLE}
  br i1 %is_tuple, label %item.tuple, label %item.list
item.tuple:
  %rc.tuple = call i32 @PyTuple_SetItem(ptr %all, i64 %k, ptr %array.k)
  br label %filled
item.list:
  %rc.list = call i32 @PyList_SetItem(ptr %all, i64 %k, ptr %array.k)
  br label %filled
filled:
  %k.next = add i64 %k, 1
  br label %fill
leave:
  %result = phi ptr [%only.array, %single], [%only.scalar, %only.convert], [%all, %fill]
  store atomic i64 0, ptr %busy.at release, align 8
  %counts = icmp ne ptr %COUNT, null
  br i1 %counts, label %counted, label %given
counted:
  %count.before = atomicrmw add ptr %COUNT, i64 1 monotonic
  br label %given
given:
  ret ptr %result

fail:
  call void @drop(ptr %words, i64 %OUTPUTS, i64 %HOLD)
  store atomic i64 0, ptr %busy.at release, align 8
  ret ptr null
retreat:
  call void @drop(ptr %words, i64 %OUTPUTS, i64 %HOLD)
  br label %give_up
give_up:
  store atomic i64 0, ptr %busy.at release, align 8
  br label %slow
slow:
  %has_slow = icmp ne ptr %SLOW, null
  br i1 %has_slow, label %other_way, label %sentinel
other_way:
  %slow.result = call ptr @PyObject_Vectorcall(ptr %SLOW, ptr %args, i64 %nargs, ptr null)
  ret ptr %slow.result
sentinel:
  call void @Py_IncRef(ptr @not_implemented)
  ret ptr @not_implemented
}}
"""


def call_module() -> Module:
    """The module of `call` and `destroy`, which imports functions of Python and NumPy, and `run`."""
    fields = "\n".join(
        f"  %{name.upper()}.at = getelementptr i64, ptr %tables, i64 {i}\n"
        f"  %{name.upper()} = load {'ptr' if name in _ADDRESSES else 'i64'}, ptr %{name.upper()}.at"
        for i, name in enumerate(FIELDS)
    )
    call = _CALL.format(
        fields=fields,
        busy=BUSY,
        position=POSITION,
        chunk=CHUNK,
        detail=DETAIL,
        deadline=DEADLINE,
        DONE=DONE,
        PAUSED=PAUSED,
        PYTHON_STEP=PYTHON_STEP,
        TUPLE=TUPLE,
        LIST=LIST,
    )
    return Module("call", call + array_text() + pool_text(), ("call", "destroy", *FUNCTIONS))
