"""Block kernel: contracts that share outer dims, one after another for each of their indices.

What members hand each other lies in scratch of the chunk that runs them and never leaves the cache; so
attention is four or five contracts a head, and its scores are never an array. A member is a whole kernel
with an argument block on the stack; for each index its pointers are moved along the outer dims.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from graphc.freezing import frozen
from graphc.sizes import Size, product
from runtime.llvm_backend.contractions.block_hiding import SEEN, depends, factor, largest, write_seen
from runtime.llvm_backend.contractions.contraction import Access, Block, Contract, Dim, Expression
from runtime.llvm_backend.contractions.driver import SCRATCH, Phase
from runtime.llvm_backend.contractions.framing import PARTIALS
from runtime.llvm_backend.contractions.kernel import Kernel, write_contraction, write_plan
from runtime.llvm_backend.contractions.registers import VectorUnit
from runtime.llvm_backend.ir.text import QUICKLY, Module, Target
from runtime.llvm_backend.ir.values import memory_scalar
from runtime.llvm_backend.ir.writer import Value, Writer
from runtime.llvm_backend.table.scratch import ALIGNMENT, claim_part, part_bytes

_MOST_CHUNKS = 256


@frozen
class _Member:
    """A contract without the outer dims, each access of it in a buffer of its own, and its kernel."""

    accesses: Mapping[str, Access]
    kernel: Kernel


def emit_block(
    block: Block,
    machine: VectorUnit,
    name: str = "kernel",
    *,
    target: Target | None = None,
) -> Kernel:
    """The kernel of a block, called as that of a contract is; a chunk is a range of outer indices."""
    module = Module(target or Target())

    def written(key: str = "") -> list[_Member]:
        """The members, where only some of the keys are visited."""
        found = []
        for number, contract in enumerate(block.contracts):
            inner, accesses = _within(_seen(contract, key), {dim.name for dim in block.outer})
            kernel = write_contraction(inner, machine, f"{name}.{number}", module, short=bool(key))
            found.append(_Member(accesses, kernel))
        return found

    members = written(block.hidden.key if block.hidden else "")
    words = [word for member in members for word in member.kernel.words if depends(word)]
    if any(factor(word) is None for word in words):
        block, members = replace(block, hidden=None), written()
    own = {scratch.buffer for scratch in block.scratch}
    used = (access.buffer for member in members for access in member.accesses.values())
    buffers = tuple(dict.fromkeys(buffer for buffer in used if buffer not in own))
    w = Writer(len(buffers) + 3, module)
    slots = {buffer: slot for slot, buffer in enumerate((*buffers, SCRATCH))}
    offsets, size = _lay_out(block, members)
    phase = Phase(name, lambda w: _count(w, block.outer))
    effort = "noinline" if block.hidden else QUICKLY  # a mask is looked through
    w.begin(f"internal void @{name}.within(ptr %block, ptr %scratch, i64 %chunk) {effort} nounwind")
    _Driver(w, block, members, slots, offsets).write(phase)
    w.end()
    w.begin(f"void @{name}(ptr %block, i64 %chunk) {QUICKLY} nounwind")
    part = claim_part(w, slots[SCRATCH], size)
    # A function of its own: behind the loop that claims, what lies on the stack would have no fixed place.
    w.do(f"call void @{name}.within(ptr %block, ptr {part.address}, i64 %chunk)")
    part.give_back(w)
    w.end()
    if w.words:
        write_plan(w, name, lambda w: {len(buffers) + 2: phase.count(w)})
    return Kernel(
        name=name,
        text="\n".join((module.text, *(member.kernel.text for member in members), w.functions())),
        buffers=buffers,
        words=tuple(w.words),
        phases=(phase,),
        counted=bool(w.words),
        scratch_size=size,
        shared_size=0,
        schedules=tuple(schedule for member in members for schedule in member.kernel.schedules),
    )


def _seen(contract: Contract, key: str) -> Contract:
    """`contract` over the keys that are visited."""
    return replace(contract, dims=tuple(Dim(x.name, SEEN) if x.name == key else x for x in contract.dims))


def _count(w: Writer, outer: Sequence[Dim]) -> Value:
    return w.min(_MOST_CHUNKS, w.word(product(dim.size for dim in outer)))


def _within(contract: Contract, outer: set[str]) -> tuple[Contract, dict[str, Access]]:
    """The contract of one outer index; and what each of its buffers is an access of."""
    accesses: dict[str, Access] = {}

    def own(access: Access) -> Access:
        buffer = f"{access.buffer}.{len(accesses)}"
        accesses[buffer] = access
        strides = {name: stride for name, stride in access.strides.items() if name not in outer}
        return replace(access, buffer=buffer, strides=strides)

    def over(expression: Expression) -> Expression:
        return replace(expression, reads=tuple(map(own, expression.reads)))

    return (
        Contract(
            tuple(dim for dim in contract.dims if dim.name not in outer),
            tuple(map(own, contract.ins)),
            own(contract.out),
            contract.combine,
            tuple(map(over, contract.prologue)),
            over(contract.epilogue),
            tuple((value, own(access)) for value, access in contract.also),
        ),
        accesses,
    )


def _lay_out(block: Block, members: Sequence[_Member]) -> tuple[dict[str, Size], Size]:
    """Where a part of the scratch has each buffer, each member's own scratch and partial sums; its size."""
    offsets: dict[str, Size] = {}
    size: Size = ALIGNMENT
    wanted = [(each.buffer, each.size * each.dtype.itemsize) for each in block.scratch]
    for number, member in enumerate(members):
        wanted.append((f"{SCRATCH} {number}", member.kernel.scratch_size))
        wanted.append((f"{PARTIALS} {number}", member.kernel.shared_size))
    keys = block.hidden.keys if block.hidden else 0
    for buffer, many in ((buffer, largest(many, keys)) for buffer, many in wanted):
        offsets[buffer] = size
        size = size + part_bytes(many, 1)
    return offsets, size


class _Driver:
    """The loop over outer indices, around the phases of every member."""

    def __init__(
        self,
        w: Writer,
        block: Block,
        members: Sequence[_Member],
        slots: Mapping[str, int],
        offsets: Mapping[str, Size],
    ) -> None:
        self.w, self.block, self.members, self.slots, self.offsets = w, block, members, slots, offsets
        self.scratch = {scratch.buffer for scratch in block.scratch}

    def write(self, phase: Phase) -> None:
        """Writes the body of the kernel."""
        w = self.w
        blocks = [self._begin(number, member) for number, member in enumerate(self.members)]
        count, chunks = w.word(product(dim.size for dim in self.block.outer)), phase.count(w)
        start = w.div(w.mul("%chunk", count), chunks)
        stop = w.div(w.mul(w.add("%chunk", 1), count), chunks)

        def index(at: Value, _: list[str]) -> None:
            indices = self._split(at)
            seen: Value = 0
            if self.block.hidden is not None:
                seen = write_seen(w, self.block.hidden, lambda access: self._place(access, indices, True))
            for member, words in zip(self.members, blocks, strict=True):
                self._bind(member, words, seen)
                self._run(member, words, indices)

        w.loop(stop, index, start=start)

    def _begin(self, number: int, member: _Member) -> str:
        """A member's argument block, with all that does not depend on the outer index."""
        w, kernel = self.w, member.kernel
        words = w.value(f"alloca [{kernel.first_word + len(kernel.words)} x i64], align 8")
        if kernel.scratch_size != 0:
            self._put(words, kernel.scratch_word, "ptr", self._inside(f"{SCRATCH} {number}"))
        if PARTIALS in kernel.buffers:
            place = kernel.buffers.index(PARTIALS)
            self._put(words, place, "ptr", self._inside(f"{PARTIALS} {number}"))
        self._put(words, kernel.scratch_word + 1, "i64", "0")
        for place, size in enumerate(kernel.words):
            if not depends(size):
                self._put(words, kernel.first_word + place, "i64", str(w.word(size)))
        if not any(map(depends, kernel.words)):
            w.do(f"call void @{kernel.name}.plan(ptr {words})")
        return words

    def _bind(self, member: _Member, words: str, seen: Value) -> None:
        """Tells a member how many keys it visits."""
        w, kernel = self.w, member.kernel
        bound = [(place, factor(size)) for place, size in enumerate(kernel.words) if depends(size)]
        for place, many in bound:
            assert many is not None
            self._put(words, kernel.first_word + place, "i64", str(w.mul(seen, w.word(many))))
        if bound:
            w.do(f"call void @{kernel.name}.plan(ptr {words})")

    def _put(self, words: str, place: int, type: str, value: str) -> None:
        self.w.do(f"store {type} {value}, ptr {self.w.address(words, place, 'i64')}, align 8")

    def _inside(self, buffer: str) -> str:
        return self.w.address("%scratch", self.w.word(self.offsets[buffer]), "i8")

    def _split(self, at: Value) -> dict[str, Value]:
        """The index of each outer dim; the last runs fastest."""
        w, found = self.w, {}
        for dim in reversed(self.block.outer):
            size = w.word(dim.size)
            if dim is self.block.outer[0]:
                found[dim.name] = at
            else:
                found[dim.name], at = w.rem(at, size), w.div(at, size)
        return found

    def _run(self, member: _Member, words: str, indices: Mapping[str, Value]) -> None:
        """Moves the pointers of a member and runs all chunks of its phases."""
        w, kernel = self.w, member.kernel
        for buffer, access in member.accesses.items():
            place = self._place(access, indices)
            self._put(words, kernel.buffers.index(buffer), "ptr", place)
        for number, phase in enumerate(kernel.phases):
            slot = w.address(words, kernel.first_count + number, "i64")
            count = w.value(f"load i64, ptr {slot}, align 8")
            w.loop(count, partial(self._call, phase.name, words))

    def _place(self, access: Access, indices: Mapping[str, Value], whole: bool = False) -> str:
        """Where an access is at an outer index; the `whole` of it, or without what the member adds."""
        w = self.w
        if access.buffer in self.scratch:
            base = self._inside(access.buffer)
        else:
            slot = w.address("%block", self.slots[access.buffer], "ptr")
            base = w.value(f"load ptr, ptr {slot}, align 8")
        offset: Value = w.word(access.offset) if whole else 0
        for name, index in indices.items():
            offset = w.add(offset, w.mul(index, w.word(access.stride(name))))
        return w.address(base, offset, memory_scalar(access.dtype))

    def _call(self, name: str, words: str, chunk: Value, _: list[str]) -> None:
        self.w.do(f"call void @{name}(ptr {words}, i64 {chunk})")
