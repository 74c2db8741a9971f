"""Merges: sorted runs of records become one, a vector at a time.

The highest records so far stay in a register; the vector that begins with the lower record is loaded and
merged with it by a bitonic network, whose lower half is done. How many records there are alone decides how
often, whatever they are.
"""

from __future__ import annotations

from runtime.llvm_backend.ir.writer import Value
from runtime.llvm_backend.loops.loop_kernel import LoopWriter
from runtime.llvm_backend.loops.networks import rows_of, sort_block
from runtime.llvm_backend.loops.records import Records, Vector, function


def merge_runs(w: LoopWriter, records: Records) -> str:
    """The name of a function that merges two runs.

    void merge(ptr x, i64 nx, ptr y, i64 ny, ptr to, i64 plane)

    A vector waits for the one before. So the result is cut in two halves, which do not wait for each other.
    """
    name = f"@merge.{records.name}"
    signature = f"void {name}(ptr %x, i64 %nx, ptr %y, i64 %ny, ptr %to, i64 %plane)"
    function(w, name, signature, lambda f: _merge(f, records))
    return name


def _merge(w: LoopWriter, records: Records) -> str:
    width, bytes = records.width, records.bytes
    total = w.add("%nx", "%ny")
    half = w.mul(w.div(total, 2 * width), width)
    split = split_runs(w, records)
    i = w.value(f"call i64 {split}(ptr %x, i64 %nx, ptr %y, i64 %ny, i64 {half}, i64 %plane)")
    j = w.sub(half, i)
    x, y, to = (
        w.address(run, w.mul(index, bytes), "i8") for run, index in (("%x", i), ("%y", j), ("%to", half))
    )
    lower = _Merging(w, records, "%x", i, "%y", j, "%to")
    upper = _Merging(w, records, x, w.sub("%nx", i), y, w.sub("%ny", j), to)

    def both(at: Value, state: list[str]) -> list[str]:
        middle = len(state) // 2
        return [*lower.step(at, state[:middle]), *upper.step(at, state[middle:])]

    types = upper.types
    state = w.loop(
        half, both, list(zip(types * 2, [*lower.begin(), *upper.begin()], strict=True)), step=width
    )
    upper.finish(state[len(types) :], half, w.sub(total, half))
    return "void"


class _Merging:
    """Merges two runs; a state is what stays in registers, and where both runs go on."""

    def __init__(
        self, w: LoopWriter, records: Records, x: str, nx: Value, y: str, ny: Value, to: str
    ) -> None:
        self.w, self.records, self.x, self.nx, self.y, self.ny, self.to = w, records, x, nx, y, ny, to
        self.types = [*map(records.vector, records.types), "i64", "i64"]

    def _head(self, run: str, count: Value, at: Value) -> Vector:
        """Of what is left of a run; what comes behind all others where that is nothing."""
        w, records = self.w, self.records
        some = w.compare("slt", at, count)
        found = records.load_one(w, run, "%plane", w.select(some, at, 0))
        return tuple(
            w.value(f"select i1 {some}, {type} {x}, {type} {highest}")
            for type, x, highest in zip(records.types, found, records.highest, strict=True)
        )

    def _take(self, x_at: Value, y_at: Value) -> tuple[Vector, Value, Value]:
        """The next vector, and where the runs go on."""
        w, records = self.w, self.records
        from_y = records.below(w, self._head(self.y, self.ny, y_at), self._head(self.x, self.nx, x_at))
        run = w.value(f"select i1 {from_y}, ptr {self.y}, ptr {self.x}")
        at, count = w.select(from_y, y_at, x_at), w.select(from_y, self.ny, self.nx)
        left = w.sub(count, at)
        some = w.compare("sge", left, 1)
        found = records.load_some(w, run, "%plane", w.select(some, at, 0), left)
        step = w.value(f"select i1 {from_y}, i64 {records.width}, i64 0")
        return found, w.add(x_at, w.sub(records.width, step)), w.add(y_at, step)

    def _merged(self, state: list[str]) -> tuple[Vector, list[str]]:
        w, records = self.w, self.records
        *kept, x_at, y_at = state
        found, x_after, y_after = self._take(x_at, y_at)
        turned = records.permute(w, found, lambda i: records.width - 1 - i)
        low, high = records.exchange(w, tuple(kept), turned)
        distance = records.width // 2
        while distance:
            low, high = (records.clean_lanes(w, z, distance) for z in (low, high))
            distance //= 2
        return low, [*high, str(x_after), str(y_after)]

    def begin(self) -> list[str]:
        """The first vector is in registers."""
        found, x_at, y_at = self._take(0, 0)
        return [*found, str(x_at), str(y_at)]

    def step(self, at: Value, state: list[str]) -> list[str]:
        """A vector more is stored."""
        low, after = self._merged(state)
        self.records.store(self.w, low, self.to, "%plane", at)
        return after

    def finish(self, state: list[str], start: Value, total: Value) -> None:
        """Stores all from `start` to `total`."""
        w, width = self.w, self.records.width
        rest = w.rem(total, width)
        whole = w.sub(total, rest)
        carried = list(zip(self.types, state, strict=True))
        last = w.loop(whole, self.step, carried, start=start, step=width)

        def part() -> None:
            low, _ = self._merged(last)
            self.records.store_some(w, low, self.to, "%plane", whole, rest)

        w.when(w.compare("ne", rest, 0), part)


def split_runs(w: LoopWriter, records: Records) -> str:
    """The name of ``i64 split(ptr x, i64 nx, ptr y, i64 ny, i64 count, i64 plane)``.

    How many of the first `count` records of the merged runs are of x: the lowest i for which record i
    of x is not below record ``count - 1 - i`` of y (O. Green et al., "Merge path", 2012).
    """
    name = f"@split.{records.name}"

    def write(f: LoopWriter) -> str:
        low, high = f.max(f.sub("%count", "%ny"), 0), f.min("%count", "%nx")

        def narrow(state: list[str]) -> list[Value]:
            low, high = state
            middle = f.value(f"lshr i64 {f.add(low, high)}, 1")
            x = records.load_one(f, "%x", "%plane", middle)
            y = records.load_one(f, "%y", "%plane", f.sub(f.sub("%count", 1), middle))
            below = records.below(f, x, y)
            return [f.select(below, f.add(middle, 1), low), f.select(below, high, middle)]

        found = f.until(["i64", "i64"], [low, high], lambda s: f.compare("slt", s[0], s[1]), narrow)
        return f"i64 {found[0]}"

    signature = f"i64 {name}(ptr %x, i64 %nx, ptr %y, i64 %ny, i64 %count, i64 %plane)"
    function(w, name, signature, write)
    return name


def sort_records(w: LoopWriter, records: Records, block: int) -> str:
    """The name of ``ptr sort(ptr x, ptr y, i64 n, i64 plane)``: sorts the records at x by way of y.

    Gives which of the two has them. Both have room for whole blocks of `block` records; behind the last
    record x has the highest ones, as many as the last block takes.
    """
    name = f"@sort.{records.name}"

    def write(f: LoopWriter) -> str:
        bytes = records.bytes

        def at(base: str, index: Value) -> str:
            return f.address(base, f.mul(index, bytes), "i8")

        def piece(first: Value) -> None:
            rows = rows_of(f, records, f.min(f.sub("%n", first), block))
            f.do(
                f"call void {sort_block(f, records)}(ptr {at('%x', first)}, i64 %plane, "
                f"i64 {rows}, ptr {at('%y', first)})"
            )

        f.each("%n", piece, step=block)

        def merge_all(state: list[str]) -> list[Value]:
            run, given, to = state
            double = f.mul(run, 2)

            def merge(inner: list[str]) -> list[Value]:
                (low,) = inner
                middle, high = f.min(f.add(low, run), "%n"), f.min(f.add(low, double), "%n")
                f.do(
                    f"call void {merge_runs(f, records)}(ptr {at(given, low)}, i64 {f.sub(middle, low)}, "
                    f"ptr {at(given, middle)}, i64 {f.sub(high, middle)}, ptr {at(to, low)}, i64 %plane)"
                )
                return [high]

            f.until(["i64"], [0], lambda s: f.compare("slt", s[0], "%n"), merge)
            return [double, to, given]

        last = f.until(
            ["i64", "ptr", "ptr"], [block, "%y", "%x"], lambda s: f.compare("slt", s[0], "%n"), merge_all
        )
        return f"ptr {last[1]}"

    function(w, name, f"ptr {name}(ptr %x, ptr %y, i64 %n, i64 %plane)", write)
    return name


def sort_short(w: LoopWriter, records: Records) -> str:
    """As `sort_records`, of at most one block."""
    name = f"@sort.short.{records.name}"

    def write(f: LoopWriter) -> str:
        rows = rows_of(f, records, "%n")
        f.do(f"call void {sort_block(f, records)}(ptr %x, i64 %plane, i64 {rows}, ptr %y)")
        return "ptr %y"

    function(w, name, f"ptr {name}(ptr %x, ptr %y, i64 %n, i64 %plane)", write)
    return name
