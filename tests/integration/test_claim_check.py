"""Large payloads by claim, through the native server, by stock grpcio clients: on every broker and object store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism_proxy.claim_check.claim import decode
from prism_proxy.models.queue.options import QueueOptions
from prism_proxy.namespaces.model import NamespaceConfig, SlotConfig
from prism_proxy.object_stores.contract import PENDING_TAG
from prism_proxy.steps.claim_check.options import ClaimCheckOptions, TtlOptions
from tests.services.claims import (
    BUCKET,
    MIB,
    Claims,
    broker_slot,
    namespace,
    nats,  # noqa: F401 - a fixture
    object_slot,
    redis,  # noqa: F401 - a fixture
    refusal,
    serving,
    until,
)

BROKERS = ("memstore", "sqlite", "redis", "nats")
STORES = ("memory", "directory", "s3")


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SlotConfig:
    """The broker; memstore unless a test says otherwise."""
    return broker_slot(getattr(request, "param", "memstore"), request, tmp_path)


@pytest.fixture
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> SlotConfig:
    return object_slot(getattr(request, "param", "memory"), request, tmp_path / "objects")


OPTIONS = ClaimCheckOptions(enabled=True, bucket=BUCKET, sweep_interval=0)


@pytest.fixture
def config(store: SlotConfig, objects: SlotConfig) -> NamespaceConfig:
    return namespace(store, objects, OPTIONS)


@pytest.fixture
async def claims(config: NamespaceConfig) -> AsyncIterator[Claims]:
    async with serving(config) as found:
        yield found


def with_options(config: NamespaceConfig, **changes: Any) -> NamespaceConfig:
    options = replace(config.options["claim_check"], **changes)
    return replace(config, options={**config.options, "claim_check": options})


def with_ttl(config: NamespaceConfig, **changes: Any) -> NamespaceConfig:
    return with_options(config, ttl=replace(config.options["claim_check"].ttl, **changes))


# --- what is promised, on every broker with every store ---------------------------------------------------------------


@pytest.mark.parametrize("store", BROKERS, indirect=True)
@pytest.mark.parametrize("objects", STORES, indirect=True)
async def test_CLM_1_a_large_payload_arrives_as_it_was(config: NamespaceConfig) -> None:
    payload = os.urandom(5 * MIB)
    async with serving(with_options(config, compression="gzip")) as claims:
        await claims.enqueue(payload, prism_content_type="image/png", colour="red")
        [message] = await claims.dequeue(wait_ms=2000)
        # larger than max_inline_bytes: it is there by reference, with the content type of its publisher
        assert message.metadata["prism-claim-check"] == "true"
        async with claims.subscription(max_inline_bytes="16MiB") as stream:
            await claims.publish(payload, prism_content_type="image/png", colour="red")
            received = await stream.read()
        assert received.payload == payload
        assert received.metadata["prism-content-type"] == "image/png"
        assert received.metadata["colour"] == "red"
        assert not {key for key in received.metadata if "claim" in key}
        figures = claims.step().payloads.figures
        assert (figures.stored, figures.retrieved, figures.rejected) == (2, 1, {})


@pytest.mark.parametrize("store", BROKERS, indirect=True)
@pytest.mark.parametrize("objects", STORES, indirect=True)
async def test_CLM_2_only_what_is_larger_than_the_threshold_is_offloaded(
    config: NamespaceConfig, store: SlotConfig
) -> None:
    threshold = MIB // 2 if store.driver == "nats" else MIB  # whose server takes no more than 1 MiB with the headers
    async with serving(with_options(config, threshold=threshold)) as claims, claims.subscription() as stream:
        for size, objects in ((threshold - 1, 0), (threshold, 0), (threshold + 1, 1)):
            await claims.publish(bytes(size))
            assert len(await claims.stored()) == objects
            assert len((await stream.read()).payload) == size


@pytest.mark.parametrize("store", ["nats"], indirect=True)
async def test_what_the_broker_does_not_take_is_offloaded_whatever_the_threshold(claims: Claims) -> None:
    async with claims.subscription() as stream:
        await claims.publish(bytes(MIB))
        assert len(await claims.stored()) == 1
        assert len((await stream.read()).payload) == MIB


@pytest.mark.parametrize("store", BROKERS, indirect=True)
async def test_CHN_1_a_message_carries_the_claim_and_one_object_the_payload(
    config: NamespaceConfig, store: SlotConfig
) -> None:
    async with serving(with_options(config, threshold=1_000_000)) as claims:
        await claims.append(bytes(500_000))
        assert not await claims.stored()
        await claims.append(bytes(2_000_000))
        [found] = await claims.stored()
        assert found.key.startswith("default/log/")
        [small, large] = await claims.read(reference_only="true")
        assert len(small.value) == 500_000
        claim = decode(large.value)
        assert found.key.endswith(claim.claim_id)
        assert large.headers["prism-claim-id"] == claim.claim_id
        assert len(large.value) < 1024  # what the broker has
        assert [len(record.value) for record in await claims.read()] == [500_000, 2_000_000]


async def test_CLM_3_compression_makes_objects_small(config: NamespaceConfig) -> None:
    payload = (b"the quick brown fox jumps over the lazy dog. " * 50_000)[:2 * MIB]
    for compression in ("gzip", "zstd"):
        async with serving(with_options(config, compression=compression)) as claims:
            async with claims.subscription() as stream:
                await claims.publish(payload)
                assert (await stream.read()).payload == payload
            [found] = await claims.stored()
            assert found.size < len(payload) * 0.05
            assert found.metadata["prism-compression"] == compression
            noise = os.urandom(2 * MIB)
            await claims.publish(noise)  # what does not become smaller is stored as it is
            assert {info.metadata["prism-compression"] for info in await claims.stored()} == {compression, "none"}


@pytest.mark.parametrize("objects", STORES, indirect=True)
async def test_CLM_4_a_claim_expires_and_a_sweep_collects_its_object(claims: Claims) -> None:
    await claims.append(bytes(2 * MIB))
    await claims.append(b"small")
    step = claims.step()
    assert (await step.sweeper.sweep()).keys == []
    later = time.time() + 25 * 3600
    step.payloads.now = lambda: later
    step.sweeper._now = lambda: later
    [record] = await claims.read()  # the other one is skipped, and counted
    assert record.value == b"small"
    assert step.payloads.figures.expired == 1
    report = await step.sweeper.sweep(dry_run=True)
    assert (report.expired, len(report.keys), len(await claims.stored())) == (1, 1, 1)
    report = await step.sweeper.sweep()
    assert (report.expired, report.failed) == (1, 0)
    assert not await claims.stored()


@pytest.mark.parametrize("objects", STORES, indirect=True)
async def test_CLM_5_a_changed_byte_is_never_delivered(claims: Claims) -> None:
    await claims.enqueue(bytes(2 * MIB))
    [found] = await claims.stored()
    changed = bytearray(2 * MIB)
    changed[MIB] = 1
    await claims.objects().put(BUCKET, found.key, bytes(changed))
    assert await claims.dequeue() == []
    assert claims.step().payloads.figures.rejected == {"CLAIM_CHECKSUM_MISMATCH": 1}


@pytest.mark.parametrize("store", BROKERS, indirect=True)
@pytest.mark.parametrize("objects", STORES, indirect=True)
async def test_CLM_6_the_object_goes_when_its_message_is_settled(config: NamespaceConfig) -> None:
    async with serving(with_ttl(config, retention_after_read=0.0)) as claims:
        await claims.enqueue(bytes(2 * MIB))
        [message] = await claims.lease(wait_ms=2000)
        assert len(message.payload) == 2 * MIB
        await asyncio.sleep(0.1)
        assert len(await claims.stored()) == 1  # never before it is settled
        began = time.monotonic()
        await claims.release(message.receipt, delete=True)

        async def gone() -> bool:
            return not await claims.stored()

        await until(gone)
        assert time.monotonic() - began < 1.0


async def test_CLM_6_a_redelivery_within_the_retention_finds_the_object(config: NamespaceConfig) -> None:
    async with serving(with_ttl(config, retention_after_read=0.4)) as claims:
        driver = claims.route().slots["store"].driver.queue
        await claims.enqueue(bytes(2 * MIB))
        [raw] = await driver.peek("q", 1, 0)
        [message] = await claims.lease()
        await claims.release(message.receipt, delete=True)
        from prism_proxy.models.messages import StoredMessage
        from prism_proxy.models.queue.contract import QueueItem

        again = QueueItem(StoredMessage(raw.message_id, raw.data, raw.headers, raw.enqueued_ms), 5, 0)
        await driver.enqueue("q", [again])  # as brokers redeliver what they were not told of in time
        [message] = await claims.dequeue()
        assert len(message.payload) == 2 * MIB
        await asyncio.sleep(0.8)
        await driver.enqueue("q", [again])
        assert await claims.dequeue() == []
        assert claims.step().payloads.figures.not_found == 1


async def test_CLM_10_smoke(claims: Claims) -> None:
    store = claims.objects()
    assert await store.bucket_exists(BUCKET)
    await store.put(BUCKET, "k", b"hello world")
    assert (await store.get(BUCKET, "k"))[1] == b"hello world"
    await store.delete(BUCKET, "k")
    assert not await store.exists(BUCKET, "k")


# --- what users of other libraries complain of ------------------------------------------------------------------------


@pytest.mark.parametrize("store", BROKERS, indirect=True)
async def test_a_second_subscriber_finds_the_object(claims: Claims) -> None:
    payload = os.urandom(2 * MIB)
    async with claims.subscription(subscriber="a") as first, claims.subscription(subscriber="b") as second:
        await claims.publish(payload)
        assert (await first.read()).payload == payload
        assert (await second.read()).payload == payload
    assert len(await claims.stored()) == 1


async def test_an_acknowledged_object_is_not_pending_and_a_refused_message_leaves_none(claims: Claims) -> None:
    store = claims.objects()
    await claims.publish(bytes(2 * MIB))
    [found] = await claims.stored()
    assert PENDING_TAG not in await store.get_tags(BUCKET, found.key)
    assert (await store.get_metadata(BUCKET, found.key)).expires_at is not None
    await store.delete(BUCKET, found.key)
    code, _ = await refusal(claims.publish(bytes(2 * MIB), prism_data_classification="restricted"))
    assert code is grpc.StatusCode.FAILED_PRECONDITION  # decided after the object was stored

    async def gone() -> bool:
        return not await claims.stored()

    await until(gone)


async def test_a_duplicate_leaves_no_second_object(claims: Claims) -> None:
    first = await claims.enqueue(bytes(2 * MIB), prism_deduplication_id="once")
    assert await claims.enqueue(bytes(2 * MIB), prism_deduplication_id="once") == first

    async def one() -> bool:
        return len(await claims.stored()) == 1

    await until(one)
    [message] = await claims.dequeue()
    assert len(message.payload) == 2 * MIB


@pytest.mark.parametrize("store", BROKERS, indirect=True)
async def test_the_reference_survives_the_way_to_the_dead_letters_and_back(config: NamespaceConfig) -> None:
    config = replace(config, options={**config.options, "queue": QueueOptions(max_receives=2)})
    payload = os.urandom(2 * MIB)
    async with serving(config) as claims:
        await claims.enqueue(payload)
        for _ in range(2):
            [message] = await claims.lease(wait_ms=2000)
            assert message.payload == payload
            await claims.release(message.receipt, delete=False)
        keys = {found.key.split("/")[0] for found in await claims.stored()}
        assert keys == {"default", "_dead"}  # a copy, before it could move
        [own] = await claims.stored("default/")
        await claims.objects().delete(BUCKET, own.key)  # as if max_age were over
        later = time.time() + 25 * 3600
        claims.step().payloads.now = lambda: later
        [dead] = await until(lambda: claims.lease("q.dlq", seconds=1))
        assert (dead.payload, dead.metadata["x-dlq-source"]) == (payload, "q")
        await claims.release(dead.receipt, delete=False, queue="q.dlq")
        assert await claims.redrive() == 1
        [message] = await claims.lease(wait_ms=2000)
        assert message.payload == payload
        await claims.release(message.receipt, delete=True)
        assert await claims.lease() == []


@pytest.mark.parametrize("store", BROKERS, indirect=True)
async def test_the_only_group_of_streams_settles_what_it_acknowledges(config: NamespaceConfig) -> None:
    from prism.interfaces.stream import stream_consumer_groups_pb2 as groups
    from prism.interfaces.stream import stream_consumer_groups_pb2_grpc as groups_rpc

    async with serving(with_ttl(config, retention_after_read=0.0, only_group="g")) as claims:
        stub: Any = groups_rpc.StreamConsumerGroupsInterfaceStub(claims.channel)  # type: ignore[no-untyped-call]
        for group, kept in (("other", 1), ("g", 0)):
            await claims.append(bytes(2 * MIB), stream=f"log-{group}")
            await stub.CreateConsumerGroup(groups.CreateConsumerGroupRequest(stream=f"log-{group}", group=group))
            call = stub.JoinConsumerGroup(groups.JoinConsumerGroupRequest(stream=f"log-{group}", group=group))
            record = await call.read()
            await asyncio.sleep(0.1)
            assert len(await claims.stored(f"default/log-{group}/")) == 1  # never before it is acknowledged
            await stub.Ack(groups.AckRequest(
                stream=f"log-{group}", group=group, partition=record.partition, offsets=[record.offset]))
            await asyncio.sleep(0.3)
            assert len(await claims.stored(f"default/log-{group}/")) == kept
            call.cancel()


@pytest.mark.parametrize("store", ["memstore", "sqlite"], indirect=True)
async def test_the_only_durable_of_topics_settles_what_it_acknowledges(config: NamespaceConfig) -> None:
    """An acknowledgement covers all messages before it; another durable name deletes nothing."""
    from prism.interfaces.pubsub import pubsub_persistent_pb2 as persistent
    from prism.interfaces.pubsub import pubsub_persistent_pb2_grpc as persistent_rpc

    async with serving(with_ttl(config, retention_after_read=0.0, only_durable="mine")) as claims:
        stub: Any = persistent_rpc.PubSubPersistentInterfaceStub(claims.channel)  # type: ignore[no-untyped-call]
        for name, kept in (("other", 3), ("mine", 1)):
            topic = f"topic-{name}"
            wanted = persistent.SubscribeDurableRequest(topic=topic, durable_name=name, options={"ack": "explicit"})
            call = stub.SubscribeDurable(wanted)
            await call.initial_metadata()
            for _ in range(3):
                await stub.PublishPersistent(persistent.PublishPersistentRequest(topic=topic, payload=bytes(2 * MIB)))
            messages = [await call.read() for _ in range(3)]
            assert len(await claims.stored(f"default/{topic}/")) == 3  # never before it is acknowledged
            await stub.AckDurable(persistent.AckDurableRequest(
                topic=topic, durable_name=name, message_id=messages[1].message_id))

            async def settled(topic: str = topic, kept: int = kept) -> bool:
                return len(await claims.stored(f"default/{topic}/")) == kept

            await until(settled)
            call.cancel()
        assert len(await claims.stored("default/topic-other/")) == 3


@pytest.mark.parametrize("store", BROKERS, indirect=True)
async def test_a_record_that_is_dead_lettered_keeps_its_payload(config: NamespaceConfig) -> None:
    from prism.interfaces.stream import stream_consumer_groups_pb2 as groups
    from prism.interfaces.stream import stream_consumer_groups_pb2_grpc as groups_rpc
    from prism_proxy.models.stream.options import StreamOptions

    options = {**config.options, "stream": StreamOptions(max_deliveries=2, ack_timeout=0.5)}
    payload = os.urandom(2 * MIB)
    async with serving(replace(config, options=options)) as claims:
        stub: Any = groups_rpc.StreamConsumerGroupsInterfaceStub(claims.channel)  # type: ignore[no-untyped-call]
        await claims.append(payload)
        await stub.CreateConsumerGroup(groups.CreateConsumerGroupRequest(stream="log", group="g"))
        call = stub.JoinConsumerGroup(groups.JoinConsumerGroupRequest(stream="log", group="g", consumer_id="c"))
        for attempt in (1, 2):  # it is given to the group twice, and never acknowledged
            record = await call.read()
            assert (record.value, record.attempt) == (payload, attempt)
        assert len(await claims.stored("_dead/default/log/")) == 1
        call.cancel()
        [own] = await claims.stored("default/log/")
        await claims.objects().delete(BUCKET, own.key)

        async def dead() -> list[Any]:
            with contextlib.suppress(grpc.aio.AioRpcError):
                return await claims.read("log.dlq")
            return []

        again = stub.JoinConsumerGroup(groups.JoinConsumerGroupRequest(stream="log", group="g", consumer_id="d"))
        [record] = await until(dead, 10.0)
        again.cancel()
        assert (record.value, record.headers["x-dlq-source"]) == (payload, "log")


async def test_a_reply_of_many_messages_stays_within_what_a_stock_client_takes(config: NamespaceConfig) -> None:
    async with serving(config, channel_options=()) as claims:
        for _ in range(4):
            await claims.enqueue(bytes(MIB + 1))
        found = await claims.dequeue(count=4)
        assert [len(message.payload) > MIB for message in found] == [True, True, False, False]
        assert all(decode(message.payload).original_size == MIB + 1 for message in found[2:])


async def test_reference_only_gives_the_claim(claims: Claims) -> None:
    async with claims.subscription(reference_only="true") as stream:
        await claims.publish(bytes(2 * MIB))
        await claims.publish(b"small")
        message = await stream.read()
        claim = decode(message.payload)
        assert message.metadata["prism-claim-id"] == claim.claim_id
        assert message.metadata["prism-claim-topic"] == "t"
        assert message.metadata["prism-claim-size"] == str(2 * MIB)
        assert message.metadata["prism-claim-fetch"].endswith("/Fetch")
        assert (await stream.read()).payload == b"small"
    for options in ({"reference_only": "maybe"}, {"max_inline_bytes": "much"}, {"max_inline_bytes": "1GiB"}):
        async with claims.subscription(**options) as stream:
            code, _ = await refusal(stream.read())
            assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_delay_that_outlives_the_payload_is_refused(claims: Claims) -> None:
    from prism.interfaces.queue import queue_delayed_pb2, queue_delayed_pb2_grpc

    stub: Any = queue_delayed_pb2_grpc.QueueDelayedInterfaceStub(claims.channel)  # type: ignore[no-untyped-call]
    code, _ = await refusal(stub.EnqueueDelayed(queue_delayed_pb2.EnqueueDelayedRequest(
        queue="q", payload=bytes(2 * MIB), delay_seconds=25 * 3600)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert not await claims.stored()


def test_options_that_do_not_go_together_are_refused(store: SlotConfig, objects: SlotConfig) -> None:
    from prism_proxy.models.messaging_options import EnvelopeOptions
    from prism_proxy.models.stream.options import StreamOptions
    from prism_proxy.namespaces.snapshot import build
    from prism_proxy.standard import make_driver
    from prism_proxy.steps.resources import StepResources

    for options, says in (
        ({"queue": QueueOptions(visibility=7200, max_receives=20)}, "visibility"),
        ({"stream": StreamOptions(max_age=2 * 86_400.0)}, "stream.max_age"),
        ({"envelope": EnvelopeOptions(mode="raw")}, "raw"),
    ):
        with pytest.raises(ValueError, match=says):
            build(1, [namespace(store, objects, OPTIONS, **options)], make_driver, resources=StepResources())
    for changes, says in (({"bucket": ""}, "bucket is missing"), ({"bucket": "../x"}, "no name"),
                          ({"enabled": False, "required": True}, "required")):
        with pytest.raises(ValueError, match=says):
            replace(OPTIONS, **changes)
    with pytest.raises(ValueError, match="retention_after_read"):
        TtlOptions(max_age=60.0)


# --- attacks ----------------------------------------------------------------------------------------------------------


async def test_claims_forged_at_the_broker_reach_nothing_of_others(
    store: SlotConfig, objects: SlotConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(namespace(store, objects, OPTIONS)) as claims:
        store_of = claims.objects()
        await store_of.create_bucket("secrets")
        await store_of.put("secrets", "k", b"other bucket")
        await claims.enqueue(bytes(2 * MIB), queue="other")
        await claims.enqueue(bytes(2 * MIB))
        driver = claims.route().slots["store"].driver.queue
        [raw] = await driver.peek("q", 1, 0)
        [foreign] = await driver.peek("other", 1, 0)
        await driver.take("q", 1, 0)
        good = decode(raw.data)
        await store_of.put(BUCKET, f"victim/t/{good.claim_id}", b"x" * 2 * MIB)
        forged = [
            replace(good, bucket="secrets", object_key="k"), replace(good, object_key=f"victim/t/{good.claim_id}"),
            replace(good, object_key="../victim/t/x"), replace(good, original_size=2**61),
            replace(good, stored_size=2**61), replace(good, part_keys=("victim/t/1",)),
            replace(good, claim_id="..", object_key="default/q/.."), decode(foreign.data),
        ]
        asked: list[Any] = []
        for name in ("get", "get_stream", "get_metadata", "exists", "copy"):
            monkeypatch.setattr(store_of, name, lambda *args, **more: asked.append(args))
        from prism_proxy.models.messages import StoredMessage
        from prism_proxy.models.queue.contract import QueueItem

        for claim in forged:
            await driver.enqueue("q", [QueueItem(StoredMessage(raw.message_id, claim.encode(), raw.headers, 1), 5, 0)])
        assert await claims.dequeue(count=20) == []
        assert not asked  # refused before any request
        assert claims.step().payloads.figures.rejected == {"CLAIM_CORRUPT": len(forged)}


async def test_a_client_cannot_make_a_claim(claims: Claims) -> None:
    from prism_proxy.envelope.writer import EnvelopeWriter

    code, _ = await refusal(claims.publish(b"x", prism_claim_check="true"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    envelope = EnvelopeWriter("default", "t").write(
        b"claim", message_id="0197a1b2-0000-7000-8000-000000000001", published_ms=1,
        extensions={"prism-claim-check": b"true"})
    code, _ = await refusal(claims.publish(envelope, prism_envelope="true"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_receipt_that_a_client_changed_deletes_nothing_of_another_queue(config: NamespaceConfig) -> None:
    async with serving(with_ttl(config, retention_after_read=0.0)) as claims:
        await claims.enqueue(bytes(2 * MIB), queue="other")
        await claims.enqueue(bytes(2 * MIB))
        [other] = await claims.stored("default/other/")
        [message] = await claims.lease()
        receipt = message.receipt.partition("~")[0] + "~" + other.key.removeprefix("default/")
        await claims.release(receipt, delete=True)
        await asyncio.sleep(0.2)
        assert len(await claims.stored("default/other/")) == 1


async def test_two_namespaces_and_a_foreign_rule_share_a_bucket(store: SlotConfig, objects: SlotConfig) -> None:
    from prism_proxy.object_stores.contract import LifecycleRule

    first = namespace(store, objects, OPTIONS)
    async with serving(first) as claims:
        store_of = claims.objects()
        foreign = LifecycleRule("backup", "backups/", 7)
        await store_of.put_lifecycle_rule(BUCKET, foreign)
        await store_of.put(BUCKET, "backups/1", b"theirs")
        await store_of.put(BUCKET, "default2/t/1", b"another namespace's")
        await claims.step().open()
        rules = {rule.rule_id: rule for rule in await store_of.lifecycle_rules(BUCKET)}
        assert rules["backup"] == foreign
        assert rules["expire-claims-default"] == LifecycleRule("expire-claims-default", "default/", 1)
        assert rules["expire-dead-claims-default"].days == 30
        claims.step().sweeper._now = lambda: time.time() + 400 * 86_400
        await claims.step().sweeper.sweep()
        assert {found.key for found in await claims.stored()} == {"backups/1", "default2/t/1"}


async def test_a_bucket_of_others_gets_no_rule_unless_it_is_to(store: SlotConfig, objects: SlotConfig) -> None:
    async with serving(namespace(store, objects, OPTIONS)) as claims:
        store_of = claims.objects()
        await store_of.create_bucket("theirs")
        for managed in (False, True):
            options = replace(OPTIONS, bucket="theirs", manage_lifecycle=managed)
            step = type(claims.step())(
                "other", options, _Resources(), assigned=False, slots=claims.route().slots)
            await step.open()
            await step.close()
            assert bool(await store_of.lifecycle_rules("theirs")) is managed


class _Resources:
    def lasting(self, step: str, name: str, make: Any) -> Any:
        return make()


def test_sizes_are_written_as_the_configuration_examples_do(tmp_path: Path) -> None:
    from prism_proxy.configuration.loader import load

    text = f"""
namespaces:
  local-videos:
    backends:
      store: {{driver: memstore}}
      object_store: {{driver: directory, config: {{path: {tmp_path}/claims}}}}
    claim_check: {{enabled: true, required: false, threshold: 1MiB, bucket: claims, compression: zstd,
      stream_threshold: 10MiB, ttl: {{max_age: 24h, delete_after_read: true, retention_after_read: 5m,
      grace_period: 1h}}}}
"""
    path = tmp_path / "prism.yaml"
    path.write_text(text)
    loaded = load(["--config", str(path)], {})
    [found] = loaded.namespaces
    options = found.options["claim_check"]
    assert (options.threshold, options.ttl.retention_after_read, options.stream_threshold) == (MIB, 300.0, 10 * MIB)


async def test_values_of_the_same_namespace_stay_as_they_are(claims: Claims) -> None:
    from prism.interfaces.keyvalue import keyvalue_basic_pb2 as values
    from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as values_rpc

    stub: Any = values_rpc.KeyValueBasicInterfaceStub(claims.channel)  # type: ignore[no-untyped-call]
    await stub.Set(values.SetRequest(key="k", value=bytes(2 * MIB)))
    assert (await stub.Get(values.GetRequest(key="k"))).value == bytes(2 * MIB)
    assert not await claims.stored()


async def test_a_change_of_the_configuration_keeps_what_is_stored(config: NamespaceConfig) -> None:
    async with serving(config) as claims:
        await claims.enqueue(bytes(2 * MIB))
        await claims.activator.apply([with_options(config, threshold=64 * 1024, compression="gzip")])
        await claims.enqueue(bytes(100_000))
        assert [len(message.payload) for message in await claims.dequeue(count=2)] == [2 * MIB, 100_000]
        assert claims.step().payloads.figures.stored == 2  # counters go on
        await claims.activator.apply([replace(config, options={})])
        await claims.enqueue(b"small")
        assert [message.payload for message in await claims.dequeue()] == [b"small"]
