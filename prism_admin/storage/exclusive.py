"""One admin a database file: what an admin knows of the map and of proxies is in its memory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from prism_admin.storage.errors import StorageError


class FileLock:
    """Held from `acquire` to `close`, or to the end of the process, however it ends. Nothing else may open the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = -1

    def acquire(self) -> None:
        """StorageError when another process has it, by its id."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._handle, 20).decode(errors="replace").strip() or "unknown"
            self.close()
            raise StorageError(f"{self._path.with_suffix('')}: another prism-admin (process {holder}) serves this "
                               "database: stop it, or name another with --db") from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
