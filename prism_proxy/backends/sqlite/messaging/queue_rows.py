"""What queues do within the writer's transaction. Nothing here waits, or begins or ends a transaction.

A message is ready (`due` 0), or invisible until `due`: leased (`lease` is the number in its receipt) or scheduled. Who
takes messages makes those ready first whose time has come, so that no timer decides what is seen.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from prism_proxy.backends.sqlite.messaging.content import (
    content_holds,
    content_sum,
    first_of,
    headers_from_bytes,
    headers_to_bytes,
    remember,
)
from prism_proxy.backends.sqlite.operations import Session
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import DEAD_LETTER_SUFFIX, ERROR_HEADER, RETRIES_HEADER, SOURCE_HEADER
from prism_proxy.models.messaging_errors import receipt_expired
from prism_proxy.models.queue.contract import MAX_PRIORITY, DeadLetters, Outcome, QueuedMessage, QueueItem, Settlement

SLICE = 1000  # messages that become ready, or are dropped, in one transaction
SET_ASIDE = 2**62  # when a damaged message becomes ready: never
LEASE_OVER, SETTLED_BY = "its lease ended", "it was given back"
_INSERT = ("INSERT INTO message (queue, due, rank, receives, lease, enqueued, expires, message_id, headers, sum, data)"
           " VALUES (?, ?, ?, 0, 0, ?, ?, ?, ?, ?, ?)")
_COLUMNS = "id, rank, receives, enqueued, expires, message_id, headers, sum, data"


class Queue(NamedTuple):
    """`max_receives` is the queue's own, or None."""

    id: int
    name: str
    dead_letter: str
    max_receives: int | None


class Moved(NamedTuple):
    """Queues with messages that became ready, and when the next ones do; 0 = none are due."""

    queues: frozenset[str]
    next_ms: int
    more: bool


def find_queue(connection: sqlite3.Connection, name: str) -> Queue | None:
    row = connection.execute(
        "SELECT id, name, dead_letter, max_receives FROM queue WHERE name = ?", (name,)).fetchone()
    return None if row is None else Queue(*row)


def the_queue(session: Session, name: str) -> Queue:
    """Made when it is not there."""
    found = find_queue(session.connection, name)
    if found is not None:
        return found
    made = session.connection.execute(
        "INSERT INTO queue (name, dead_letter) VALUES (?, ?)", (name, name + DEAD_LETTER_SUFFIX))
    return Queue(made.lastrowid or 0, name, name + DEAD_LETTER_SUFFIX, None)


def enqueue(session: Session, name: str, items: Sequence[QueueItem]) -> list[str | PrismError]:
    queue = the_queue(session, name).id
    now = session.now_ms
    results: list[str | PrismError] = []
    rows: list[tuple[Any, ...]] = []
    for message, priority, deliver_at in items:
        if message.deduplication_id:
            place = f"queue {name}"
            first = first_of(session, place, message)
            if first is not None:
                results.append(first)
                continue
            remember(session, place, message)
        headers = headers_to_bytes(message.headers)
        rows.append((
            queue, deliver_at if deliver_at > now else 0, MAX_PRIORITY - priority, message.published_ms,
            message.expires_ms, message.message_id, headers,
            content_sum(headers, message.data, message.published_ms, message.expires_ms), message.data))
        results.append(message.message_id)
    session.connection.executemany(_INSERT, rows)
    return results


def take(session: Session, name: str, count: int, wanted: Callable[[], bool]) -> list[tuple[Any, ...]]:
    """Whole rows, removed; `put_back` undoes it. Nothing happens when nobody wants them any more."""
    queue = find_queue(session.connection, name)
    if queue is None or not wanted():
        return []
    rows = _ready(session, queue, count)
    session.connection.executemany("DELETE FROM message WHERE id = ?", [(row[0],) for row in rows])
    return rows


def put_back(session: Session, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """What `take` removed for a caller that had gone is where it was."""
    queue = the_queue(session, name).id
    insert = f"INSERT INTO message (queue, due, lease, {_COLUMNS}) VALUES (?, 0, 0, {', '.join('?' * 9)})"
    for number, *rest in rows:
        try:
            session.connection.execute(insert, (queue, number, *rest))
        except sqlite3.IntegrityError:  # another message came meanwhile and has the number
            session.connection.execute(insert, (queue, None, *rest))


def lease(
    session: Session, name: str, count: int, visibility_ms: int, wanted: Callable[[], bool],
) -> tuple[list[QueuedMessage], int]:
    """The messages with their receipts, and when the leases end."""
    queue = find_queue(session.connection, name)
    if queue is None or not wanted():
        return [], 0
    rows = _ready(session, queue, count)
    if not rows:
        return [], 0
    session.version += 1
    ends = session.now_ms + visibility_ms
    session.connection.executemany(
        "UPDATE message SET due = ?, lease = ?, receives = receives + 1 WHERE id = ?",
        [(ends, session.version, row[0]) for row in rows])
    return [as_message(row, row[2] + 1, f"{row[0]}.{session.version}") for row in rows], ends


def give_back(session: Session, receipts: Sequence[str]) -> None:
    """Leases of a caller that had gone: as if they had not been."""
    for receipt in receipts:
        row, number = _parts(receipt)
        session.connection.execute(
            "UPDATE message SET due = 0, lease = 0, receives = receives - 1 WHERE id = ? AND lease = ?", (row, number))


def extend(session: Session, name: str, receipt: str, seconds: float) -> int:
    """When the lease ends now. RECEIPT_EXPIRED."""
    row, number = _parts(receipt)
    ends = session.now_ms + int(seconds * 1000)
    changed = session.connection.execute(
        "UPDATE message SET due = ? WHERE id = ? AND lease = ? AND due > ?"
        " AND queue = (SELECT id FROM queue WHERE name = ?)", (ends, row, number, session.now_ms, name))
    if not changed.rowcount:
        raise receipt_expired()
    return ends


def settle(
    session: Session, name: str, receipts: Sequence[str], settlement: Settlement, max_receives: int,
) -> tuple[list[PrismError | None], int]:
    """One result a receipt, and when what was given back with a delay becomes ready; 0 = none."""
    queue = find_queue(session.connection, name)
    if queue is None:
        return [receipt_expired() for _ in receipts], 0
    results: list[PrismError | None] = []
    ready = 0
    bound = max_receives if queue.max_receives is None else queue.max_receives
    for receipt in receipts:
        row, number = _parts(receipt)
        key = (row, number, session.now_ms, queue.id)
        where = "id = ? AND lease = ? AND due > ? AND queue = ?"
        if settlement.outcome is Outcome.DONE:
            done = session.connection.execute(f"DELETE FROM message WHERE {where}", key).rowcount
        else:
            found = session.connection.execute(f"SELECT receives FROM message WHERE {where}", key).fetchone()
            done = found is not None
            if found is not None and settlement.outcome is Outcome.FAIL and not bound:
                session.connection.execute("DELETE FROM message WHERE id = ?", (row,))
            elif found is not None and (settlement.outcome is Outcome.FAIL or (bound and found[0] >= bound)):
                bury(session, queue, row, settlement.reason or SETTLED_BY)
            elif found is not None:
                ready = session.now_ms + int(settlement.delay_s * 1000) if settlement.delay_s > 0 else 0
                session.connection.execute("UPDATE message SET due = ?, lease = 0 WHERE id = ?", (ready, row))
        results.append(None if done else receipt_expired())
    return results, ready


def make_ready(session: Session, max_receives: int, queue: int | None = None) -> Moved:
    """A slice of the messages whose time has come: ready, or in the dead letters after too many deliveries."""
    connection = session.connection
    narrowed, more = ("AND message.queue = ?", (queue,)) if queue is not None else ("", ())
    due = connection.execute(
        "SELECT message.id, lease, receives, queue.id, name, dead_letter, max_receives FROM message"
        f" JOIN queue ON queue.id = message.queue WHERE due > 0 AND due <= ? {narrowed} ORDER BY due LIMIT ?",
        (session.now_ms, *more, SLICE)).fetchall()
    woken = set()
    ready = []
    for row, number, receives, *rest in due:
        source = Queue(*rest)
        bound = max_receives if source.max_receives is None else source.max_receives
        if number and bound and receives >= bound:
            bury(session, source, row, LEASE_OVER)
            woken.add(source.dead_letter)
        else:
            ready.append((row,))
            woken.add(source.name)
    connection.executemany("UPDATE message SET due = 0, lease = 0 WHERE id = ?", ready)
    return Moved(frozenset(woken), next_due(connection), len(due) == SLICE)


def bury(session: Session, source: Queue, row: int, reason: str) -> None:
    """To the dead letters, as a new arrival there: byte for byte, with what happened to it in its headers."""
    found = session.connection.execute(
        "SELECT receives, enqueued, expires, headers, data FROM message WHERE id = ?", (row,)).fetchone()
    receives, enqueued, expires, stored, data = found
    headers = {**headers_from_bytes(stored), SOURCE_HEADER: source.name, ERROR_HEADER: reason,
               RETRIES_HEADER: str(receives)}
    _move(session, row, the_queue(session, source.dead_letter).id, headers, data, enqueued, expires)


def redrive(
    session: Session, name: str, matching: Mapping[str, str], limit: int, after: int, dry_run: bool,
) -> tuple[int, int, int]:
    """How many of a slice of the dead letters moved back, how many did not match, and the last row looked at; 0 at the
    end."""
    queue = the_queue(session, name)
    dead = find_queue(session.connection, queue.dead_letter)
    if dead is None:
        return 0, 0, 0
    rows = session.connection.execute(
        "SELECT id, headers, data, enqueued, expires FROM message WHERE queue = ? AND due = 0 AND id > ?"
        " ORDER BY id LIMIT ?", (dead.id, after, limit)).fetchall()
    moved = skipped = 0
    (newest,) = session.connection.execute("SELECT ifnull(max(id), 0) FROM message").fetchone()
    for row, stored, data, enqueued, expires in rows:
        headers = headers_from_bytes(stored)
        if headers.get(SOURCE_HEADER) != name or any(headers.get(key) != value for key, value in matching.items()):
            skipped += 1
            continue
        moved += 1
        if not dry_run:
            for key in (SOURCE_HEADER, ERROR_HEADER, RETRIES_HEADER):
                headers.pop(key, None)
            _move(session, row, queue.id, headers, data, enqueued, expires)
    last = rows[-1][0] if len(rows) == limit and rows[-1][0] < newest else 0
    return moved, skipped, last


def configure_dead_letter(session: Session, name: str, dead_letter: str, max_receives: int) -> None:
    session.connection.execute("UPDATE queue SET dead_letter = ?, max_receives = ? WHERE id = ?",
                               (dead_letter, max_receives, the_queue(session, name).id))


def drop_expired(session: Session) -> int:
    """A slice of the messages whose time to live is over."""
    return session.connection.execute(
        "DELETE FROM message WHERE id IN (SELECT id FROM message WHERE expires > 0 AND expires <= ? LIMIT ?)",
        (session.now_ms, SLICE)).rowcount


def as_message(row: Sequence[Any], receives: int, receipt: str = "") -> QueuedMessage:
    _, rank, _, enqueued, _, message_id, headers, _, data = row
    return QueuedMessage(
        data, headers_from_bytes(headers), message_id, enqueued, MAX_PRIORITY - rank, receives, receipt)


# --- what readers do --------------------------------------------------------------------------------------------------


def peek(connection: sqlite3.Connection, name: str, count: int, now_ms: int) -> list[QueuedMessage]:
    queue = find_queue(connection, name)
    if queue is None:
        return []
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM message WHERE queue = ? AND due = 0 AND (expires = 0 OR expires > ?)"
        " ORDER BY rank, id LIMIT ?", (queue.id, now_ms, count)).fetchall()
    return [as_message(row, row[2]) for row in rows if _whole(row)]


def dead_letters(connection: sqlite3.Connection, name: str, max_receives: int) -> DeadLetters:
    queue = find_queue(connection, name)
    target = name + DEAD_LETTER_SUFFIX if queue is None else queue.dead_letter
    bound = max_receives if queue is None or queue.max_receives is None else queue.max_receives
    (depth,) = connection.execute(
        "SELECT count(*) FROM message WHERE queue = (SELECT id FROM queue WHERE name = ?)", (target,)).fetchone()
    return DeadLetters(target, bound, depth)


def counts(connection: sqlite3.Connection, name: str, now_ms: int) -> tuple[int, int, int, int]:
    queue = find_queue(connection, name)
    if queue is None:
        return 0, 0, 0, 0
    ready, oldest = connection.execute(
        "SELECT count(*), min(id) FROM message WHERE queue = ? AND due = 0", (queue.id,)).fetchone()
    (in_flight, scheduled) = connection.execute(
        "SELECT ifnull(sum(lease > 0), 0), ifnull(sum(lease = 0), 0) FROM message INDEXED BY message_due"
        " WHERE due > 0 AND due < ? AND queue = ?", (SET_ASIDE, queue.id)).fetchone()
    since = connection.execute("SELECT enqueued FROM message WHERE id = ?", (oldest,)).fetchone() if oldest else None
    return ready, in_flight, scheduled, since[0] if since else 0


def purge(session: Session, name: str) -> int:
    """Delete a slice of the messages; how many went."""
    queue = find_queue(session.connection, name)
    if queue is None:
        return 0
    gone = 0
    for index, state in (("message_ready", "due = 0"), ("message_due", "due > 0")):
        gone += session.connection.execute(
            f"DELETE FROM message WHERE id IN (SELECT id FROM message INDEXED BY {index} WHERE {state} AND queue = ?"
            " LIMIT ?)", (queue.id, SLICE - gone)).rowcount
    return gone


def next_due(connection: sqlite3.Connection) -> int:
    """When the next message becomes ready by itself; 0 = none does."""
    (found,) = connection.execute("SELECT min(due) FROM message WHERE due > 0 AND due < ?", (SET_ASIDE,)).fetchone()
    return found or 0


def scheduled(connection: sqlite3.Connection, name: str) -> tuple[int, int]:
    found: tuple[int, int] = connection.execute(
        "SELECT count(*), ifnull(min(due), 0) FROM message WHERE due > 0 AND due < ? AND lease = 0"
        " AND queue = (SELECT id FROM queue WHERE name = ?)", (SET_ASIDE, name)).fetchone()
    return found


def names(connection: sqlite3.Connection, limit: int) -> list[str]:
    return [name for (name,) in connection.execute(
        "SELECT name FROM queue WHERE EXISTS (SELECT 1 FROM message WHERE message.queue = queue.id)"
        " ORDER BY name LIMIT ?", (limit,))]


def _ready(session: Session, queue: Queue, count: int) -> list[tuple[Any, ...]]:
    """The next messages, whole and not expired. What is damaged is set aside, for `verify` to tell of."""
    connection = session.connection
    while True:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM message INDEXED BY message_ready WHERE queue = ? AND due = 0"
            " ORDER BY rank, id LIMIT ?",
            (queue.id, count)).fetchall()
        expired = [row for row in rows if 0 < row[4] <= session.now_ms]
        damaged = [row for row in rows if not _whole(row)]
        if not expired and not damaged:
            return rows
        connection.executemany("DELETE FROM message WHERE id = ?", [(row[0],) for row in expired if _whole(row)])
        connection.executemany("UPDATE message SET due = ? WHERE id = ?", [(SET_ASIDE, row[0]) for row in damaged])
        session.damaged += [
            f"message {row[0]} of queue {queue.name!r} is damaged, and was set aside" for row in damaged]


def _whole(row: Sequence[Any]) -> bool:
    _, _, _, enqueued, expires, _, headers, stored, data = row
    return content_holds(stored, headers, data, enqueued, expires)


def _move(
    session: Session, row: int, queue: int, headers: Mapping[str, str], data: bytes, enqueued: int, expires: int,
) -> None:
    """To the end of another queue, ready, with other headers."""
    stored = headers_to_bytes(headers)
    session.connection.execute(
        "UPDATE message SET id = (SELECT max(id) + 1 FROM message), queue = ?, due = 0, lease = 0, receives = 0,"
        " headers = ?, sum = ? WHERE id = ?",
        (queue, stored, content_sum(stored, data, enqueued, expires), row))


def _parts(receipt: str) -> tuple[int, int]:
    """Row and number of a lease. RECEIPT_EXPIRED for what is no receipt of ours, which is not told apart."""
    row, _, number = receipt.partition(".")
    if not (row.isascii() and row.isdigit() and number.isascii() and number.isdigit()) or len(receipt) > 40:
        return 0, 0
    return int(row), int(number)
