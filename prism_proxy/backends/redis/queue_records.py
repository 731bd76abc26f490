"""A message of a queue as Redis keeps it: a version, a head in JSON, and the bytes of the message untouched.

    1 | length of the head | {"id", "at", "p", "h"} | data
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

from prism_proxy.models.queue.contract import QueuedMessage

VERSION = 1
_START = struct.Struct(">BI")


def encode(message_id: str, enqueued_ms: int, priority: int, headers: Mapping[str, str], data: bytes) -> bytes:
    head = json.dumps({"id": message_id, "at": enqueued_ms, "p": priority, "h": dict(headers)},
                      separators=(",", ":"), ensure_ascii=False).encode()
    return _START.pack(VERSION, len(head)) + head + data


def decode(record: bytes, count: int, receipt: str = "") -> QueuedMessage:
    """ValueError for what `encode` did not make."""
    version, length = _START.unpack_from(record)
    if version != VERSION:
        raise ValueError(f"a message has layout {version}, and this release knows {VERSION}")
    head = json.loads(record[_START.size:_START.size + length])
    return QueuedMessage(record[_START.size + length:], head["h"], head["id"], head["at"], head["p"], count, receipt)
