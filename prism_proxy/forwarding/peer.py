"""Another process of the product that owns namespaces: keeps connections to it, for calls that are forwarded there.

`handler` stands in the routes of those namespaces and does the forwarding natively. This module connects, with backoff,
and words the failures; it must not touch single calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from prism_proxy._native.forward.handler import ForwardConnection, ForwardHandler
from prism_proxy._native.http2.limits import NativeLimits
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.server.limits import Limits
from prism_runtime import log
from prism_runtime.address import Address
from prism_runtime.backoff import backoff

TICK_SECONDS = 1.0
RETRY_SECONDS = 1.0  # what callers are told to wait when a call was not executed


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """How calls are forwarded to one peer. These are constants of the product; tests choose others.

    A call waits `wait_s` for a connection to the owner, within its deadline; once another proxy has been away for so
    long, calls are refused at once. At most `waiting_calls` wait, with `waiting_bytes` of requests. One more of the
    `connections` is opened when each has as many calls as the owner allows. `connect_timeout_s` ends with the owner's
    first frame. A connection is lost when the owner's machine acknowledges nothing for `unacknowledged_s`, as when the
    network is cut; a process that stands still does not count, because its machine acknowledges. Attempts to connect
    are `backoff_first_s` to `backoff_most_s` apart.
    """

    wait_s: float = 2.0
    waiting_calls: int = 1024
    waiting_bytes: int = 16 * 1024 * 1024
    connections: int = 4
    connect_timeout_s: float = 5.0
    unacknowledged_s: float = 3.0
    backoff_first_s: float = 0.01
    backoff_most_s: float = 0.5


class Peer:
    """Make it on the running loop. `tls` gives the context of each new connection, which must offer ALPN h2.

    `name` stands in errors; `down_reason` is the reason of calls that found no connection in time. A `worker` is of
    this proxy; another proxy must be shown `peer_token`, unless it trusts callers of this machine.
    """

    def __init__(
        self,
        address: str,
        *,
        name: str | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        limits: Limits | None = None,
        options: PeerOptions | None = None,
        down_reason: str = "OWNER_DOWN",
        peer_token: str = "",
        worker: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._log = log.get("prism.peer")
        self._address = Address.parse(address)
        self._name = name or address
        self._tls = tls
        self._limits = NativeLimits(limits or Limits())
        self._options = options = options or PeerOptions()
        self._down_reason = down_reason
        self._connections: set[ForwardConnection] = set()
        self._wanted = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._worker = worker
        self._absence: asyncio.TimerHandle | None = None
        self.handler = ForwardHandler(
            self._loop, self._name, int(options.wait_s * 1e9), options.waiting_calls, options.waiting_bytes,
            self._want, self._failure, peer_token.encode() or b"1", worker)

    def start(self) -> None:
        """Connect now rather than with the first call. From then on a connection is kept."""
        self._want()

    async def close(self) -> None:
        """Calls that wait end now, and those in progress too; close after the server has drained."""
        self._found()
        for task in self._tasks:
            task.cancel()
        self.handler.close()
        for connection in self._connections:
            connection.close()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def stats(self) -> dict[str, int]:
        """Gauges: connections that take calls, calls in progress, and of these the waiting ones with their bytes."""
        handler = self.handler
        return {"connections": handler.connection_count, "calls": handler.calls, "waiting": handler.waiting,
                "waiting_bytes": handler.waiting_bytes}

    # --- connections ------------------------------------------------------------------------------------------------

    def _want(self) -> None:
        self._wanted.set()
        if not self._tasks:
            self._tasks = (self._loop.create_task(self._keep_connected()), self._loop.create_task(self._tick()))

    async def _keep_connected(self) -> None:
        """Open connections one after the other, as they are wanted, with a growing and jittered pause on failure."""
        failures = 0
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while not self.handler.connection_count or self._crowded():
                self._missed()
                try:
                    await self._open()
                except Exception as error:  # noqa: BLE001 - whatever it is, nobody else connects
                    if not isinstance(error, OSError):  # as TimeoutError is
                        self._log.error("a connection to another process failed unexpectedly", peer=self._name,
                                        exc_info=error)
                    pause = backoff(failures, self._options.backoff_first_s, self._options.backoff_most_s)
                    failures += 1
                    await asyncio.sleep(pause)
                else:
                    failures = 0
                    self._found()

    def _missed(self) -> None:
        """There is no connection. A worker is started again at once, and its calls wait; who knows of a proxy?"""
        if self._absence is None and not self._worker and not self.handler.connection_count:
            self._absence = self._loop.call_later(self._options.wait_s, self._give_up)

    def _found(self) -> None:
        if self._absence is not None:
            self._absence.cancel()
            self._absence = None

    def _give_up(self) -> None:
        """Refuse calls from now on, until a connection is there."""
        self.handler.down = not self.handler.connection_count

    def _crowded(self) -> bool:
        """Whether calls wait although there are connections, and one more is allowed."""
        return self.handler.waiting > 0 and self.handler.connection_count < self._options.connections

    async def _open(self) -> None:
        """One connection the owner has greeted. OSError when there is none in time."""
        opened = self._loop.create_future()
        connection = ForwardConnection(self.handler, self._limits, opened)
        address, tls = self._address, self._tls() if self._tls is not None else None
        try:
            async with asyncio.timeout(self._options.connect_timeout_s):
                if address.unix_path is not None:
                    await self._loop.create_unix_connection(
                        lambda: connection, address.unix_path, ssl=tls,
                        server_hostname="localhost" if tls else None)
                else:
                    transport, _ = await self._loop.create_connection(
                        lambda: connection, address.host, address.port, ssl=tls)
                    opening = transport.get_extra_info("socket")
                    if opening is None:
                        raise ConnectionResetError("the connection was closed at once")
                    opening.setsockopt(
                        socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._options.unacknowledged_s * 1e3))
                self._connections.add(connection)
                await opened
        except BaseException:
            opened.cancel()     # nobody asks any more what becomes of it
            self._connections.discard(connection)
            connection.close()
            raise

    async def _tick(self) -> None:
        """Find out about owners that are silent, and forget connections that are gone."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for connection in list(self._connections):
                if connection.gone:
                    self._connections.discard(connection)
                else:
                    connection.tick()

    # --- failures ---------------------------------------------------------------------------------------------------

    def _failure(self, phase: str, executed: bool, message: str) -> PrismError:
        """The error of a call that got no answer. `executed`: the owner may have acted on it."""
        metadata = {"peer": self._name, "phase": phase, "outcome": "unknown" if executed else "not_executed"}
        if phase == "drain":
            return PrismError(StatusCode.UNAVAILABLE, "DRAINING", message, metadata, retry_after=RETRY_SECONDS)
        return PrismError(
            StatusCode.UNAVAILABLE, "OWNER_LOST" if executed else self._down_reason,
            f"the owner of the namespace, {self._name}, cannot be reached: {message}", metadata,
            retry_after=None if executed else RETRY_SECONDS)
