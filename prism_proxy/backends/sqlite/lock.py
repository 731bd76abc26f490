"""Who has a database file: one process, by a lock on the file itself and one on PATH.lock beside it.

The lock on the file is a flock on a descriptor of our own. POSIX drops the locks that SQLite holds on a file when this
process closes any descriptor of it. So ours closes after SQLite's last one, and a file that this process has open
already is refused without a further descriptor. Releases that know no lock on the file itself look at PATH.lock.

SQLite names its log after the path. A file with two names has two logs, which no lock can help, so it is refused.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from prism_proxy.errors import PrismError, StatusCode

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class FileLock:
    """`take` resolves `path` to the name that SQLite must use, too; `release` comes after SQLite's last close."""

    def __init__(self, given: Path) -> None:
        self._given = given.absolute()
        self.path = self._given
        self.created = False  # the file was not there before
        self._descriptor: int | None = None
        self._beside: list[int] = []

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    @property
    def descriptor(self) -> int:
        """Of the database file, for looking at it; closing it breaks SQLite's locks."""
        assert self._descriptor is not None
        return self._descriptor

    def take(self) -> None:
        """PrismError STORE_IN_USE, or STORE_LINKED for a file with more than one name; OSError when it cannot be
        reached now. The file exists afterwards."""
        self.path = Path(os.path.realpath(self._given))
        with contextlib.ExitStack() as undo:
            undo.callback(self.release)
            self.created = not self.path.exists()
            if not self.created:
                refuse_links(self.path, os.stat(self.path))
            for name in sorted({self.path, self._given}):
                self._take_beside(Path(f"{name}.lock"))
            if _open_here(self.path):
                raise _in_use(self.path, str(os.getpid()))
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _in_use(self.path, "unknown, which opened it under another name") from error
            refuse_links(self.path, os.fstat(self._descriptor))
            undo.pop_all()

    def check(self) -> None:
        """PrismError STORE_REPLACED when the path no longer leads to the locked file."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            found = None
        if found is None or not os.path.samestat(found, os.fstat(self.descriptor)):
            raise PrismError(
                StatusCode.UNAVAILABLE, "STORE_REPLACED",
                "the store's file was moved, replaced or removed while it was served: put it back, or restart the "
                "proxy to serve what is there now", {"outcome": "not_executed"})

    def release(self) -> None:
        for descriptor in (*self._beside, self._descriptor):
            if descriptor is not None:
                os.close(descriptor)
        self._beside.clear()
        self._descriptor = None

    def _take_beside(self, name: Path) -> None:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if any(os.path.samestat(os.fstat(descriptor), os.fstat(other)) for other in self._beside):
            os.close(descriptor)  # another spelling of the same path
            return
        self._beside.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 20, 0).decode("ascii", "replace") or "unknown"
            raise _in_use(self.path, owner) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d" % os.getpid(), 0)
        except OSError as error:
            if error.errno not in NO_ROOM:  # on a full disk the lock holds without the owner's number in it
                raise


def refuse_links(path: Path, found: os.stat_result) -> None:
    """PrismError STORE_LINKED for a file that has a second name."""
    if found.st_nlink > 1:
        raise PrismError(
            StatusCode.FAILED_PRECONDITION, "STORE_LINKED",
            f"{path} has {found.st_nlink} names (hard links): writes under one are not seen under another, and damage "
            f"the file. Remove the other names (find -samefile {path}), or copy the file", {"outcome": "not_executed"})


def _open_here(path: Path) -> bool:
    """Whether this process has the file open, under whatever name."""
    try:
        wanted = os.stat(path)
    except FileNotFoundError:
        return False
    with contextlib.suppress(FileNotFoundError):  # no /proc
        for entry in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(int(entry)), wanted):
                    return True
    return False


def _in_use(path: Path, owner: str) -> PrismError:
    return PrismError(
        StatusCode.FAILED_PRECONDITION, "STORE_IN_USE",
        f"{path} is in use by process {owner}: one process at a time can serve a SQLite file; stop it, or give this "
        "namespace another path", {"outcome": "not_executed"})
