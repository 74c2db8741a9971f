"""Call: from arrays to arrays through a step table, as one function that Python calls.

    function(*arrays) -> array, tuple or list

Where interpreter and machine allow it, the function is a builtin that reads its tables natively
(`callcode`); elsewhere a Python function does the same (`PortableFunction`). Arrays that are not exactly as a
`Feed` says are not converted here: they go the slow way.

The streams of the native tables, in words; pointers and sizes go to words given by their byte offset:

    feed      dtype, rank, n, n offsets for the address, then for each axis: kind, value, m, m offsets
    output    dtype number, rank, offset of what holds it, bytes of an element, dtype, n, n offsets, then
              for each axis: kind, value
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from copy import copy
from itertools import zip_longest
from typing import Any

import numpy as np

from graphc.alignment import data_address, new_aligned
from graphc.errors import VerificationError
from graphc.freezing import frozen
from runtime.counting import Counter, Values
from runtime.llvm_backend.table import builtin
from runtime.llvm_backend.table.arraycode import ANY, BIND, FIXED, HELD, SAME
from runtime.llvm_backend.table.callcode import LIST, SINGLE, TUPLE
from runtime.llvm_backend.table.steploop import DETAIL, DONE, PYTHON_STEP
from runtime.llvm_backend.table.steptable import RunWords, StepTable, TableBuilder

Array = np.ndarray[Any, Any]
Size = int | tuple[int, ...]
Handler = Callable[[int, int, int], object]
MOST_STATES = 256
_FORMS = {"single": SINGLE, "tuple": TUPLE, "list": LIST}

_adding = threading.Lock()  # held over a fork, so that a child may add words too
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=_adding.acquire, after_in_parent=_adding.release, after_in_child=_adding.release
    )


@frozen
class Feed:
    """An argument: an ndarray (no subclass) of `dtype`, C-contiguous and aligned.

    Attributes:
        dtype: native, as ``np.dtype("float32")`` is.
        sizes: for each axis an int, or words that get the size. Axes of any feed whose first word is
            the same must be alike; an empty tuple takes any size.
        pointers: words that get the address.
    """

    dtype: np.dtype[Any]
    sizes: tuple[Size, ...]
    pointers: tuple[int, ...]


@frozen
class Output:
    """A new array. A size is an int, or a tuple of the word that holds it once the prelude has run."""

    dtype: np.dtype[Any]
    sizes: tuple[Size, ...]
    pointers: tuple[int, ...]


@frozen
class Signature:
    """What a call takes and gives.

    Attributes:
        feeds, outputs: in order.
        hold: the first of the words that hold outputs, and values of variables (`reserve`): the call's own.
        form: ``"single"`` for the one output itself, ``"tuple"`` or ``"list"`` for all of them.
        prelude: the mark of steps that compute sizes and check them, up to an end; None: there are none.
            It runs before outputs are made; where it refuses, the call goes the slow way.
        main: the mark of the step that the run begins with; None: the first one.
    """

    feeds: tuple[Feed, ...]
    outputs: tuple[Output, ...]
    hold: int
    form: str = "tuple"
    prelude: str | None = None
    main: str | None = None

    def __post_init__(self) -> None:
        if self.form not in _FORMS or (self.form == "single" and len(self.outputs) != 1):
            raise VerificationError(f"a call with {len(self.outputs)} outputs cannot give a {self.form}")


def reserve(builder: TableBuilder, outputs: int, variables: int = 0) -> int:
    """The words that `Signature.hold` asks for."""
    return builder.block([0] * max(HELD * outputs + variables, 1))


class Call:
    """A step table with a signature, on one or more sets of words, so that several threads may call at once.

    ``handler(status, number, detail)`` runs on `states[number]`: for PYTHON_STEP it runs the step
    `detail` (and may raise); for FAILED it raises what the words say; for REFUSED it raises, or
    returns and lets the call go the slow way. ``slow(*arrays)`` is called with what does not fit, or
    when all words are in use; without it the function returns NotImplemented.

    The last feeds may be variables: `names` among the `values` of a session, as they are when it is called.

    `scalars`: what has no axes is given as a NumPy scalar. `count` is counted up by each call that went well;
    once it is stopped, all go the slow way.

    A function keeps its Call alive, and with it handler and slow.
    """

    def __init__(
        self,
        table: StepTable,
        signature: Signature,
        handler: Handler | None = None,
        slow: Callable[..., Any] | None = None,
        scalars: bool = False,
        count: Counter | None = None,
        names: Sequence[str] = (),
        values: Values | None = None,
    ) -> None:
        self.table, self.signature = table, signature
        self.scalars, self.count = scalars, count
        self.names, self.values = tuple(names), values
        self.handler, self.slow = handler or _refuse_to_handle, slow
        self.prelude = -1 if signature.prelude is None else table.marks[signature.prelude]
        self.main = 0 if signature.main is None else table.marks[signature.main]
        self.states: list[RunWords] = []
        self._state_list = _words([0] * MOST_STATES)  # how many, then the address of each
        self.axes = _axes(signature.feeds)
        self._feed_stream = _words(_feed_stream(signature.feeds, self.axes))
        self._output_stream = _words(_output_stream(signature))
        self._names = _words([id(name) for name in self.names])

    def variant(
        self,
        form: str,
        scalars: bool,
        count: Counter,
        names: Sequence[str] = (),
        values: Values | None = None,
    ) -> Call:
        """One on the same words that gives its results in another form; see the arguments of the class."""
        given, made = self.signature, copy(self)
        made.signature = Signature(given.feeds, given.outputs, given.hold, form, given.prelude, given.main)
        made.slow, made.scalars, made.count = None, scalars, count
        made.names, made.values = tuple(names), values
        made._names = _words([id(name) for name in made.names])
        return made

    def add_state(self, prepare: Callable[[RunWords], object] | None = None) -> RunWords | None:
        """More words, which `prepare` readies before any call sees them; None: there are enough."""
        if len(self.states) == MOST_STATES:
            return None
        state = RunWords(self.table)
        if prepare is not None:
            prepare(state)
        with _adding:
            number = len(self.states)
            if number == MOST_STATES:
                return None
            self._state_list[1 + number] = state.address
            self.states.append(state)
            self._state_list[0] = number + 1  # after its address
            return state

    def claim_state(self) -> RunWords | None:
        """Words that no call is using, nor will until they are released; None: all are in use."""
        return next((state for state in self.states if state.claim()), None)

    def function(self, portable: bool = False) -> Callable[..., Any]:
        """A function that calls it; `portable` asks for the one in Python."""
        if portable or builtin.find_trouble():
            return PortableFunction(self)
        made: Callable[..., Any] = builtin.make_builtin(self._tables())
        return made

    def _tables(self) -> builtin.Tables:
        signature = self.signature
        return builtin.Tables(
            self,
            feeds=len(signature.feeds) - len(self.names),
            feed_stream=data_address(self._feed_stream),
            outputs=len(signature.outputs),
            output_stream=data_address(self._output_stream),
            states=data_address(self._state_list),
            steps=self.table.address,
            prelude=self.prelude,
            main=self.main,
            handler=id(self.handler),
            slow=0 if self.slow is None else id(self.slow),
            form=_FORMS[signature.form],
            hold=8 * signature.hold,
            scalars=self.scalars,
            count=0 if self.count is None else self.count.address,
            memory=builtin.memory_handler(),
            brief=self.table.is_brief,
            named=len(self.names),
            names=data_address(self._names),
            values=0 if self.values is None else self.values.address,
            kept=8 * (signature.hold + HELD * len(signature.outputs)),
        )


class PortableFunction:
    """What the builtin does, in Python. The last `kept` outputs are aligned, as all large ones are there."""

    __slots__ = ("__weakref__", "_call", "_feeds", "_outputs")

    def __init__(self, call: Call, kept: int = 0) -> None:
        self._call = call
        self._feeds = tuple(
            (feed.dtype, len(feed.sizes), list(feed.pointers), kinds)
            for feed, kinds in zip(call.signature.feeds, call.axes, strict=True)
        )
        outputs = call.signature.outputs
        makers = [np.empty] * (len(outputs) - kept) + [new_aligned] * kept
        self._outputs = tuple(
            (output.dtype, output.sizes, list(output.pointers), make)
            for output, make in zip(outputs, makers, strict=True)
        )

    def __call__(self, *arrays: Any) -> Any:
        """The results on `arrays`, or what the slow way gives."""
        call = self._call
        rest = self._variables()
        fits = rest is not None and len(arrays) + len(rest) == len(self._feeds)
        state = call.claim_state() if fits and not (call.count and call.count.is_stopped) else None
        if state is not None:
            try:
                results = self.run(state, (*arrays, *(rest or ())))
            finally:
                state.release()
            if results is not None:
                if call.count is not None:
                    call.count.add()
                if call.scalars:
                    results = [result if result.ndim else result[()] for result in results]
                form = call.signature.form
                return results[0] if form == "single" else results if form == "list" else tuple(results)
        return NotImplemented if call.slow is None else call.slow(*arrays)

    def _variables(self) -> list[Any] | None:
        """The values of those that the call names; None where one has none."""
        names, values = self._call.names, self._call.values
        try:
            return [] if values is None else [values.of[name] for name in names]
        except KeyError:
            return None

    def run(
        self,
        state: RunWords,
        arrays: Sequence[Any],
        grow: Callable[[RunWords], bool] | None = None,
        over: Sequence[Array] = (),
    ) -> list[Array] | None:
        """The outputs, on words that the caller has claimed; None where the call goes the slow way.

        ``grow(state)`` is asked where the prelude refuses: whether to try it again. `over` are outputs of
        a run before that nobody reads any more: those whose sizes are still right are written over.
        """
        call, words = self._call, state.words
        for array, feed in zip(arrays, self._feeds, strict=True):
            if not _fits(array, feed, words):
                return None
        if call.prelude >= 0:
            state.begin(call.prelude)
            if call.table.run(state) != DONE:
                if grow is None or not grow(state):
                    return None
                state.begin(call.prelude)
                if call.table.run(state) != DONE:
                    return None
        results = []
        for (dtype, sizes, pointers, make), old in zip_longest(self._outputs, over):
            shape = tuple(s if isinstance(s, int) else int(words[s[0]]) for s in sizes)
            results.append(old if old is not None and old.shape == shape else make(shape, dtype))
            words[pointers] = data_address(results[-1])
        state.begin(call.main)
        number = call.states.index(state)
        status = call.table.run(state, lambda step, _: call.handler(PYTHON_STEP, number, step))
        if status == DONE:
            return results
        call.handler(status, number, int(words[DETAIL]))
        return None


def _fits(array: Any, feed: tuple[Any, int, list[int], tuple[_Axis, ...]], words: Any) -> bool:
    dtype, rank, pointers, axes = feed
    if type(array) is not np.ndarray or array.dtype is not dtype or array.ndim != rank:
        return False
    if not (array.flags.c_contiguous and array.flags.aligned):
        return False
    words[pointers] = data_address(array)
    for size, (kind, value, targets) in zip(array.shape, axes, strict=True):
        if kind == FIXED:
            if size != value:
                return False
        elif kind == BIND:
            words[targets] = size
        elif kind == SAME and words[value] != size:
            return False
    return True


_Axis = tuple[int, int, list[int]]  # kind, the size or the word, the words that get it


def _axes(feeds: Sequence[Feed]) -> list[tuple[_Axis, ...]]:
    """For each feed what its axes must be; the first axis with a word gives it its value."""
    bound: set[int] = set()
    found = []
    for feed in feeds:
        axes: list[_Axis] = []
        for size in feed.sizes:
            if isinstance(size, int):
                axes.append((FIXED, size, []))
            elif not size:
                axes.append((ANY, 0, []))
            elif size[0] in bound:
                axes.append((SAME, size[0], []))
            else:
                bound.add(size[0])
                axes.append((BIND, 0, list(size)))
        found.append(tuple(axes))
    return found


def _feed_stream(feeds: Sequence[Feed], axes_of: Sequence[Sequence[_Axis]]) -> list[int]:
    stream = []
    for feed, axes in zip(feeds, axes_of, strict=True):
        if np.dtype(feed.dtype.str) is not feed.dtype:
            raise VerificationError(f"feeds of dtype {feed.dtype!r} cannot be told by identity")
        stream += [id(feed.dtype), len(axes), len(feed.pointers), *(8 * word for word in feed.pointers)]
        for kind, value, targets in axes:
            stream += [kind, 8 * value if kind == SAME else value, len(targets), *(8 * w for w in targets)]
    return stream


def _output_stream(signature: Signature) -> list[int]:
    stream = []
    for i, output in enumerate(signature.outputs):
        held = 8 * (signature.hold + HELD * i)
        stream += [output.dtype.num, len(output.sizes), held, output.dtype.itemsize, id(output.dtype)]
        stream.append(len(output.pointers))
        stream += [8 * word for word in output.pointers]
        for size in output.sizes:
            stream += [FIXED, size] if isinstance(size, int) else [BIND, 8 * size[0]]
    return stream


def _words(values: Sequence[int]) -> Array:
    """Them and a 0: no type of ctypes, which is made for each length."""
    return np.array((*values, 0), np.int64)


def _refuse_to_handle(status: int, number: int, detail: int) -> object:
    raise VerificationError(
        f"the step table stopped with status {status} and detail {detail} on words {number}"
    )
