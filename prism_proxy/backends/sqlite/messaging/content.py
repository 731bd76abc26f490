"""How the parts of a message stand in a row, and how a second copy of one is known. Nothing here opens an envelope."""

from __future__ import annotations

import json
from collections.abc import Mapping

from prism_proxy._native.sqlite.row_sum import row_holds, row_sum
from prism_proxy.backends.sqlite.operations import Session
from prism_proxy.models.messages import DEDUPLICATION_SECONDS, StoredMessage

_MARK, _JSON = "\x00", "\x01"  # between names and values; before headers in which that stands
SWEPT_ROWS = 500


def headers_to_bytes(headers: Mapping[str, str]) -> bytes:
    if not headers:
        return b""
    text = _MARK.join([part for pair in headers.items() for part in pair])
    if text.count(_MARK) != 2 * len(headers) - 1 or text.startswith(_JSON):
        text = _JSON + json.dumps(dict(headers))
    return text.encode("utf-8", "surrogatepass")


def headers_from_bytes(stored: bytes) -> dict[str, str]:
    if not stored:
        return {}
    text = stored.decode("utf-8", "surrogatepass")
    if text.startswith(_JSON):
        found: dict[str, str] = json.loads(text[1:])
        return found
    parts = text.split(_MARK)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def content_sum(headers: bytes, data: bytes, published_ms: int, expires_ms: int) -> int:
    return row_sum(headers, data, published_ms, expires_ms)


def content_holds(stored: object, headers: object, data: object, published_ms: object, expires_ms: object) -> bool:
    """Whether a message is what was stored."""
    return row_holds(stored, headers, data, published_ms, expires_ms)


def first_of(session: Session, place: str, message: StoredMessage) -> str | None:
    """The id of the first message with this deduplication id in this place; None when this is the first one."""
    if not message.deduplication_id:
        return None
    found = session.connection.execute(
        "SELECT message_id FROM duplicate WHERE place = ? AND id = ? AND until > ?",
        (place, message.deduplication_id, session.now_ms)).fetchone()
    return None if found is None else str(found[0])


def remember(session: Session, place: str, message: StoredMessage) -> None:
    if message.deduplication_id:
        session.connection.execute(
            "INSERT OR REPLACE INTO duplicate VALUES (?, ?, ?, ?)",
            (place, message.deduplication_id, message.message_id,
             session.now_ms + int(DEDUPLICATION_SECONDS * 1000)))


def forget_old(session: Session) -> int:
    """Of what is remembered for duplicates, a slice whose time is over."""
    return session.connection.execute(
        "DELETE FROM duplicate WHERE (place, id) IN (SELECT place, id FROM duplicate WHERE until <= ? LIMIT ?)",
        (session.now_ms, SWEPT_ROWS)).rowcount
