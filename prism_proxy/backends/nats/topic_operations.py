"""What operators do with topics that have a log in JetStream: `models.pubsub.contract.PubSubOperations`."""

from __future__ import annotations

from collections.abc import Sequence

from prism_proxy.backends.nats import headers as wire
from prism_proxy.backends.nats import queue_messages as messages
from prism_proxy.backends.nats.logs import Log, renewing
from prism_proxy.backends.nats.topic_logs import LET_GO, NatsTopicLogs
from prism_proxy.models.messages import Delivery
from prism_proxy.models.messaging_errors import durable_not_found, topic_log_not_found
from prism_proxy.models.pubsub.contract import NEWEST, DurablePosition, TopicDetails


class NatsTopicOperations(NatsTopicLogs):
    """The topics of a namespace, and their operations."""

    async def topics(self, limit: int) -> Sequence[str]:
        found: set[str] = set()
        offset = 0
        while True:
            page = await self.logs.js.api("STREAM.LIST", {"subject": f"{self.logs.names.prefix}>", "offset": offset})
            streams = page.get("streams") or ()
            for info in streams:
                for subject in info["config"].get("subjects") or ():
                    topic = self.logs.names.topic_of(subject.encode())
                    if subject.startswith(self.logs.names.prefix) and topic and not set(subject) & set("*>"):
                        found.add(topic)
            offset += len(streams)
            if not streams or offset >= int(page.get("total", 0)) or len(found) >= limit:
                return sorted(found)[:limit]

    @renewing
    async def describe(self, topic: str) -> TopicDetails:
        log = await self._existing(topic)
        state = (await self.logs.js.stream_info(log.stream))["state"]
        count, first, last = int(state["messages"]), int(state["first_seq"]), int(state["last_seq"])
        durables = []
        for name in await self.positions.names(topic):
            position = await self.positions.read(topic, name)
            if position is not None:
                following = position.sequence + 1
                durables.append(DurablePosition(name, following, max(0, min(count, last + 1 - max(following, first)))))
        return TopicDetails(count, first if count else 0, last if count else 0, durables)

    @renewing
    async def newest(self, topic: str, count: int) -> Sequence[Delivery]:
        log = await self._existing(topic)
        state = (await self.logs.js.stream_info(log.stream))["state"]
        start = max(int(state["first_seq"]), int(state["last_seq"]) + 1 - count, 1)
        found = []
        async for block, data in self.logs.js.messages(
                log.stream, count, seq=start, next_by_subj=log.subject.decode()):
            headers = wire.from_wire(block)
            found.append(Delivery(topic, data, headers, wire.message_id_of(headers, block),
                                  messages.timestamp_ms(block), messages.sequence(block).to_bytes(8)))
        return found

    @renewing
    async def purge(self, topic: str) -> int:
        return await self.logs.purge(await self._existing(topic))

    @renewing
    async def seek_durable(self, topic: str, durable_name: str, sequence: int, from_ms: int | None) -> None:
        log = await self._known(topic, durable_name)
        end = await self._end(log)
        if from_ms is not None:
            start = await self._at_time(log, from_ms)
        else:
            start = end if sequence == NEWEST else min(max(sequence, 1), end)
        await self._let_go(topic, durable_name)
        await self.positions.put(topic, durable_name, start - 1)

    @renewing
    async def delete_durable(self, topic: str, durable_name: str) -> None:
        await self._known(topic, durable_name)
        await self._let_go(topic, durable_name)
        await self.positions.forget(topic, durable_name)

    async def _let_go(self, topic: str, durable_name: str) -> None:
        """Who has the subscription open, at any proxy, ends it and writes its position no more."""
        connection = self.logs.js.client().usable()
        connection.publish(self.logs.names.control("durable", topic, durable_name).encode(), None, None, LET_GO)
        await connection.confirm()

    async def _existing(self, topic: str) -> Log:
        log = await self.found(topic)
        if log is None:
            raise topic_log_not_found(topic)
        return log

    async def _known(self, topic: str, durable_name: str) -> Log:
        log = await self._existing(topic)
        if await self.positions.read(topic, durable_name) is None:
            raise durable_not_found(topic, durable_name)
        return log
