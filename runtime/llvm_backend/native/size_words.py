"""Size words: sizes as words of a run, computed by steps of the table from the symbols that feeds bind."""

from __future__ import annotations

from collections.abc import Iterable

from graphc.sizes import Call, Size, SizeExpr, Symbol
from runtime.llvm_backend.table.steptable import TableBuilder

_OPERATIONS = {"//": "div", "%": "mod", "max": "maximum"}


class SizeWords:
    """Words for sizes. What `word` and `store` add to the table runs in its order, each size once.

    Attributes:
        symbols: the word of each symbol; feeds write them.
    """

    def __init__(self, builder: TableBuilder, symbols: Iterable[Symbol]) -> None:
        self._builder = builder
        self.symbols = {symbol: builder.word() for symbol in symbols}
        self._words: dict[Size, int] = {}

    def word(self, size: Size) -> int:
        """The word that holds `size` once the steps added here have run."""
        if not isinstance(size, SizeExpr):
            return self._builder.constant(size)
        found = self._words.get(size)
        if found is None:
            found = self._words[size] = self._computed(size)
        return found

    def store(self, to: int, size: Size) -> None:
        """``to = size``."""
        self._builder.move(to, self.word(size))

    def _computed(self, size: SizeExpr) -> int:
        total = None
        for atoms, coefficient in size.terms:
            term = None if coefficient == 1 and atoms else self._builder.constant(coefficient)
            for atom in atoms:
                factor = self.symbols[atom] if isinstance(atom, Symbol) else self._called(atom)
                term = factor if term is None else self.compute("mul", term, factor)
            assert term is not None
            total = term if total is None else self.compute("add", total, term)
        assert total is not None  # a polynomial without terms is the int 0
        return total

    def _called(self, atom: Call) -> int:
        return self.compute(_OPERATIONS[atom.function], *map(self.word, atom.operands))

    def compute(self, operation: str, a: int, b: int) -> int:
        """A new word: ``a op b``."""
        result = self._builder.word()
        self._builder.compute(operation, result, a, b)
        return result
