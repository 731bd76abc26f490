"""One open read or membership of a caller: from the buffer that its driver fills to the records that it sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from prism_proxy.errors import invalid
from prism_proxy.models import assertion, inline
from prism_proxy.models.assertion import SchemaAssertion
from prism_proxy.models.buffer import Buffer
from prism_proxy.models.framing import Opened, Rejected
from prism_proxy.models.messages import Active
from prism_proxy.models.resume import token
from prism_proxy.models.stream.contract import Record
from prism_runtime.configuration import units

KNOWN = ("buffer_messages", "buffer_bytes", "max_messages", "max_duration", *inline.KEYS, *assertion.KEYS)
KIND = b"read"  # of the position that an ended read is resumed at
READ_AHEAD = 1024  # records that wait for one reader at most


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a reader asked for; 0 = unbounded."""

    buffer_messages: int
    buffer_bytes: int
    max_messages: int = 0
    max_seconds: float = 0.0
    inline_bytes: int = -1  # of payloads that an object store has; -1 = what the namespace says
    schema: SchemaAssertion | None = None

    @classmethod
    def parse(cls, given: Mapping[str, str], buffer_bytes: int) -> ReadOptions:
        """PrismError INVALID_ARGUMENT names the key, and what it may be."""
        for key in given:
            if key not in KNOWN:
                raise invalid("options", f"option {key!r} is unknown: there are {', '.join(KNOWN)}", value=key)
        return cls(_number(given, "buffer_messages", READ_AHEAD, 1, 65_536),
                   _number(given, "buffer_bytes", buffer_bytes, 1024, buffer_bytes),
                   _number(given, "max_messages", 0, 0, 2**62), _seconds(given, "max_duration"),
                   inline.inline_bytes(given), assertion.parse(given))


def _number(given: Mapping[str, str], key: str, default: int, least: int, most: int) -> int:
    text = given.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise invalid("options", f"option {key} is a number from {least} to {most}", value=text)
    return int(text)


def _seconds(given: Mapping[str, str], key: str) -> float:
    text = given.get(key, "0")
    found = units.with_suffix(text, "s")
    if found is None and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid("options", f"option {key} is a duration such as {units.examples('s')}", value=text)
    return float(found) if found is not None else float(text)


class OpenRead:
    """`open_record` makes of a record what its reader sees, None of one that has expired: `skip` settles it, where the
    reader is a member of a group, and `reject` one that never opens. `positions` has the next offset of each partition:
    where an ended read goes on."""

    def __init__(
        self, options: ReadOptions, limit: int, open_record: Callable[[Record], Awaitable[Opened | None]], *,
        resumable: bool,
    ) -> None:
        self.buffer: Buffer[Record] = Buffer(options.buffer_messages, options.buffer_bytes)
        self.active: Active | None = None
        self.reject: Callable[[Record, str], Awaitable[object]] | None = None
        self.skip: Callable[[Record], Awaitable[object]] | None = None
        self.on_close: Callable[[], None] | None = None
        self.on_record: Callable[[Record, Opened], None] | None = None
        self.positions: dict[int, int] = {}
        self.delivered = 0
        self._seconds = options.max_seconds
        self._most = min(limit or 2**62, options.max_messages or 2**62)
        self._open_record = open_record
        self._resumable = resumable

    def resume(self) -> str | None:
        return token(KIND, positions_to_bytes(self.positions)) if self._resumable and self.positions else None

    async def records(self) -> AsyncIterator[tuple[Record, Opened]]:
        """Until all was read, the driver or somebody else ends it, or what the options bound is reached."""
        timer = asyncio.get_running_loop().call_later(self._seconds, self.buffer.end, None) if self._seconds else None
        try:
            while self.delivered < self._most and (record := await self.buffer.take()) is not None:
                try:
                    opened = await self._open_record(record)
                except Rejected as rejected:
                    if self.reject is not None:
                        await self.reject(record, rejected.reason)
                else:
                    if opened is not None:
                        if self.on_record is not None:
                            self.on_record(record, opened)
                        yield record, opened
                        self.delivered += 1
                    elif self.skip is not None:
                        await self.skip(record)
                self.positions[record.partition] = record.offset + 1
        finally:
            if timer is not None:
                timer.cancel()
            await self.close()

    async def close(self) -> None:
        active, self.active = self.active, None
        self.buffer.end(None)
        if self.on_close is not None:
            self.on_close()
        if active is not None:
            await active.close()


def positions_to_bytes(positions: Mapping[int, int]) -> bytes:
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(positions.items())).encode()


def positions_from_bytes(data: bytes) -> dict[int, int]:
    try:
        pairs = [item.split(":") for item in data.decode("ascii").split(",")]
        return {int(partition): int(offset) for partition, offset in pairs}
    except ValueError:
        raise invalid("x-prism-resume", "x-prism-resume is not of such a stream: send what its end said") from None
