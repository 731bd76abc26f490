"""Records of a stream as messages of JetStream. The key, which may be any bytes, is a percent-encoded header."""

from __future__ import annotations

import urllib.parse

from prism_proxy.backends.nats import headers as wire
from prism_proxy.backends.nats.logs import Log, lifetime
from prism_proxy.backends.nats.pull import Entry
from prism_proxy.models.stream.contract import NewRecord, Record

KEY, KEY_HEADER = "prism-key", b"Prism-Key"


def headers_of(log: Log, record: NewRecord, *more: tuple[bytes, bytes]) -> bytes | None:
    key = ((KEY_HEADER, urllib.parse.quote_from_bytes(record.key, safe="").encode()),) if record.key else ()
    return wire.to_wire(record.message, *key, *lifetime(log, record.message), *more, stored=True)


def record(entry: Entry, attempt: int = 0) -> Record:
    return made(entry.sequence, entry.headers, entry.data, entry.timestamp_ms, attempt)


def made(sequence: int, headers: bytes | None, data: bytes, timestamp_ms: int, attempt: int = 0) -> Record:
    found = wire.from_wire(headers)
    key = urllib.parse.unquote_to_bytes(found.pop(KEY, ""))
    return Record(sequence, 0, key, data, found, timestamp_ms, wire.message_id_of(found, headers), attempt)
