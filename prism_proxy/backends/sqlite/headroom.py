"""Room on the disk that is kept for what frees room: a deletion writes to the log before it frees anything.

PATH.reserve holds the room against everybody, other programs included. When a write finds the disk full, the reserve
is given up, the log is copied into the database file, and what frees room goes on; the reserve is taken again as soon
as the disk has room for it. It stays on the disk while nothing runs, for a start on a full disk.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

from prism_proxy.backends.sqlite.lock import NO_ROOM

SCARCE = 16  # times the reserve
DISK_SHARE = 16  # the reserve takes at most this part of the disk
BLOCK_BYTES = 512  # of st_blocks
NO_ROOM_BYTES = 256 * 1024  # a disk with less has no room for the files that SQLite makes at a start


class Headroom:
    """`held` also where there is no reserve to hold, because none was asked for or the disk cannot keep any."""

    def __init__(self, path: Callable[[], Path], wanted: int) -> None:
        self._path = path
        self._wanted = wanted
        self.held = True
        self.kept = wanted  # bytes that the reserve has

    @property
    def size(self) -> int:
        """What is kept, in bytes; the disk must be there."""
        disk = os.statvfs(self._path().parent)
        return min(self._wanted, disk.f_blocks * disk.f_frsize // DISK_SHARE)

    def take(self) -> bool:
        """Whether the room is kept now."""
        if not self._wanted:
            return True
        try:
            file = os.open(self._name(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self.held = error.errno not in NO_ROOM
            return self.held
        try:
            size = self.size
            if os.fstat(file).st_blocks * BLOCK_BYTES < size:
                os.posix_fallocate(file, 0, size)
            self.held, self.kept = True, size
        except OSError as error:
            self.held = error.errno not in NO_ROOM
            if not self.held:
                os.ftruncate(file, 0)
        finally:
            os.close(file)
        return self.held

    def give(self) -> bool:
        """Give the room up; whether there was any."""
        try:
            file = os.open(self._name(), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            kept = os.fstat(file).st_blocks > 0
            os.ftruncate(file, 0)
        finally:
            os.close(file)
        self.held = self.held and not kept
        return kept

    def none_left(self) -> bool:
        """Whether the disk is full but for the reserve."""
        return self._left() < NO_ROOM_BYTES

    def scarce(self) -> bool:
        """Whether the disk may be full soon, so that what the log holds must stay below the reserve."""
        return self._left() < SCARCE * self.kept

    def _left(self) -> float:
        try:
            disk = os.statvfs(self._path().parent)
        except OSError:
            return math.inf
        return disk.f_bavail * disk.f_frsize

    def _name(self) -> str:
        return f"{self._path()}.reserve"
