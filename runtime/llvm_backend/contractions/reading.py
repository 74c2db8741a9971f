"""Reading: how the kernel of a contraction reads an operand that its prologue makes of others."""

from __future__ import annotations

import math

from graphc.sizes import Symbol, symbols
from graphc.tensor import Tensor
from passes.target import Reading
from runtime.llvm_backend.contractions.framing import make_frame
from runtime.llvm_backend.contractions.fused_contraction import contract_of
from runtime.llvm_backend.contractions.grid import lay_out
from runtime.llvm_backend.contractions.pair_kernel import find_product
from runtime.llvm_backend.contractions.planning import plan
from runtime.llvm_backend.contractions.schedule import A
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.writer import Evaluator

_MANY = 768  # what a size known only at the run is taken for: the more rows, the more often B is packed


def find_reading(node: Tensor, number: int) -> Reading | None:
    """For operand `number` of the contraction in the `fused` `node`, which the body makes of others.

    None: there is no kernel for it, or it is the one whose elements are read one at a time (A of the outer
    form). Where that is copied, it is copied for each group of columns: measured, slower in any case. Dot
    instructions pack both operands once.
    """
    contract = contract_of(node)
    if contract is None or not contract.input_expression(number).steps:
        return None
    if find_product(contract, host()) is not None:
        return Reading(1, True)
    schedule = plan(contract, host())
    found: set[Symbol] = {symbol for dim in contract.dims for symbol in symbols(dim.size)}
    frame = make_frame(contract, schedule, host(), "kernel")
    grid = lay_out(Evaluator(dict.fromkeys(found, _MANY)), frame)
    if number == schedule.inputs[A]:
        return Reading(int(grid.panels), False) if schedule.form == "dot" else None
    if schedule.pack:
        return Reading(int(grid.parts), True)
    return Reading(math.prod(map(int, grid.levels)), False)
