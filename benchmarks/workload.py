"""The calls that are measured: keys, values and messages, equal in every server and load generator.

Must agree with `put_key`, `put_value` and `put_reply` of load/prism_load.c.
"""

from __future__ import annotations

import struct
from pathlib import Path

from benchmarks.machine import OUT
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv

SERVICE = "prism.interfaces.keyvalue.KeyValueBasicInterface"
VALUE_SIZE = 100
CONNECTIONS, STREAMS = 8, 10


def key(number: int) -> str:
    return f"key-{number:07d}"


def value(number: int, size: int = VALUE_SIZE) -> bytes:
    return bytes(ord("a") + (number + i) % 26 for i in range(size))


def message(operation: str) -> bytes:
    """The request message of key 0, encoded."""
    if operation == "Get":
        return kv.GetRequest(key=key(0)).SerializeToString()
    return kv.SetRequest(key=key(0), value=value(0)).SerializeToString()


def get_reply() -> bytes:
    return kv.GetResponse(found=True, value=value(0)).SerializeToString()


def framed(encoded: bytes) -> bytes:
    """A gRPC message with its length prefix, uncompressed."""
    return struct.pack(">BI", 0, len(encoded)) + encoded


def request_file(operation: str) -> Path:
    """A file with the framed request, which h2load sends as the body."""
    path = OUT / f"{operation.lower()}.request"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(framed(message(operation)))
    return path
