"""Whether bytes are one datum of an Avro schema. Walks the bytes; makes no values.

Avro's bytes do not name their fields, so a field of another type shows only where the bytes stop making sense. What is
left over at the end is a violation too: it catches most of the rest.
"""

from __future__ import annotations

from collections.abc import Callable

from prism_schema.avro.types import AvroType
from prism_schema.model import ParsedSchema, SchemaError, Violation

MAX_DEPTH = 100
Walk = Callable[[bytes, int, int], int]  # (data, position, depth) -> position behind the datum


class _Broken(Exception):  # noqa: N818 - a verdict
    """The bytes leave the schema. The path grows on the way out."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(expected)
        self.path: list[str] = []
        self.expected = expected
        self.actual = actual


def validator(schema: ParsedSchema, type_name: str | None = None, *,
              implicit_required: bool = True) -> Callable[[bytes], list[Violation]]:
    """See `prism_schema.validator`. Avro has no implicit fields: a writer writes all of them."""
    walk = _Compiler().walk(root(schema, type_name))

    def validate(data: bytes) -> list[Violation]:
        try:
            end = walk(data, 0, 0)
        except _Broken as broken:
            return [Violation(".".join(reversed(broken.path)), broken.expected, broken.actual)]
        if end != len(data):
            return [Violation("", "the end of the datum", f"{len(data) - end} bytes more")]
        return []

    return validate


def root(schema: ParsedSchema, type_name: str | None) -> AvroType:
    """The type of a datum, by its full name."""
    found: AvroType = schema.parsed
    if type_name is None or found.name == type_name:
        return found
    seen: set[int] = set()
    waiting = [found]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if one.name == type_name:
            return one
        waiting += [*one.branches, *(field.type for field in one.fields), *([one.items] if one.items else [])]
    raise SchemaError(f"the schema defines no type {type_name!r}")


class _Compiler:
    """Makes one function per type. A record is entered before its fields are made, since it may hold itself."""

    def __init__(self) -> None:
        self._made: dict[int, Walk] = {}

    def walk(self, kind: AvroType) -> Walk:
        if kind.kind in _PRIMITIVES:
            return _PRIMITIVES[kind.kind]
        if id(kind) not in self._made:
            match kind.kind:
                case "record":
                    self._made[id(kind)] = self._record(kind)
                case "enum":
                    self._made[id(kind)] = _enum(kind.symbols)
                case "fixed":
                    self._made[id(kind)] = _fixed(kind.size, f"{kind.size} bytes of {kind.name}")
                case "array":
                    self._made[id(kind)] = _blocks(self.walk(kind.element), "array", keyed=False)
                case "map":
                    self._made[id(kind)] = _blocks(self.walk(kind.element), "map", keyed=True)
                case _:
                    self._made[id(kind)] = _union([self.walk(branch) for branch in kind.branches])
        return self._made[id(kind)]

    def _record(self, kind: AvroType) -> Walk:
        fields: list[tuple[str, Walk]] = []

        def record(data: bytes, at: int, depth: int) -> int:
            if depth > MAX_DEPTH:
                raise _Broken(f"at most {MAX_DEPTH} levels", "more")
            for name, walk in fields:
                try:
                    at = walk(data, at, depth + 1)
                except _Broken as broken:
                    broken.path.append(name)
                    raise
            return at

        self._made[id(kind)] = record
        fields += [(field.name, self.walk(field.type)) for field in kind.fields]
        return record


def _varint(data: bytes, at: int, expected: str) -> tuple[int, int]:
    """(number, position behind it)."""
    result = shift = 0
    while True:
        if at >= len(data):
            raise _Broken(expected, "the end of the payload")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise _Broken(expected, "a number of more than 64 bits")
    return (result >> 1) ^ -(result & 1), at


def _null(data: bytes, at: int, depth: int) -> int:
    return at


def _boolean(data: bytes, at: int, depth: int) -> int:
    if at >= len(data):
        raise _Broken("boolean", "the end of the payload")
    if data[at] > 1:
        raise _Broken("boolean", f"the byte {data[at]}")
    return at + 1


def _int(data: bytes, at: int, depth: int) -> int:
    number, at = _varint(data, at, "int")
    if not -2**31 <= number < 2**31:
        raise _Broken("int", f"{number}, which needs more than 32 bits")
    return at


def _long(data: bytes, at: int, depth: int) -> int:
    number, at = _varint(data, at, "long")
    if not -2**63 <= number < 2**63:
        raise _Broken("long", "a number of more than 64 bits")
    return at


def _fixed(size: int, expected: str) -> Walk:
    def fixed(data: bytes, at: int, depth: int) -> int:
        if at + size > len(data):
            raise _Broken(expected, f"{len(data) - at} bytes")
        return at + size

    return fixed


def _sized(expected: str) -> Walk:
    def sized(data: bytes, at: int, depth: int) -> int:
        length, at = _varint(data, at, expected)
        if length < 0:
            raise _Broken(expected, f"a length of {length}")
        if at + length > len(data):
            raise _Broken(f"{expected} of {length} bytes", f"{len(data) - at} bytes")
        return at + length

    return sized


def _string(data: bytes, at: int, depth: int) -> int:
    end = _text(data, at, depth)
    _, start = _varint(data, at, "string")
    try:
        data[start:end].decode()
    except UnicodeDecodeError:
        raise _Broken("string", "bytes that are not UTF-8") from None
    return end


_bytes, _text = _sized("bytes"), _sized("string")
_PRIMITIVES: dict[str, Walk] = {
    "null": _null, "boolean": _boolean, "int": _int, "long": _long, "float": _fixed(4, "float"),
    "double": _fixed(8, "double"), "bytes": _bytes, "string": _string,
}


def _enum(symbols: tuple[str, ...]) -> Walk:
    def enum(data: bytes, at: int, depth: int) -> int:
        index, at = _varint(data, at, "enum")
        if not 0 <= index < len(symbols):
            raise _Broken(f"one of {len(symbols)} symbols", f"symbol {index}")
        return at

    return enum


def _union(branches: list[Walk]) -> Walk:
    def union(data: bytes, at: int, depth: int) -> int:
        index, at = _varint(data, at, "union")
        if not 0 <= index < len(branches):
            raise _Broken(f"one of {len(branches)} branches", f"branch {index}")
        return branches[index](data, at, depth)

    return union


def _blocks(item: Walk, expected: str, *, keyed: bool) -> Walk:
    """Blocks of items until an empty one. The count is bounded by the payload: items may take no bytes at all."""

    def blocks(data: bytes, at: int, depth: int) -> int:
        index = 0
        while True:
            count, at = _varint(data, at, expected)
            if count == 0:
                return at
            if count < 0:
                count = -count
                _, at = _varint(data, at, expected)
            if count > len(data):
                raise _Broken(expected, f"a block of {count} items in {len(data)} bytes")
            for _ in range(count):
                before = at
                try:
                    at = item(data, _string(data, at, depth) if keyed else at, depth + 1)
                except _Broken as broken:
                    broken.path.append(str(index))
                    raise
                index += 1
                if at == before:  # items of no bytes: one is like all
                    break

    return blocks
