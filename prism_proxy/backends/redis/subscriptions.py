"""Subscriptions to channels of one Redis server: a connection of their own, which all namespaces on the server share.

A channel is subscribed to once, however many listeners it has here. The connection comes back by itself, with all
channels; what was published meanwhile is gone, and each listener learns that. It is opened by the first listener.

    dial --> HELLO or AUTH --> SUBSCRIBE, PSUBSCRIBE of all --confirmed--> messages --lost--> back off --> dial
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from prism_proxy._native.redis.resp import ConnectionLost, RespConnection
from prism_proxy.backends.redis.dial import ConnectionPoolOptions, Endpoint, dial
from prism_proxy.backends.redis.handshake import introduce
from prism_runtime import log
from prism_runtime.backoff import backoff

FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.05, 5.0
CHANNELS_AT_ONCE = 1000  # in one command


class Listener(Protocol):
    def received(self, channel: bytes, data: bytes) -> None:
        """A message of a channel. It must not raise."""
        ...

    def interrupted(self, why: str) -> None:
        """Messages may be missing before the next one."""
        ...


class Channel:
    """What is subscribed to, by name or by pattern. `confirmed` once the server said so, on the present connection."""

    def __init__(self, name: bytes, *, pattern: bool) -> None:
        self.name = name
        self.pattern = pattern
        self.listeners: dict[Listener, bool] = {}  # in the order of their coming; whether it was confirmed to them
        self.confirmed = False
        self.waiting: list[asyncio.Future[None]] = []


class Subscriptions:
    """`resolve` names a server that hears of all messages: the primary, or any node of a cluster."""

    def __init__(self, options: ConnectionPoolOptions, resolve: Callable[[], Awaitable[Endpoint]]) -> None:
        self._options = options
        self._resolve = resolve
        self._log = log.get("prism.redis")
        self._channels: dict[bytes, Channel] = {}
        self._patterns: dict[bytes, Channel] = {}
        self._task: asyncio.Task[None] | None = None
        self._connection: RespConnection | None = None
        self._heard = False  # anything since the last sign of life was asked for
        self.failure = "not connected yet"

    @property
    def channels(self) -> int:
        return len(self._channels) + len(self._patterns)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._connection is not None:
            self._connection.abort("the driver was closed")

    async def subscribe(self, name: bytes, listener: Listener, *, pattern: bool = False) -> Channel:
        """Return when the server has confirmed it. ConnectionLost when it did not in time."""
        table = self._patterns if pattern else self._channels
        channel = table.get(name)
        if channel is None:
            channel = table[name] = Channel(name, pattern=pattern)
            self._tell(b"PSUBSCRIBE" if pattern else b"SUBSCRIBE", name)
        channel.listeners[listener] = channel.confirmed
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep())
        if channel.confirmed:
            return channel
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        channel.waiting.append(waiting)
        try:
            async with asyncio.timeout(self._options.connect_timeout_s + self._options.read_timeout_s):
                await waiting
        except BaseException as error:
            self.unsubscribe(channel, listener)
            if isinstance(error, TimeoutError):
                raise ConnectionLost(self.failure, False) from None
            raise
        return channel

    def unsubscribe(self, channel: Channel, listener: Listener) -> None:
        """Nothing more for this listener. The last one of a channel ends it at the server."""
        channel.listeners.pop(listener, None)
        table = self._patterns if channel.pattern else self._channels
        if channel.listeners or table.get(channel.name) is not channel:
            return
        del table[channel.name]
        self._tell(b"PUNSUBSCRIBE" if channel.pattern else b"UNSUBSCRIBE", channel.name)

    def _tell(self, *command: bytes) -> None:
        if self._connection is not None:
            with contextlib.suppress(ConnectionLost):
                self._connection.tell(*command)

    # --- the connection -----------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        failures = 0
        while True:
            try:
                lost = await self._connect()
            except Exception as error:  # noqa: BLE001 - whatever a server answers, nobody else connects
                self.failure = str(error) or type(error).__name__
                if not failures:
                    self._log.warning("no connection for subscriptions to Redis", reason=self.failure)
                failures += 1
            else:
                failures = 0
                await self._watch(lost)
                self._forget()
            await asyncio.sleep(backoff(failures, FIRST_BACKOFF_S, MAX_BACKOFF_S))

    async def _connect(self) -> asyncio.Event:
        """Subscribe to all channels on a new connection; the event of its end."""
        options = self._options
        lost = asyncio.Event()

        def ended(connection: RespConnection, reason: str) -> None:
            self.failure = reason
            lost.set()

        def protocol() -> RespConnection:
            return RespConnection(asyncio.get_running_loop(), ended, read_timeout_s=options.read_timeout_s)

        async with asyncio.timeout(options.connect_timeout_s):
            connection = await dial(await self._resolve(), options, protocol)
            try:
                _, self._resp3 = await introduce(connection, options)
            except BaseException:
                connection.abort("the handshake failed")
                raise
        connection.listen(self._pushed)
        self._connection = connection
        for verb, table in ((b"SUBSCRIBE", self._channels), (b"PSUBSCRIBE", self._patterns)):
            names = list(table)
            for start in range(0, len(names), CHANNELS_AT_ONCE):
                connection.tell(verb, *names[start:start + CHANNELS_AT_ONCE])
        return lost

    async def _watch(self, lost: asyncio.Event) -> None:
        """Until the connection is lost; a silent one is asked for a sign of life."""
        connection = self._connection
        assert connection is not None
        while not lost.is_set():
            self._heard = False
            try:
                async with asyncio.timeout(self._options.ping_s):
                    await lost.wait()
            except TimeoutError:
                if self._heard:
                    continue
                await self._ask(connection, lost)

    async def _ask(self, connection: RespConnection, lost: asyncio.Event) -> None:
        if self._resp3:  # replies are told apart from what is pushed, and missed by the connection itself
            with contextlib.suppress(ConnectionLost):
                connection.execute(b"PING").add_done_callback(lambda reply: reply.exception())
            return
        self._tell(b"PING")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.read_timeout_s):
                await lost.wait()
        if not self._heard and not lost.is_set():
            connection.abort(f"no sign of life within {self._options.read_timeout_s:g} s")

    def _forget(self) -> None:
        self._connection = None
        for channel in (*self._channels.values(), *self._patterns.values()):
            channel.confirmed = False

    # --- what the server sends ----------------------------------------------------------------------------------------

    def _pushed(self, news: list[Any]) -> None:
        self._heard = True
        kind = news[0]
        if kind == b"message":
            channel = self._channels.get(news[1])
            if channel is not None:
                for listener in tuple(channel.listeners):
                    listener.received(news[1], news[2])
        elif kind == b"pmessage":
            channel = self._patterns.get(news[1])
            if channel is not None:
                for listener in tuple(channel.listeners):
                    listener.received(news[2], news[3])
        elif kind in (b"subscribe", b"psubscribe"):
            channel = (self._channels if kind == b"subscribe" else self._patterns).get(news[1])
            if channel is not None:
                self._confirm(channel)

    def _confirm(self, channel: Channel) -> None:
        if channel.confirmed:
            return
        channel.confirmed = True
        waiting, channel.waiting = channel.waiting, []
        for listener, known in tuple(channel.listeners.items()):
            channel.listeners[listener] = True
            if known:
                listener.interrupted(f"reconnected to Redis after: {self.failure}")
        for future in waiting:
            if not future.done():
                future.set_result(None)
