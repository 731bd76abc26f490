"""Handles: names of state that lives in one process of one proxy, such as an open transaction.

    PROCESS.EPOCH.SECRET        local-3.1f2e3d4c.00112233445566778899aabbccddeeff

The receiver of a handle can tell which worker has the state, and a handle from before a restart from nonsense.
"""

from __future__ import annotations

import os
import re

_HANDLE = re.compile(r".+-([0-9]{1,4})\.[0-9a-f]{8}\.[0-9a-f]{32}")


def process_name(worker: int) -> str:
    """How handles name a process of this proxy."""
    return f"local-{worker}"


def worker_of(handle: str) -> int | None:
    """The worker that made a handle; None for what is no handle."""
    found = _HANDLE.fullmatch(handle)
    return int(found[1]) if found is not None else None


class HandleMaker:
    """Makes the handles of one kind of state of one process; each maker is an epoch of its own."""

    def __init__(self, process: str) -> None:
        self._prefix = f"{process}.{os.urandom(4).hex()}."

    def make(self) -> str:
        return self._prefix + os.urandom(16).hex()

    def made(self, handle: str) -> bool:
        """Whether a handle is of this epoch."""
        return handle.startswith(self._prefix)
