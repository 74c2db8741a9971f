"""Writer: LLVM text in SSA form, with arithmetic that folds, and loops that carry values.

A `Value` is an int known now or the name of an i64 of the function being written; whatever folds in
Python never reaches the text, so no pass over the IR is needed. Run-time sizes and strides are words
of the kernel's argument block: `word` gives their value and loads each once, where the function begins.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from graphc.sizes import Size, SizeExpr, Symbol, evaluate
from runtime.llvm_backend.ir.text import Emitter, Module, Target, numbered, unseen

Made = TypeVar("Made")
Value = int | str
Carried = Sequence[tuple[str, str]]  # the types and first values of what a loop carries
INTERNAL = "internal "  # the linkage of what only functions of the same module call
_HOLE = 0xE000  # the letter that stands in a phrase for its names; then come those of the block, of operands


class Writer:
    """The text of one module, written function by function.

    `words` are the run-time sizes in the order of their slots, which begin at slot `first_word` of
    the argument block; they are the only state that functions share. Those in `multiples` are known to be
    at least 1, and multiples of those numbers.

    Attributes:
        first_word: the slot of the first word.
        linkage: of the functions that follow, but for those that say it themselves; it may be set.
    """

    def __init__(
        self,
        first_word: int = 0,
        module: Module | None = None,
        multiples: Mapping[SizeExpr, int] | None = None,
        linkage: str = "",
    ) -> None:
        self.module = module or Module(Target())
        self._multiples = {} if multiples is None else multiples  # more may come, while nothing uses them
        self._known: dict[Value, int] = {}  # the same by name, of words that the function uses
        self.words: dict[SizeExpr, int] = {}
        self.linkage = linkage
        self.first_word = first_word
        self._lines: list[str] = []
        self._done: list[str] = []
        self._count = 0
        self._label = "entry"
        self._loaded: dict[SizeExpr, str] = {}
        self._phrases: dict[Hashable, tuple[object, str, int]] = {}  # owners are kept, for their `id`

    # ---- text ------------------------------------------------------------------------------------

    def fresh(self, prefix: str = "t") -> str:
        """A name that is not in use."""
        self._count += 1
        return f"%{prefix}{self._count}"

    def value(self, instruction: str) -> str:
        """The result of an instruction."""
        self._count += 1
        name = f"%t{self._count}"
        self._lines.append(f"  {name} = {instruction}")
        return name

    def do(self, instruction: str) -> None:
        """An instruction without a result."""
        self._lines.append("  " + instruction)

    def emit(self, width: int, write: Callable[[Emitter], Made]) -> Made:
        """What `write` gives with an emitter of this function."""
        self._count += 1
        emitter = Emitter(self.module, width, prefix=f"e{self._count}.", label=self._label)
        value = write(emitter)
        self._lines += emitter.lines
        self._label = emitter.label
        return value

    def phrase(
        self,
        owner: object,
        kind: Hashable,
        operands: Sequence[str],
        width: int,
        write: Callable[[Emitter, Sequence[str]], Sequence[str]],
    ) -> list[str]:
        """The values that ``write(emitter, operands)`` gives, whatever operands are called.

        It is called once for each `owner` and `kind`; after that what it wrote is copied, with other names.
        """
        self._count += 1
        found = self._phrases.get((id(owner), kind))
        if found is None:
            first, label, *others = holes = [chr(_HOLE + i) for i in range(2 + len(operands))]
            emitter = Emitter(self.module, width, prefix=first, label=label)
            values = write(emitter, others)
            text = "\n".join([*emitter.lines, emitter.label, *values]).replace("{", "{{").replace("}", "}}")
            for i, hole in enumerate(holes):
                text = text.replace(hole, f"{{{i}}}")
            found = self._phrases[id(owner), kind] = owner, text, len(values)
        _, text, many = found
        lines = text.format(f"e{self._count}.", self._label, *operands).split("\n")
        self._label = lines[-1 - many]
        self._lines += lines[: -1 - many]
        return lines[-many:]

    def declare(self, declaration: str) -> None:
        """A function of LLVM's, declared once however often it is called."""
        self.module.declare("@" + declaration.partition("@")[2].partition("(")[0], f"declare {declaration}")

    def begin(self, signature: str) -> None:
        """Opens ``define <signature>``; where words are used it has a parameter ``ptr %block``."""
        self._lines, self._loaded, self._count = [], {}, 0
        self._signature = signature if signature.startswith(INTERNAL) else f"{self.linkage}{signature}"
        self._label = "entry"

    def add_attribute(self, attribute: str) -> None:
        """The function that is open has this attribute too."""
        self._signature += f" {attribute}"

    def end(self, result: str = "void") -> None:
        """Closes the function."""
        self.do(f"ret {result}")
        loads = []
        for expression, name in self._loaded.items():
            at = self.slot(expression)
            loads.append(f"  {name}.at = getelementptr inbounds i64, ptr %block, i64 {at}")
            loads.append(f"  {name} = load i64, ptr {name}.at, align 8")
        head = f"define {self._signature} {{\nentry:"
        self._done.append("\n".join([head, *loads, *self._lines, "}"]))

    def define(self, function: str) -> None:
        """Adds the whole text of a function."""
        self._done.append(function)

    def functions(self) -> str:
        """The text of the functions; what they call is declared by `module`."""
        return "\n".join([*self._done, ""])

    # ---- integers --------------------------------------------------------------------------------

    def word(self, size: Size) -> Value:
        """The value of a size: itself, or a word of the argument block."""
        if isinstance(size, int):
            return size
        name = self._loaded.get(size)
        if name is None:
            name = self._loaded[size] = f"%word{self.words.setdefault(size, len(self.words))}"
            if size in self._multiples:
                self._known[name] = self._multiples[size]
        return name

    def slot(self, size: SizeExpr) -> int:
        """Where in the argument block the word is that holds a size."""
        return self.first_word + self.words[size]

    def add(self, x: Value, y: Value) -> Value:
        """``x + y``."""
        if isinstance(x, int) and isinstance(y, int):
            return x + y
        if x == 0 or y == 0:
            return y if x == 0 else x
        return self.computed("add", x, y)

    def sub(self, x: Value, y: Value) -> Value:
        """``x - y``."""
        if isinstance(x, int) and isinstance(y, int):
            return x - y
        if y == 0 or x == y:
            return x if y == 0 else 0
        return self.computed("sub", x, y)

    def mul(self, x: Value, y: Value) -> Value:
        """``x * y``."""
        if isinstance(x, int) and isinstance(y, int):
            return x * y
        if x == 0 or y == 0:
            return 0
        if x == 1 or y == 1:
            return y if x == 1 else x
        return self.computed("mul", x, y)

    def computed(self, what: str, x: Value, y: Value) -> Value:
        """What `add`, `sub` or `mul`, as told, gives of `x` and `y` where the run computes it."""
        return self.value(f"{what} nsw i64 {x}, {y}")

    def div(self, x: Value, y: Value) -> Value:
        """``x // y`` of numbers that are not negative; something where `y` is a 0, for that never runs."""
        if y == 1 or x == 0 or y == 0:
            return x
        if isinstance(x, int) and isinstance(y, int):
            return x // y
        return self.value(f"udiv i64 {x}, {y}")

    def rem(self, x: Value, y: Value) -> Value:
        """``x % y`` of numbers that are not negative; something where `y` is a 0, for that never runs."""
        if y == 1 or x == 0 or y == 0:
            return 0
        if isinstance(x, int) and isinstance(y, int):
            return x % y
        if isinstance(y, int) and self._known.get(x, 1) % y == 0:
            return 0
        return self.value(f"urem i64 {x}, {y}")

    def ceil_div(self, x: Value, y: Value) -> Value:
        """``ceil(x / y)``."""
        return self.div(self.add(x, self.sub(y, 1)), y)

    def min(self, x: Value, y: Value) -> Value:
        """The smaller one. LLVM's lowest level knows two instructions for that, and not its own intrinsic."""
        return x if x == y else self.select(self.compare("slt", x, y), x, y)

    def max(self, x: Value, y: Value) -> Value:
        """The larger one."""
        return x if x == y else self.select(self.compare("slt", x, y), y, x)

    def select(self, condition: str, x: Value, y: Value) -> Value:
        """`x` where the condition holds, else `y`."""
        if condition in ("true", "false"):
            return x if condition == "true" else y
        return self.value(f"select i1 {condition}, i64 {x}, i64 {y}")

    def both(self, x: str, y: str) -> str:
        """Whether two i1 hold."""
        if "false" in (x, y):
            return "false"
        if "true" in (x, y):
            return y if x == "true" else x
        return self.value(f"and i1 {x}, {y}")

    def compare(self, predicate: str, x: Value, y: Value) -> str:
        """An i1: ``icmp predicate x, y``, folded where both are known."""
        if isinstance(x, int) and isinstance(y, int):
            held = {"slt": x < y, "sge": x >= y, "eq": x == y, "ne": x != y}[predicate]
            return "true" if held else "false"
        return self.value(f"icmp {predicate} i64 {x}, {y}")

    def address(self, pointer: str, offset: Value, type: str) -> str:
        """`pointer` moved by `offset` elements."""
        if offset == 0:
            return pointer
        return self.value(f"getelementptr inbounds {type}, ptr {pointer}, i64 {offset}")

    def mask(self, count: Value, width: int) -> str:
        """The first `count` lanes of a vector."""
        limit = self.emit(width, lambda em: em.broadcast("i64", str(count)))
        return self.value(f"icmp slt <{width} x i64> {numbered(width)}, {limit}")

    # ---- control ---------------------------------------------------------------------------------

    def label(self, label: str) -> None:
        """The block `label` begins."""
        self._lines.append(f"{label[1:]}:")
        self._label = label[1:]

    def loop(
        self,
        stop: Value,
        body: Callable[[Value, list[str]], Sequence[str] | None],
        carried: Carried = (),
        start: Value = 0,
        step: int = 1,
    ) -> list[str]:
        """``for i in range(start, stop, step): carried = body(i, carried)``; gives the last ones.

        With known bounds it runs at least once or is not there; one round is written without a loop.
        LLVM does not see what counts a loop around others or around calls (`text.unseen`): it finds nothing
        there that is worth its time.
        """
        first = [value for _, value in carried]
        if start == stop:
            return first
        known = isinstance(start, int) and (isinstance(stop, int) or (start == 0 and stop in self._known))
        if isinstance(stop, int) and isinstance(start, int):
            if stop <= start:
                return first
            if stop - start <= step:
                return list(body(start, first) or [])
        head, done, before = self.fresh("loop"), self.fresh("done"), self._label
        if known:
            self.do(f"br label {head}")
        else:
            self.do(f"br i1 {self.compare('slt', start, stop)}, label {head}, label {done}")
        self.label(head)
        index, phis = self.fresh("i"), [self.fresh("phi") for _ in carried]
        place = len(self._lines)
        results = list(body(index, phis) or [])
        counted = index
        if any(map(_is_outer, self._lines[place:])):
            counted = self.fresh("i")
            self._lines.insert(place, f"  {index} = {unseen(self.module, counted)}")
        after = self.add(index, step)
        again = self.compare("slt", after, stop)
        latch = self._label
        self.do(f"br i1 {again}, label {head}, label {done}")
        self._lines[place:place] = [
            f"  {counted} = phi i64 [{start}, %{before}], [{after}, %{latch}]",
            *(
                f"  {phi} = phi {type} [{value}, %{before}], [{result}, %{latch}]"
                for phi, (type, value), result in zip(phis, carried, results, strict=True)
            ),
        ]
        self.label(done)
        if known:
            return results
        return [
            self.value(f"phi {type} [{value}, %{before}], [{result}, %{latch}]")
            for (type, value), result in zip(carried, results, strict=True)
        ]

    def choose(
        self,
        condition: str,
        then: Callable[[], Sequence[str] | None],
        otherwise: Callable[[], Sequence[str] | None],
        types: Sequence[str] = (),
    ) -> list[str]:
        """Either branch, and its values; a known condition writes one branch only."""
        if condition in ("true", "false"):
            return list((then() if condition == "true" else otherwise()) or ())
        first, second, done = self.fresh("then"), self.fresh("else"), self.fresh("done")
        self.do(f"br i1 {condition}, label {first}, label {second}")
        sides = []
        for label, branch in ((first, then), (second, otherwise)):
            self.label(label)
            sides.append((branch() or (), self._label))
            self.do(f"br label {done}")
        self.label(done)
        (x, from_x), (y, from_y) = sides
        return [
            self.value(f"phi {type} [{a}, %{from_x}], [{b}, %{from_y}]")
            for type, a, b in zip(types, x, y, strict=True)
        ]

    def when(self, condition: str, body: Callable[[], None]) -> None:
        """`body` where the condition holds."""
        self.choose(condition, body, lambda: None)


def _is_outer(line: str) -> bool:
    """Whether a line of a loop makes it one around others, or around calls."""
    return line.startswith("loop") or (" call " in line and "@llvm." not in line)


class Evaluator(Writer):
    """Arithmetic on sizes whose values are known: what a writer's formula gives, as a number."""

    def __init__(self, values: Mapping[Symbol, int]) -> None:
        super().__init__()
        self._values = values

    def word(self, size: Size) -> Value:
        """The number that a size is. Raises: KeyError where a symbol has no value."""
        return evaluate(size, self._values)
