"""Feeds: what may be fed, and from what users feed to arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.conversion import brief, is_masked, read, refuse_lossy, to_dtype
from graphc.errors import DTypeError, FeedError, UnknownFeedError, UnknownNameError
from graphc.freezing import frozen
from graphc.graph import Graph
from graphc.location import at_line
from graphc.tensor import Tensor, describe
from graphc.types import BFLOAT16, TensorType
from graphc.variable import Variable
from runtime.backend import Array

Key = Tensor | Variable


@frozen
class Feeds:
    """Tensors with their values, and the values that variables have for one run."""

    tensors: tuple[Tensor, ...]
    values: Sequence[Any]
    variables: Sequence[tuple[Variable, Any]]


NO_FEEDS = Feeds((), (), ())


def resolve_feeds(graph: Graph, feed_dict: Any) -> Feeds:
    """What the keys of `feed_dict` (tensors, variables, names) mean in `graph`.

    Raises: FeedError, by name UnknownFeedError.
    """
    if feed_dict is None:
        return NO_FEEDS
    if not isinstance(feed_dict, Mapping):
        raise FeedError(f"feed_dict is a dict from tensors to values, not {_told(feed_dict)}")
    tensors: list[Tensor] = []
    values: list[Any] = []
    variables: list[tuple[Variable, Any]] = []
    seen: set[Key] = set()
    for key, value in feed_dict.items():
        target = feedable(graph, key)
        if target in seen:
            raise FeedError(f"{label(target)} is fed twice")
        seen.add(target)
        if isinstance(target, Variable):
            variables.append((target, value))
        else:
            tensors.append(target)
            values.append(value)
    return Feeds(tuple(tensors), values, variables)


def feedables(graph: Graph, keys: Any) -> list[Key]:
    """The tensors and variables that a list of keys means, each once. Raises: FeedError."""
    if not isinstance(keys, list | tuple):
        raise FeedError(f"what is fed is given as a list of tensors, not {_told(keys)}")
    targets: dict[Key, None] = {}
    for target in [feedable(graph, key) for key in keys]:
        if target in targets:
            raise FeedError(f"{label(target)} is fed twice")
        targets[target] = None
    return list(targets)


def feedable(graph: Graph, key: Any) -> Key:
    """The tensor or variable that `key` means. Raises: FeedError for what cannot be fed."""
    target = key
    if isinstance(key, str):
        try:
            target = graph.variables[key] if key in graph.variables else graph.get_tensor(key)
        except UnknownNameError as error:
            raise UnknownFeedError(str(error)) from None
    if isinstance(target, Variable):
        if target.graph is not graph:
            raise FeedError(f"{target.describe()} belongs to another graph than the session's")
        return target
    if not isinstance(target, Tensor):
        raise FeedError(f"what is fed is a tensor, a variable or a name, not {_told(key)}")
    if not isinstance(target.type, TensorType):
        what = "an operation" if not target.type.elements else "an op with several results"
        raise FeedError(f"{describe(target)} cannot be fed: it is {what}{at_line(target.loc)}")
    if target.owner is not graph:
        if target.owner is not None and target.owner.root is graph:
            raise FeedError(
                f"{describe(target)} was made inside a body and cannot be fed{at_line(target.loc)}"
            )
        raise FeedError(
            f"{describe(target)} belongs to another graph than the session's{at_line(target.loc)}"
        )
    return target


def convert(target: Key, value: Any) -> Array:
    """`value` as the array that is fed for `target`: of its dtype and rank, native and aligned.

    Floats are rounded to a narrower float; everything else must be exact. An array that is right
    already comes back itself.

    Raises: FeedError that names the target, its line, what was expected and what was given.
    """
    type = target.type
    assert isinstance(type, TensorType)
    dtype = type.dtype
    if (
        value.__class__ is np.ndarray
        and value.dtype is dtype.numpy
        and dtype is not BFLOAT16
        and value.flags.aligned
    ):
        array = value
    else:
        array = _converted(target, value)
    if type.shape is not None and array.ndim != len(type.shape):
        raise refusal(target, np.asarray(value), f"it has {array.ndim} axes, not {len(type.shape)}", value)
    return array


def _converted(target: Key, value: Any) -> Array:
    if value is None or isinstance(value, str | bytes):
        raise refusal(target, value, "it is no number")
    if isinstance(value, Tensor | Variable):
        raise refusal(
            target, value, "a graph's tensor has no value outside a run: feed an array, "
            "such as session.run gives for it"
        )  # fmt: skip
    if isinstance(value, np.ndarray) and is_masked(value):
        raise refusal(target, value, "its masked elements have no value: use .filled(...)")
    try:
        array = read(value)
    except Exception as error:  # the value's own code may raise anything
        raise refusal(target, value, f"it is no array: {error}") from None
    if array.dtype.kind not in "biuf":
        raise refusal(target, array, _tell_elements(array), value)
    dtype = target.dtype
    if not (array.size == 0 and isinstance(value, list | tuple)):  # [] has no dtype of its own
        try:
            refuse_lossy(array, dtype)
        except DTypeError as error:
            raise refusal(target, array, str(error), value) from None
    with np.errstate(all="ignore"):
        return np.require(to_dtype(array, dtype), requirements="A")


def _tell_elements(array: Array) -> str:
    """Why no dtype of ours holds the elements of `array`."""
    if array.dtype.kind == "O" and array.size and all(isinstance(v, int | float) for v in array.flat):
        fits = np.array(array.tolist()).dtype.kind != "O"
        return "its numbers are objects: use .astype(...)" if fits else "it is too large for any dtype"
    return "its elements are no real numbers"


def refusal(target: Key, given: Any, why: str, original: Any = None) -> FeedError:
    """The error for a value that does not fit `target`."""
    if isinstance(given, np.ndarray):
        what = f"{given.dtype}{list(given.shape)}"
        if original is not None and not isinstance(original, np.ndarray):
            what += f" ({_told(original)})"
    else:
        what = _told(given)
    return FeedError(f"{label(target)} is {target.type}, and {what} was fed: {why}{at_line(target.loc)}")


def misfit(target: Key, shape: Sequence[int], why: str) -> FeedError:
    """The error for a value whose sizes do not fit `target`."""
    what = f"a value of shape {list(shape)} was fed: {why}"
    return FeedError(f"{label(target)} is {target.type}, and {what}{at_line(target.loc)}")


def label(target: Key) -> str:
    """What a user would call what is fed: ``placeholder 'x'``."""
    return describe(target) if isinstance(target, Tensor) else f"variable {target.name!r}"


def convert_all(feeds: Feeds) -> list[Array]:
    """The arrays of the tensors that are fed. Raises: FeedError."""
    return [convert(t, v) for t, v in zip(feeds.tensors, feeds.values, strict=True)]


def override(variables: Mapping[str, Array], feeds: Feeds) -> tuple[Mapping[str, Array], list[Array]]:
    """`variables` with what is fed for some of them; and what is fed. Raises: FeedError."""
    if not feeds.variables:
        return variables, []
    fed = {}
    for variable, value in feeds.variables:
        array = convert(variable, value)
        for axis, size in enumerate(variable.type.sizes):
            if isinstance(size, int) and array.shape[axis] != size:
                raise misfit(variable, array.shape, f"axis {axis} is {array.shape[axis]}, not {size}")
        fed[variable.name] = array
    return {**variables, **fed}, list(fed.values())


def ranks(tensors: Sequence[Tensor], arrays: Sequence[Array]) -> tuple[int, ...]:
    """The ranks fed for those of `tensors` that have none of their own."""
    return tuple(
        array.ndim for tensor, array in zip(tensors, arrays, strict=True) if tensor.result.shape is None
    )


def _told(value: Any) -> str:
    """`value` in a message, with its type where that does not show."""
    plain = isinstance(value, np.ndarray | int | float | complex | str | bytes | list | None)
    return brief(value) if plain else f"{brief(value)} of type {type(value).__name__}"
