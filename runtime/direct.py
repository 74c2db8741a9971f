"""Direct: the ways of a run through a native program, from what is fed to what is given back.

A run goes the shortest of three ways that is open to it:

    take        a native call and nothing else; kept by the session since an earlier run of the same fetches
                and feeds, which changes no variable
    run_whole   a native call, around it conversion of feeds, and a commit of what is assigned
    the walk    step after step in Python (`Executable.run`), where the program is not native or refuses this
                run: it raises the errors, and finds another executable for other ranks
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.tensor import Tensor
from graphc.types import BFLOAT16
from runtime.backend import Array, Door
from runtime.counting import Counter, Values
from runtime.executable import Executable
from runtime.feeds import Feeds, convert
from runtime.fetches import Fetches

Results = tuple[list[Any], dict[str, Array]]  # the values of the outputs; what is assigned to which variable

# A native call, and what arranges its results (None: they are it).
ShortWay = tuple[Callable[..., Any], Callable[[Any], Any] | None]


def take(way: ShortWay, values: Iterable[Any]) -> Any:
    """The results of a run on the short `way`; NotImplemented where it must go another one."""
    call, finish = way
    result = call(*values)
    return result if finish is None or result is NotImplemented else finish(result)


def make_step(
    run: Callable[..., Any], find_way: Callable[[], ShortWay | None], door: Door | None
) -> Callable[..., Any]:
    """``step(*values)``, which does what `run` does, from its second time on by the way found then."""
    way: ShortWay | None = None

    def step(*values: Any) -> Any:
        nonlocal way
        if way is None:
            result = run(*values)
            way = find_way()
            if door is not None and way is not None and way[1] is None:
                door.lead(way[0], run)
            return result
        result = take(way, values)
        return run(*values) if result is NotImplemented else result

    return step if door is None else door.function(step)


def way_key(fetches: Any, feed_dict: Any) -> Hashable:
    """What tells a run of tensors, alone or in a list or tuple, with tensors fed; None for other runs."""
    if feed_dict is None:
        fed: tuple[Any, ...] = ()
    elif feed_dict.__class__ is dict:
        fed = (*feed_dict,)
        for key in fed:
            if key.__class__ is not Tensor:
                return None
    else:
        return None
    kind = type(fetches)
    if kind is Tensor:
        return (fetches, *fed)
    if kind is not list and kind is not tuple:
        return None
    for leaf in fetches:
        if leaf.__class__ is not Tensor:
            return None
    return ((kind, *fetches), *fed)


def short_way(
    executable: Executable, fetches: Fetches, feeds: Sequence[Tensor], count: Counter, values: Values
) -> ShortWay | None:
    """The shortest way from arrays to results of a run that changes nothing but the `count` of runs.

    `values` are those of the variables. None: there is no such way.
    """
    native = executable.native
    if native is None or native.takes_state or executable.assigns or executable.draws:
        return None
    if any(tensor.dtype is BFLOAT16 for tensor in feeds):  # what is fed is rounded
        return None
    scalars = native.gives_scalars
    nest: Any = fetches.nest
    form = _FORMS.get(type(nest))
    if nest.__class__ is Tensor and native.is_single:
        return native.shortcut("single", scalars, count, values), None
    places = tuple(range(len(fetches.tensors)))
    in_order = places == fetches.places == native.fetches
    if form is not None and in_order and all(leaf.__class__ is Tensor for leaf in nest):
        return native.shortcut(form, scalars, count, values), None

    def finish(outputs: Any) -> Any:
        found = [None if place is None else outputs[place] for place in native.fetches]
        return fetches.arrange(give_away(found, fetches.places))

    return native.shortcut("list", False, count, values), finish


_FORMS: dict[type, str] = {list: "list", tuple: "tuple"}


def run_whole(
    executable: Executable, feeds: Feeds, variables: Mapping[str, Array], state: tuple[int, int]
) -> Results | None:
    """The results of one native call; None where the steps must be walked.

    Raises: what a step in Python raises; FeedError.
    """
    native = executable.native
    assert native is not None
    try:
        rest = list(map(variables.__getitem__, native.variables))
    except KeyError:  # the walk says which one has no value
        return None
    if native.takes_state:
        rest.append(np.array(state, np.uint64))
    values = feeds.values
    exact = all(tensor.dtype is not BFLOAT16 for tensor in feeds.tensors)  # those are rounded when fed
    outputs = native.call(*values, *rest) if exact else NotImplemented
    if outputs is NotImplemented:
        arrays = [np.asarray(convert(t, v), order="C") for t, v in zip(feeds.tensors, values, strict=True)]
        if any(a is not v for a, v in zip(arrays, values, strict=True)):
            outputs = native.call(*arrays, *rest)
        if outputs is NotImplemented:
            outputs = native.run_again((*arrays, *rest))
            if outputs is NotImplemented:  # the walk says why, or finds another executable
                return None
    if native.is_single:
        outputs = (outputs,)
    stored = {}
    if native.assigned or native.adopted:
        new = outputs[len(outputs) - len(native.assigned) :]
        stored = {**native.adopted, **dict(zip(native.assigned, new, strict=True))}
        for array in stored.values():
            array.setflags(False)
    return [None if place is None else outputs[place] for place in native.fetches], stored


def give_away(values: Sequence[Any], places: Sequence[int]) -> list[Any]:
    """What a caller gets for new `values`, one for each of `places`: scalars, and each array once."""
    given: set[int] = set()
    result = []
    for place in places:
        value = values[place]
        if value is not None:
            if not value.ndim:
                value = value[()]
            elif place in given:
                value = value.copy()
            given.add(place)
        result.append(value)
    return result
