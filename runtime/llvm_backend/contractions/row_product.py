"""Row product: one row times a matrix, its reduction in parts, so that each thread reads whole pages.

Such a product reads the matrix once, and is as fast as the caches hand it out. Were columns shared out, a
thread would read the same part of every page, which falls in the same part of its cache's sets: of two
threads each would have half of its L2. So the reduction is parted, by its size alone; each part is a row
of partial sums, and a second phase adds those up and runs the epilogue.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.sizes import product
from runtime.llvm_backend.contractions.contraction import AS_IT_IS, Access, Contract, Dim, row_major
from runtime.llvm_backend.contractions.cuts import LONG_REDUCTION
from runtime.llvm_backend.contractions.framing import PARTIALS
from runtime.llvm_backend.contractions.planning import plan
from runtime.llvm_backend.contractions.registers import VectorUnit
from runtime.llvm_backend.contractions.schedule import B

_GRAIN = 1 << 16  # elements of the matrix that are worth a part
_MOST_PARTS = 16
_FEWEST_STEPS = 64  # of a part: its sums are written and read again
_WIDE = 8192  # bytes of a row that columns may be shared out of: two pages
_PART = "part"


def part_reduction(contract: Contract, machine: VectorUnit) -> tuple[Contract, Contract] | None:
    """What leaves partial sums in `PARTIALS`, and what goes on with them.

    None where the contract is no product of one row, or one that is fast as it is.
    """
    count = _count_parts(contract, machine)
    if count is None:
        return None
    (steps,) = (dim for dim in contract.reduced_dims if dim.size != 1)
    assert isinstance(steps.size, int)  # or it would not be parted
    each = steps.size // count
    kept = contract.output_dims
    sizes = [dim.size for dim in kept]
    strides = row_major([dim.name for dim in kept], sizes) | {_PART: product(sizes)}
    partial = Access(PARTIALS, 0, strides, contract.accumulator)
    parts = Dim(_PART, count)
    main = Contract(
        (*kept, parts, Dim(steps.name, each)),
        tuple(
            replace(access, strides={**access.strides, _PART: access.stride(steps.name) * each})
            for access in contract.ins
        ),
        partial,
    )
    rest = Contract(
        (*kept, parts),
        (partial,),
        contract.out,
        "add",
        epilogue=contract.epilogue,
        also=contract.also,
    )
    return main, rest


def _count_parts(contract: Contract, machine: VectorUnit) -> int | None:
    """In how many parts the reduction falls; None where it stays whole."""
    if contract.combine != "multiply_add" or any(x is not AS_IT_IS and x.steps for x in contract.prologue):
        return None
    sizes = [dim.size for dim in contract.dims]
    steps = product(dim.size for dim in contract.reduced_dims)
    whole = product(sizes)
    if not isinstance(whole, int) or not isinstance(steps, int) or not 0 < steps <= LONG_REDUCTION:
        return None
    most = min(_MOST_PARTS, whole // _GRAIN, steps // _FEWEST_STEPS)
    found = [count for count in range(2, most + 1) if steps % count == 0]
    total = contract.accumulator
    if (
        not found
        or sum(dim.size != 1 for dim in contract.output_dims) != 1  # it is of one row
        or sum(dim.size != 1 for dim in contract.reduced_dims) != 1
        or whole // steps * total.itemsize >= _WIDE
        or any(access.dtype is not total for access in contract.ins)
    ):
        return None
    schedule = plan(contract, machine)
    if schedule.form != "outer" or schedule.pack or schedule.column.strides[B] != 1:
        return None
    return max(found, key=lambda count: (count % 4 == 0, count % 2 == 0, count))
