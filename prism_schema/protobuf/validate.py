"""Whether bytes are a message of a type. Walks the bytes; makes no message.

A parser takes a field of another wire type for one it does not know. Here it is a violation, as is an enum's value that
the schema does not have. Fields that the schema does not know are accepted: a newer producer may send them.
"""

from __future__ import annotations

from collections.abc import Callable

from prism_schema.model import ParsedSchema, SchemaError, Violation
from prism_schema.protobuf.tables import FieldRule, MessageRule, tables
from prism_schema.protobuf.wire import FIXED32, FIXED64, SIZED, VARINT, Truncated, skip, varint

MAX_DEPTH = 100
MAX_VIOLATIONS = 20
_WIRE_NAMES = {VARINT: "a varint", FIXED64: "8 bytes", SIZED: "bytes with a length", 3: "a group", FIXED32: "4 bytes"}


def validator(schema: ParsedSchema, type_name: str | None = None, *,
              implicit_required: bool = True) -> Callable[[bytes], list[Violation]]:
    """See `prism_schema.validator`."""
    if not schema.types:
        raise SchemaError("the schema defines no message")
    root = tables(schema.parsed, type_name or schema.types[0], implicit_required=implicit_required)

    def validate(data: bytes) -> list[Violation]:
        found: list[Violation] = []
        try:
            _walk(root, data, "", found, 0)
        except Truncated as problem:
            found.append(Violation("", f"a message {root.name}", str(problem)))
        return found[:MAX_VIOLATIONS]

    return validate


def _walk(rule: MessageRule, data: bytes, path: str, found: list[Violation], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Truncated(f"more than {MAX_DEPTH} levels")
    at, seen = 0, set()
    while at < len(data):
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise Truncated(f"the field number {number}")
        field = rule.fields.get(number)
        if field is None:
            at = skip(data, at, wire, number)
            continue
        seen.add(number)
        where = f"{path}.{field.name}" if path else field.name
        end = skip(data, at, wire, number)
        if wire == field.wire:
            _value(field, data, at, end, where, found, depth)
        elif wire == SIZED and field.packable:
            _packed(field, data, at, end, where, found)
        else:
            found.append(Violation(where, field.label, _WIRE_NAMES.get(wire, f"wire type {wire}")))
        at = end
    missing = [rule.fields[number].name for number in rule.required if number not in seen]
    found += [Violation(f"{path}.{name}" if path else name, "a value", "nothing") for name in missing]


def _value(field: FieldRule, data: bytes, at: int, end: int, path: str, found: list[Violation], depth: int) -> None:
    if field.values is not None:
        _enum(field, varint(data, at)[0], path, found)
    elif field.wire == SIZED and (field.utf8 or field.message is not None):
        _, start = varint(data, at)
        body = data[start:end]
        if field.message is not None:
            try:
                _walk(field.message, body, path, found, depth + 1)
            except Truncated as problem:
                found.append(Violation(path, field.label, str(problem)))
        else:
            try:
                body.decode()
            except UnicodeDecodeError:
                found.append(Violation(path, "string", "bytes that are not UTF-8"))


def _packed(field: FieldRule, data: bytes, at: int, end: int, path: str, found: list[Violation]) -> None:
    _, at = varint(data, at)
    if field.wire != VARINT:
        size = 8 if field.wire == FIXED64 else 4
        if (end - at) % size:
            found.append(Violation(path, f"{size} bytes for each value", f"{end - at} bytes"))
        return
    body = data[at:end]
    at = 0
    while at < len(body):
        try:
            value, at = varint(body, at)
        except Truncated as problem:
            found.append(Violation(path, field.label, str(problem)))
            return
        if field.values is not None:
            _enum(field, value, path, found)


def _enum(field: FieldRule, value: int, path: str, found: list[Violation]) -> None:
    number = value & 0xFFFFFFFF
    number -= (number & 0x80000000) << 1
    if field.values is not None and number not in field.values:
        found.append(Violation(path, f"a value of {field.label}", str(number)))
