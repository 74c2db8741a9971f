"""Cache: bytes by key, in memory and in a folder of the user's that processes share.

An entry is a file ``<key>.object``: a magic number, the SHA-256 of its key and its bytes, the bytes; so one
that stands under the name of another is none. It appears whole or not at all (`write_atomically`), so
processes need no lock. One that is damaged counts as absent, and is written anew. Whatever goes wrong
with the folder is no error: it is counted, and the run goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from graphc.atomic import write_atomically
from runtime.llvm_backend.engine.postponement import postpone

DISK_LIMIT = 256 << 20
MEMORY_LIMIT = 16 << 20
_MAGIC = b"graphc\x00\x02"
_SUFFIX = ".object"
_LEFT_BEHIND = re.compile(r"\.[0-9a-f]{16}\.tmp")  # by a process that died while it wrote
_DAY = 86400.0

# One for all caches; held over a fork, so that the child finds their books in order.
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def locate() -> str | None:
    """The folder that compiled objects are kept in; None: on no disk.

    GRAPHC_CACHE names it (empty: none), else the convention of the platform does.
    """
    named = os.environ.get("GRAPHC_CACHE")
    if named is not None:
        return os.path.abspath(os.path.expanduser(named)) if named else None
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local")
        return os.path.join(home, "graphc", "Cache")
    if sys.platform == "darwin":
        home = os.path.expanduser("~/Library/Caches")
    else:
        # https://specifications.freedesktop.org/basedir-spec: a relative path is to be ignored.
        given = os.environ.get("XDG_CACHE_HOME", "")
        home = given if os.path.isabs(given) else os.path.expanduser("~/.cache")
    return os.path.join(home, "graphc") if os.path.isabs(home) else None


@dataclass
class CacheRecord:
    """What a cache did in this process.

    Attributes:
        in_memory, on_disk, absent: how many look-ups ended there.
        damaged: entries that were cut off or altered, and so absent.
        written: entries that now stand on the disk.
        trouble: the last thing that went wrong with the folder, or "".
    """

    in_memory: int = 0
    on_disk: int = 0
    absent: int = 0
    damaged: int = 0
    written: int = 0
    trouble: str = ""


class ByteCache:
    """Bytes by key (of letters and digits). Neither `get` nor `put` ever raises for the folder's sake.

    Attributes:
        folder: where entries stand; None: in memory only.
        record: what happened so far.
    """

    def __init__(
        self, folder: str | None, disk_limit: int = DISK_LIMIT, memory_limit: int = MEMORY_LIMIT
    ) -> None:
        self.folder, self.record = folder, CacheRecord()
        self._disk_limit, self._memory_limit = disk_limit, memory_limit
        self._memory: OrderedDict[str, bytes] = OrderedDict()
        self._memory_size = 0
        self._is_filled = False  # as it was found
        self._disk_size: int | None = None  # as of the last look, plus what was written since

    def get(self, key: str) -> bytes | None:
        """The bytes of `key`; None where there are none, or none that are sound."""
        with _lock:
            data = self._memory.get(key)
            if data is not None:
                self._memory.move_to_end(key)
                self.record.in_memory += 1
                return data
            data = self._read(key)
            if data is None:
                self.record.absent += 1
            else:
                self.record.on_disk += 1
                self._remember(key, data)
            return data

    def is_empty(self) -> bool:
        """Whether it holds nothing, as far as can be told."""
        if self._memory or self._is_filled:
            return False
        with contextlib.suppress(OSError):
            if self.folder is not None:
                with os.scandir(self.folder) as entries:
                    self._is_filled = any(entry.name.endswith(_SUFFIX) for entry in entries)
        return not self._is_filled

    def put(self, key: str, data: bytes) -> None:
        """Keeps `data` under `key`: at once in memory, on the disk when nobody waits for it."""
        with _lock:
            self._remember(key, data)
        if self.folder is not None:
            postpone(partial(self._write, key, data))

    def forget(self) -> None:
        """Empties the memory; the folder stays."""
        with _lock:
            self._memory.clear()
            self._memory_size = 0

    def _remember(self, key: str, data: bytes) -> None:
        self._memory_size += len(data) - len(self._memory.pop(key, b""))
        self._memory[key] = data
        while self._memory_size > self._memory_limit:
            self._memory_size -= len(self._memory.popitem(last=False)[1])

    def _path(self, key: str) -> str:
        assert self.folder is not None
        return os.path.join(self.folder, key + _SUFFIX)

    def _read(self, key: str) -> bytes | None:
        if self.folder is None or not self._trusted():
            return None
        path = self._path(key)
        try:
            with open(path, "rb", opener=_open_at_once) as file:
                content = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.record.trouble = str(error)
            return None
        head = len(_MAGIC) + hashlib.sha256().digest_size
        data = content[head:]
        if content[:head] != _MAGIC + _digest(key, data):
            self.record.damaged += 1
            with contextlib.suppress(OSError):
                os.unlink(path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the times say what was used last, even where the disk does not note reads
        return data

    def _write(self, key: str, data: bytes) -> None:
        content = b"".join((_MAGIC, _digest(key, data), data))
        with _lock:
            self._write_file(self._path(key), content)

    def _write_file(self, path: str, content: bytes) -> None:
        assert self.folder is not None
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            if not self._trusted():
                return
            write_atomically(path, lambda file: _write_all(file, content), durable=False)
            self.record.written += 1
            if self._disk_size is None:
                self._disk_size = sum(size for _, size, _ in self._entries())
            else:
                self._disk_size += len(content)
            if self._disk_size > self._disk_limit:
                self._trim()
        except OSError as error:
            self.record.trouble = str(error)

    def _trusted(self) -> bool:
        """Whether what stands in the folder is not for everybody to write: it is code that will run here."""
        assert self.folder is not None
        if os.name != "posix":
            return True
        try:
            mode = os.stat(self.folder).st_mode
        except FileNotFoundError:
            return False
        except OSError as error:
            self.record.trouble = str(error)
            return False
        if mode & stat.S_IWOTH:
            self.record.trouble = f"everybody may write to {self.folder}, so no code is taken from it"
            return False
        return True

    def _entries(self) -> list[tuple[float, int, str]]:
        """When each entry was last used, its size and its path; what dead processes left is removed."""
        assert self.folder is not None
        found, now = [], time.time()
        with os.scandir(self.folder) as files:
            for file in files:
                with contextlib.suppress(OSError):  # another process may remove it meanwhile
                    status = file.stat()
                    if file.name.endswith(_SUFFIX):
                        found.append((status.st_mtime, status.st_size, file.path))
                    elif _LEFT_BEHIND.fullmatch(file.name) and now - status.st_mtime > _DAY:
                        os.unlink(file.path)
        return found

    def _trim(self) -> None:
        """Removes what was not used for longest until a fifth of the room is free."""
        entries = sorted(self._entries())
        size = sum(size for _, size, _ in entries)
        for _, its_size, path in entries:
            if size <= self._disk_limit * 4 // 5:
                break
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            size -= its_size
        self._disk_size = size


def _open_at_once(path: str, flags: int) -> int:
    """Of what is no file, such as a pipe, nobody waits for the other end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _digest(key: str, data: bytes) -> bytes:
    digest = hashlib.sha256(key.encode() + b"\0")
    digest.update(data)
    return digest.digest()


def _write_all(file: BinaryIO, content: bytes) -> None:
    file.write(content)
