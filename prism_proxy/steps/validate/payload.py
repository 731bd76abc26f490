"""Finds the payload that a schema describes: the bytes as they are, or what a stock serialiser of a registry framed.

    0 | id of the schema, 4 bytes | Protobuf: which message of the file | the payload
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prism_proxy.schema.found import ResolvedSchema
from prism_proxy.steps.validate.fast import fast_validator, native_check
from prism_schema import SchemaKind, Violation

MAGIC = 0
HEAD_BYTES = 5
Check = Callable[[bytes], list[Violation]]


class PayloadCheck:
    """Made once per schema. Validators of other messages of a Protobuf file are made when one arrives."""

    def __init__(self, resolved: ResolvedSchema, *, implicit_required: bool) -> None:
        self._schema = resolved.schema
        self._id = resolved.fetched.schema_id
        self._implicit = implicit_required
        self._type = resolved.type_name or None
        self._check: Check = fast_validator(self._schema, self._type, implicit_required=implicit_required)
        self._others: dict[str, Check] = {}
        # None where native code cannot
        self.native = native_check(self._schema, self._type, implicit_required=implicit_required)

    def __call__(self, data: bytes) -> list[Violation]:
        """What is wrong with a payload."""
        if data[:1] != b"\0" or len(data) < HEAD_BYTES or not self._framed(data):
            return self._check(data)
        if self._schema.kind is not SchemaKind.PROTOBUF:
            return self._check(data[HEAD_BYTES:])
        return self._of_file(data)

    def _framed(self, data: bytes) -> bool:
        """JSON and Protobuf never begin with 0. An Avro datum may: it is framed when it names our schema."""
        if self._schema.kind is not SchemaKind.AVRO:
            return True
        return self._id != 0 and int.from_bytes(data[1:HEAD_BYTES], "big") == self._id

    def _of_file(self, data: bytes) -> list[Violation]:
        indexes, at = _indexes(data)
        if indexes is None:
            return [Violation("", "indexes of a message behind the schema's id", "other bytes")]
        name = _message(self._schema.parsed.root.descriptor, indexes)
        if name is None:
            return [Violation("", "a message of the schema", f"message {indexes}, which it does not have")]
        if self._type is not None and name != self._type:
            return [Violation("", self._type, name)]
        if name not in self._others:
            self._others[name] = fast_validator(self._schema, name, implicit_required=self._implicit)
        return self._others[name](data[at:])


def _indexes(data: bytes) -> tuple[list[int] | None, int]:
    """(path of the message in its file, where the payload begins). A single 0 stands for the first message."""
    count, at = _zigzag(data, HEAD_BYTES)
    if count is None or not 0 <= count <= 64:
        return None, at
    if count == 0:
        return [0], at
    found = []
    for _ in range(count):
        index, at = _zigzag(data, at)
        if index is None or index < 0:
            return None, at
        found.append(index)
    return found, at


def _zigzag(data: bytes, at: int) -> tuple[int | None, int]:
    number = shift = 0
    while at < len(data) and shift < 35:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7
    return None, at


def _message(file: Any, indexes: list[int]) -> str | None:
    names, messages = [file.package] if file.package else [], file.message_type
    for index in indexes:
        if index >= len(messages):
            return None
        names.append(messages[index].name)
        messages = messages[index].nested_type
    return ".".join(names)
