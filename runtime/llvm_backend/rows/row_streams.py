"""Row streams: results of a row kernel that go to memory past the caches.

A store brings its line into the cache first, though all of it is overwritten: of what a softmax moves, that
is a third. A result that does not fit the caches beside the operands, and that nobody reads again in this
run, is better stored without: then the operands stay where they are. Where a part of it does fit, that part
of the chunks stores as ever.

The kernel is written twice, and a word of its block says how many of every eight chunks are `streamed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.sizes import product
from graphc.tensor import Tensor
from passes.program import Program, Step
from runtime.llvm_backend.engine.machine import host
from runtime.llvm_backend.ir.values import memory_dtype
from runtime.llvm_backend.rows.row_plan import RowPlan

TURNS = 8  # chunks of which some are streamed
_SMALLEST = 1 << 22  # bytes of a result that is worth a second text
_KEPT = 0.65  # of the last cache, which holds other things too
_LINE = 64


def streamed_results(plan: RowPlan) -> tuple[int, ...]:
    """Which results `plan` may stream: large ones, of rows that are whole cache lines, not read again."""
    if plan.is_split or not isinstance(plan.inner, int):
        return ()
    found = []
    for i, (node, access) in enumerate(zip(plan.body.outputs, plan.writes, strict=True)):
        whole = plan.is_flat or plan.inner * memory_dtype(node.dtype).itemsize % _LINE == 0
        if access.is_full and whole and node not in plan.kept and _bytes([node]) >= _SMALLEST:
            found.append(i)
    return tuple(found) if share_streamed(plan) else ()


def share_streamed(plan: RowPlan) -> int:
    """How many of every `TURNS` chunks are streamed, so that the rest stays in the cache."""
    given, made = _bytes(plan.body.inputs), _bytes(plan.body.outputs)
    room = _KEPT * host().l3
    if made == 0 or given + made <= room:
        return 0
    return TURNS - round(TURNS * max(room - given, 0.0) / made)


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


def write_choice(word: int, results: Sequence[int]) -> str:
    """``kernel``: runs `streamed` or `plain`, where `word` of the block is the share.

    `results` are the words of what is streamed, whose arrays must begin with a cache line. What was
    streamed is seen by other threads before they are told that the chunk is done.
    """
    lines = [
        f"  %share.at = getelementptr i64, ptr %block, i64 {word}",
        "  %share = load i64, ptr %share.at, align 8",
        f"  %turn = and i64 %chunk, {TURNS - 1}",
        "  %turned = icmp ult i64 %turn, %share",
        "  %all0 = add i64 0, 0",
    ]
    for i, result in enumerate(results):
        lines += [
            f"  %at{i} = getelementptr i64, ptr %block, i64 {result}",
            f"  %place{i} = load i64, ptr %at{i}, align 8",
            f"  %all{i + 1} = or i64 %all{i}, %place{i}",
        ]
    return "\n".join(
        [
            "define void @kernel(ptr %block, i64 %chunk) {",
            "entry:",
            *lines,
            f"  %low = and i64 %all{len(results)}, {_LINE - 1}",
            "  %lies = icmp eq i64 %low, 0",
            "  %goes = and i1 %turned, %lies",
            "  br i1 %goes, label %past, label %through",
            "past:",
            "  call void @streamed(ptr %block, i64 %chunk)",
            "  fence seq_cst",
            "  ret void",
            "through:",
            "  call void @plain(ptr %block, i64 %chunk)",
            "  ret void",
            "}",
        ]
    )
