"""Where workers reach each other: one Unix socket each, in a directory that only this user can enter.

The supervisor holds the listening sockets open, so a call to a worker that is being restarted waits in its queue. The
directory is the access control: who can open a socket in it is taken for a worker.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from pathlib import Path

from prism_proxy.server.listener import Address


class InternalSockets:
    """Makes the directory (mode 0700) and the sockets; `close` removes both."""

    def __init__(self, workers: int) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="prism-"))
        self.paths = tuple(str(self._directory / f"{worker}.sock") for worker in range(workers))
        self.sockets: list[socket.socket] = [
            Address("", 0, path).bind(share_port=False) for path in self.paths]

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        remove(self.paths)


def remove(paths: tuple[str, ...]) -> None:
    """Remove sockets and their directory, as far as they are still there."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(paths[0]))
