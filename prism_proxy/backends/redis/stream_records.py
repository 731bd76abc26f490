"""Records as Redis keeps them, and their offsets.

    XADD <key> * data BYTES [x-prism-key KEY] [x-prism-id ID] [x-prism-published MS] [HEADER TEXT]...

An id of Redis is milliseconds and a sequence number, and an offset has both: ms * 2^20 + number. A record that another
program appended may have any fields: its data are those of `data`, or of the first field.
"""

from __future__ import annotations

from collections.abc import Sequence

from prism_proxy.models.stream.contract import NewRecord, Record

_DATA, _KEY, _ID, _PUBLISHED = b"data", b"x-prism-key", b"x-prism-id", b"x-prism-published"
_NUMBERS = 1 << 20


def fields(record: NewRecord) -> list[bytes]:
    message = record.message
    found = [_DATA, message.data, _ID, message.message_id.encode(), _PUBLISHED, b"%d" % message.published_ms]
    if record.key:
        found += [_KEY, record.key]
    for name, value in message.headers.items():
        found += [name.encode(), value.encode()]
    return found


def record(identity: bytes, pairs: Sequence[bytes], attempt: int = 0) -> Record:
    names, values = pairs[::2], pairs[1::2]
    own = dict(zip(names, values, strict=False))
    data = own.get(_DATA, values[0] if values else b"")
    skipped = {_DATA, _KEY, _ID, _PUBLISHED} | (set() if _DATA in own else set(names[:1]))
    headers = {name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
               for name, value in own.items() if name not in skipped}
    offset = offset_of(identity)
    published = own.get(_PUBLISHED, b"")
    return Record(offset, 0, own.get(_KEY, b""), data, headers, int(published) if published.isdigit() else
                  offset // _NUMBERS, own.get(_ID, b"").decode("utf-8", "replace"), attempt)


def offset_of(identity: bytes) -> int:
    ms, _, number = identity.partition(b"-")
    return int(ms) * _NUMBERS + min(int(number or b"0"), _NUMBERS - 1)


def id_of(offset: int) -> bytes:
    return b"%d-%d" % divmod(max(offset, 0), _NUMBERS)
