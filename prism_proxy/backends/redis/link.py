"""Keeps the pipelined connections to one Redis server: connects, greets, watches, and connects again.

A place is one connection; places 0 to n-1 carry the commands of callers, chosen by key, and the last one what would
hold them up: scans, batches, scripts, large values. Each place lives by itself:

    resolve --> connect --> greet (HELLO or AUTH, SELECT, name) --> ready --lost--> wait, longer each time --> resolve

A command finds a ready connection or fails at once, `ConnectionLost` with `sent` False: waiting and repeating is the
slot's decision.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from prism_proxy._native.keyvalue_redis import RedisStore
from prism_proxy._native.resp import ConnectionLost, PipelineFull, RespConnection, RespError
from prism_proxy.backends.redis.greeting import Session, fence, greet
from prism_proxy.telemetry import log

FIRST_BACKOFF_SECONDS = 0.05
MAX_BACKOFF_SECONDS = 5.0
Reply = Any  # bytes, int, float, bool, None, or a list of these and of RespError


class Endpoint(NamedTuple):
    """Where a server listens: `path` for a Unix socket, else host and port."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """`connections` is the number of places for callers' commands. Times in seconds, sizes in bytes.

    `primary`: a server that is a replica is not connected to.
    """

    connections: int = 2
    max_pending: int = 10_000
    max_queued_bytes: int = 16 * 1024 * 1024
    bulk_bytes: int = 256 * 1024
    connect_timeout_s: float = 2.0
    read_timeout_s: float = 3.0
    ping_s: float = 10.0
    username: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    client_name: str = "prism-proxy"
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    primary: bool = False


class Link:
    """`resolve` names the server at every attempt to connect, and may fail; `store` is what native handlers use.

    `on_ready` is called when a server answers again after none did, with its INFO.
    """

    def __init__(self, options: LinkOptions, resolve: Callable[[], Awaitable[Endpoint]], store: RedisStore,
                 on_ready: Callable[[dict[str, str]], None] = lambda info: None) -> None:
        self._options = options
        self._resolve = resolve
        self._on_ready = on_ready
        self._log = log.get("prism.redis")
        self._places: list[RespConnection | None] = [None] * (options.connections + 1)
        self._tasks: list[asyncio.Task[None]] = []
        self._returned = asyncio.Event()
        self._sessions: dict[RespConnection, Session] = {}
        self._unfenced: set[Session] = set()  # of connections that were lost
        self.store = store
        self.endpoint: Endpoint | None = None
        self.info: dict[str, str] = {}
        self.failure = "not connected yet"

    def open(self) -> None:
        """Begin to connect; returns at once."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._keep(place)) for place in range(len(self._places))]

    async def close(self) -> None:
        """Close all connections; what waits on them fails with ConnectionLost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for place, connection in enumerate(self._places):
            self.store.set_connection(place, None)
            if connection is not None:
                connection.abort("the driver was closed")

    async def drained(self) -> None:
        """Until no command waits for a reply."""
        while self.pending:  # noqa: ASYNC110 - an event for every reply would cost more
            await asyncio.sleep(0.01)

    # --- commands -----------------------------------------------------------------------------------------------------

    async def execute(self, *arguments: bytes, key: bytes = b"", bulk: bool = False) -> Reply:
        """The reply of one command. `key` chooses the connection, so that commands of one key keep their order.

        RespError, ConnectionLost, PipelineFull.
        """
        return await self._connection(key, sum(map(len, arguments)), bulk).execute(*arguments)

    async def execute_many(self, commands: Sequence[tuple[bytes, ...]], *, bulk: bool = True) -> list[Reply]:
        """The replies of commands sent in one piece, in order; what failed is an exception in its place."""
        connection = self._connection(b"", 0, bulk)
        sent = [_sent(connection, command) for command in commands]
        return await asyncio.gather(*sent, return_exceptions=True)

    def _connection(self, key: bytes, size: int, bulk: bool) -> RespConnection:
        found = self._places[-1] if bulk else self.store.connection_for(key, size)
        if found is None or not found.usable:
            raise ConnectionLost(self.failure, False)
        return found

    # --- state --------------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> int:
        """Places with a connection that takes commands."""
        return sum(connection is not None and connection.usable for connection in self._places)

    @property
    def size(self) -> int:
        return len(self._places)

    @property
    def idle(self) -> int:
        """Ready connections on which nothing waits."""
        return sum(connection is not None and connection.usable and not connection.pending
                   for connection in self._places)

    @property
    def pending(self) -> int:
        """Commands without a reply, on all connections."""
        return sum(connection.pending for connection in self._places if connection is not None)

    # --- one place ----------------------------------------------------------------------------------------------------

    async def _keep(self, place: int) -> None:
        """Have a connection in this place, as long as the link is open."""
        failures = 0
        while True:
            try:
                connection, lost = await self._connect()
            except (OSError, TimeoutError, RespError, ConnectionLost, ValueError) as error:
                self._failed(place, str(error) or type(error).__name__, failures)
                failures += 1
            else:
                failures = 0
                self._set(place, connection)
                self._returned.set()
                self._returned.clear()
                await self._watch(connection, lost)
                self._set(place, None)
                self._failed(place, connection.closed_reason or "closed", 0)
            ceiling = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(failures, 16))
            await self._pause(random.uniform(ceiling / 2, ceiling))

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt, and no longer once another place has found the server back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._returned.wait()

    def _set(self, place: int, connection: RespConnection | None) -> None:
        self._places[place] = connection
        self.store.set_connection(place, connection)

    def _failed(self, place: int, reason: str, before: int) -> None:
        where = f"{self.endpoint}: " if self.endpoint is not None else ""
        self.failure = where + reason
        if before == 0:
            self._log.warning("no connection to Redis", place=place, reason=self.failure)

    async def _connect(self) -> tuple[RespConnection, asyncio.Event]:
        """A connection that has been greeted, and the event of its end."""
        loop = asyncio.get_running_loop()
        lost = asyncio.Event()
        options = self._options

        def protocol() -> RespConnection:
            return RespConnection(
                loop, ended, max_pending=options.max_pending, max_queued_bytes=options.max_queued_bytes,
                read_timeout_s=options.read_timeout_s)

        def ended(connection: RespConnection, reason: str) -> None:
            lost.set()
            self._lost(connection, reason)

        async with asyncio.timeout(options.connect_timeout_s):
            endpoint = await self._resolve()
            self.endpoint = endpoint
            tls: dict[str, Any] = {}
            if options.tls is not None:
                tls = {"ssl": options.tls, "server_hostname": options.server_name or endpoint.host}
            if endpoint.path:
                _, connection = await loop.create_unix_connection(protocol, endpoint.path, **tls)
            else:
                _, connection = await loop.create_connection(protocol, endpoint.host, endpoint.port, **tls)
            try:
                await self._greet(connection)
            except BaseException:
                connection.abort("the greeting failed")
                raise
        connection.set_ready()
        return connection, lost

    async def _greet(self, connection: RespConnection) -> None:
        """All that must be through before the first command of a caller."""
        session, info = await greet(connection, self._options)
        lost = [old for old in self._unfenced if session is not None and old.run == session.run]
        if not await fence(connection, lost):
            info["fence"] = "refused"
        self._unfenced.difference_update(lost)
        if session is not None:
            self._unfenced = {old for old in self._unfenced if old.run == session.run}
            self._sessions[connection] = session
        returned = self.ready == 0
        self.info = info
        if returned:
            self._on_ready(info)

    def _lost(self, connection: RespConnection, reason: str) -> None:
        """A connection takes no more commands. Its silence is that of the server: others are not better."""
        session = self._sessions.pop(connection, None)
        if session is not None:
            self._unfenced.add(session)
        if not connection.silent:
            return
        for other in self._places:
            if other is not None and other is not connection and other.pending:
                other.abort(reason)

    async def _watch(self, connection: RespConnection, lost: asyncio.Event) -> None:
        """Until the connection is lost; an idle one is asked for a sign of life."""
        while not lost.is_set():
            try:
                async with asyncio.timeout(self._options.ping_s):  # wait_for may swallow a cancellation
                    await lost.wait()
            except TimeoutError:
                if not connection.pending and connection.usable:
                    connection.execute(b"PING").add_done_callback(lambda reply: reply.exception())


def _sent(connection: RespConnection, command: tuple[bytes, ...]) -> Awaitable[Reply]:
    """The reply to come, also where the connection took the command no more."""
    try:
        return connection.execute(*command)
    except (ConnectionLost, PipelineFull) as error:
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(error)
        return failed
