"""Sources: what tells this graphc from another one, as what is kept on the disk must know."""

from __future__ import annotations

import hashlib
import os
from functools import cache

import graphc
import passes
import runtime


@cache
def sources() -> str | None:
    """A hash of the version, and of name, size and time of each file; None where there are no files.

    Files are not read: 2 MB of them would take longer than what is kept saves.
    """
    found = []
    for package in (graphc, passes, runtime):
        pending = list(package.__path__)
        while pending:
            try:
                with os.scandir(pending.pop()) as entries:
                    for entry in entries:
                        if entry.name.endswith(".py"):
                            status = entry.stat()
                            found.append(f"{entry.path} {status.st_size} {status.st_mtime_ns}")
                        elif "." not in entry.name and entry.name != "__pycache__" and entry.is_dir():
                            pending.append(entry.path)
            except OSError:
                return None
    text = "\n".join((graphc.__version__, *sorted(found)))
    return hashlib.sha256(text.encode()).hexdigest()
