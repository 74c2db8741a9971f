"""How dtypes are held: in registers, where ops work on them, and in memory.

bool is i1 in registers and a byte, 0 or 1, in memory. float16 and bfloat16 are float in registers, rounded
after every op as NumPy rounds float16, and two bytes in memory; an array that holds bfloat16 as float32 is
loaded and stored as float32, and the registers are the same. Everything else is itself.
"""

from __future__ import annotations

from graphc.types import BFLOAT16, BOOL, DTYPES, FLOAT16, FLOAT32, FLOAT64, DType
from runtime.llvm_backend.ir.steps import load_steps
from runtime.llvm_backend.ir.text import Emitter, load_text, store_text
from runtime.llvm_backend.ir.vecmath.lanes import Lanes

_PAGE = 4096
_FLOATS = {"float16": "float", "bfloat16": "float", "float32": "float", "float64": "double"}
_IN_REGISTERS = {d.name: f"i{8 * d.itemsize}" for d in DTYPES} | _FLOATS | {"bool": "i1"}
_OTHERWISE = {"float16": "i16", "bfloat16": "i16", "bool": "i8"}
_IN_MEMORY = _IN_REGISTERS | _OTHERWISE
_BYTES = {d.name: d.itemsize for d in DTYPES} | {"float16": 4, "bfloat16": 4}


def register_scalar(dtype: DType) -> str:
    """The LLVM type of one lane in registers."""
    return _IN_REGISTERS[dtype.name]


def memory_scalar(dtype: DType) -> str:
    """The LLVM type of one element in memory."""
    return _IN_MEMORY[dtype.name]


def is_itself(dtype: DType) -> bool:
    """Whether registers hold what memory holds."""
    return dtype.name not in _OTHERWISE


def memory_dtype(dtype: DType) -> DType:
    """How arrays hold it: bfloat16 as float32, as NumPy does."""
    return FLOAT32 if dtype is BFLOAT16 else dtype


def register_bytes(dtype: DType) -> int:
    """How many bytes of a register one lane takes."""
    return _BYTES[dtype.name]


def lanes(em: Emitter, dtype: DType) -> Lanes:
    """The algebra of a floating dtype."""
    return Lanes(em, dtype is FLOAT64)


def load(
    em: Emitter,
    dtype: DType,
    array: str,
    index: str,
    mask: str | None = None,
    repeats: bool = False,
    step: int = 1,
) -> str:
    """Elements of `array` from `index` on, each `step` further, in lanes; those outside `mask` are 0.

    With `repeats` they are the first element again, of which an op makes nothing new.
    """
    scalar = memory_scalar(dtype)
    at = em.let(f"getelementptr {scalar}, ptr {array}, i64 {index}")
    others = "zeroinitializer"
    if repeats and mask is not None:
        others = em.broadcast(scalar, em.let(f"load {scalar}, ptr {at}, align {dtype.itemsize}"))
    if step == 1 or em.width == 1:
        held = em.let(load_text(em.module, scalar, em.width, at, dtype.itemsize, mask, others))
    else:
        held = load_steps(em.module, em.let, scalar, em.width, at, step, dtype.itemsize, mask, others)
    return to_register(em, dtype, held)


def ahead(em: Emitter, dtype: DType, array: str, index: str) -> None:
    """Asks the memory for what a long walk loads a page later: the hardware stops at the page's end."""
    ask(em, dtype, array, em.let(f"add i64 {index}, {_PAGE // dtype.itemsize}"))


def ask(em: Emitter, dtype: DType, array: str, index: str, to_store: bool = False) -> None:
    """Asks the memory for the elements of `array` from `index` on, which may lie outside it."""
    at = em.let(f"getelementptr {memory_scalar(dtype)}, ptr {array}, i64 {index}")
    em.module.declare("@llvm.prefetch.p0", "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
    em.do(f"call void @llvm.prefetch.p0(ptr {at}, i32 {int(to_store)}, i32 3, i32 1)")


def load_single(em: Emitter, dtype: DType, array: str) -> str:
    """The first element of `array`, in all lanes."""
    scalar = memory_scalar(dtype)
    held = em.let(f"load {scalar}, ptr {array}, align {dtype.itemsize}")
    return to_register(em, dtype, em.broadcast(scalar, held))


def store(em: Emitter, dtype: DType, value: str, array: str, index: str, mask: str | None = None) -> None:
    """Stores the lanes of `value`, or those in `mask`, in `array` from `index` on."""
    scalar = memory_scalar(dtype)
    held = to_memory(em, dtype, value)
    at = em.let(f"getelementptr {scalar}, ptr {array}, i64 {index}")
    em.do(store_text(em.module, scalar, em.width, held, at, dtype.itemsize, mask))


def stream(em: Emitter, dtype: DType, value: str, array: str, index: str) -> None:
    """`store` past the caches, of a vector that lies at a multiple of its own bytes."""
    scalar = memory_scalar(dtype)
    held = to_memory(em, dtype, value)
    at = em.let(f"getelementptr {scalar}, ptr {array}, i64 {index}")
    em.module.declare("!0", "!0 = !{i32 1}")
    em.do(f"store {em.type(scalar)} {held}, ptr {at}, align {em.width * dtype.itemsize}, !nontemporal !0")


def end_streams(em: Emitter) -> None:
    """Other threads are to see all that was streamed before they are told that it is done."""
    em.do("fence seq_cst")


def to_register(em: Emitter, dtype: DType, held: str) -> str:
    """What memory holds, as ops work on it."""
    if dtype is BOOL:
        return em.compare("ne", "i8", held, em.integer("i8", 0))
    if dtype is BFLOAT16:
        wide = em.binary("shl", "i32", em.convert("zext", "i16", "i32", held), em.integer("i32", 16))
        return em.convert("bitcast", "i32", "float", wide)
    if dtype is FLOAT16:
        return _half_to_float(em, held)
    return held


def to_memory(em: Emitter, dtype: DType, value: str) -> str:
    """A value of `dtype` as memory holds it."""
    if dtype is BOOL:
        return em.convert("zext", "i1", "i8", value)
    if dtype is BFLOAT16:
        bits = em.convert("bitcast", "float", "i32", value)
        return em.convert("trunc", "i32", "i16", em.binary("lshr", "i32", bits, em.integer("i32", 16)))
    if dtype is FLOAT16:
        return _float_to_half(em, value)
    return value


def rounded(em: Emitter, dtype: DType, value: str) -> str:
    """A result as `dtype` holds it: float16 and bfloat16 lose their low bits, to nearest, ties to even."""
    if dtype is BFLOAT16:
        return _round_to_bfloat(em, value)
    return _round_to_half(em, value) if dtype is FLOAT16 else value


def _round_to_bfloat(em: Emitter, value: str) -> str:
    """On the bits: instructions that convert to bfloat16 flush denormals."""
    v = Lanes(em, double=False)
    bits = v.bits(value)
    last = v.on_bits("and", v.on_bits("lshr", bits, 16), 1)
    nearest = v.on_bits("add", v.on_bits("add", bits, 0x7FFF), last)
    kept = em.select(v.is_nan(value), "i32", v.on_bits("or", bits, 0x400000), nearest)
    return v.from_bits(v.on_bits("and", kept, -0x10000))


def _round_to_half(em: Emitter, value: str) -> str:
    if em.target.half:
        # Else LLVM rounds a double that became `value` at once, by a function that no kernel is linked to.
        value = em.intrinsic("arithmetic.fence", "float", value)
        return em.convert("fpext", "half", "float", em.convert("fptrunc", "float", "half", value))
    v = Lanes(em, double=False)
    size = v.magnitude(value)
    bits = v.bits(size)
    last = v.on_bits("and", v.on_bits("lshr", bits, 13), 1)
    normal = v.on_bits("and", v.on_bits("add", v.on_bits("add", bits, 0xFFF), last), -0x2000)
    denormal = v.subtract(v.add(size, v.number(0.5)), v.number(0.5))  # whose last bit is 2 ** -24
    near = v.select(v.compare("olt", size, v.number(2.0**-14)), denormal, v.from_bits(normal))
    near = v.select(v.compare("oge", size, v.number(65520.0)), v.number(float("inf")), near)
    return v.with_sign(v.select(v.is_nan(value), value, near), value)


def _float_to_half(em: Emitter, value: str) -> str:
    """The bits of a half that `value` is exactly."""
    if em.target.half:
        return em.convert("bitcast", "half", "i16", em.convert("fptrunc", "float", "half", value))
    v = Lanes(em, double=False)
    size = v.magnitude(value)
    sign = v.on_bits("and", v.on_bits("lshr", v.bits(value), 16), 0x8000)
    normal = v.on_bits("sub", v.on_bits("lshr", v.bits(size), 13), 112 << 10)
    # A denormal half is a whole number of 2 ** -24: the low bits of size + 1/2.
    denormal = v.on_bits("and", v.bits(v.add(size, v.number(0.5))), 0x3FF)
    half = em.select(v.compare("olt", size, v.number(2.0**-14)), "i32", denormal, normal)
    half = em.select(v.is_infinite(value), "i32", v.integer(0x7C00), half)
    half = em.select(v.is_nan(value), "i32", v.integer(0x7E00), half)
    return em.convert("trunc", "i32", "i16", v.on_bits("or", half, sign))


def _half_to_float(em: Emitter, held: str) -> str:
    if em.target.half:
        return em.convert("fpext", "half", "float", em.convert("bitcast", "i16", "half", held))
    v = Lanes(em, double=False)
    bits = em.convert("zext", "i16", "i32", held)
    size = v.on_bits("shl", v.on_bits("and", bits, 0x7FFF), 13)
    number = v.bits(v.multiply(v.from_bits(size), v.number(2.0**112)))
    special = em.compare("uge", "i32", size, v.integer(0x7C00 << 13))
    number = em.select(special, "i32", v.on_bits("or", size, 0x7F800000), number)
    return v.from_bits(v.on_bits("or", number, v.on_bits("shl", v.on_bits("and", bits, 0x8000), 16)))
