"""Listening sockets: accepting connections under limits.

Connections are accepted here rather than by the loop's server object, because three things need it: the number of TLS
handshakes in progress is bounded, the backlog is accepted before a listener closes (closing it would reset those
connections), and connections beyond the limit are closed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Callable

from prism_proxy._native.http2.limits import NativeLimits
from prism_proxy.server.credentials import ServerCredentials
from prism_proxy.server.limits import Limits
from prism_runtime import log
from prism_runtime.address import BACKLOG
from prism_runtime.tls import TlsContexts

REFUSALS_LOGGED_EVERY_S = 10.0
ACCEPTS_PER_WAKE = 64  # keeps one wake-up of the loop short when thousands connect at once


class Listener:
    """One listening socket and the connections being set up from it."""

    def __init__(self, sock: socket.socket, tls: TlsContexts | ServerCredentials | None, limits: Limits,
                 counters: NativeLimits, protocol: Callable[[], asyncio.BaseProtocol],
                 connection_count: Callable[[], int], *, owned: bool = True) -> None:
        self._sock = sock
        self._owned = owned
        self._tls = tls
        self._limits = limits
        self._counters = counters
        self._protocol = protocol
        self._connection_count = connection_count
        self._loop = asyncio.get_running_loop()
        self._setups: set[asyncio.Task[None]] = set()
        self._paused = False
        self._silent_until = 0.0
        self._spare = open(os.devnull, "rb")  # noqa: SIM115 - gives its descriptor when there is no other

    @property
    def port(self) -> int:
        name = self._sock.getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def start(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._accept_ready)

    def _accept_ready(self) -> None:
        self._accept(ACCEPTS_PER_WAKE)

    def _accept(self, most: int) -> None:
        for _ in range(most):
            if self._tls is not None and len(self._setups) >= self._limits.handshakes_in_progress:
                self._counters.count_hit("handshakes_in_progress")
                self._pause()
                return
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE) and self._refuse_next():
                    continue
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._refused("the process has no file descriptor or memory left")
                    self._pause()
                    self._loop.call_later(0.1, self._resume)
                    return
                raise
            self._set_up(sock)

    def _refuse_next(self) -> bool:
        """Accept one client, by the descriptor that was kept for this, and close it: it need not wait to learn."""
        self._spare.close()
        try:
            self._sock.accept()[0].close()
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):
                self._spare = open(os.devnull, "rb")  # noqa: SIM115 - it is kept
        self._refused("the process has no file descriptor left")
        return True

    def _refused(self, why: str) -> None:
        self._counters.count_hit("connections")
        now = self._loop.time()
        if now >= self._silent_until:
            self._silent_until = now + REFUSALS_LOGGED_EVERY_S
            log.get("prism.server").warning("connections are refused", reason=why, open=self._connection_count(),
                                            limit=self._limits.connections)

    def _set_up(self, sock: socket.socket) -> None:
        if self._connection_count() + len(self._setups) >= self._limits.connections:
            self._refused("as many are open as the limit connections allows")
            sock.close()
            return
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._connect(sock))
        self._setups.add(task)
        task.add_done_callback(self._set_up_done)

    async def _connect(self, sock: socket.socket) -> None:
        context = self._tls.current if self._tls is not None else None
        timeout = self._limits.handshake_timeout_s if context is not None else None
        try:
            await self._loop.connect_accepted_socket(self._protocol, sock, ssl=context, ssl_handshake_timeout=timeout)
        except (TimeoutError, ConnectionAbortedError):  # the latter is how loops say it
            self._counters.count_hit("handshake_timeout_s")
        except (ssl.SSLError, OSError):
            # The peer's fault or its absence; nothing to tell anyone but the scanner that caused it.
            sock.close()

    def _set_up_done(self, task: asyncio.Task[None]) -> None:
        self._setups.discard(task)
        if self._paused:
            self._resume()
        if not task.cancelled() and task.exception() is not None:
            self._loop.call_exception_handler(
                {"message": "accepting a connection failed", "exception": task.exception()})

    def _pause(self) -> None:
        if not self._paused and self._sock.fileno() >= 0:
            self._paused = True
            self._loop.remove_reader(self._sock.fileno())

    def _resume(self) -> None:
        if self._paused and self._sock.fileno() >= 0:
            self._paused = False
            self._loop.add_reader(self._sock.fileno(), self._accept_ready)

    async def close(self) -> None:
        """Stop listening. What the kernel already queued is accepted first and served until its drain."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._accept(BACKLOG)
        name = self._sock.getsockname()
        self._sock.close()
        self._spare.close()
        if self._owned and isinstance(name, str) and name:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        if self._setups:
            await asyncio.wait(self._setups, timeout=self._limits.handshake_timeout_s)
        for task in self._setups:
            task.cancel()
