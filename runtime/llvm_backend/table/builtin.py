"""Builtin: functions like CPython's own in C, made while it runs.

The native code (`callcode`) is compiled once for a machine and lives to the end of the process; each
executable has a builtin of its own, which is that code with other tables. They are what the builtin is bound
to, an object of Python's like any other: the garbage collector sees through both.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from itertools import repeat
from typing import Any
from weakref import ref

import numpy as np

from runtime.llvm_backend.engine.library import keep_for_ever
from runtime.llvm_backend.engine.parts import Part
from runtime.llvm_backend.table import arraycode, blockpool, callcode, steploop
from runtime.llvm_backend.table.polling import address_of, c_library

_FASTCALL = 0x80
_ARRAY_TYPE, _ARRAY_SCALAR, _ARRAY_NEW = (
    *(2, 60, 93),
)  # slots of NumPy's table of functions: numpy/__multiarray_api.h
_PYTHON = (
    *("Py_IncRef", "Py_DecRef", "PyErr_CheckSignals", "PyEval_SaveThread", "PyEval_RestoreThread"),
    *("PyObject_CallFunction", "PyObject_Vectorcall", "PyObject_GetItem", "PyErr_Clear"),
    *("PyTuple_New", "PyTuple_SetItem", "PyList_New", "PyList_SetItem"),
)


class Tables(ctypes.Array[ctypes.c_int64]):
    """The tables of a builtin: the words `callcode.FIELDS`.

    Attributes:
        owner: what keeps alive what they point to.
    """

    _type_, _length_ = ctypes.c_int64, len(callcode.FIELDS)

    def __init__(self, owner: object, **words: int) -> None:
        super().__init__(*map(words.get, callcode.FIELDS, repeat(0)))
        self.owner = owner


class _MethodDef(ctypes.Structure):
    """``PyMethodDef``: https://docs.python.org/3/c-api/structures.html."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


@cache
def find_trouble() -> str:
    """Why this interpreter cannot have native builtins; "" where it can.

    The layout of ndarrays is not promised to anybody, so it is looked at before it is relied on.
    """
    if sys.implementation.name != "cpython":
        return "the interpreter is not CPython"
    if "free-threading" in sys.version:
        return "the interpreter has no GIL"
    if ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
        return "the machine does not have little-endian words of 8 bytes"
    try:
        tables = Tables(None)
        if ctypes.c_void_p.from_address(id(tables) + callcode.AT_WORDS).value != ctypes.addressof(tables):
            return "the fields of an object of ctypes are not where they are expected"
        table = _array_functions()
        if table[_ARRAY_TYPE] != id(np.ndarray):
            return "NumPy's table of functions is not as expected"
        for array in (np.zeros((3, 5), np.float32)[1:], np.zeros(7, np.int64)[::2], np.zeros((), np.bool_)):
            if not _is_laid_out_as_expected(array):
                return "the fields of an ndarray are not where they are expected"
        make = ctypes.PYFUNCTYPE(
            ctypes.py_object,
            *(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
            *(ctypes.c_int, ctypes.c_int, ctypes.c_void_p),
        )(table[_ARRAY_NEW])
        sizes = (ctypes.c_int64 * 2)(2, 3)
        made = make(
            id(np.ndarray), 2, ctypes.addressof(sizes), np.dtype(np.float32).num, None, None, 0, 0, None
        )
        scalar = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
        value = ctypes.c_double(2.5)
        number = scalar(table[_ARRAY_SCALAR])(ctypes.addressof(value), np.dtype(np.float64), None)
        if type(number) is not np.float64 or number != 2.5:
            return "NumPy does not make scalars as expected"
        if made.shape != (2, 3) or made.dtype != np.float32 or not made.flags.c_contiguous:
            return "NumPy does not make arrays as expected"
    except (AttributeError, ValueError, TypeError) as error:
        return f"NumPy's functions cannot be found: {error}"
    return ""


def _is_laid_out_as_expected(array: np.ndarray[Any, Any]) -> bool:
    start, rank = id(array), array.ndim

    def word(offset: int) -> int | None:
        return ctypes.c_void_p.from_address(start + offset).value

    def many(offset: int) -> tuple[int, ...]:
        return tuple((ctypes.c_int64 * rank).from_address(word(offset) or 0)) if rank else ()

    def integer(offset: int) -> int:
        return ctypes.c_int.from_address(start + offset).value

    return (
        word(arraycode.AT_TYPE) == id(np.ndarray)
        and word(arraycode.AT_DATA) == array.ctypes.data
        and integer(arraycode.AT_RANK) == rank
        and many(arraycode.AT_SIZES) == array.shape
        and many(arraycode.AT_STRIDES) == array.strides
        and word(arraycode.AT_OWNER) == (None if array.base is None else id(array.base))
        and word(arraycode.AT_DTYPE) == id(array.dtype)
        and integer(arraycode.AT_FLAGS) == array.flags.num
        and bool(integer(arraycode.AT_FLAGS) & arraycode.C_CONTIGUOUS) == array.flags.c_contiguous
        and bool(integer(arraycode.AT_FLAGS) & arraycode.ALIGNED) == array.flags.aligned
    )


def _array_functions() -> Any:
    multiarray: Any = np._core.multiarray  # type: ignore[attr-defined]  # NumPy gives its C API nowhere else
    pointer = _python(ctypes.c_void_p, "PyCapsule_GetPointer", ctypes.py_object, ctypes.c_char_p)
    return (ctypes.c_void_p * (_ARRAY_NEW + 1)).from_address(pointer(multiarray._ARRAY_API, None))


@cache
def _python(result: Any, name: str, *arguments: Any) -> Callable[..., Any]:
    """A function of Python's C API; not that of `ctypes.pythonapi`, on which others may set other types."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


class _MemoryHandler(ctypes.Structure):
    """``PyDataMem_Handler``: https://numpy.org/doc/stable/reference/c-api/data_memory.html."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        *((name, ctypes.c_void_p) for name in ("context", "malloc", "calloc", "realloc", "free")),
    )


@cache
def memory_handler() -> int:
    """The address of the object that tells NumPy how large outputs are let go; 0: there are none such."""
    array = np.empty(3)
    if np.ndarray.__basicsize__ != arraycode.ARRAY_BYTES:
        return 0
    own = ctypes.c_void_p.from_address(id(array) + arraycode.AT_HANDLER).value
    new_capsule, _ = _makers()
    capsule_type = id(type(new_capsule(1, None, None)))
    if not own or ctypes.c_void_p.from_address(own + arraycode.AT_TYPE).value != capsule_type:
        return 0
    functions = (CODE.address(name) for name in blockpool.FUNCTIONS[:4])
    handler = _MemoryHandler(b"graphc", 1, None, *functions)
    keep_for_ever(handler)
    name = b"mem_handler"
    keep_for_ever(name)
    capsule = new_capsule(ctypes.addressof(handler), name, None)
    keep_for_ever(capsule)
    return id(capsule)


@cache
def blocks() -> tuple[Callable[[None, int], int | None], Callable[[None, int, int], None]]:
    """`pool.malloc` and `pool.free` of `blockpool`, which keep the GIL."""
    word, size = ctypes.c_void_p, ctypes.c_int64
    malloc, free = (CODE.address(name) for name in ("pool.malloc", "pool.free"))
    return ctypes.PYFUNCTYPE(word, word, size)(malloc), ctypes.PYFUNCTYPE(None, word, word, size)(free)


def idle_bytes() -> int:
    """How much memory of outputs that were let go waits for new ones."""
    found: int = ctypes.CFUNCTYPE(ctypes.c_int64)(CODE.address("pool.count"))()
    return found


@cache
def _known_imports() -> dict[str, int]:
    """All but the loop."""
    table = _array_functions()
    imports = {name: address_of(getattr(ctypes.pythonapi, name)) for name in _PYTHON}
    imports["array_type"], imports["array_new"] = id(np.ndarray), table[_ARRAY_NEW]
    imports["array_scalar"] = table[_ARRAY_SCALAR]
    imports["not_implemented"] = id(NotImplemented)
    return imports | c_library(*blockpool.IMPORTS)


def _imports() -> dict[str, int]:
    return _known_imports() | {"run": steploop.CODE.address("run")}


CODE = Part(callcode.NAME, callcode.call_module, _imports)


@cache
def _makers() -> tuple[Callable[..., Any], ...]:
    """Functions that make a capsule, and a builtin."""
    word, thing = ctypes.c_void_p, ctypes.py_object
    return (
        _python(thing, "PyCapsule_New", word, ctypes.c_char_p, word),
        _python(thing, "PyCFunction_NewEx", word, thing, word),
    )


def look_up() -> None:
    """Finds what this calls of Python's."""
    _known_imports()
    _makers()


@cache
def _definition() -> _MethodDef:
    doc = b"run($self, /, *arrays)\n--\n\nRuns an executable on arrays."
    made = _MethodDef(b"run", CODE.address("call"), _FASTCALL, doc)
    keep_for_ever(made)  # builtins may outlive this module
    return made


def make_builtin(tables: Tables) -> Any:
    """A builtin that runs `tables`."""
    _, new_builtin = _makers()
    return new_builtin(ctypes.addressof(_definition()), tables, None)


class Door:
    """A builtin that goes the slow way until it is led another one.

    The slow way may hold the door, which holds neither it nor the builtin.
    """

    def __init__(self) -> None:
        self._tables: Callable[[], Tables | None] = lambda: None

    def function(self, slow: Callable[..., Any]) -> Any:
        """The builtin; it calls ``slow(*arrays)``."""
        tables = Tables(slow, feeds=-1, slow=id(slow))
        self._tables = ref(tables)
        return make_builtin(tables)

    def lead(self, way: Callable[..., Any], slow: Callable[..., Any]) -> None:
        """Lets it go the `way` of another builtin, and call ``slow(*arrays)`` for what that does not take.

        It is led once; and not at all where `way` is something else.
        """
        tables, others = self._tables(), getattr(way, "__self__", None)
        if tables is None or not isinstance(others, Tables):
            return
        led = (others, slow)
        if tables.__dict__.setdefault("led", led) is led:  # which keeps them, and is for one thread alone
            words = list(others)
            words[callcode.FIELDS.index("slow")] = id(slow)
            tables[:] = words  # at once, since nothing here lets the GIL go
