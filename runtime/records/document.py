"""The record of an executable: what the passes did, the program, its kernels, its memory, its times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from graphc.descent import descend
from graphc.function import Function
from graphc.sizes import Symbol
from graphc.variable import Variable
from passes.history import prepare_recorded, spell_sizes
from passes.program import Program
from passes.weight import bytes_of
from runtime.execution import programs_of
from runtime.feeds import label
from runtime.records.identity import Names
from runtime.records.kernels import KernelTable
from runtime.records.memory import Cells, spell_memory
from runtime.records.steps import spell_steps

if TYPE_CHECKING:
    from runtime.executable import Executable


def record_executable(
    executable: Executable,
    known: Mapping[Symbol, int] | None = None,
    with_assembly: bool = False,
    profile: Mapping[str, Any] | None = None,
    title: str | None = None,
) -> dict[str, Any]:
    """All about `executable`, as docs/record.md says. The passes are run once more for it.

    Args:
        executable: any.
        known: what the symbols of a run were; guesses stand for those that are missing.
        with_assembly: whether kernels are assembled to be looked at, which takes about as long as compiling.
        profile: times that were measured.
        title: what it is of.
    """
    prepared, deltas, record = prepare_recorded(executable.request, executable.target, known)
    names = Names.of_function(executable.function, prepared.function, deltas)
    program, bound, native = executable.program, executable.bound, executable.native
    table = KernelTable(bound, {} if native is None else native.runs)
    cells = Cells(program, None if native is None else native.memory)
    steps = descend(spell_steps(program, bound, executable.kind_of, names, cells, table.of))
    guessed = _Guessed(names)
    arena = None if native is None else native.arena_bytes(guessed)
    record |= {
        "graphc": _version(),
        "title": title or record["title"],
        "backend": executable.backend,
        "threads": executable.threads,
        "machine": _machine(executable.backend),
        "inputs": [
            f"{label(t)}: {n.type}" for t, n in zip(executable.feeds, executable.function.inputs, strict=True)
        ],
        "outputs": [str(node.type) for node in executable.function.outputs],
        "compile": {"seconds": executable.seconds, "parts": _parts(executable.stages)},
        "program": {"steps": steps, "native": native is not None, "reason": executable.reason or None},
        "kernels": table.spell(with_assembly),
        "memory": spell_memory(cells, names, arena, executable.peak_of(guessed)),
        "variables": _variables(program, executable.function, names),
        "profile": profile,
    }
    record["sizes"] = spell_sizes(deltas)
    return record | _short_forms(executable, record)


def _parts(stages: Mapping[str, float]) -> list[dict[str, Any]]:
    """The parts of compiling, one after the other."""
    found, begin = [], 0.0
    for name, seconds in stages.items():
        found.append({"name": name, "begin": begin, "seconds": seconds})
        begin += seconds
    return found


def _short_forms(executable: Executable, record: Mapping[str, Any]) -> dict[str, Any]:
    """The steps, passes and fallbacks in short."""
    steps = [
        {
            "op": step.node.op.name,
            "type": str(step.node.type),
            "at": str(step.node.loc) if step.node.loc else None,
            "kernel": executable.kind_of(step),
        }
        for bound in executable.walked()
        for step in bound.steps
    ]
    fallbacks: dict[str, int] = {}
    if executable.backend != "numpy":
        for step in steps:
            if step["kernel"] == "meaning":
                fallbacks[str(step["op"])] = fallbacks.get(str(step["op"]), 0) + 1
    native = executable.native
    return {
        "seconds": executable.seconds,
        "passes": [{key: s[key] for key in ("name", "seconds", "nodes")} for s in record["stages"]],
        "steps": steps,
        "fallbacks": fallbacks,
        "native": {
            "reason": executable.reason or None,
            "returns": None if native is None else native.returns,
            "regions": [
                {"op": node.op.name, "at": str(node.loc) if node.loc else None, "reason": reason}
                for node, reason in ({} if native is None else native.obstacles).items()
            ],
        },
        "specialised": {f"?{s.serial}": n for s, n in executable.request.sizes.items()},
        "bound_by_steps": [
            f"{step.op.name} gives {step.type}"
            for program in programs_of(executable.program)
            for step in (s.node for s in program.steps if s.bindings)
        ],
    }


class _Guessed(dict[Symbol, int]):
    """Sizes in which symbols that are missing are guessed."""

    def __init__(self, names: Names) -> None:
        super().__init__(names.sizes.known)

    def __missing__(self, symbol: Symbol) -> int:
        from passes.weight import GUESS

        return GUESS

    def __contains__(self, symbol: object) -> bool:
        return True


def _variables(program: Program, function: Function, names: Names) -> list[dict[str, Any]]:
    """The variables that are read or assigned, at any depth."""
    homes: dict[str, Variable] = {}
    if function.owner is not None:
        homes = function.owner.root.variables
    assigned = {name for name, _ in program.assignments}
    found: dict[str, dict[str, Any]] = {}
    pending, depth = [(program, True)], 0
    while depth < len(pending):
        current, is_whole = pending[depth]
        depth += 1
        pending.extend((body, False) for step in current.steps for body in step.programs.values())
        given = {name: (type, current.nodes[buffer]) for name, buffer, type in current.variables}
        given |= {
            name: (current.nodes[buffer].result, current.nodes[buffer])
            for name, buffer in current.assignments
            if name not in given
        }
        for name, (type, node) in given.items():
            variable = homes.get(name)
            found.setdefault(
                name,
                {
                    "name": name,
                    "type": str(type),
                    "bytes": names.sizes.number(bytes_of(type)),
                    "trainable": variable.trainable if variable is not None else None,
                    "assigned": name in assigned,
                    "node": names.of(node) if is_whole else None,
                },
            )
    return list(found.values())


def _version() -> str:
    from graphc import __version__  # the facade, which loads this room lazily

    return __version__


def _machine(backend: str) -> dict[str, str]:
    if backend != "llvm":
        return {}
    from runtime.llvm_backend.engine.machine import describe_machine  # LLVM takes 20 ms to load

    return describe_machine()
