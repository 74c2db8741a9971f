"""Row streams: results of a row kernel that go to memory past the caches.

A store brings its line into the cache first, though all of it is overwritten: of what a softmax moves, that
is a third. A result that does not fit the caches beside the operands, and that nobody reads again in this
run, is better stored without: then the operands stay where they are. Where a part of it does fit, that part
of the chunks stores as ever: stretches of many rows, since the prefetcher of a store that goes through the
caches would bring in what the next row is to store past them.

A word of the kernel's block says how many of every eight chunks are streamed. Loops that store such
results are written twice.

Where L3 is far a core waits for each such store; rows are stored as ever there, and ask for the lines of the
next row while they are: 0.83 to 0.92 of the time of a layer norm or a softmax, on one core and on two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.sizes import product
from graphc.tensor import Tensor
from passes.program import Program, Step
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.text import Emitter
from runtime.llvm_backend.ir.values import memory_dtype
from runtime.llvm_backend.rows.row_plan import RowPlan

TURNS = 8  # chunks of which some are streamed
_SMALLEST = 1 << 22  # bytes of a result that is worth a second text
_KEPT = 0.65  # of the last cache, which holds other things too
_MOST_BESIDE = 5 / TURNS  # tried on cores of one L3 and of two: 0.9 and 1.0 of the time of all
_MANY_CACHES = 8  # of one core: more than they all have together
_LINE = 64


def large_results(plan: RowPlan) -> tuple[int, ...]:
    """Results that are large, of rows that are whole cache lines, and not read again."""
    if plan.is_split or not isinstance(plan.inner, int):
        return ()
    found = []
    for i, (node, access) in enumerate(zip(plan.body.outputs, plan.writes, strict=True)):
        whole = plan.is_flat or plan.inner * memory_dtype(node.dtype).itemsize % _LINE == 0
        if access.is_full and whole and node not in plan.kept and _bytes([node]) >= _SMALLEST:
            found.append(i)
    return tuple(found)


def streamed_results(plan: RowPlan) -> tuple[int, ...]:
    """Which results `plan` may stream: large ones, beside operands for which the caches have no room."""
    found = () if _is_far(plan) else large_results(plan)
    return found if found and share_streamed(plan, 1) else ()


def claimed_results(plan: RowPlan) -> tuple[int, ...]:
    """Which results `plan` asks for a row before it stores them: large ones, far more than L2 holds."""
    found = large_results(plan) if _is_far(plan) else ()
    moved = _bytes((*plan.body.inputs, *plan.body.outputs)) if found else 0
    return found if moved > _MANY_CACHES * host().l2 else ()


def _is_far(plan: RowPlan) -> bool:
    """Whether stores of rows go to a far L3; those of a flat array the hardware knows ahead."""
    return host().far_l3 and not plan.is_flat


def share_streamed(plan: RowPlan, threads: int) -> int:
    """How many of every `TURNS` chunks are streamed, so that the rest stays in the cache.

    Memory takes such stores at half the rate at which it is read, which is what a core alone asks for. Where
    there are several, and nothing but elements to compute meanwhile, few are streamed unless much is read in
    the same time, and fewer where some of that is in the cache. What the caches keep of a result is written
    over there by the next run, and never goes to memory. So of what is little more than they hold, which is
    read from memory in part, no more than five of eight are.
    """
    given, made = _bytes(plan.body.inputs), _bytes(plan.body.outputs)
    room = _KEPT * host().l3
    if made == 0 or given + made <= room:
        return 0
    most = 1.0
    if threads > 1 and plan.is_flat:
        most = (1 + (given + made) / max(host().l3, 1)) / 4 * max(given / made, 1.0)
    elif threads > 1 and not is_past_caches(plan):
        most = _MOST_BESIDE
    return round(TURNS * min(1 - max(room - given, 0.0) / made, most, 1.0))


def is_past_caches(plan: RowPlan) -> bool:
    """Whether what a kernel reads and writes waits for the memory, for the most part."""
    return _bytes((*plan.body.inputs, *plan.body.outputs)) > 1.5 * host().l3


def outgrows_caches(result: Tensor) -> bool:
    """Whether the caches hold little of a result that is read again in this run (`loops.cell_steps`)."""
    return _bytes([result]) > max(host().l3 // 2, _MANY_CACHES * host().l2)


def find_read(program: Program, views: Callable[[Step], object]) -> frozenset[int]:
    """The buffers that a step of `program` reads, or what shows them."""
    read: set[int] = set()
    for step in reversed(program.steps):
        if step.output in read or not views(step):
            read.update(step.inputs)
    return frozenset(read)


def _bytes(nodes: Sequence[Tensor]) -> int:
    """Bytes of what is known to be large."""
    total = 0
    for node in nodes:
        elements = product(node.result.sizes)
        total += elements * memory_dtype(node.dtype).itemsize if isinstance(elements, int) else 0
    return total


def is_streamed(one: Emitter, share: str, results: Sequence[str]) -> str:
    """Whether the chunk is one of the `share`, and every result begins with a cache line."""
    turn = one.let(f"and i64 %chunk, {TURNS - 1}")
    low = "0"
    for result in results:
        low = one.let(f"or i64 {low}, {one.let(f'ptrtoint ptr {result} to i64')}")
    within = one.let(f"and i64 {low}, {_LINE - 1}")
    turned, lies = one.compare("ult", "i64", turn, share), one.compare("eq", "i64", within, "0")
    return one.both(turned, lies)
