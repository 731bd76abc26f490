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

from prism_runtime.address import Address
from prism_runtime.lifecycle import StartError


class InternalSockets:
    """Makes the directory (mode 0700) and the sockets; `close` removes both. StartError when there is no place."""

    def __init__(self, workers: int) -> None:
        try:
            directory = Path(tempfile.mkdtemp(prefix="prism-"))
        except OSError as error:
            raise StartError(f"no directory for the sockets between workers: {error}; set TMPDIR") from error
        self.paths = tuple(str(directory / f"{worker}.sock") for worker in range(workers))
        self.sockets: list[socket.socket] = []
        try:
            for path in self.paths:
                self.sockets.append(Address("", 0, path).bind(share_port=False))
        except OSError as error:
            self.close()
            raise StartError(
                f"no sockets between workers in {directory}: {error}; set TMPDIR to a short path") from error

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
