"""The connection to a NATS cluster that namespaces share: always there, or on its way back.

    dial one server after another --> renew all subscriptions --> serve --lost--> back off --> dial

Subscriptions outlive connections; what was published meanwhile is gone, and each listener learns that. Requests and
publishes do not: who waits for an answer gets NatsClosed, and what to try again is the slot's.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

from prism_proxy._native.nats.connection import NatsClosed, NatsConnection, NatsDenied, parse_headers
from prism_proxy.backends.nats.addresses import Address, parse_place
from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.backends.nats.dial import dial
from prism_proxy.backends.nats.errors import NoAnswer, NoResponders
from prism_proxy.models.messaging_errors import publish_queue_full
from prism_runtime import log
from prism_runtime.backoff import backoff

NO_RESPONDERS = 503
MOST_SERVERS = 256  # learnt from a cluster
SILENT_ROUNDS = 2
ACK_SUBJECTS = b"$JS.ACK."
NAK = b"-NAK"
Answer = tuple[bytes | None, bytes]  # headers, data


class Listener(Protocol):
    def received(self, subject: bytes, reply: bytes | None, headers: bytes | None, data: bytes) -> None:
        """A message. It must not raise."""
        ...

    def interrupted(self, why: str) -> None:
        """Messages may be missing before the next one."""
        ...

    def denied(self, error: NatsDenied) -> None:
        """After a reconnect the server does not let us subscribe any more."""
        ...


class Channel:
    """A subscription at the server. `confirmed` once the server had it, on the present connection."""

    def __init__(self, subject: bytes, queue: bytes | None) -> None:
        self.subject = subject
        self.queue = queue
        self.listeners: dict[Listener, bool] = {}  # in the order of their coming; whether it was confirmed to them
        self.number = 0
        self.confirmed = False

    def received(self, subject: bytes, reply: bytes | None, headers: bytes | None, data: bytes) -> None:
        for listener in tuple(self.listeners):
            listener.received(subject, reply, headers, data)


class NatsClient:
    """`failure` is why there is no connection."""

    def __init__(self, config: NatsConfig) -> None:
        self._config = config
        self._tls: ssl.SSLContext | None = config.tls.context() if config.secure else None
        self._log = log.get("prism.nats")
        self._known: list[Address] = list(config.parsed.servers)
        self._channels: dict[bytes, Channel] = {}
        self._groups: set[Channel] = set()
        self._requests: dict[bytes, asyncio.Future[Answer]] = {}
        self._task: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._up = asyncio.Event()
        self._inbox = f"{config.inbox_prefix}.{uuid.uuid4().hex}.".encode()
        self._number = 0
        self.max_pending_bytes = config.max_pending_bytes
        self.connection: NatsConnection | None = None
        self.address: Address | None = None
        self.failure = "not connected yet"
        self.info: dict[str, Any] = {}
        self.connects = 0
        self.watchers: set[Callable[[], None]] = set()  # called when a connection is lost

    # --- life ---------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self.connection is not None:
            self.connection.abort("the driver was closed")

    async def connected(self) -> None:
        await self._up.wait()

    @property
    def version(self) -> tuple[int, ...]:
        """Of the server; () while it is not known."""
        parts = str(self.info.get("version", "")).partition("-")[0].split(".")
        return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()

    @property
    def max_payload(self) -> int:
        return int(self.info.get("max_payload", 0))

    def usable(self) -> NatsConnection:
        """The connection. NatsClosed when there is none."""
        connection = self.connection
        if connection is None or not connection.usable:
            raise NatsClosed(self.failure, False)
        return connection

    # --- publishing ---------------------------------------------------------------------------------------------------

    async def room(self) -> NatsConnection:
        """The connection, once fewer than `max_pending_bytes` wait for its server. PUBLISH_QUEUE_FULL when the server
        takes nothing for `request_timeout`."""
        connection = self.usable()
        waiting = connection.room(self.max_pending_bytes)
        if waiting is not None:
            try:
                async with asyncio.timeout(self._config.request_timeout):
                    while waiting is not None:
                        await waiting
                        waiting = connection.room(self.max_pending_bytes)
            except TimeoutError:
                raise publish_queue_full("NATS") from None
        return connection

    async def request(
        self, subject: bytes, headers: bytes | None, data: bytes, timeout_s: float | None = None
    ) -> Answer:
        """(headers, data) of the answer. NoResponders, NoAnswer, NatsClosed, NatsDenied."""
        connection = await self.room()
        token, answer = self.expect()
        try:
            connection.publish(subject, token, headers, data)
            guard(connection, subject, [answer])
            async with asyncio.timeout(timeout_s or self._config.request_timeout):
                return await answer
        except TimeoutError:
            raise NoAnswer(f"no answer to {subject.decode('utf-8', 'replace')}") from None
        finally:
            self._requests.pop(token, None)

    def expect(self) -> tuple[bytes, asyncio.Future[Answer]]:
        """Where an answer may be sent to, until `forget`, and a Future of it."""
        self._number += 1
        token = b"%b%x" % (self._inbox, self._number)
        answer = self._requests[token] = asyncio.get_running_loop().create_future()
        return token, answer

    def forget(self, token: bytes) -> None:
        self._requests.pop(token, None)

    async def ask_many(self, subject: bytes, data: bytes) -> AsyncIterator[Answer]:
        """All that is answered to one request, until nobody asks for more. NoResponders, NoAnswer, NatsClosed."""
        connection = await self.room()
        answers: asyncio.Queue[Answer] = asyncio.Queue()
        inbox = self.new_inbox()
        number = connection.subscribe(inbox, None, lambda _subject, _reply, headers, body: answers.put_nowait(
            (headers, body)))
        try:
            connection.publish(subject, inbox, None, data)
            while True:
                try:
                    async with asyncio.timeout(self.request_timeout):
                        headers, body = await answers.get()
                except TimeoutError:
                    if not connection.usable:
                        raise NatsClosed(self.failure, True) from None
                    raise NoAnswer(f"no answer to {subject.decode('utf-8', 'replace')}") from None
                if headers is not None and not body and self.status_of(headers) == NO_RESPONDERS:
                    raise NoResponders("nobody answers")
                yield headers, body
        finally:
            with contextlib.suppress(NatsClosed):
                connection.unsubscribe(number)

    @staticmethod
    def status_of(headers: bytes | None) -> int:
        """The status that a server puts in place of a message; 0 for a message."""
        if headers is None:
            return 0
        try:
            return parse_headers(headers)[0]
        except ValueError:
            return 0

    @property
    def request_timeout(self) -> float:
        return self._config.request_timeout

    def new_inbox(self) -> bytes:
        """A subject of its own to be answered at, which no request has."""
        self._number += 1
        return b"%b-%x" % (self._inbox[:-1], self._number)  # not below the inbox of requests

    def _answered(self, subject: bytes, reply: bytes | None, headers: bytes | None, data: bytes) -> None:
        answer = self._requests.pop(subject, None)
        if answer is None or answer.done():
            self._stray(subject, reply, headers, data)
        elif headers is not None and not data and self.status_of(headers) == NO_RESPONDERS:
            answer.set_exception(NoResponders("nobody answers"))
        else:
            answer.set_result((headers, data))

    def _stray(self, subject: bytes, reply: bytes | None, headers: bytes | None, data: bytes) -> None:
        """A message for who has gone. What JetStream leased goes back at once."""
        if reply is not None and reply.startswith(ACK_SUBJECTS):
            with contextlib.suppress(NatsClosed):
                self.usable().publish(reply, None, None, NAK)

    # --- subscriptions ------------------------------------------------------------------------------------------------

    @property
    def channels(self) -> int:
        return len(self._channels) + len(self._groups)

    async def subscribe(self, subject: bytes, listener: Listener, queue: bytes | None = None) -> Channel:
        """Return when the server has it. Listeners of one subject share a subscription; members of queue groups have
        their own. NatsClosed, NatsDenied."""
        connection = self.usable()
        channel = self._channels.get(subject) if queue is None else None
        if channel is None:
            channel = Channel(subject, queue)
            channel.number = connection.subscribe(subject, queue, channel.received)
            if queue is None:
                self._channels[subject] = channel
            else:
                self._groups.add(channel)
        channel.listeners[listener] = channel.confirmed
        try:
            if not channel.confirmed:
                async with asyncio.timeout(self._config.request_timeout):
                    await connection.confirm(subject)
                channel.confirmed = True
                channel.listeners[listener] = True
        except BaseException as error:
            self.unsubscribe(channel, listener)
            if isinstance(error, TimeoutError):
                raise NatsClosed("the server did not confirm a subscription in time", False) from None
            raise
        return channel

    def unsubscribe(self, channel: Channel, listener: Listener) -> None:
        """Nothing more for this listener. The last one of a channel ends it at the server."""
        channel.listeners.pop(listener, None)
        if channel.listeners:
            return
        if channel.queue is not None:
            self._groups.discard(channel)
        elif self._channels.get(channel.subject) is channel:
            del self._channels[channel.subject]
        if self.connection is not None and channel.number:
            with contextlib.suppress(NatsClosed):
                self.connection.unsubscribe(channel.number)
            channel.number = 0

    # --- the connection -----------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        failures = 0
        while True:
            for address in self._order():
                try:
                    await self._connect(address)
                except Exception as error:  # noqa: BLE001 - whatever a server answers, nobody else connects
                    self.failure = f"{address}: {str(error) or type(error).__name__}"
                    if not failures:
                        self._log.warning("no connection to NATS", server=str(address), reason=self.failure)
                    failures += 1
                else:
                    failures = 0
                    await self._watch()
                    break
            await asyncio.sleep(backoff(failures, self._config.reconnect_first, self._config.reconnect_most))

    def _order(self) -> list[Address]:
        """All servers, the last one that served behind the others: it may be the one that is down."""
        found = random.sample(self._known, len(self._known))
        return sorted(found, key=lambda address: address == self.address)

    async def _connect(self, address: Address) -> None:
        lost = asyncio.Event()

        def ended(_: NatsConnection, reason: str) -> None:
            self.failure = f"{address}: {reason}"
            lost.set()

        async with asyncio.timeout(self._config.connect_timeout):
            connection = await dial(address, self._config, self._tls, ended, self._stray)
            self._inform(connection.info or {})
            connection.listen_info(self._inform)
            connection.subscribe(self._inbox + b"*", None, self._answered)
            channels = [*self._channels.values(), *self._groups]
            for channel in channels:
                channel.number = connection.subscribe(channel.subject, channel.queue, channel.received)
            self.connection, self.address, self._lost = connection, address, lost
            try:
                confirmed = await asyncio.gather(*(connection.confirm(channel.subject) for channel in channels),
                                                 connection.confirm(), return_exceptions=True)
                if isinstance(confirmed[-1], BaseException):
                    raise confirmed[-1]
            except BaseException:
                connection.abort("the subscriptions could not be renewed")
                self._forget()
                raise
        self.connects += 1
        for channel, outcome in zip(channels, confirmed, strict=False):
            if isinstance(outcome, NatsDenied):
                for listener in tuple(channel.listeners):
                    listener.denied(outcome)
            else:
                self._confirm(channel)
        self._up.set()

    def _inform(self, info: dict[str, Any]) -> None:
        self.info = info
        for text in info.get("connect_urls") or ():
            with contextlib.suppress(ValueError):
                place = parse_place(str(text))
                if place not in self._known and len(self._known) < MOST_SERVERS:
                    self._known.append(place)
        if info.get("ldm"):
            self._log.info("a NATS server is about to stop: another one is looked for", server=str(self.address))
            if self.connection is not None and len(self._known) > 1:
                self.connection.abort("the server is in lame duck mode")

    def _confirm(self, channel: Channel) -> None:
        channel.confirmed = True
        for listener, known in tuple(channel.listeners.items()):
            if listener in channel.listeners:
                channel.listeners[listener] = True
                if known:
                    listener.interrupted(f"reconnected to NATS after: {self.failure}")

    async def _watch(self) -> None:
        """Until the connection is lost; a silent one is asked for a sign of life."""
        connection = self.connection
        assert connection is not None
        while not self._lost.is_set():
            try:
                async with asyncio.timeout(self._config.ping_interval):
                    await self._lost.wait()
            except TimeoutError:
                if connection.silent_rounds >= SILENT_ROUNDS:
                    connection.abort(f"no sign of life within {SILENT_ROUNDS * self._config.ping_interval:g} s")
                else:
                    with contextlib.suppress(NatsClosed):
                        connection.confirm().add_done_callback(_seen)
        self._forget()

    def _forget(self) -> None:
        self.connection = None
        self._up.clear()
        for channel in (*self._channels.values(), *self._groups):
            channel.confirmed, channel.number = False, 0
        for watcher in tuple(self.watchers):
            watcher()
        requests, self._requests = self._requests, {}
        for answer in requests.values():
            if not answer.done():
                answer.set_exception(NatsClosed(self.failure, True))



def guard(connection: NatsConnection, subject: bytes, answers: Sequence[asyncio.Future[Answer]]) -> None:
    """Have answers fail when the server does not let us publish to the subject: nobody would ever give them."""

    def told(confirmed: asyncio.Future[None]) -> None:
        error = None if confirmed.cancelled() else confirmed.exception()
        if isinstance(error, NatsDenied):
            for answer in answers:
                if not answer.done():
                    answer.set_exception(error)

    connection.confirm(subject).add_done_callback(told)


def _seen(answer: asyncio.Future[None]) -> None:
    if not answer.cancelled():
        answer.exception()
