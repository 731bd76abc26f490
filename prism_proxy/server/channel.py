"""A channel to one gRPC server over the native client: connects when needed, reconnects, and repeats what never ran.

For calls between processes of the product. It knows no load balancing and no names; an address is an address.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Iterable

from prism_proxy._native.grpc.client import CallError, ClientCall, ClientConnection
from prism_proxy._native.http2.limits import NativeLimits
from prism_proxy.server.limits import Limits
from prism_runtime.address import Address
from prism_runtime.backoff import backoff

Metadata = Iterable[tuple[str, str | bytes]]
DEADLINE_EXCEEDED = 4
UNAVAILABLE = 14
FIRST_BACKOFF_SECONDS = 0.05
MAX_BACKOFF_SECONDS = 5.0
CONNECT_SECONDS = 5.0
LATE_SECONDS = 0.5  # for the server's own word about a deadline


class Channel:
    """`tls` must offer ALPN h2. Methods raise CallError; `executed` tells whether the server may have acted."""

    def __init__(self, address: str, *, tls: ssl.SSLContext | None = None, limits: Limits | None = None) -> None:
        self._address = Address.parse(address)
        self._tls = tls
        self._limits = NativeLimits(limits or Limits())
        self._connection: ClientConnection | None = None
        self._attempt: asyncio.Task[ClientConnection] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._closed = False

    async def unary(self, path: str, request: bytes, metadata: Metadata = (), timeout_s: float | None = None) -> bytes:
        """One request, one reply. Repeated once, on a new connection, when the server surely did not see it."""
        pairs = tuple(metadata)
        connection = await self._connect()
        try:
            return await _in_time(connection.unary(path, request, pairs, timeout_s), timeout_s)
        except CallError as error:
            if error.executed:
                raise
        return await _in_time((await self._connect()).unary(path, request, pairs, timeout_s), timeout_s)

    async def call(self, path: str, metadata: Metadata = (), timeout_s: float | None = None) -> ClientCall:
        """Start a call of any kind; it is never repeated."""
        return (await self._connect()).call(path, tuple(metadata), timeout_s)

    async def stream(
        self, path: str, request: bytes, metadata: Metadata = (), timeout_s: float | None = None
    ) -> AsyncIterator[bytes]:
        """One request, a stream of replies; leaving the loop early cancels the call."""
        call = await self.call(path, metadata, timeout_s)
        try:
            await call.send(request)
            call.half_close()
            while (message := await call.read()) is not None:
                yield message
        finally:
            call.cancel()

    async def close(self) -> None:
        """Close the connection, and one that is being opened as soon as it is there; calls in progress end
        UNAVAILABLE."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()

    async def _connect(self) -> ClientConnection:
        """The connection in use, or the outcome of one attempt that all callers share.

        After a failure further calls fail at once until the backoff is over: waiting is the caller's decision.
        """
        if self._connection is not None and self._connection.usable:
            return self._connection
        if self._closed:
            raise CallError(UNAVAILABLE, "the channel is closed", (), False)
        loop = asyncio.get_running_loop()
        if self._attempt is None:
            if loop.time() < self._not_before:
                raise CallError(UNAVAILABLE, f"{self._address} could not be reached a moment ago", (), False)
            self._attempt = loop.create_task(self._open())
            self._attempt.add_done_callback(self._attempted)
        return await asyncio.shield(self._attempt)

    def _attempted(self, attempt: asyncio.Task[ClientConnection]) -> None:
        self._attempt = None
        if attempt.cancelled() or attempt.exception() is not None:
            pause = backoff(self._failures, FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS)
            self._failures += 1
            self._not_before = asyncio.get_running_loop().time() + pause
            return
        self._failures = 0
        self._connection = attempt.result()
        if self._closed:
            self._connection.close()

    async def _open(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        address = self._address

        def protocol() -> ClientConnection:
            return ClientConnection(loop, self._limits, str(address) if address.unix_path is None else "localhost",
                                    self._gone)

        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if address.unix_path is not None:
                    _, connection = await loop.create_unix_connection(protocol, address.unix_path, ssl=self._tls)
                else:
                    _, connection = await loop.create_connection(protocol, address.host, address.port, ssl=self._tls)
        except (OSError, TimeoutError) as error:
            raise CallError(UNAVAILABLE, f"cannot connect to {address}: {error or 'timed out'}", (), False) from error
        return connection

    def _gone(self, connection: ClientConnection) -> None:
        """The connection takes no more calls; those in progress on it go on if it lives."""
        if self._connection is connection:
            self._connection = None


async def _in_time(call: Awaitable[bytes], timeout_s: float | None) -> bytes:
    """The server ends a call at its deadline, unless the network between us is cut: then we do, a little later."""
    try:
        async with asyncio.timeout(None if timeout_s is None else timeout_s + LATE_SECONDS):
            return await call
    except TimeoutError:
        raise CallError(DEADLINE_EXCEEDED, f"no answer within {timeout_s} s") from None
