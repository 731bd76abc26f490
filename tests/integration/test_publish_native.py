"""Native publishing answers, delivers and refuses as the servicer does, whatever a request looks like."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from prism.interfaces.pubsub import pubsub_basic_pb2 as basic
from prism.interfaces.pubsub import pubsub_batch_pb2 as batch
from prism.interfaces.pubsub import pubsub_filtering_pb2 as filtering
from prism.interfaces.pubsub import pubsub_persistent_pb2 as persistent
from prism.interfaces.pubsub import pubsub_wildcards_pb2 as wildcards
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.models.messaging_options import MessagingOptions
from prism_proxy.models.pubsub.model import PubSubModel
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig
from tests.support import in_process

PUBSUB = "/prism.interfaces.pubsub.PubSub"
PUBLISH = PUBSUB + "BasicInterface/Publish"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MOST = 64 * 1024


class Side:
    """One server with native handlers, or with servicers alone."""

    def __init__(self, channel: grpc.aio.Channel, activator: Activator) -> None:
        self.channel = channel
        self.activator = activator

    async def publish(self, request: bytes, metadata: Sequence[tuple[str, str]] = ()) -> Any:
        call: Any = self.channel.unary_unary(PUBLISH, response_deserializer=basic.PublishResponse.FromString)
        return await call(request, metadata=metadata)

    async def subscribe(self, topic: str, *, method: str = "Basic", **more: Any) -> Any:
        name, kind, field = {
            "Basic": ("Subscribe", basic.SubscribeRequest, "topic"),
            "Wildcards": ("SubscribePattern", wildcards.SubscribePatternRequest, "pattern"),
            "Filtering": ("SubscribeFiltered", filtering.SubscribeFilteredRequest, "topic"),
        }[method]
        request = kind(**{field: topic}, **more)
        make: Any = self.channel.unary_stream(
            f"{PUBSUB}{method}Interface/{name}", type(request).SerializeToString, basic.Message.FromString)
        call = make(request)
        await asyncio.wait_for(call.initial_metadata(), 5)
        return call

    def stream(self, requests: AsyncIterator[Any], **more: Any) -> Any:
        make: Any = self.channel.stream_stream(
            PUBSUB + "BatchInterface/PublishStream", basic.PublishRequest.SerializeToString,
            batch.PublishStreamResponse.FromString)
        return make(requests, **more)


@contextlib.asynccontextmanager
async def serving(
    *, native: bool, backend: str = "memstore", settings: Any = None, **options: Any
) -> AsyncIterator[Side]:
    config = NamespaceConfig.of_store(DEFAULT, backend, settings or MemstoreConfig(), **options)
    async with (in_process.applied(config) as (namespaces, activator),
                in_process.serving(namespaces, native=native) as served,
                grpc.aio.insecure_channel(served.address) as channel):
        yield Side(channel, activator)


@pytest.fixture
def no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message may pass the model."""

    async def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a message was published by Python")

    for name in ("publish", "publish_batch"):
        monkeypatch.setattr(PubSubModel, name, refuse)


async def take(call: Any, count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [await call.read() for _ in range(count)]


def _request(topic: str = "a.b", payload: bytes = b"x", **metadata: str) -> bytes:
    return basic.PublishRequest(
        topic=topic, payload=payload, metadata={key.replace("_", "-"): value for key, value in metadata.items()},
    ).SerializeToString()


def _entry(body: bytes) -> bytes:
    return _request() + bytes([0x1a, len(body)]) + body


REQUESTS: dict[str, tuple[bytes, Sequence[tuple[str, str]]]] = {
    "plain": (_request(), ()),
    "no payload": (_request(payload=b""), ()),
    "large": (_request(payload=bytes(MOST)), ()),
    "too large": (_request(payload=bytes(MOST + 1)), ()),
    "metadata": (_request(colour="blue", Size="10", empty=""), ()),
    "sixteen entries": (_request(**{f"key{n}": str(n) for n in range(16)}), ()),
    "seventeen entries": (_request(**{f"key{n}": str(n) for n in range(17)}), ()),
    "too many entries": (_request(**{f"key{n}": "" for n in range(65)}), ()),
    "too much metadata": (_request(big="x" * 9000), ()),
    "a value outside ASCII": (_request(colour="blå"), ()),
    "a key outside ASCII": (_request(färg="blue"), ()),
    "what Prism gives a meaning": (_request(prism_content_type="text/plain", prism_priority="7"), ()),
    "a lifetime": (_request(prism_ttl_seconds="60"), ()),
    "not a caller's to set": (_request(prism_trace_id="1"), ()),
    "not a caller's, in capitals": (_request(X_PRISM_resume="1"), ()),
    "the broker's": (_request(Nats_Msg_Id="1"), ()),
    "an empty key": (_entry(b"\x0a\x00\x12\x01v"), ()),
    "a line's end in a value": (_request(colour="a\nb"), ()),
    "C1 in a value": (_request(colour="a\u0085b"), ()),
    "a key twice": (_entry(b"\x0a\x01k\x12\x011") + b"\x1a\x06\x0a\x01k\x12\x012", ()),
    "an entry without a value": (_entry(b"\x0a\x01k"), ()),
    "an entry the other way round": (_entry(b"\x12\x01v\x0a\x01k"), ()),
    "an unknown field in an entry": (_entry(b"\x0a\x01k\x12\x01v\x18\x01"), ()),
    "an unknown field": (_request() + b"\x48\x05", ()),
    "a topic twice": (_request() + b"\x0a\x03c.d", ()),
    "no topic": (_request(topic=""), ()),
    "a wildcard": (_request(topic="a.*"), ()),
    "an empty token": (_request(topic="a..b"), ()),
    "a space": (_request(topic="a b"), ()),
    "the broker's own name": (_request(topic="$SYS.a"), ()),
    "a long topic": (_request(topic="t" * 256), ()),
    "a topic that is no text": (b"\x0a\x02\xff\xfe\x12\x01x", ()),
    "no request": (b"\xff\xff\xff", ()),
    "cut off": (_request()[:-1], ()),
    "a trace": (_request(), (("traceparent", TRACE),)),
    "two traces": (_request(), (("traceparent", TRACE), ("traceparent", TRACE))),
    "a broken trace": (_request(), (("traceparent", TRACE[:-1]),)),
    "a trace of a later version": (_request(), (("traceparent", "01" + TRACE[2:] + "-more"),)),
    "a trace with more than its version has": (_request(), (("traceparent", TRACE + "-more"),)),
}


async def answers_of(native: bool, **where: Any) -> dict[str, Any]:
    """What each request is answered, and what is delivered of it; ids and times left out."""
    found: dict[str, Any] = {}
    async with serving(native=native, messaging=MessagingOptions(max_bytes=MOST), **where) as side:
        every = await side.subscribe(">", method="Wildcards")
        for name, (request, metadata) in REQUESTS.items():
            try:
                reply = await side.publish(request, metadata)
            except grpc.aio.AioRpcError as error:
                found[name] = (error.code(), error.details())
                continue
            [message] = await take(every, 1)
            assert message.message_id in (reply.message_id, "")
            seen = dict(message.metadata)
            assert len(seen.pop("prism-published-at", "")) in (len("2026-12-01T03:51:09.123Z"), 0)
            found[name] = (message.topic, message.payload, seen, len(message.message_id), message.timestamp > 10**12)
    return found


async def test_native_code_and_the_servicer_answer_and_deliver_alike() -> None:
    native, servicer = await answers_of(native=True), await answers_of(native=False)
    for name in REQUESTS:
        assert native[name] == servicer[name], name
    assert sum(isinstance(found[0], grpc.StatusCode) for found in native.values()) >= 12


async def test_the_time_of_a_message_is_that_of_its_id(no_python: None) -> None:
    async with serving(native=True) as side:
        call = await side.subscribe("a.b")
        await side.publish(_request())
        [message] = await take(call, 1)
        assert message.timestamp == int(message.message_id.replace("-", "")[:12], 16)
        assert message.metadata["prism-published-at"].endswith(f".{message.timestamp % 1000:03d}Z")


@pytest.mark.usefixtures("no_python")
async def test_an_ordinary_message_reaches_topics_and_patterns_without_python() -> None:
    async with serving(native=True) as side:
        calls = [await side.subscribe("a.b"), await side.subscribe("a.*", method="Wildcards"),
                 await side.subscribe(">", method="Wildcards")]
        other = await side.subscribe("a.c")
        sent = [(await side.publish(_request(colour=str(n)))).message_id for n in range(50)]
        for call in calls:
            assert [message.message_id for message in await take(call, 50)] == sent
        await side.publish(_request("a.c"))
        assert (await take(other, 1))[0].topic == "a.c"


@pytest.mark.usefixtures("no_python")
async def test_what_a_topic_reaches_follows_its_subscriptions() -> None:
    """A subscription that is active gets the next message; one that ended gets none, and neither costs the others."""
    async with serving(native=True) as side:
        stays = await side.subscribe("a.b")
        await side.publish(_request(payload=b"1"))
        later = await side.subscribe("a.*", method="Wildcards")
        await side.publish(_request(payload=b"2"))
        later.cancel()
        await asyncio.sleep(0.1)
        await side.publish(_request(payload=b"3"))
        assert [message.payload for message in await take(stays, 3)] == [b"1", b"2", b"3"]
        again = await side.subscribe("a.b")
        await side.publish(_request(payload=b"4"))
        assert (await take(again, 1))[0].payload == b"4"


async def test_what_needs_python_gets_it() -> None:
    """Queue groups, filters and logs of a topic are not passed by, whenever they come."""
    async with serving(native=True) as side:
        plain = await side.subscribe("a.b")
        await side.publish(_request())
        groups = [await side.subscribe("a.b", method="Wildcards", queue_group="g") for _ in range(2)]
        filtered = await side.subscribe("a.b", method="Filtering", filter={"colour": "blue"})
        for colour in ("blue", "red", "blue", "red"):
            await side.publish(_request(colour=colour))
        assert len(await take(plain, 5)) == 5
        for call in groups:
            assert len(await take(call, 2)) == 2
        assert [message.metadata["colour"] for message in await take(filtered, 2)] == ["blue", "blue"]
        stored: Any = side.channel.unary_unary(
            PUBSUB + "PersistentInterface/PublishPersistent", persistent.PublishPersistentRequest.SerializeToString,
            persistent.PublishPersistentResponse.FromString)
        last: Any = side.channel.unary_unary(
            PUBSUB + "PersistentInterface/GetLastMessageID", persistent.GetLastMessageIDRequest.SerializeToString,
            persistent.GetLastMessageIDResponse.FromString)
        await side.publish(_request("logged"))
        await stored(persistent.PublishPersistentRequest(topic="logged", payload=b"1"))
        reply = await side.publish(_request("logged", b"2"))
        assert (await last(persistent.GetLastMessageIDRequest(topic="logged"))).message_id == reply.message_id


# --- batches and streams ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_python")
async def test_a_batch_is_published_whole_without_python() -> None:
    async with serving(native=True) as side:
        call = await side.subscribe(">", method="Wildcards")
        make: Any = side.channel.unary_unary(
            PUBSUB + "BatchInterface/PublishBatch", batch.PublishBatchRequest.SerializeToString,
            batch.PublishBatchResponse.FromString)
        requests = [basic.PublishRequest(topic=f"t.{n % 7}", payload=b"%d" % n) for n in range(300)]
        reply = await make(batch.PublishBatchRequest(requests=requests))
        assert reply.all_success
        found = await take(call, 300)
        assert [message.message_id for message in found] == [result.message_id for result in reply.results]
        assert [(message.topic, message.payload) for message in found] == [
            (each.topic, each.payload) for each in requests]
        assert (await make(batch.PublishBatchRequest())).all_success


@pytest.mark.parametrize("odd", [(), (500,), (0,), (999,), (3, 700)], ids=str)
async def test_a_stream_is_answered_in_order_whoever_serves_it(odd: Sequence[int]) -> None:
    """At a request that native code declines, the servicer takes over, and nothing is lost, doubled or out of order."""
    async with serving(native=True) as side:
        call = await side.subscribe("t")

        async def requests() -> AsyncIterator[Any]:
            for number in range(1000):
                said = {"prism-ttl-seconds": "60"} if number in odd else {}
                yield basic.PublishRequest(topic="t", payload=b"%d" % number, metadata=said)

        answers: list[str] = []
        async with asyncio.timeout(20):
            async for reply in side.stream(requests()):
                answers += [result.message_id for result in reply.results]
                assert reply.answered == len(answers)
        found = await take(call, 1000)
        assert [message.payload for message in found] == [b"%d" % number for number in range(1000)]
        assert [message.message_id for message in found] == answers


async def _endless() -> AsyncIterator[Any]:
    yield basic.PublishRequest(topic="t")
    await asyncio.Event().wait()


async def test_a_stream_ends_with_its_namespace_and_what_was_published_is_answered() -> None:
    async with serving(native=True) as side:
        call = side.stream(_endless())
        assert (await call.read()).answered == 1
        await side.activator.apply([])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call.read(), 5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_stream_ends_at_its_deadline() -> None:
    async with serving(native=True) as side:
        call = side.stream(_endless(), timeout=0.3)
        assert (await call.read()).answered == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call.read(), 5)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_cancelled_stream_leaves_nothing_open() -> None:
    async with serving(native=True) as side:
        call = side.stream(_endless())
        assert (await call.read()).answered == 1
        call.cancel()
        streams = side.activator._namespaces.current.routes[DEFAULT].streams
        async with asyncio.timeout(5):
            while len(streams):
                await asyncio.sleep(0.005)
