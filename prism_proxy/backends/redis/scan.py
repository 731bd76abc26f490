"""Pages of a scan, and cursors that resume behind any element of one.

Redis's own cursor stands between its pages only. Ours holds where the page began, how many were asked for, where it
ended, and the last key taken of it, with the page's keys in order: to resume, the same page is asked for again. When it
ends where it did, it covers the same part of the keyspace, and keys up to the last one were taken; when not, the table
was resized, and nothing is skipped: keys may repeat, and none that stays is missed.

    version | server | asked | began | ended | after a key? | key
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from prism_proxy.backends.redis.commands import Commands

LEAST_COUNT, MOST_COUNT = 256, 1000
_VERSION = 1
_HEAD = struct.Struct(">BHIQQB")
_SPECIAL = frozenset(b"*?[]\\^-")


class Position(NamedTuple):
    """`ended` and `key` are of the page that began at `began`; `key` None is before it."""

    server: int
    asked: int
    began: int
    ended: int = 0
    key: bytes | None = None

    def encode(self) -> bytes:
        head = _HEAD.pack(_VERSION, self.server, self.asked, self.began, self.ended, self.key is not None)
        return head + (self.key or b"")

    def after(self, key: bytes) -> bytes:
        return self._replace(key=key).encode()

    @classmethod
    def decode(cls, cursor: bytes | None, count: int) -> Position:
        """ValueError for what `encode` did not make."""
        if cursor is None:
            return cls(0, min(max(count, LEAST_COUNT), MOST_COUNT), 0)
        if len(cursor) < _HEAD.size or cursor[0] != _VERSION:
            raise ValueError("the cursor was not made by this namespace")
        _, server, asked, began, ended, inside = _HEAD.unpack_from(cursor)
        if not LEAST_COUNT <= asked <= MOST_COUNT or inside > 1:
            raise ValueError("the cursor was not made by this namespace")
        return cls(server, asked, began, ended, cursor[_HEAD.size:] if inside else None)


class KeyPage(NamedTuple):
    """Keys in order, without the namespace's prefix; `after` resumes behind one; `cursor` is None at the end."""

    keys: list[bytes]
    cursor: bytes | None
    after: Callable[[bytes], bytes]


def pattern(prefix: bytes) -> bytes:
    """MATCH for keys that begin with these bytes, whatever they are."""
    return b"".join(b"\\%c" % byte if byte in _SPECIAL else b"%c" % byte for byte in prefix) + b"*"


async def page(
    commands: Commands, namespace: bytes, prefix: bytes, position: Position, kind: bytes = b"string"
) -> KeyPage:
    """What one SCAN finds of keys of a type. ValueError for a cursor of a cluster that had more servers."""
    if position.server >= commands.servers:
        raise ValueError("the cursor is of a server that is gone: begin again")
    ended, found = await commands.scan(
        position.server, b"SCAN", b"%d" % position.began, b"MATCH", pattern(namespace + prefix),
        b"COUNT", b"%d" % position.asked, b"TYPE", kind)
    here = position._replace(ended=int(ended), key=None)
    keys = sorted({key[len(namespace):] for key in found})
    if position.key is not None and here.ended == position.ended:
        keys = [key for key in keys if key > position.key]
    following: Position | None = None
    if here.ended:
        following = Position(position.server, position.asked, here.ended)
    elif position.server + 1 < commands.servers:
        following = Position(position.server + 1, position.asked, 0)
    return KeyPage(keys, following.encode() if following is not None else None, here.after)
