"""Pair kernel: a contract by dot instructions: one phase packs words, one computes (see `pairs`)."""

from __future__ import annotations

from graphc.sizes import product
from runtime.llvm_backend.contractions.contraction import Contract
from runtime.llvm_backend.contractions.cuts import LONG_REDUCTION
from runtime.llvm_backend.contractions.driver import Phase
from runtime.llvm_backend.contractions.kernel import Kernel, write_plan
from runtime.llvm_backend.contractions.lane_choice import estimate
from runtime.llvm_backend.contractions.pair_epilogue import PairEpilogue
from runtime.llvm_backend.contractions.pair_packing import WordPacker
from runtime.llvm_backend.contractions.pairs import MOST_EXACT, PAIRS, Product, as_product, words_of
from runtime.llvm_backend.contractions.schedule import OUT
from runtime.llvm_backend.contractions.splits import split_evenly, tile_count, visit_tile
from runtime.llvm_backend.engine.machine import Machine
from runtime.llvm_backend.ir import lanes
from runtime.llvm_backend.ir.text import Module, Target
from runtime.llvm_backend.ir.writer import Value, Writer

# Multiply-adds and rows, below which packing costs more than it saves: of bfloat16, of bytes, of bytes that
# are cast, which otherwise are multiplied as wide integers.
_LEAST_PAIRS, _LEAST_BYTES, _LEAST_CAST = (1 << 19, 8), (1 << 15, 8), (1 << 15, 4)
_MOST_CHUNKS, _GRAIN = 64, 1 << 21
_UNROLL = 2


def emit_pairs(
    contract: Contract,
    machine: Machine,
    name: str = "kernel",
    *,
    target: Target | None = None,
    linkage: str = "",
    always: bool = False,
) -> Kernel | None:
    """The kernel of `contract` by dot instructions; None where the CPU, or the contract, is not for them.

    `linkage` is that of the phases. `always`: also where it is so small that others are faster.
    """
    found = find_product(contract, machine, always)
    if found is None:
        return None
    return _PairKernel(found, machine, name, Module(target or Target())).emit(linkage)


def find_product(contract: Contract, machine: Machine, always: bool = False) -> Product | None:
    """`contract` as dot instructions of `machine` compute it; None where they cannot, or should not."""
    words = words_of(contract, machine)
    found = None if words is None else as_product(contract, words)
    return found if found is not None and _is_worth(found, always) else None


def _is_worth(found: Product, always: bool) -> bool:
    steps = found.deep.size
    most = MOST_EXACT if found.contract.accumulator.itemsize > 4 else LONG_REDUCTION
    if not isinstance(steps, int) or steps > most:
        return False
    rows, columns = estimate(found.row.size), estimate(found.column.size)
    least = _LEAST_PAIRS if found.words is PAIRS else _LEAST_CAST if found.contract.prologue else _LEAST_BYTES
    return always or (rows * columns * steps >= least[0] and rows >= least[1])


class _PairKernel(WordPacker):
    def __init__(self, found: Product, machine: Machine, name: str, module: Module) -> None:
        super().__init__(found, machine, name, module)
        self.tiles: dict[
            tuple[int, bool, bool], None
        ] = {}  # height, clamped, masked; in the order of their use

    def emit(self, linkage: str) -> Kernel:
        """The kernel: it packs, then computes."""
        w, found = self.w, self.found
        w.linkage = linkage
        phases = [Phase(f"{self.name}.pack", self.pack_chunks), Phase(self.name, self._chunks)]
        self.write_pack()
        self._write_main()
        for height, clamped, masked in self.tiles:
            self._write_tile(height, clamped, masked)
        counted = bool(w.words)
        if counted:
            w.linkage = ""
            first = len(self.buffers) + 2
            write_plan(w, self.name, lambda w: {first + i: x.count(w) for i, x in enumerate(phases)})
        panels = (found.column.size + (self.panel - 1)) // self.panel
        each = panels * self.panel_words + found.row.size * self.lead
        return Kernel(
            name=self.name,
            text=f"{w.module.text}\n{w.functions()}",
            buffers=self.buffers,
            words=tuple(w.words),
            phases=tuple(phases),
            counted=counted,
            scratch_size=0,
            shared_size=self.batch * each * 4,
            schedules=(),
        )

    # Counts: formulas of the sizes alone.

    def _layout(self, w: Writer) -> tuple[Value, Value, Value]:
        """Parts of the rows, units, chunks."""
        found = self.found
        shares = w.mul(w.word(self.batch), self.panels(w))
        work = product((found.row.size, found.column.size, found.deep.size, self.batch))
        wanted = w.max(1, w.min(_MOST_CHUNKS, w.ceil_div(w.word(work), _GRAIN)))
        tiles = tile_count(w, split_evenly(found.row.size, self.height))
        parts = w.max(1, w.min(tiles, w.ceil_div(wanted, w.max(1, shares))))
        units = w.mul(shares, parts)
        return parts, units, w.min(units, wanted)

    def _chunks(self, w: Writer) -> Value:
        return self._layout(w)[2]

    # The product.

    def _write_main(self) -> None:
        w, row = self.w, self.found.row
        w.begin(f"void @{self.name}(ptr %block, i64 %chunk) nounwind")
        rows, panels = self.packed()
        bases = {x: self.base(x) for x in range(OUT, len(self.operands))}
        parts, units, chunks = self._layout(w)
        many, size = self.panels(w), w.word(row.size)
        split = split_evenly(row.size, self.height)
        tiles = tile_count(w, split)

        def unit(index: Value) -> None:
            part, panel = w.rem(index, parts), w.div(index, parts)
            batch, first = w.div(panel, many), w.mul(w.rem(panel, many), self.panel)
            a = w.address(rows, w.mul(w.mul(batch, size), self.lead), "i32")
            b = w.address(panels, w.mul(panel, self.panel_words), "i32")
            across = self.found.column.strides
            there = {
                x: self.move(self.enter(base, x, batch), x, w.mul(first, w.word(across[x])))
                for x, base in bases.items()
            }
            valid = w.sub(w.word(self.found.column.size), first)

            def tile(height: int, clamped: bool, at: Value, many: Value) -> None:
                places = [self.move(p, x, w.mul(at, w.word(row.strides[x]))) for x, p in there.items()]
                row_of_a = w.address(a, w.mul(at, self.lead), "i32")

                def call(masked: bool) -> None:
                    self.tiles[height, clamped, masked] = None
                    name = self._tile_name(height, clamped, masked)
                    pointers = ", ".join(f"ptr {x}" for x in (row_of_a, b, *places))
                    w.do(f"call void {name}(ptr %block, {pointers}, i64 {many}, i64 {valid})")

                if isinstance(self.found.column.size, int) and self.found.column.size % self.panel == 0:
                    call(False)
                else:
                    whole = w.compare("sge", valid, self.panel)
                    w.choose(whole, lambda: call(False), lambda: call(True))

            start = w.div(w.mul(part, tiles), parts)
            stop = w.div(w.mul(w.add(part, 1), tiles), parts)
            w.loop(stop, lambda t, _: visit_tile(w, split, t, tile), start=start)

        self.ranges(units, chunks, unit)
        w.end()

    def _tile_name(self, height: int, clamped: bool, masked: bool) -> str:
        return f"@{self.name}.tile.{height}{'.clamped' if clamped else ''}{'.masked' if masked else ''}"

    def _write_tile(self, height: int, clamped: bool, masked: bool) -> None:
        """``acc[i, j] += dot(A[i, word], B[word, j])`` over all words, then what finishes the sums."""
        w, width, words = self.w, self.width, self.words
        parameters = ", ".join(f"ptr noalias %p{x}" for x in range(len(self.operands)))
        w.begin(
            f"internal void {self._tile_name(height, clamped, masked)}(ptr %block, {parameters}, "
            "i64 %rows, i64 %lanes) noinline nounwind"
        )
        last = w.sub("%rows", 1) if clamped else 0
        rows = [w.min(i, last) if clamped and i else i for i in range(height)]
        sums, word, operand = lanes.vector_type(words.total, width), f"<{width} x i32>", words.operand(width)
        panel = w.address("%p1", self.begun * self.panel, "i32")

        def step(at: Value, state: list[str]) -> list[str]:
            found = list(state)
            columns = [
                self._as_operand(
                    w.value(
                        f"load {word}, ptr "
                        f"{w.address(panel, w.add(w.mul(at, self.panel), j * width), 'i32')}, align 4"
                    ),
                    operand,
                )
                for j in range(self.across)
            ]
            for i, row in enumerate(rows):
                place = w.address("%p0", w.add(w.mul(row, self.lead), at), "i32")
                number = w.value(f"load i32, ptr {place}, align 4")
                same = self._as_operand(lanes.broadcast(w, number, "i32", width), operand)
                for j, column in enumerate(columns):
                    k = i * self.across + j
                    found[k] = self.multiply(found[k], same, column)
            return found

        def steps(at: Value, state: list[str]) -> list[str]:
            for k in range(_UNROLL):
                state = step(w.add(at, k), state)
            return state

        state = self._first_sums(sums) * height
        whole = self.length // _UNROLL * _UNROLL
        if whole:
            state = w.loop(whole, steps, [(sums, x) for x in state], step=_UNROLL)
        for at in range(whole, self.length):
            state = step(at, state)
        masks: list[str | None] = [None] * self.across
        if masked:
            masks = [w.mask(w.sub("%lanes", j * width), width) for j in range(self.across)]
        PairEpilogue(self, masks).put(rows, state, last if clamped else None)
        w.end()

    def _first_sums(self, type: str) -> list[str]:
        """What the sums of a row begin with."""
        w = self.w
        if not self.begun:
            return ["zeroinitializer"] * self.across
        places = [w.address("%p1", j * self.width, "i32") for j in range(self.across)]
        return [w.value(f"load {type}, ptr {place}, align 4") for place in places]

    def _as_operand(self, word: str, operand: str) -> str:
        vector = f"<{self.width} x i32>"
        return word if operand == vector else self.w.value(f"bitcast {vector} {word} to {operand}")
