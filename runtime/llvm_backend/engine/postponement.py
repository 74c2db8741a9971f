"""Postponement: what nobody waits for, done once first runs are over, or when the process ends.

What is kept for other processes is of this kind: to write it takes time, and the GIL, from the first runs.
"""

from __future__ import annotations

import _thread as threads
import atexit
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

patience = 0.25  # seconds; 0: nothing is postponed

_books = threading.Lock()  # of the thread
_pending: deque[Callable[[], object]] = deque()
_thread: _Thread | None = None
_is_ending = False


def postpone(work: Callable[[], object]) -> None:
    """Has ``work()`` done by another thread, after a while."""
    global _thread
    _pending.append(work)
    if _is_ending or not patience:
        catch_up()
        return
    with _books:
        if _thread is None:
            # Where the system gives no more threads, whoever ends the process catches up.
            with suppress(RuntimeError):
                _thread = _Thread()


def catch_up() -> None:
    """Waits until all is done that was postponed."""
    thread = _thread
    if thread is not None and thread.number != threading.get_ident():
        thread.hurry.set()
        thread.over.wait()
    _do_pending()


class _Thread:
    """Does what is postponed, and ends. A daemon: for others the interpreter waits before it hurries them."""

    def __init__(self) -> None:
        self.hurry, self.over, self.number = threading.Event(), threading.Event(), 0
        # Whoever starts a `threading.Thread` waits until that runs, and for the GIL.
        self.number = threads.start_new_thread(self._work, ())

    def _work(self) -> None:
        global _thread
        self.hurry.wait(patience)
        try:
            while True:
                _do_pending()
                with _books:  # held until whoever started it has noted that
                    if not _pending:
                        _thread = None
                        return
        except BaseException:
            _thread = None
            raise
        finally:
            self.over.set()


def _do_pending() -> None:
    while _pending:
        try:
            work = _pending.popleft()
        except IndexError:  # another thread was faster
            return
        work()


def _end() -> None:
    global _is_ending
    _is_ending = True
    catch_up()


def _leave_to_parent() -> None:
    global _books, _thread
    _books, _thread = threading.Lock(), None
    _pending.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_leave_to_parent)
