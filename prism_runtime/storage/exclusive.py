"""One process a database file: part of what it knows is in its memory alone.

The lock is a flock on the file itself, under whatever name, and one on PATH.lock, where earlier releases look. POSIX
drops the locks that SQLite holds on a file when this process closes any descriptor of it, so `close` comes last.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from prism_runtime.storage.errors import StorageError


class FileLock:
    """Held from `acquire` to `close`, or to the end of the process, however it ends. One a process and file."""

    def __init__(self, path: Path, program: str = "prism-admin") -> None:
        self._path = path
        self._program = program
        self._handles: list[int] = []

    def acquire(self) -> None:
        """StorageError when another process has it, by its id, or when the file has a second name: SQLite names its
        log after the path, so that what is written under one name is lost under the other."""
        path = Path(os.path.realpath(self._path))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            if path.exists():
                self._refuse_links(os.stat(path))
            for name in sorted({path, self._path.absolute()}):
                self._take(Path(f"{name}.lock"))
            for beside in self._handles:
                os.ftruncate(beside, 0)
                os.pwrite(beside, str(os.getpid()).encode(), 0)
            self._refuse_links(os.fstat(self._take(path)))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """After the last connection has closed."""
        while self._handles:
            os.close(self._handles.pop())

    def _take(self, name: Path) -> int:
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if any(os.path.samestat(os.fstat(handle), os.fstat(other)) for other in self._handles):
            os.close(handle)  # another spelling of the same path
            return self._handles[-1]
        self._handles.append(handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            written = os.read(handle, 20).decode(errors="replace").strip() if name.suffix == ".lock" else ""
            holder = f"another {self._program} (process {written})" if written.isdigit() else "another process"
            raise StorageError(
                f"{self._path}: {holder} serves this database: stop it, or name another with --db") from None
        return handle

    def _refuse_links(self, found: os.stat_result) -> None:
        if found.st_nlink > 1:
            raise StorageError(f"{self._path} has {found.st_nlink} names (hard links): writes under one are lost under "
                               "another; remove the other names, or copy the file")
