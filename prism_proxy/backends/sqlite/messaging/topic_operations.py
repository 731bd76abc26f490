"""What operators do with topics of a SQLite namespace that have a log: `models.pubsub.contract.PubSubOperations`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial

from prism_proxy.backends.sqlite.messaging import log_rows
from prism_proxy.backends.sqlite.messaging.log_rows import Log, Part, Stored
from prism_proxy.backends.sqlite.messaging.topics import KIND, MESSAGE_BYTES, SqliteTopics
from prism_proxy.backends.sqlite.operations import Session
from prism_proxy.models.messages import Delivery
from prism_proxy.models.messaging_errors import durable_not_found, topic_log_not_found
from prism_proxy.models.pubsub.contract import NEWEST, DurablePosition, TopicDetails


class SqliteTopicOperations(SqliteTopics):
    """The topics of a namespace, and their operations."""

    async def topics(self, limit: int) -> Sequence[str]:
        return await self._readers.run(partial(log_rows.log_names, kind=KIND, limit=limit))

    async def describe(self, topic: str) -> TopicDetails:
        return await self._readers.run(partial(_details, topic=topic))

    async def newest(self, topic: str, count: int) -> Sequence[Delivery]:
        return await self._readers.run(partial(_newest, topic=topic, count=count, now_ms=self._now_ms()))

    async def purge(self, topic: str) -> int:
        return await self._writer.submit(partial(_purge, topic=topic), MESSAGE_BYTES, frees=True)

    async def seek_durable(self, topic: str, durable_name: str, sequence: int, from_ms: int | None) -> None:
        await self._let_go(topic, durable_name)
        await self._writer.submit(partial(
            _seek, topic=topic, name=durable_name, sequence=sequence, from_ms=from_ms), MESSAGE_BYTES)

    async def delete_durable(self, topic: str, durable_name: str) -> None:
        await self._let_go(topic, durable_name)
        await self._writer.submit(partial(_forget, topic=topic, name=durable_name), MESSAGE_BYTES, frees=True)

    async def _let_go(self, topic: str, durable_name: str) -> None:
        """What is open ends, and has written its position when this returns."""
        durable = self._durables.get((topic, durable_name))
        if durable is not None:
            await durable.replace()


def _existing(connection: sqlite3.Connection, topic: str) -> tuple[Log, Part]:
    log = log_rows.find_log(connection, KIND, topic)
    if log is None:
        raise topic_log_not_found(topic)
    (part,) = log_rows.parts_of(connection, log.id)
    return log, part


def _details(connection: sqlite3.Connection, topic: str) -> TopicDetails:
    """Sequences are offsets and one."""
    log, part = _existing(connection, topic)
    earliest, latest = log_rows.ends(connection, part)
    return TopicDetails(part.records, earliest + 1, latest + 1, [
        DurablePosition(name, position + 1, log_rows.records_behind(connection, part, position))
        for name, position in connection.execute("SELECT name, next FROM position WHERE log = ?", (log.id,))])


def _newest(connection: sqlite3.Connection, topic: str, count: int, now_ms: int) -> list[Delivery]:
    _, part = _existing(connection, topic)
    row = connection.execute(
        "SELECT min(id) FROM (SELECT id FROM record WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT ?)",
        (part.base + part.first, part.base + part.next, count)).fetchone()
    if row[0] is None:
        return []
    records, _, _ = log_rows.page(connection, part, row[0] - part.base, part.next, count, now_ms)
    return [Delivery(topic, each.data, each.headers, each.message_id, each.timestamp_ms, b"%d" % each.offset)
            for each in records]


def _purge(session: Session, topic: str) -> int:
    _, part = _existing(session.connection, topic)
    return log_rows.purge_parts(session, [part])


def _known(session: Session, topic: str, name: str) -> tuple[Log, Part]:
    log, part = _existing(session.connection, topic)
    if not log_rows.positions(session.connection, log.id, name):
        raise durable_not_found(topic, name)
    return log, part


def _seek(session: Session, topic: str, name: str, sequence: int, from_ms: int | None) -> None:
    log, part = _known(session, topic, name)
    if from_ms is not None:
        start = log_rows.at_time(session.connection, part, from_ms)
    else:
        start = part.next if sequence == NEWEST else min(max(sequence - 1, 0), part.next)
    log_rows.set_position(session, log.id, name, 0, Stored(start, start, ()))


def _forget(session: Session, topic: str, name: str) -> None:
    _known(session, topic, name)
    log_rows.forget_position(session, KIND, topic, name)
