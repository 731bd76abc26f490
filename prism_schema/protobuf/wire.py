"""The wire format of Protobuf, read without a schema."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, SIZED, GROUP, END_GROUP, FIXED32 = range(6)


class Truncated(ValueError):  # noqa: N818 - a verdict
    """The bytes are not a message."""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, position behind it)."""
    result = shift = 0
    while True:
        if at >= len(data):
            raise Truncated("the end of the payload")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise Truncated("a number of more than 64 bits")


def skip(data: bytes, at: int, wire_type: int, number: int, depth: int = 0) -> int:
    """The position behind a value."""
    if wire_type == VARINT:
        return varint(data, at)[1]
    if wire_type == SIZED:
        length, at = varint(data, at)
        end = at + length
    elif wire_type in (FIXED64, FIXED32):
        end = at + (8 if wire_type == FIXED64 else 4)
    elif wire_type == GROUP and depth < 100:
        while True:
            tag, at = varint(data, at)
            if tag & 7 == END_GROUP:
                if tag >> 3 != number:
                    raise Truncated("a group that another one ends")
                return at
            at = skip(data, at, tag & 7, tag >> 3, depth + 1)
    else:
        raise Truncated(f"the wire type {wire_type}")
    if end > len(data):
        raise Truncated("the end of the payload")
    return end


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of the fields of a message: numbers, or bytes of what has a length."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        end = skip(data, at, tag & 7, tag >> 3)
        if tag & 7 == SIZED:
            length, start = varint(data, at)
            yield tag >> 3, data[start:start + length]
        elif tag & 7 == VARINT:
            yield tag >> 3, varint(data, at)[0]
        at = end
