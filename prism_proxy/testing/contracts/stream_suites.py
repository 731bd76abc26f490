"""The five stream interfaces over the wire: STB STG STR STT STP of the specification, and QUE, which are about logs.

Offsets are taken from replies; they increase and need not be dense.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from prism_proxy.errors import StatusCode
from prism_proxy.models.stream.contract import PARTITIONING
from prism_proxy.testing.contracts.messaging_wire import Messaging, fails, several

GROUPS, REPLAY, RETENTION, PARTS = (
    "stream_consumer_groups", "stream_replay", "stream_retention", "stream_partitioning")


class StreamBasicSuite:
    async def test_STB_appended_records_are_read_in_order(self, messaging: Messaging) -> None:
        first, last = await messaging.append("s", b"a", b"b", b"c")
        again = await messaging.append("s", b"d")
        found = await messaging.read("s")
        assert [record.value for record in found] == [b"a", b"b", b"c", b"d"]
        assert [found[0].offset, found[2].offset, found[3].offset] == [first, last, again[0]]
        assert first < last < again[0]

    async def test_STB_headers_and_keys_travel(self, messaging: Messaging) -> None:
        before = int(time.time() * 1000)
        await messaging["stream_basic"].Append(stream="s", records=[
            {"key": b"\x00k", "value": b"\xff", "headers": {"colour": "blue", "prism-content-type": "text/plain"}}])
        [record] = await messaging.read("s")
        assert (record.key, record.value) == (b"\x00k", b"\xff")
        assert record.headers["colour"] == "blue"
        assert record.headers["prism-content-type"] == "text/plain"
        assert before - 5 <= record.timestamp <= time.time() * 1000 + 5

    async def test_STB_read_from_an_offset_and_with_a_limit(self, messaging: Messaging) -> None:
        await messaging.append("s", *(b"%d" % n for n in range(10)))
        found = await messaging.read("s", limit=4)
        assert [record.value for record in found] == [b"0", b"1", b"2", b"3"]
        rest = await messaging.read("s", found[-1].offset + 1)
        assert [record.value for record in rest] == [b"%d" % n for n in range(4, 10)]
        assert await messaging.read("s", rest[-1].offset + 1) == []

    async def test_STB_follow_waits_for_records_and_for_the_stream(self, messaging: Messaging) -> None:
        call = messaging["stream_basic"].Read(stream="later", follow=True)
        await call.initial_metadata()
        await messaging.append("later", b"1")
        assert (await asyncio.wait_for(call.read(), 5)).value == b"1"
        await messaging.append("later", b"2")
        assert (await asyncio.wait_for(call.read(), 5)).value == b"2"
        call.cancel()

    async def test_STB_follow_from_the_end_gets_only_what_is_new(self, messaging: Messaging) -> None:
        await messaging.append("s", b"old")
        call = messaging["stream_basic"].Read(stream="s", offset=-1, follow=True)
        await call.initial_metadata()
        await messaging.append("s", b"new")
        assert (await asyncio.wait_for(call.read(), 5)).value == b"new"
        call.cancel()

    async def test_STB_latest_offset(self, messaging: Messaging) -> None:
        _, last = await messaging.append("s", b"a", b"b")
        assert (await messaging["stream_basic"].GetLatestOffset(stream="s")).offset == last

    async def test_STB_what_is_not_there(self, messaging: Messaging) -> None:
        with fails(StatusCode.NOT_FOUND, "STREAM_NOT_FOUND"):
            await messaging.read("none")
        with fails(StatusCode.NOT_FOUND, "STREAM_NOT_FOUND"):
            await messaging["stream_basic"].GetLatestOffset(stream="none")
        _, last = await messaging.append("s", b"a")
        with fails(StatusCode.OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE"):
            await messaging.read("s", last + 2**40)
        with fails(StatusCode.OUT_OF_RANGE, "PARTITION_OUT_OF_RANGE"):
            await messaging.read("s", partition=77)

    async def test_STB_what_is_refused(self, messaging: Messaging) -> None:
        for stream in ("", "$JS.x", "_INBOX.a", "__x", "a\nb", "x" * 2000):
            with fails(StatusCode.INVALID_ARGUMENT):
                await messaging.append(stream, b"v")
        with fails(StatusCode.INVALID_ARGUMENT):
            await messaging.append("s")
        with fails(StatusCode.INVALID_ARGUMENT):
            await messaging.read("s", options={"colour": "blue"})
        with fails(StatusCode.INVALID_ARGUMENT):
            await messaging.read("s", -2)

    async def test_STB_expired_records_are_skipped(self, messaging: Messaging) -> None:
        await messaging["stream_basic"].Append(stream="s", records=[
            {"value": b"short", "headers": {"prism-ttl-seconds": "1"}}, {"value": b"long"}])
        await asyncio.sleep(1.1)
        assert [record.value for record in await messaging.read("s")] == [b"long"]

    async def test_STB_a_duplicate_is_answered_with_the_first_offset(self, messaging: Messaging) -> None:
        record = {"value": b"v", "headers": {"prism-deduplication-id": "once"}}
        first = await messaging["stream_basic"].Append(stream="s", records=[record])
        again = await messaging["stream_basic"].Append(stream="s", records=[record])
        assert first.first_offset == again.first_offset
        assert len(await messaging.read("s")) == 1

    async def test_QUE1_what_was_published_is_read_with_its_offset(self, messaging: Messaging) -> None:
        offset, _ = await messaging.append("orders", b"payload")
        [record] = await messaging.read("orders", partition=0)
        assert (record.offset, record.partition, record.value) == (offset, 0, b"payload")


class StreamGroupsSuite:
    async def test_STG_each_record_is_delivered_once_while_acknowledged(self, messaging: Messaging) -> None:
        await messaging.append("s", *(b"%d" % n for n in range(20)))
        await messaging[GROUPS].CreateConsumerGroup(stream="s", group="g")
        async with messaging.member("s", "g") as member:
            found = await several(member, 20)
            assert sorted(int(record.value) for record in found) == list(range(20))
            assert {record.attempt for record in found} == {1}
            assert await messaging.ack("g", "s", *found) == 20
            assert await messaging.ack("g", "s", *found) == 0
        info = await messaging[GROUPS].GetConsumerGroupInfo(stream="s", group="g")
        assert (info.lag, info.pending) == (0, 0)
        assert dict(info.committed) == {0: max(record.offset for record in found)}

    async def test_QUE3_what_is_not_acknowledged_comes_again_at_once(self, messaging: Messaging) -> None:
        await messaging.append("s", b"a", b"b")
        await messaging[GROUPS].CreateConsumerGroup(stream="s", group="g")
        async with messaging.member("s", "g") as member:
            first, _ = await several(member, 2)
            await messaging.ack("g", "s", first)
        left = time.monotonic()
        async with messaging.member("s", "g", consumer_id="other") as member:
            again = await asyncio.wait_for(member.read(), 5)
            assert (again.value, again.attempt) == (b"b", 2)
            assert time.monotonic() - left < 1.0
            await messaging.ack("g", "s", again)
            await messaging.append("s", b"c")
            assert (await asyncio.wait_for(member.read(), 5)).value == b"c"

    async def test_QUE4_a_group_goes_on_behind_what_it_committed(self, messaging: Messaging) -> None:
        await messaging.append("s", *(b"%d" % n for n in range(5)))
        await messaging[GROUPS].CreateConsumerGroup(stream="s", group="g")
        async with messaging.member("s", "g") as member:
            await messaging.ack("g", "s", *await several(member, 3))
        async with messaging.member("s", "g") as member:
            assert (await asyncio.wait_for(member.read(), 5)).value == b"3"

    async def test_STG_in_flight_is_bounded(self, messaging: Messaging) -> None:
        await messaging.append("s", *(b"%d" % n for n in range(10)))
        await messaging[GROUPS].CreateConsumerGroup(stream="s", group="g")
        async with messaging.member("s", "g", max_in_flight=3) as member:
            found = await several(member, 3)
            pending = asyncio.ensure_future(member.read())
            await asyncio.sleep(0.3)
            assert not pending.done()
            await messaging.ack("g", "s", found[0])
            assert (await asyncio.wait_for(pending, 5)).value == b"3"

    async def test_STG_a_group_may_start_at_the_end(self, messaging: Messaging) -> None:
        await messaging.append("s", b"old")
        await messaging[GROUPS].CreateConsumerGroup(stream="s", group="g", start_offset=-1)
        async with messaging.member("s", "g") as member:
            await messaging.append("s", b"new")
            assert (await asyncio.wait_for(member.read(), 5)).value == b"new"

    async def test_STG_a_refused_record_comes_again_after_its_delay(self, messaging: Messaging) -> None:
        await messaging.append("s", b"v")
        await messaging[GROUPS].CreateConsumerGroup(stream="s", group="g")
        async with messaging.member("s", "g") as member:
            [record] = await several(member, 1)
            began = time.monotonic()
            done = await messaging[GROUPS].Nack(stream="s", group="g", partition=record.partition,
                                                offsets=[record.offset], delay_ms=400, reason="later")
            assert done.returned == 1
            again = await asyncio.wait_for(member.read(), 5)
            assert (again.offset, again.attempt) == (record.offset, 2)
            assert 0.35 <= time.monotonic() - began < 1.5

    async def test_STG_what_is_not_there(self, messaging: Messaging) -> None:
        await messaging[GROUPS].CreateConsumerGroup(stream="s", group="g")
        with fails(StatusCode.ALREADY_EXISTS, "GROUP_EXISTS"):
            await messaging[GROUPS].CreateConsumerGroup(stream="s", group="g")
        with fails(StatusCode.NOT_FOUND, "GROUP_NOT_FOUND"):
            await messaging[GROUPS].Ack(stream="s", group="none", offsets=[1])
        with fails(StatusCode.NOT_FOUND, "GROUP_NOT_FOUND"):
            async with messaging.member("s", "none") as member:
                await member.read()

    async def test_STG_a_member_of_the_same_id_replaces_the_earlier(self, messaging: Messaging) -> None:
        await messaging.append("s", b"v")
        await messaging[GROUPS].CreateConsumerGroup(stream="s", group="g")
        async with messaging.member("s", "g", consumer_id="me") as earlier:
            await several(earlier, 1)
            async with messaging.member("s", "g", consumer_id="me") as later:
                assert (await asyncio.wait_for(later.read(), 5)).attempt == 2
                with fails(StatusCode.ABORTED, "SUBSCRIBER_REPLACED"):
                    await earlier.read()


class StreamReplaySuite:
    async def test_STR_a_range_has_both_ends(self, messaging: Messaging) -> None:
        await messaging.append("s", *(b"%d" % n for n in range(10)))
        offsets = [record.offset for record in await messaging.read("s")]
        found = [record async for record in messaging[REPLAY].ReplayRange(
            stream="s", from_offset=offsets[3], to_offset=offsets[6])]
        assert [record.value for record in found] == [b"3", b"4", b"5", b"6"]

    async def test_QUE5_seek_to_the_beginning_replays_all(self, messaging: Messaging) -> None:
        await messaging.append("s", b"a", b"b")
        await messaging[GROUPS].CreateConsumerGroup(stream="s", group="g")
        async with messaging.member("s", "g") as member:
            await messaging.ack("g", "s", *await several(member, 2))
        offsets = [record.offset for record in await messaging.read("s")]
        assert (await messaging[REPLAY].SeekToOffset(stream="s", group="g", offset=0)).offset == offsets[0]
        async with messaging.member("s", "g") as member:
            assert [record.value for record in await several(member, 2)] == [b"a", b"b"]

    async def test_STR_seek_to_a_time(self, messaging: Messaging) -> None:
        await messaging.append("s", b"old")
        await asyncio.sleep(0.05)
        middle = int(time.time() * 1000)
        await asyncio.sleep(0.05)
        new, _ = await messaging.append("s", b"new")
        await messaging[GROUPS].CreateConsumerGroup(stream="s", group="g")
        assert (await messaging[REPLAY].SeekToTimestamp(stream="s", group="g", timestamp=middle)).offset == new
        async with messaging.member("s", "g") as member:
            assert (await asyncio.wait_for(member.read(), 5)).value == b"new"

    async def test_STR_nobody_seeks_beyond_the_end(self, messaging: Messaging) -> None:
        _, last = await messaging.append("s", b"a")
        await messaging[GROUPS].CreateConsumerGroup(stream="s", group="g")
        with fails(StatusCode.OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE"):
            await messaging[REPLAY].SeekToOffset(stream="s", group="g", offset=last + 2**40)


class StreamRetentionSuite:
    """Bounds that the backend cannot hold are refused."""

    async def test_STT_a_bound_of_records(self, messaging: Messaging) -> None:
        await messaging[RETENTION].SetRetention(stream="s", max_records=3)
        assert (await messaging[RETENTION].GetRetention(stream="s")).max_records == 3
        for n in range(6):
            await messaging.append("s", b"%d" % n)
        await messaging[RETENTION].Compact(stream="s")
        assert [record.value for record in await messaging.read("s")] == [b"3", b"4", b"5"]

    async def test_STT_a_bound_of_age(self, messaging: Messaging) -> None:
        await messaging.append("s", b"old")
        await messaging[RETENTION].SetRetention(stream="s", max_age_seconds=1)
        await asyncio.sleep(2.1)
        await messaging.append("s", b"new")
        assert [record.value for record in await messaging.read("s")] == [b"new"]

    async def test_STT_compaction_keeps_the_newest_of_each_key(self, messaging: Messaging) -> None:
        for value in (b"1", b"2", b"3"):
            await messaging.append("s", b"a" + value, key=b"a")
            await messaging.append("s", b"b" + value, key=b"b")
        await messaging.append("s", b"none")
        removed = (await messaging[RETENTION].Compact(stream="s", keep_latest_per_key=True)).removed
        assert removed == 4
        assert {record.value for record in await messaging.read("s")} == {b"a3", b"b3", b"none"}

    async def test_STT_negative_bounds_are_refused(self, messaging: Messaging) -> None:
        with fails(StatusCode.INVALID_ARGUMENT):
            await messaging[RETENTION].SetRetention(stream="s", max_records=-1)


class StreamPartitioningSuite:
    """The namespace has four partitions."""

    async def test_QUE2_a_key_has_one_partition_and_its_order(self, messaging: Messaging) -> None:
        for n in range(100):
            await messaging.append("s", b"%d" % n, key=b"customer")
        found = await messaging.read("s")
        assert [int(record.value) for record in found] == list(range(100))
        assert len({record.partition for record in found}) == 1

    async def test_QUE6_members_share_partitions_without_overlap(self, messaging: Messaging) -> None:
        assert PARTITIONING in messaging.interfaces
        for n in range(40):
            await messaging.append("s", b"%d" % n, key=b"%d" % n)
        await messaging[GROUPS].CreateConsumerGroup(stream="s", group="g")
        seen: dict[str, list[Any]] = {"one": [], "two": []}
        async with (messaging.member("s", "g", consumer_id="one", max_in_flight=1) as one,
                    messaging.member("s", "g", consumer_id="two", max_in_flight=1) as two):
            async def work(name: str, member: Any) -> None:
                while sum(map(len, seen.values())) < 40:
                    record = await member.read()
                    seen[name].append(record)
                    await messaging.ack("g", "s", record)

            tasks = [asyncio.ensure_future(work("one", one)), asyncio.ensure_future(work("two", two))]
            await asyncio.wait(tasks, timeout=20, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        assert sorted(int(record.value) for records in seen.values() for record in records) == list(range(40))
        assert seen["one"]
        assert seen["two"]

    async def test_STP_no_record_overtakes_an_open_one_of_its_key(self, messaging: Messaging) -> None:
        for n in range(6):
            await messaging.append("s", b"%d" % n, key=b"k")
        await messaging[GROUPS].CreateConsumerGroup(stream="s", group="g")
        order = []
        async with messaging.member("s", "g", max_in_flight=100) as member:
            for n in range(6):
                record = await asyncio.wait_for(member.read(), 5)
                if n == 2:  # it fails once, and is tried again before the next one of its key
                    await messaging[GROUPS].Nack(stream="s", group="g", partition=record.partition,
                                                 offsets=[record.offset])
                    record = await asyncio.wait_for(member.read(), 5)
                    assert record.attempt == 2
                order.append(int(record.value))
                await messaging.ack("g", "s", record)
        assert order == list(range(6))

    async def test_QUE7_partitions_are_counted_exactly(self, messaging: Messaging) -> None:
        for start in range(0, 1000, 100):
            await messaging["stream_basic"].Append(stream="s", records=[
                {"key": b"%d" % n, "value": b"v"} for n in range(start, start + 100)])
        found = (await messaging[PARTS].GetPartitions(stream="s")).partitions
        assert [item.partition for item in found] == [0, 1, 2, 3]
        assert sum(item.message_count for item in found) == 1000
        for item in found:
            records = await messaging.read("s", partition=item.partition)
            assert (item.earliest_offset, item.latest_offset, item.message_count) == (
                records[0].offset, records[-1].offset, len(records))

    async def test_STP_a_partition_may_be_chosen(self, messaging: Messaging) -> None:
        done = await messaging[PARTS].AppendToPartition(stream="s", partition=3, records=[{"value": b"v"}])
        [record] = await messaging.read("s", partition=3)
        assert record.offset == done.first_offset
        assert await messaging.read("s", partition=1) == []
        with fails(StatusCode.OUT_OF_RANGE, "PARTITION_OUT_OF_RANGE"):
            await messaging[PARTS].AppendToPartition(stream="s", partition=4, records=[{"value": b"v"}])
