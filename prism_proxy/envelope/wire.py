"""The forms of protobuf's wire format that an envelope needs. What is empty or 0 is left out, as proto3 does."""

from __future__ import annotations

from collections.abc import Iterable

VARINT, BYTES = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}


class MalformedError(ValueError):
    """The bytes are no protobuf message of these two forms."""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, where it ends). MalformedError."""
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise MalformedError("a number ends in its middle")


def read(data: bytes) -> dict[int, int | bytes]:
    """The fields of a message that are numbers or length-delimited; of a repeated one the last. Fixed ones, which only
    later releases may use here, are passed over. MalformedError."""
    found: dict[int, int | bytes] = {}
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        form = tag & 7
        if form in _FIXED_BYTES:
            at += _FIXED_BYTES[form]
        else:
            value, at = read_varint(data, at)
            if form == VARINT:
                found[tag >> 3] = value
            elif form == BYTES and at + value <= len(data):
                found[tag >> 3] = data[at:at + value]
                at += value
            else:
                raise MalformedError("a field is cut short, or of another form")
    if at > len(data):
        raise MalformedError("a field is cut short")
    return found


def varint(value: int) -> bytes:
    """A number of 64 bits; negative ones as protobuf writes int32 and int64."""
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tagged(field: int, body: bytes) -> bytes:
    """A length-delimited field, also when it is empty."""
    return varint(field << 3 | BYTES) + varint(len(body)) + body


def number(field: int, value: int) -> bytes:
    return varint(field << 3 | VARINT) + varint(value) if value else b""


def text(field: int, value: str) -> bytes:
    return tagged(field, value.encode()) if value else b""


def octets(field: int, value: bytes) -> bytes:
    return tagged(field, value) if value else b""


def entries(field: int, items: Iterable[tuple[str, bytes]]) -> bytes:
    """A map, sorted by key, so that equal maps have equal bytes."""
    return b"".join(tagged(field, tagged(1, key.encode()) + tagged(2, value)) for key, value in sorted(items))
