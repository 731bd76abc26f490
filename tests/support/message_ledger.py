"""Publishers and subscribers of one namespace, by stock clients, over restarts of the proxies that serve them.

Publishers count what was acknowledged; `settled` waits until every reader has had it. A subscriber goes on as the
reference says: a read at its `x-prism-resume`, a durable subscription and a group by their names. A subscription that
was active must end with a status of the proxy, except where `killed` says that there was nobody left to send one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism_proxy.testing.contracts.messaging_wire import Messaging

RESUME = "x-prism-resume"
OPTIONS = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.min_reconnect_backoff_ms", 50),
           ("grpc.max_reconnect_backoff_ms", 200), ("grpc.service_config", "{}"),
           ("grpc.use_local_subchannel_pool", 1)]
NOBODY = "failed to connect"  # what gRPC says of a call that reached no proxy
RETRY_S = 0.02
STANDSTILL_S = 10.0  # with nothing new, while messages are missing
LANES = 3
ACKS = 20  # of a group's member, at once
TOPIC, STREAM, QUEUE, NAME = "orders", "log", "jobs", "billing"


def _only_unavailable(error: grpc.aio.AioRpcError) -> None:
    assert error.code() is grpc.StatusCode.UNAVAILABLE, error


class MessageLedger:
    """`topics`: the namespace has durable subscriptions. `ends` counts how active subscriptions ended."""

    def __init__(self, address: str, namespace: str, *, topics: bool) -> None:
        self._address = address
        self._namespace = ("x-namespace", namespace)
        self._topics = topics
        self._tasks: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()
        self.killed = False
        self.ends: Counter[str] = Counter()
        self.acknowledged: dict[str, set[bytes]] = {kind: set() for kind in ("stream", "topic", "queue")}
        self.read: list[bytes] = []
        self._next_offset = 0
        self.member: set[bytes] = set()
        self.durable: set[bytes] = set()
        self.consumed: set[bytes] = set()

    async def __aenter__(self) -> MessageLedger:
        async with self._messaging() as messaging:
            await self._call(messaging, "stream_consumer_groups", "CreateConsumerGroup", stream=STREAM, group=NAME)
            if self._topics:
                call = self._open(messaging, "pubsub_persistent", "SubscribeDurable", topic=TOPIC, durable_name=NAME)
                await call.initial_metadata()
                call.cancel()
        work = [self._follow, self._share, self._consume, *([self._subscribe] if self._topics else [])]
        self._tasks = [asyncio.create_task(each()) for each in work]
        self._producers = [asyncio.create_task(self._produce(lane)) for lane in range(LANES)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._tasks, *self._producers):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._producers, return_exceptions=True)

    async def progress(self, messages: int = 50) -> None:
        """Until so many more messages of each kind were acknowledged."""
        kinds = [kind for kind in self.acknowledged if kind != "topic" or self._topics]
        goals = {kind: len(self.acknowledged[kind]) + messages for kind in kinds}
        async with asyncio.timeout(20):
            while any(len(self.acknowledged[kind]) < goals[kind] for kind in kinds):
                self._raise()
                await asyncio.sleep(0.01)

    async def settled(self) -> None:
        """Publishers stop, and everybody has had what was acknowledged; AssertionError names what is missing."""
        self._over.set()
        await asyncio.gather(*self._producers)
        arrived, since = self._arrived(), time.monotonic()
        while self.missing() and time.monotonic() - since < STANDSTILL_S:
            self._raise()
            await asyncio.sleep(0.02)
            if self._arrived() > arrived:
                arrived, since = self._arrived(), time.monotonic()
        missing = self.missing()
        assert not missing, (self._namespace, self._arrived(), missing)
        for lane in range(LANES):
            numbers = [int(value.split(b".")[1]) for value in self.read if value.startswith(b"%d." % lane)]
            assert numbers == sorted(set(numbers)), "a read that resumed repeats or reorders"

    def _arrived(self) -> tuple[int, ...]:
        return len(self.read), len(self.member), len(self.durable), len(self.consumed)

    def missing(self) -> dict[str, list[bytes]]:
        """Acknowledged, and not with its reader."""
        found = {"read": self.acknowledged["stream"] - set(self.read),
                 "member": self.acknowledged["stream"] - self.member,
                 "durable": self.acknowledged["topic"] - self.durable,
                 "consumed": self.acknowledged["queue"] - self.consumed}
        return {f"{len(values)} {kind}": sorted(values)[:10] for kind, values in found.items() if values}

    def _raise(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    # --- calls --------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _messaging(self) -> AsyncIterator[Messaging]:
        async with grpc.aio.insecure_channel(self._address, OPTIONS) as channel:
            yield Messaging(channel, frozenset())

    def _open(self, messaging: Messaging, interface: str, method: str, *more: tuple[str, str], **fields: Any) -> Any:
        return getattr(messaging[interface], method)((self._namespace, *more), **fields)

    async def _call(self, messaging: Messaging, interface: str, method: str, **fields: Any) -> Any:
        """The reply, after as many calls as it takes."""
        while True:
            try:
                return await asyncio.wait_for(self._open(messaging, interface, method, **fields), 5)
            except grpc.aio.AioRpcError as error:
                _only_unavailable(error)
                await asyncio.sleep(RETRY_S)
            except TimeoutError:
                assert self.killed, f"{method} does not answer"

    async def _produce(self, lane: int) -> None:
        """What is not acknowledged is not sent again: its number is never used again."""
        number = 0
        async with self._messaging() as messaging:
            while not self._over.is_set():
                value = b"%d.%d" % (lane, number)
                number += 1
                for kind, interface, method, fields in (
                    ("stream", "stream_basic", "Append",
                     {"stream": STREAM, "records": [{"key": b"k", "value": value}]}),
                    ("topic", "pubsub_persistent", "PublishPersistent", {"topic": TOPIC, "payload": value}),
                    ("queue", "queue_basic", "Enqueue", {"queue": QUEUE, "payload": value}),
                ):
                    if kind == "topic" and not self._topics:
                        continue
                    try:
                        await self._open(messaging, interface, method, **fields)
                    except grpc.aio.AioRpcError as error:
                        _only_unavailable(error)
                        await asyncio.sleep(RETRY_S)
                    else:
                        self.acknowledged[kind].add(value)
                await asyncio.sleep(0.002)

    # --- readers ------------------------------------------------------------------------------------------------------

    async def _again(
        self, interface: str, method: str, take: Callable[[Messaging, Any], Awaitable[None]], **fields: Any
    ) -> None:
        """The subscription, opened again wherever it ends: with what its end said, or else behind what it had."""
        resume: tuple[tuple[str, str], ...] = ()
        async with self._messaging() as messaging:
            while True:
                if method == "Read":
                    fields["offset"] = self._next_offset
                call = self._open(messaging, interface, method, *resume, **fields)
                try:
                    async for item in call:
                        await take(messaging, item)
                    raise AssertionError(f"{method} ended with OK")
                except grpc.aio.AioRpcError as error:
                    given = dict(error.trailing_metadata() or ()).get(RESUME)
                    resume = ((RESUME, given),) if isinstance(given, str) else ()
                    if not (error.details() or "").startswith(NOBODY):
                        self._ended(method, error)
                await asyncio.sleep(RETRY_S)

    def _ended(self, method: str, error: grpc.aio.AioRpcError) -> None:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        if status is None:
            assert self.killed, f"{method} ended without a status of the proxy: {error}"
            self.ends["none"] += 1
            return
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        assert status.details[0].Unpack(info)
        assert info.reason == "OWNER_LOST" or any(detail.Unpack(retry) for detail in status.details), error
        assert info.reason != "OWNER_LOST" or self.killed, error
        assert error.code() is grpc.StatusCode.UNAVAILABLE, error
        self.ends[info.reason] += 1

    async def _follow(self) -> None:
        async def take(_: Messaging, record: Any) -> None:
            self.read.append(record.value)
            self._next_offset = record.offset + 1

        await self._again("stream_basic", "Read", take, stream=STREAM, follow=True)

    async def _share(self) -> None:
        """Several acknowledgements are on their way at once."""
        acks: set[asyncio.Task[Any]] = set()

        async def take(messaging: Messaging, record: Any) -> None:
            self.member.add(record.value)
            ack = asyncio.create_task(self._call(
                messaging, "stream_consumer_groups", "Ack", stream=STREAM, group=NAME, partition=record.partition,
                offsets=[record.offset]))
            acks.add(ack)
            ack.add_done_callback(acks.discard)
            if len(acks) >= ACKS:
                await asyncio.wait(acks, return_when=asyncio.FIRST_COMPLETED)

        await self._again("stream_consumer_groups", "JoinConsumerGroup", take, stream=STREAM, group=NAME,
                          consumer_id="one")

    async def _subscribe(self) -> None:
        """Acknowledges each tenth message, and with it those before."""
        async def take(messaging: Messaging, message: Any) -> None:
            self.durable.add(message.payload)
            if len(self.durable) % 10 == 0:
                await self._call(messaging, "pubsub_persistent", "AckDurable", topic=TOPIC, durable_name=NAME,
                                 message_id=message.message_id)

        await self._again("pubsub_persistent", "SubscribeDurable", take, topic=TOPIC, durable_name=NAME,
                          options={"ack": "explicit"})

    async def _consume(self) -> None:
        async with self._messaging() as messaging:
            while True:
                reply = await self._call(messaging, "queue_visibility", "DequeueWithTimeout", queue=QUEUE,
                                         max_messages=20, visibility_seconds=2, wait_ms=500)
                for message in reply.messages:
                    self.consumed.add(message.payload)
                    with contextlib.suppress(grpc.aio.AioRpcError):  # it comes again
                        await self._open(messaging, "queue_visibility", "Release", queue=QUEUE,
                                         receipt=message.receipt, delete=True)
