"""Recognition: a request that was compiled before, here or by another process, runs on what was lowered then.

What is kept of an executable is its template (`Whole.template`): step table, machine code, constants, sizes;
no node, and so no graph. The least used go first. An executable made of one has lines, steps and a record of
its own, made by the passes when they are first looked at: errors name the lines of its own program.
The backend keeps templates on the disk too, where it can (`Backend.remember`). While nothing is kept, no
request waits until it can be told from others. See docs/decisions/0010-equal-requests-compile-once.md.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Callable, Hashable
from functools import partial

from graphc.freezing import frozen
from graphc.sizes import Symbol
from passes.fingerprint import Fingerprint, fingerprint
from passes.pipeline import Request
from passes.record import is_watched
from passes.stages import count, stage
from passes.target import Target
from runtime.backend import Backend, Template, Whole
from runtime.executable import Executable, Within

MOST = 64
MOST_BYTES = 32 << 20
on_disk = True  # whether other processes' templates are looked for, and ours kept for them
_NODE_BYTES = 2000  # of steps, words and machine code, for each node of the request


_Options = tuple[str, int, bool, Target]  # backend, threads, whether numbers are checked


@frozen
class _Kept:
    template: Template
    symbols: tuple[Symbol, ...]
    bytes: int


_lock = threading.Lock()  # of the two that follow
_kept: dict[Hashable, _Kept] = {}  # least recently used first; Ctrl-C may leave an OrderedDict in two minds
_late: dict[Hashable, list[Callable[[], object]]] = {}  # by outline: what keeps those made first


def _leave_to_parent() -> None:
    _late.clear()
    _lock.release()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_leave_to_parent)


def compile_request(
    request: Request, backend: Backend, target: Target, check_numerics: bool, within: Within | None
) -> Executable:
    """The executable of `request`, on what an equal one was lowered to where there is that."""

    def make() -> Executable:
        return Executable(request, backend, target, check_numerics, within=within)

    if not _may_share(target):
        return make()
    options = backend.name, getattr(backend, "threads", 1), check_numerics, target
    outline = (_outline(request), options)
    if _is_first(outline, backend):
        made = make()
        if made.native is not None:
            _keep_later(outline, made, options)
        return made
    _keep_now(outline)
    with stage("recognise"):
        found = fingerprint(request)
    if found is None:
        return make()
    kept = _find((found.digest, *options))
    if kept is None:
        name = _name(found, options)
        recalled = backend.recall(name, found.symbols, found.arrays) if on_disk else None
        if recalled is None:
            made = make()
            _keep_made(found, made, options)
            return made
        count("requests recalled from disk", 1)
        kept = _keep((found.digest, *options), found, recalled)
    count("requests recognised", 1)
    template = kept.template
    pairs = zip(found.symbols, kept.symbols, strict=True)
    symbols = {own: theirs for own, theirs in pairs if own != theirs}

    def again(itself: weakref.ref[Executable]) -> Whole:
        def describe() -> Whole:
            whole = (itself() or make()).lower()
            assert not isinstance(whole, str)  # its like was lowered
            return whole

        return template(symbols, describe)

    return Executable(request, backend, target, check_numerics, within=within, again=again)


def forget() -> None:
    """Lets go of all that is kept."""
    with _lock:
        _kept.clear()
        _late.clear()


def _may_share(target: Target) -> bool:
    """Whether nobody looks at how it is compiled, and what compiles it is all graphc's own."""
    looked_at = is_watched() or target.verify or bool(os.environ.get("GRAPHC_DUMP"))
    return not looked_at and target.pipeline is None and target.memory_budget is None


def _outline(request: Request) -> Hashable:
    """What equal requests share at least, and is told at once."""
    return tuple(node.op.name for node in request.fetches), tuple(node.op.name for node in request.feeds)


def _is_first(outline: Hashable, backend: Backend) -> bool:
    """Whether nothing is kept that may serve a request of that `outline`."""
    with _lock:
        if _kept or outline in _late:
            return False
    return not on_disk or backend.is_new()


def _keep_later(outline: Hashable, made: Executable, options: _Options) -> None:
    """Has what `made` runs on kept once nobody waits, or another request of that `outline` looks for it."""

    def keep() -> None:
        found = fingerprint(made.request)
        if found is not None:
            _keep_made(found, made, options)

    with _lock:
        _late.setdefault(outline, []).append(keep)
    made.maker.postpone(partial(_keep_now, outline))


def _keep_now(outline: Hashable) -> None:
    with _lock:
        late = _late.pop(outline, [])
    for keep in late:
        keep()


def _keep_made(found: Fingerprint, made: Executable, options: _Options) -> None:
    """Keeps what `made` runs on, where that can be."""
    template = None if made.native is None else made.native.template()
    if template is not None:
        _keep((found.digest, *options), found, template)
        if on_disk:
            made.maker.remember(_name(found, options), made.native, found.symbols, found.arrays)


def _name(found: Fingerprint, options: _Options) -> str:
    """What the template of such requests is called on the disk."""
    *others, target = options
    return hashlib.sha256(repr((found.digest, *others, target.fast_math)).encode()).hexdigest()


def _find(key: Hashable) -> _Kept | None:
    with _lock:
        kept = _kept.pop(key, None)
        if kept is not None:
            _kept[key] = kept
        return kept


def _keep(key: Hashable, found: Fingerprint, template: Template) -> _Kept:
    size = found.constant_bytes + _NODE_BYTES * found.nodes
    kept = _Kept(template, found.symbols, size)
    if size > MOST_BYTES:
        return kept
    dropped = []  # what they hold is freed without the lock
    with _lock:
        _kept[key] = kept
        while len(_kept) > MOST or sum(kept.bytes for kept in _kept.values()) > MOST_BYTES:
            dropped.append(_kept.pop(next(iter(_kept))))
    return kept
