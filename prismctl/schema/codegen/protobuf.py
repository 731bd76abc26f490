"""The records of a Protobuf file: its messages. Enums are numbers, as the wire has them."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Kind

from prism_schema import ParsedSchema
from prismctl.schema.codegen.model import CodegenError, Member, Model, Record, Type, Wire, identifier

_SCALARS = {
    Kind.TYPE_STRING: "string", Kind.TYPE_BYTES: "bytes", Kind.TYPE_BOOL: "boolean", Kind.TYPE_DOUBLE: "double",
    Kind.TYPE_FLOAT: "float", Kind.TYPE_INT64: "long", Kind.TYPE_UINT64: "long", Kind.TYPE_FIXED64: "long",
    Kind.TYPE_SFIXED64: "long", Kind.TYPE_SINT64: "long"}


def model(schema: ParsedSchema) -> Model:
    """CodegenError when the file has no message."""
    file = schema.parsed.root.descriptor
    if not file.message_type:
        raise CodegenError("the file has no message")
    tags = {field.path: field for field in schema.fields}
    messages: dict[str, Any] = {}
    for message in file.message_type:
        _collect(f".{file.package}" if file.package else "", message, messages)
    maker = _Records(messages, _names(messages, file.package), tags, file.message_type[0].name, file.syntax == "proto3")
    return Model(tuple(maker.record(full, message)
                       for full, message in messages.items() if not message.options.map_entry))


def _collect(scope: str, message: Any, messages: dict[str, Any]) -> None:
    full = f"{scope}.{message.name}"
    messages[full] = message
    for inner in message.nested_type:
        _collect(full, inner, messages)


def _names(messages: dict[str, Any], package: str) -> dict[str, str]:
    """A class name of each message: its own, or that of its whole path where several have the same."""
    own = [identifier(full) for full, message in messages.items() if not message.options.map_entry]
    return {full: identifier(full) if own.count(identifier(full)) < 2 else
            identifier(full.removeprefix(f".{package}.").replace(".", " ")) for full in messages}


class _Records:
    """`first` is the name of the message that a payload is."""

    def __init__(self, messages: dict[str, Any], names: dict[str, str], tags: dict[str, Any], first: str,
                 proto3: bool) -> None:
        self._messages = messages
        self._names = names
        self._tags = tags
        self._first = first
        self._proto3 = proto3

    def record(self, full: str, message: Any) -> Record:
        record = Record(self._names[full])
        for field in message.field:
            tag = self._tags.get(field.name if message.name == self._first else f"{message.name}.{field.name}")
            kind = self._type(field)
            presence = not self._proto3 or field.proto3_optional or field.HasField("oneof_index") \
                or field.type == Kind.TYPE_MESSAGE
            record.members.append(Member(
                field.name, kind, bool(presence) and kind.kind not in ("list", "map"), tag.pii if tag else "",
                tag.deprecated if tag else "", self._wire(field)))
        return record

    def _type(self, field: Any) -> Type:
        entry = self._entry(field)
        if entry is not None:
            return Type("map", self._single(entry.field[1]))
        found = self._single(field)
        return Type("list", found) if field.label == Kind.LABEL_REPEATED else found

    def _single(self, field: Any) -> Type:
        if field.type == Kind.TYPE_MESSAGE:
            known = field.type_name in self._messages
            return Type("record", name=self._names[field.type_name]) if known else Type("any")
        return Type(_SCALARS.get(field.type, "int"))

    def _wire(self, field: Any) -> Wire:
        entry = self._entry(field)
        if entry is not None:
            return Wire(field.number, self._scalar(entry.field[1]), self._scalar(entry.field[0]))
        return Wire(field.number, self._scalar(field))

    def _scalar(self, field: Any) -> str:
        if field.type == Kind.TYPE_MESSAGE and field.type_name not in self._messages:
            return "bytes"
        return str(Kind.Type.Name(field.type)).removeprefix("TYPE_").lower()

    def _entry(self, field: Any) -> Any:
        """The message of an entry, where the field is a map."""
        found = self._messages.get(field.type_name) if field.type == Kind.TYPE_MESSAGE else None
        return found if found is not None and found.options.map_entry else None
