"""Files that appear whole or not at all: a temporary file beside, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from typing import BinaryIO


def write_atomically(
    path: str | os.PathLike[str], write: Callable[[BinaryIO], None], durable: bool = True
) -> None:
    """Gives the file `path` what ``write(file)`` writes, all of it or, on any failure, none of it.

    A reader sees the old file or the new one, never a part. The permissions of a file that is
    replaced are kept. A symbolic link is followed. A device or a pipe stays what it is, and takes what is
    written as it comes. What is not `durable` may be lost or cut off by a
    failure of the power, which whoever reads it must see; it does not wait for the disk.

    Raises: whatever `write` raises; OSError where the folder cannot be written.
    """
    if _is_special(path):
        with open(path, "wb") as special:
            write(special)
        return
    target = os.path.realpath(os.fspath(path))
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".{os.urandom(8).hex()}.tmp")
    try:  # opened within: whoever interrupts may do so right after that
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.chmod(temporary, os.stat(target).st_mode & 0o777)
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, temporary):
            raise OSError(error.errno, error.strerror, target) from None  # the other file nobody knows
        raise
    if durable:
        _sync_folder(folder)


def _is_special(path: str | os.PathLike[str]) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _sync_folder(folder: str) -> None:
    """Makes the renaming itself durable, where the system has a way to."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
