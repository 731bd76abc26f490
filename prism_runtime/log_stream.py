"""Where log lines go: a file descriptor that is written without ever waiting for who reads it.

A line is written where it is logged, so that it is out before anything else can happen to the process. What the reader
does not take waits in a bounded queue, which a thread writes later; what does not fit is dropped, counted, and reported
in a line of its own. This module must not log.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable

QUEUED_BYTES = 1024 * 1024  # of lines that wait for the reader
RETRY_SECONDS = 0.005  # between attempts, should the stream be called writable and take nothing
BELIEVED_BYTES = 512  # the least a pipe takes that is said to be writable


class LogStream:
    """A text stream for logging handlers; threads may share it. `told(count)` is the line about so many dropped."""

    def __init__(self, fd: int, told: Callable[[int], str], *, queued_bytes: int = QUEUED_BYTES) -> None:
        self._fd, self._write_some = _open(fd)
        self._told = told
        self._most = queued_bytes
        self._lock = threading.Lock()
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._untold = 0
        self._writing = False
        self.dropped = 0

    def write(self, text: str) -> None:
        """Write a line, or queue it, or drop it; returns at once."""
        line = text.encode(errors="backslashreplace")
        with self._lock:
            rest = line if self._queue else self._attempt(line)
            if len(rest) == len(line) and self._queued + len(line) > self._most:
                self.dropped += 1
                self._untold += 1
            elif rest:  # of a line that has begun, all is kept: it would spoil the next one
                self._queue.append(rest)
                self._queued += len(rest)
                if not self._writing:
                    self._writing = True
                    threading.Thread(target=self._write_queue, name="log", daemon=True).start()

    def drain(self, seconds: float) -> None:
        """Write what waits, for so long at most."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not self._lock.acquire(timeout=left):
                return
            try:
                if self._advance():
                    return
            finally:
                self._lock.release()
            self._wait(deadline - time.monotonic())

    def _write_queue(self) -> None:
        while True:
            self._wait(None)
            with self._lock:
                if self._advance():
                    self._writing = False
                    return

    def _wait(self, seconds: float | None) -> None:
        """Wait until the stream may take more."""
        time.sleep(RETRY_SECONDS)
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        poll.poll(None if seconds is None else max(0.0, seconds * 1000))

    def _advance(self) -> bool:
        """Write what waits, as far as the reader takes it; whether nothing waits any more."""
        while self._queue:
            line = self._queue[0]
            rest = self._attempt(line)
            self._queued -= len(line) - len(rest)
            if rest:
                self._queue[0] = rest
                return False
            self._queue.popleft()
            if not self._queue and self._untold:
                told, self._untold = self._told(self._untold).encode(), 0
                self._queue.append(told)
                self._queued += len(told)
        return True

    def _attempt(self, line: bytes) -> bytes:
        """Write a line as far as the reader takes it; the rest of it. Without a reader it is dropped."""
        try:
            while line:
                line = line[self._write_some(line):]
        except BlockingIOError:
            return line
        except OSError:
            self.dropped += 1
        return b""


def _open(fd: int) -> tuple[int, Callable[[bytes], int]]:
    """What `fd` stands for, as something to poll and a write that does not block, but raises BlockingIOError.

    O_NONBLOCK would hold for everyone who shares the stream, such as the shell; so the stream is opened a second time.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd, lambda data: os.write(fd, data)  # nothing to wait for, and a second opening has its own offset
    if stat.S_ISSOCK(mode):
        sock = socket.socket(fileno=os.dup(fd))
        return fd, lambda data: sock.send(data, socket.MSG_DONTWAIT)
    with contextlib.suppress(OSError):
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        return own, lambda data: os.write(own, data)
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return fd, lambda data: _write_if_ready(poll, fd, data)


def _write_if_ready(poll: select.poll, fd: int, data: bytes) -> int:
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(fd, data[:BELIEVED_BYTES])
