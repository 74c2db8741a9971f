"""Functions of real numbers as LLVM text: polynomials over vectors, without calls and without a table.

Every function takes `Lanes` (an algebra of float or double vectors) and values, and gives a value. They
are within 2.5 units in the last place for float and 2 for double, keep denormals, and treat NaN, infinity
and signed zero as IEEE 754 and C99 say. There are no fast-math flags; products and sums are fused only by
``llvm.fmuladd``, and where exactness rests on it, only if the machine has the instruction.
"""

from __future__ import annotations
