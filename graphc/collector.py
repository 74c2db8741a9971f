"""Collector: Python's search for dead cycles rests while something is compiled, and while graphc is loaded.

Both make many objects that live on and hardly a cycle. The collector starts a search whenever enough
objects are new, and each goes through all that is young, now and then through everything: which on a large
graph takes as long as a pass, and finds nothing. What is dead and in no cycle is freed all the same.
"""

from __future__ import annotations

import gc as collector
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_resting = 0  # how many ask for it now, whatever their threads
_was_on = False  # before the first of them


@contextmanager
def resting(lasting: bool = False) -> Iterator[None]:
    """No search begins while it is open in any thread; afterwards all is as it was before.

    Args:
        lasting: what was made meanwhile lives as long as the process: it is taken to be old, so that the next
            search, which is for what is young, does not go through all of it.
    """
    global _resting, _was_on
    with _lock:
        if not _resting:
            _was_on = collector.isenabled()
            collector.disable()
        _resting += 1
    try:
        yield
    finally:
        if lasting and not collector.get_freeze_count():  # of what others have set aside
            collector.freeze()
            collector.unfreeze()  # which leaves it with what is old
        with _lock:
            _resting = max(_resting - 1, 0)  # 0 already in a child that was forked inside
            if not _resting and _was_on:
                collector.enable()


def _wake() -> None:
    """In a child, whose other threads are gone and with them whoever would have ended it."""
    global _lock, _resting
    _lock = threading.Lock()
    if _resting and _was_on:
        collector.enable()
    _resting = 0


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_wake)
