"""Batches: in parts that are sent in one piece each, so that neither side holds more than a part at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from prism_proxy._native.redis.resp import ConnectionLost, RespError
from prism_proxy.backends.redis.commands import Command, Commands, Reply
from prism_proxy.backends.redis.errors import VALUE_TOO_LARGE, meaning, value_too_large
from prism_proxy.errors import PrismError
from prism_proxy.models.keyvalue.contract import check_batch_bytes

PART_COMMANDS = 500
PART_BYTES = 1024 * 1024
FIRST_READ = 16  # keys whose values may all be large
OF_ONE_KEY = frozenset({VALUE_TOO_LARGE, "WRONGTYPE"})  # kinds of errors that say nothing of other keys
Item = bytes | PrismError | None


class Batches:
    """Keys are whole keys of Redis. Nothing here is atomic. A value of more than `max_value_bytes` is neither stored
    nor read."""

    def __init__(self, commands: Commands, max_value_bytes: int) -> None:
        self._commands = commands
        self._max_value_bytes = max_value_bytes

    async def set(self, items: Sequence[tuple[bytes, bytes]]) -> list[PrismError | None]:
        """One result an item; of a repeated key only the last value is sent. Raises when nothing was stored."""
        last = dict(items)
        results: dict[bytes, PrismError | None] = {}
        for key, value in last.items():
            if len(value) > self._max_value_bytes:
                results[key] = value_too_large(len(value), self._max_value_bytes)
        stored = False
        for part in _parts([(b"SET", key, value) for key, value in last.items() if key not in results]):
            replies = await self._commands.execute_many(part)
            if not stored:
                _raise_if_lost(replies)
            stored = True
            for (_, key, _), reply in zip(part, replies, strict=True):
                results[key] = _error(reply)
        return [results[key] for key, _ in items]

    async def get(self, keys: Sequence[bytes]) -> list[Item]:
        """One value a key, or why that one cannot be read. RESOURCE_EXHAUSTED when they are too many bytes for one
        reply."""
        wanted = list(dict.fromkeys(keys))
        found: dict[bytes, Item] = {}
        size = 0
        async for part in self._parts_of(wanted):
            found.update(zip(wanted[len(found):], part, strict=False))
            size += _size(part)
            check_batch_bytes(len(found), size)
        values = [found[key] for key in keys]
        check_batch_bytes(len(values), _size(values))
        return values

    async def first(self, keys: Sequence[bytes], enough: int) -> list[bytes | None]:
        """The values of the first keys, until they are `enough` bytes, or up to one that cannot be read. It raises when
        that is the first."""
        values: list[bytes | None] = []
        size = 0
        async for part in self._parts_of(keys):
            for item in part:
                if isinstance(item, PrismError):
                    if not values:
                        raise item
                    return values
                values.append(item)
            size += _size(part)
            if size >= enough:
                break
        return values

    async def _parts_of(self, keys: Sequence[bytes]) -> AsyncIterator[list[Item]]:
        """Values in order, in parts that are made small where values are large."""
        at, count = 0, FIRST_READ
        while at < len(keys):
            part = await self._read(keys[at:at + count])
            yield part
            at += len(part)
            count = max(1, min(PART_COMMANDS, 2 * count, PART_BYTES * len(part) // max(1, _size(part))))

    async def _read(self, keys: Sequence[bytes]) -> list[Item]:
        """Values of the first keys, of one at least. An error of the whole command is met when its key is the first."""
        if self._commands.sharded:
            values = await self._commands.execute_many([(b"GET", key) for key in keys])
        else:
            values = await self._commands.execute(b"MGET", *keys, key=keys[0], bulk=True)
        items = [self._item(value) for value in values]
        failed = next((at for at, item in enumerate(items) if isinstance(item, RespError | ConnectionLost)), len(items))
        if not failed:
            raise values[0]
        return items[:failed]

    def _item(self, reply: Reply) -> Any:
        """What costs its own key only is an item."""
        if isinstance(reply, RespError) and reply.kind in OF_ONE_KEY:
            return meaning(reply)
        if isinstance(reply, bytes) and len(reply) > self._max_value_bytes:  # of a cluster they come whole
            return value_too_large(len(reply), self._max_value_bytes)
        return reply

    async def delete(self, keys: Sequence[bytes]) -> list[bool]:
        existed: list[bool] = []
        for part in _parts([(b"DEL", key) for key in keys]):
            existed += [bool(reply) for reply in _all_or_raise(await self._commands.execute_many(part))]
        return existed


def _parts(commands: Sequence[Command]) -> Iterator[list[Command]]:
    part: list[Command] = []
    size = 0
    for command in commands:
        length = sum(map(len, command))
        if part and (len(part) == PART_COMMANDS or size + length > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(command)
        size += length
    if part:
        yield part


def _size(items: Sequence[Item]) -> int:
    return sum(len(item) for item in items if isinstance(item, bytes))


def _error(reply: Reply) -> PrismError | None:
    if not isinstance(reply, Exception):
        return None
    found = meaning(reply)
    if found is None:
        raise reply
    return found


def _raise_if_lost(replies: Sequence[Reply]) -> None:
    """A part of which nothing was answered is the call's failure rather than its items'."""
    if replies and all(isinstance(reply, ConnectionLost) for reply in replies):
        raise next((reply for reply in replies if reply.sent), replies[0])


def _all_or_raise(replies: list[Reply]) -> list[Reply]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
