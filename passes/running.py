"""Running passes: in order, each failure named, each result verified on request, nothing done twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from graphc.errors import ArgumentError, VerificationError
from graphc.freezing import frozen
from graphc.function import Function
from graphc.location import at_line
from graphc.tensor import Tensor
from graphc.verification import agree, verify
from passes.stages import stage
from passes.target import Target

Pass = Callable[[Function, Target], Function]
AfterEach = Callable[[str, Function], None]

_MOST_ROUNDS = 4  # each finds what the one before made possible; a fifth has not been seen to


@frozen
class Repeated:
    """Passes that are run in turn until none of them finds anything. It is a pass itself.

    Args:
        name: what the whole is called.
        steps: the passes, in order.
    """

    name: str
    steps: tuple[Pass, ...]

    def __call__(self, function: Function, target: Target) -> Function:
        """`function` once no step finds anything in it."""
        for done in walk((self,), function, target):
            function = done.after
        return function


@frozen
class Stage:
    """One pass that has run: on what, and what it made of that."""

    step: Pass
    before: Function
    after: Function

    @property
    def name(self) -> str:
        """What the pass is called."""
        return name_of(self.step)


def name_of(step: Pass) -> str:
    """What `step` is called: by its own `name`, else as the function that it is."""
    name = getattr(step, "name", None) or getattr(step, "__name__", None)
    return name if isinstance(name, str) else type(step).__name__


def walk(passes: Sequence[Pass], function: Function, target: Target) -> Iterator[Stage]:
    """Runs `passes` on `function` in order, those within `Repeated` one by one; gives each as it ends.

    A pass that has just made this very function, or found nothing in it, is not run on it again:
    running a pass twice changes nothing.

    Raises: what a pass raises, with a note that names it and those that ran before it;
    VerificationError where ``target.verify`` and what a pass gave is wrong.
    """
    settled: dict[Pass, Function] = {}
    done: list[Pass] = []
    pending = [iter(passes)]
    rounds: list[tuple[Repeated, Function, int]] = []  # those that are open
    while pending:
        step = next(pending[-1], None)
        if step is None:
            pending.pop()
            if rounds and len(pending) == len(rounds):
                repeated, before, left = rounds.pop()
                if function is not before and left:
                    rounds.append((repeated, function, left - 1))
                    pending.append(iter(repeated.steps))
        elif isinstance(step, Repeated):
            rounds.append((step, function, _MOST_ROUNDS - 1))
            pending.append(iter(step.steps))
        else:
            before = function
            if settled.get(step) is not function:
                function = run_pass(step, function, target, done)
                settled[step] = function
            done.append(step)
            yield Stage(step, before, function)


def run_pass(step: Pass, function: Function, target: Target, done: Sequence[Pass] = ()) -> Function:
    """`function` after `step`; a failure gains a note that names the pass and those `done` before it."""
    try:
        with stage(name_of(step)):
            result = step(function, target)
        if target.verify and result is not function:
            verify_result(function, result)
    except Exception as error:
        before = ", ".join(map(name_of, done))
        error.add_note(f"in the pass {name_of(step)}" + (f", after {before}" if done else ""))
        raise
    return result


def verify_result(before: Function, after: Function) -> None:
    """Raises VerificationError unless `after` is right in itself and may stand in place of `before`."""
    if not isinstance(after, Function):
        raise VerificationError(f"a pass gives a Function, not {after!r}")
    verify(after)
    if after.inputs != before.inputs:
        raise VerificationError("the inputs are no longer the same")
    if len(after.outputs) != len(before.outputs):
        raise VerificationError(f"{len(before.outputs)} outputs have become {len(after.outputs)}")
    for i, (x, y) in enumerate(zip(before.outputs, after.outputs, strict=True)):
        if not agree(x.type, y.type, (), {}):
            raise VerificationError(f"output {i} was {x.type} and has become {y.type}{at_line(x.loc)}")
    for node in lost_places(before, after):
        raise VerificationError(f"{node.op.name} : {node.type} belongs to no line of the user's")


def lost_places(before: Function, after: Function) -> Iterator[Tensor]:
    """The nodes of `after` without a user's line, where all of `before` have one."""
    if all(node.loc for node in before.nodes()):
        yield from (node for node in after.nodes() if not node.loc)


def choose_verify(verify: bool | None) -> bool:
    """`verify`, else whether GRAPHC_VERIFY asks for it."""
    return os.environ.get("GRAPHC_VERIFY", "0") not in ("", "0") if verify is None else bool(verify)


def choose_pipeline(pipeline: Sequence[Pass] | None) -> tuple[Pass, ...] | None:
    """`pipeline` as a part of a target. Raises: ArgumentError for what is no sequence of passes."""
    if pipeline is None:
        return None
    if not isinstance(pipeline, list | tuple) or not all(map(callable, pipeline)):
        raise ArgumentError(f"a pipeline is a tuple of passes, which are functions, not {pipeline!r}")
    return tuple(pipeline)


def without(passes: Sequence[Pass], *names: str) -> tuple[Pass, ...]:
    """`passes` without those that bear one of `names`, also within `Repeated` ones.

    Raises: ArgumentError for a name that none bears.
    """
    for name in names:
        passes = _mapped(passes, name, ())
    return tuple(passes)


def replaced(passes: Sequence[Pass], name: str, *steps: Pass) -> tuple[Pass, ...]:
    """`passes` with `steps` in place of each that bears `name`, also within `Repeated` ones.

    Raises: ArgumentError for a name that none bears.
    """
    return _mapped(passes, name, steps)


def names_of(passes: Sequence[Pass]) -> list[str]:
    """What `passes` and those within them are called, in order."""
    found = []
    for step in passes:
        found.append(name_of(step))
        if isinstance(step, Repeated):
            found.extend(names_of(step.steps))
    return found


def _mapped(passes: Sequence[Pass], name: str, steps: tuple[Pass, ...]) -> tuple[Pass, ...]:
    if name not in names_of(passes):
        known = ", ".join(dict.fromkeys(names_of(passes)))
        raise ArgumentError(f"no pass is named {name!r}; there are {known}")
    found: list[Pass] = []
    for step in passes:
        if name_of(step) == name:
            found.extend(steps)
        elif isinstance(step, Repeated) and name in names_of(step.steps):
            found.append(Repeated(step.name, _mapped(step.steps, name, steps)))
        else:
            found.append(step)
    return tuple(found)
