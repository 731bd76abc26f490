"""Keeps the pipelined connections to one Redis server: connects, greets, watches, and connects again.

A place is one connection; places 0 to n-1 carry the commands of callers, chosen by key, and the last one what would
hold them up: scans, batches, scripts, large values. Namespaces share a pool: it knows none of them. Each place lives by
itself:

    resolve --> connect --> handshake (HELLO or AUTH, SELECT, name) --> ready --lost--> back off --> resolve
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from prism_proxy._native.keyvalue.redis import PoolSlots
from prism_proxy._native.redis.resp import ConnectionLost, RespConnection, RespError
from prism_proxy.backends.redis.dial import ConnectionPoolOptions, Endpoint, dial
from prism_proxy.backends.redis.handshake import Session, fence, shake_hands
from prism_proxy.telemetry.outage import Outage
from prism_runtime import log
from prism_runtime.backoff import backoff
from prism_runtime.tasks import cancel

FIRST_BACKOFF_SECONDS = 0.05
MAX_BACKOFF_SECONDS = 5.0
REPLY_HEAD_BYTES = 64 * 1024  # what a reply may have beside its value
VALUES_A_REPLY = 32  # of the largest size, where one reply has many
LOOK_FOR_PRIMARY_S = 1.0  # where a replica was found, and refuses writes
NOT_YET = "not connected yet"


class _Ends:
    """What becomes of a connection: `changed` when it was lost, or refuses writes."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.changed = asyncio.Event()

    def end(self) -> None:
        self.lost.set()
        self.changed.set()


_Connected = tuple[RespConnection, _Ends]


class ConnectionPool:
    """`resolve` names the server at every attempt to connect, and may fail; `places` has what connections there are."""

    def __init__(self, options: ConnectionPoolOptions, resolve: Callable[[], Awaitable[Endpoint]]) -> None:
        self._options = options
        self._resolve = resolve
        self._log = log.get("prism.redis")
        self._outage = Outage(self._log, "no connection to Redis", "Redis is back")
        self.places = PoolSlots(options.connections)
        self._tasks: list[asyncio.Task[None]] = []
        self._returned = asyncio.Event()
        self._sessions: dict[RespConnection, Session | None] = {}  # None where the server does not tell
        self._unfenced: dict[RespConnection, Session | None] = {}  # that were lost, and may do something yet
        self.endpoint: Endpoint | None = None
        self.info: dict[str, str] = {}
        self.failure = NOT_YET

    def open(self) -> None:
        """Begin to connect; returns at once."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._keep(place)) for place in range(self.size)]

    async def close(self) -> None:
        """Close all connections; what waits on them fails with ConnectionLost."""
        await cancel(self._tasks)
        for place, connection in enumerate(self.places.connections):
            self.places.connections[place] = None
            if connection is not None:
                connection.abort("the driver was closed")

    # --- state --------------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> int:
        """Places with a connection that takes commands."""
        return sum(connection is not None and connection.usable for connection in self.places.connections)

    @property
    def size(self) -> int:
        return len(self.places.connections)

    @property
    def idle(self) -> int:
        """Ready connections on which nothing waits."""
        return sum(connection is not None and connection.usable and not connection.pending
                   for connection in self.places.connections)

    # --- one place ----------------------------------------------------------------------------------------------------

    async def _keep(self, place: int) -> None:
        """Have a connection in this place, as long as the pool is open."""
        failures = 0
        while True:
            try:
                connection, ends = await self._connect(place)
            except Exception as error:  # noqa: BLE001 - whatever a server answers, nobody else connects
                self._failed(place, str(error) or type(error).__name__, failures)
                failures += 1
            else:
                failures = 0
                self.places.connections[place] = connection
                self._outage.end()
                self._returned.set()
                self._returned.clear()
                while (other := await self._watch(place, connection, ends)) is not None:
                    connection, ends = other
                    self.places.connections[place] = connection
                self.places.connections[place] = None
                self._failed(place, connection.closed_reason or "closed", 0)
            await self._pause(backoff(failures, FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS))

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt, and no longer once another place has found the server back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._returned.wait()

    def _failed(self, place: int, reason: str, before: int) -> None:
        where = f"{self.endpoint}: " if self.endpoint is not None else ""
        self.failure = where + reason
        if self.ready == 0:
            self._outage.begin(reason=self.failure)
        elif before == 1:  # a single loss is mended at once
            self._log.warning("fewer connections to Redis than configured", ready=self.ready, reason=self.failure)

    async def _connect(self, place: int) -> _Connected:
        """A connection that has been greeted, and what becomes of it. In the last place a reply may hold many of the
        largest values."""
        values = VALUES_A_REPLY if place == self.size - 1 else 1
        loop = asyncio.get_running_loop()
        ends = _Ends()
        options = self._options

        def protocol() -> RespConnection:
            return RespConnection(
                loop, ended, writes=self.places.writes[place], max_queued_bytes=options.max_queued_bytes,
                read_timeout_s=options.read_timeout_s,
                max_value_bytes=options.max_value_bytes,
                max_reply_bytes=values * (options.max_value_bytes + REPLY_HEAD_BYTES))

        def ended(connection: RespConnection, reason: str) -> None:
            ends.end()
            self._lost(connection, reason)

        async with asyncio.timeout(options.connect_timeout_s):
            self.endpoint = endpoint = await self._resolve()
            connection = await dial(endpoint, options, protocol)
            try:
                await self._greet(connection)
            except BaseException:
                connection.abort("the handshake failed")
                raise
        # behind sentinels a server that was demoted is left at once: it would serve old data
        connection.set_ready(None if options.primary else ends.changed.set)
        return connection, ends

    async def _greet(self, connection: RespConnection) -> None:
        """All that must be through before the first command of a caller."""
        session, info = await shake_hands(connection, self._options)
        over = dict(self._unfenced)
        again = [known for known in over.values() if known is not None and session is not None and
                 known.run == session.run]
        if not await fence(connection, again):
            info["fence"] = "refused"
        for old in over:  # of another run, or of one that does not tell, nothing is executed, or nothing can be done
            self._unfenced.pop(old, None)
            old.settle()
        self._sessions[connection] = session
        self.info = info

    def _lost(self, connection: RespConnection, reason: str) -> None:
        """A connection takes no more commands. Its silence is that of the server: others are not better."""
        if connection in self._sessions:  # or it never carried a command of a caller
            self._unfenced[connection] = self._sessions.pop(connection)
        if not connection.silent:
            return
        for other in self.places.connections:
            if other is not None and other is not connection and other.pending:
                other.abort(reason)

    async def _watch(self, place: int, connection: RespConnection, ends: _Ends) -> _Connected | None:
        """Until the connection is lost, or another takes its place; an idle one is asked for a sign of life."""
        look_s = LOOK_FOR_PRIMARY_S
        known = _is_replica(self.info)
        while not ends.lost.is_set():
            pause = self._options.ping_s
            if connection.refused:
                other = await self._other(place, only_primary=known)
                if other is not None:
                    connection.retire()
                    return other
                pause, look_s = look_s, min(2 * look_s, self._options.ping_s)
            try:
                async with asyncio.timeout(pause):  # wait_for may swallow a cancellation
                    await ends.changed.wait()
            except TimeoutError:
                if not connection.pending and connection.usable:
                    connection.execute(b"PING").add_done_callback(lambda reply: reply.exception())
            if not ends.lost.is_set():
                ends.changed.clear()
        return None

    async def _other(self, place: int, *, only_primary: bool) -> _Connected | None:
        """Another connection, as the server refuses writes: the address may lead to the primary by now. The old one
        stays until then, and serves reads."""
        try:
            connection, ends = await self._connect(place)
        except (ConnectionLost, RespError, OSError):  # TimeoutError is an OSError
            return None
        if only_primary and _is_replica(self.info):
            connection.abort("the server is a replica")
            return None
        return connection, ends


def _is_replica(info: dict[str, str]) -> bool:
    return info.get("role") == "slave"
