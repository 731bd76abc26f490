"""The groups of streams, each a consumer of JetStream, and what the members of this process have of them."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prism_proxy._native.nats.connection import NatsClosed
from prism_proxy.backends.nats import stream_records as records
from prism_proxy.backends.nats.logs import NANO, Log
from prism_proxy.backends.nats.pull import ACK, TERM, Entry, ack_subject, nak
from prism_proxy.models.messages import (
    DEAD_LETTER_SUFFIX,
    ERROR_HEADER,
    RETRIES_HEADER,
    SOURCE_HEADER,
    StoredMessage,
)
from prism_proxy.models.stream.contract import NewRecord, Record

if TYPE_CHECKING:
    from prism_proxy.backends.nats.stream_members import Member
    from prism_proxy.backends.nats.streams import NatsStreams

REMEMBERED = 65_536  # acknowledged offsets and reasons, by which repetition is known
TOLD_AT_ONCE = 1000
ANSWERS_S = 0.05  # in which members of other processes say that they are there
Key = tuple[str, str]


class Groups:
    def __init__(self, streams: NatsStreams) -> None:
        self._streams = streams
        self._members: dict[Key, set[Member]] = {}
        self._settled: OrderedDict[tuple[str, str, int], None] = OrderedDict()
        self._reasons: OrderedDict[tuple[str, str, int], str] = OrderedDict()

    # --- the consumer -------------------------------------------------------------------------------------------------

    async def make(self, log: Log, group: str, start: Mapping[str, Any], action: str = "") -> None:
        names = self._streams.logs.names
        await self._streams.js.make_consumer(log.stream, names.consumer(group), {
            "durable_name": names.consumer(group), "filter_subject": log.subject.decode(), "ack_policy": "explicit",
            "ack_wait": int(self._streams.settings.ack_timeout_s * NANO), "max_deliver": -1, "max_ack_pending": -1,
            "metadata": {"prism.group": group, "prism.made": uuid.uuid4().hex}, **start}, action)

    async def update(self, log: Log, group: str, config: Mapping[str, Any]) -> None:
        """Have the time to acknowledge be that of the settings."""
        changed = {**config, "ack_wait": int(self._streams.settings.ack_timeout_s * NANO)}
        changed.setdefault("filter_subject", log.subject.decode())
        await self._streams.js.make_consumer(log.stream, str(config["name"]), changed, "update")

    async def delete(self, log: Log, group: str) -> None:
        """With what is known of its acknowledgements."""
        await self._streams.js.delete_consumer(log.stream, self._streams.logs.names.consumer(group))
        for key in [key for key in self._settled if key[:2] == (log.stream, group)]:
            del self._settled[key]

    async def seek(self, log: Log, group: str, start: Mapping[str, Any]) -> None:
        """The consumer begins anew; members ask it again."""
        await self.delete(log, group)
        await self.make(log, group, start)
        for member in self._members.get((log.stream, group), ()):
            member.forget()
        await self.tell(log, group, b"sought")

    async def names(self, log: Log) -> list[str]:
        """Of all groups; consumers of other programs go by their own name."""
        found: list[str] = []
        offset = 0
        while True:
            page = await self._streams.js.api(f"CONSUMER.LIST.{log.stream}", {"offset": offset})
            consumers = page.get("consumers") or ()
            for info in consumers:
                if info["config"].get("durable_name"):
                    found.append(str((info["config"].get("metadata") or {}).get("prism.group") or info["name"]))
            offset += len(consumers)
            if not consumers or offset >= int(page.get("total", 0)):
                return sorted(found)

    # --- members ------------------------------------------------------------------------------------------------------

    def add(self, member: Member) -> None:
        self._members.setdefault(member.key, set()).add(member)

    def discard(self, member: Member) -> None:
        found = self._members.get(member.key, set())
        found.discard(member)
        if not found:
            self._members.pop(member.key, None)

    def control(self, log: Log, group: str) -> bytes:
        """Where members of a group hear of each other."""
        return self._streams.logs.names.control("group", log.stream, group).encode()

    async def tell(self, log: Log, group: str, news: bytes) -> None:
        connection = self._streams.js.client().usable()
        connection.publish(self.control(log, group), None, None, news)
        await connection.confirm()

    async def members(self, log: Log, group: str) -> Sequence[str]:
        """The ids of those who answer. Where nobody listens the server does, without data."""
        client = self._streams.js.client()
        connection, inbox = client.usable(), client.new_inbox()
        found: set[str] = set()
        number = connection.subscribe(inbox, None, lambda *message: found.add(message[3].decode("utf-8", "replace")))
        try:
            connection.publish(self.control(log, group), inbox, None, b"who")
            await connection.confirm()
            await asyncio.sleep(ANSWERS_S)
        finally:
            with contextlib.suppress(NatsClosed):
                connection.unsubscribe(number)
        return sorted(found - {""})

    def _opened(self, log: Log, group: str, offset: int) -> Entry | None:
        """The open delivery of an offset to a member of this process, which has it no longer."""
        for member in self._members.get((log.stream, group), ()):
            entry = member.take(offset)
            if entry is not None:
                return entry
        return None

    # --- acknowledgements ---------------------------------------------------------------------------------------------

    async def ack(self, log: Log, group: str, info: Mapping[str, Any], offsets: Iterable[int]) -> int:
        replies, elsewhere = [], []
        for offset in dict.fromkeys(offsets):
            entry = self._opened(log, group, offset)
            if entry is not None:
                replies.append(entry.reply)
            elif self._elsewhere(log, group, info, offset):
                elsewhere.append(offset)
                replies.append(ack_subject(log.stream, str(info["name"]), offset))
            else:
                continue
            _remember(self._settled, (log.stream, group, offset), None)
        await self._streams.js.tell_all([(reply, ACK) for reply in replies])
        await self._tell_settled(log, group, elsewhere)
        return len(replies)

    async def _tell_settled(self, log: Log, group: str, offsets: Sequence[int]) -> None:
        """Members of other processes have room for others now."""
        for start in range(0, len(offsets), TOLD_AT_ONCE):
            await self.tell(log, group, "\0".join(("settled", *map(str, offsets[start:start + TOLD_AT_ONCE]))).encode())

    def _elsewhere(self, log: Log, group: str, info: Mapping[str, Any], offset: int) -> bool:
        """Whether a member of another process may have it open."""
        return (int(info["ack_floor"]["stream_seq"]) < offset <= int(info["delivered"]["stream_seq"])
                and (log.stream, group, offset) not in self._settled and int(info["num_ack_pending"]) > 0)

    async def nack(
        self, stream: str, log: Log, group: str, info: Mapping[str, Any], offsets: Iterable[int], delay_s: float,
        reason: str, *, final: bool,
    ) -> int:
        count = 0
        for offset in dict.fromkeys(offsets):
            entry = self._opened(log, group, offset)
            if entry is None and not self._elsewhere(log, group, info, offset):
                continue
            count += 1
            if entry is None:
                await self._tell_settled(log, group, [offset])
            if final:
                found = await self._record(log, entry, offset)
                if found is not None:
                    await self.bury(stream, found, reason)
                reply = entry.reply if entry is not None else ack_subject(log.stream, str(info["name"]), offset)
                await self._streams.js.tell_all([(reply, TERM)])
                continue
            _remember(self._reasons, (log.stream, group, offset), reason)
            reply = entry.reply if entry is not None else ack_subject(
                log.stream, str(info["name"]), offset, int(info["delivered"]["consumer_seq"]))
            await self._streams.js.tell_all([(reply, nak(delay_s))])
        return count

    async def _record(self, log: Log, entry: Entry | None, offset: int) -> Record | None:
        if entry is not None:
            return records.record(entry, entry.deliveries)
        found = await self._streams.js.message(log.stream, seq=offset)
        return records.made(offset, found[0], found[1], 0, 1) if found is not None else None

    def reason(self, log: Log, group: str, offset: int) -> str:
        """Why it was refused last, as far as this process knows."""
        return self._reasons.get((log.stream, group, offset), "")

    async def bury(self, stream: str, record: Record, reason: str) -> None:
        """Append to the dead letters, once."""
        headers = {**record.headers, SOURCE_HEADER: stream, ERROR_HEADER: " ".join(reason.split()),
                   RETRIES_HEADER: str(record.attempt)}
        message = StoredMessage(record.message_id, record.data, headers, record.timestamp_ms,
                                deduplication_id=f"dead.{stream}.{record.offset}")
        await self._streams.append(stream + DEAD_LETTER_SUFFIX, [NewRecord(record.key, message)])


def _remember(table: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > REMEMBERED:
        table.popitem(last=False)
