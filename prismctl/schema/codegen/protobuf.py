"""The records of a Protobuf file: its messages. Enums are numbers, as the wire has them."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Kind

from prism_schema import ParsedSchema
from prismctl.schema.codegen.model import CodegenError, Member, Model, Record, Type, identifier

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
    first = file.message_type[0].name
    return Model(tuple(_record(full, message, messages, tags, first)
                       for full, message in messages.items() if not message.options.map_entry))


def _collect(scope: str, message: Any, messages: dict[str, Any]) -> None:
    full = f"{scope}.{message.name}"
    messages[full] = message
    for inner in message.nested_type:
        _collect(full, inner, messages)


def _record(full: str, message: Any, messages: dict[str, Any], tags: dict[str, Any], first: str) -> Record:
    record = Record(identifier(message.name))
    for field in message.field:
        tag = tags.get(field.name if message.name == first else f"{message.name}.{field.name}")
        kind = _type(field, messages)
        presence = field.proto3_optional or field.HasField("oneof_index") or field.type == Kind.TYPE_MESSAGE
        record.members.append(Member(
            field.name, kind, bool(presence) and kind.kind not in ("list", "map"), tag.pii if tag else "",
            tag.deprecated if tag else ""))
    return record


def _type(field: Any, messages: dict[str, Any]) -> Type:
    entry = messages.get(field.type_name) if field.type == Kind.TYPE_MESSAGE else None
    if entry is not None and entry.options.map_entry:
        return Type("map", _single(entry.field[1], messages))
    found = _single(field, messages)
    return Type("list", found) if field.label == Kind.LABEL_REPEATED else found


def _single(field: Any, messages: dict[str, Any]) -> Type:
    if field.type == Kind.TYPE_MESSAGE:
        known = messages.get(field.type_name)
        return Type("record", name=identifier(known.name)) if known is not None else Type("any")
    return Type(_SCALARS.get(field.type, "int"))
