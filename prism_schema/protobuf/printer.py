"""Writes a file's descriptor as .proto text: always the same text for the same descriptor, in the order it has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2 as pb

from prism_schema.protobuf.options import Custom
from prism_schema.protobuf.reader import MAX_NUMBER, SCALARS, Field

_NAMES = {number: name for name, number in SCALARS.items()}


def print_file(file: pb.FileDescriptorProto, custom: dict[str, Custom]) -> str:
    """The text, without comments."""
    return "\n".join(_Printer(file, custom).lines()) + "\n"


class _Printer:
    def __init__(self, file: pb.FileDescriptorProto, custom: dict[str, Custom]) -> None:
        self._file = file
        self._custom = custom
        self._proto3 = file.syntax == "proto3"

    def lines(self) -> Iterator[str]:
        file = self._file
        yield f'syntax = "{file.syntax or "proto2"}";'
        if file.package:
            yield f"package {file.package};"
        for index, name in enumerate(file.dependency):
            yield f"import {'public ' if index in file.public_dependency else ''}{_quoted(name)};"
        yield from self._options(file.options, "", "")
        for message in file.message_type:
            yield from self._message(message, file.package, "")
        for enum in file.enum_type:
            yield from self._enum(enum, file.package, "")
        yield from self._extensions(file.extension, file.package, "")
        for service in file.service:
            yield from self._service(service, file.package)

    def _message(self, message: Any, scope: str, indent: str) -> Iterator[str]:
        full = f"{scope}.{message.name}" if scope else message.name
        inner = f"{indent}  "
        entries = {f".{full}.{one.name}": one for one in message.nested_type if one.options.map_entry}
        yield f"{indent}message {message.name} {{"
        yield from self._options(message.options, full, inner)
        yield from _reserved(message, inner, MAX_NUMBER + 1, 1)
        for one in message.extension_range:
            yield f"{inner}extensions {_range(one.start, one.end - 1, MAX_NUMBER)};"
        written: set[int] = set()
        for field in message.field:
            if not field.HasField("oneof_index") or field.proto3_optional:
                yield f"{inner}{self._field(field, full, entries)}"
            elif field.oneof_index not in written:
                written.add(field.oneof_index)
                oneof = message.oneof_decl[field.oneof_index].name
                yield f"{inner}oneof {oneof} {{"
                yield from self._options(message.oneof_decl[field.oneof_index].options, f"{full}.{oneof}", f"{inner}  ")
                yield from (f"{inner}  {self._field(one, full, entries, in_oneof=True)}" for one in message.field
                            if one.HasField("oneof_index") and one.oneof_index == field.oneof_index)
                yield f"{inner}}}"
        for nested in message.nested_type:
            if not nested.options.map_entry:
                yield from self._message(nested, full, inner)
        for enum in message.enum_type:
            yield from self._enum(enum, full, inner)
        yield from self._extensions(message.extension, full, inner)
        yield f"{indent}}}"

    def _field(self, field: Any, full: str, entries: dict[str, Any], *, in_oneof: bool = False) -> str:
        label = {Field.LABEL_REPEATED: "repeated ", Field.LABEL_REQUIRED: "required "}.get(field.label, "")
        if not label and not in_oneof and (field.proto3_optional or not self._proto3):
            label = "optional "
        kind = _kind(field)
        if field.type_name in entries:
            key, value = entries[field.type_name].field
            label, kind = "", f"map<{_kind(key)}, {_kind(value)}>"
        options = [f"default = {_default(field)}"] if field.HasField("default_value") else []
        options += [f"json_name = {_quoted(field.json_name)}"] if _own_json_name(field) else []
        options += self._pairs(field.options, f"{full}.{field.name}" if full else field.name)
        return f"{label}{kind} {field.name} = {field.number}{_brackets(options)};"

    def _enum(self, enum: Any, scope: str, indent: str) -> Iterator[str]:
        full = f"{scope}.{enum.name}" if scope else enum.name
        yield f"{indent}enum {enum.name} {{"
        yield from self._options(enum.options, full, f"{indent}  ")
        yield from _reserved(enum, f"{indent}  ", 2**31 - 1, 0)
        for value in enum.value:
            pairs = self._pairs(value.options, f"{full}.{value.name}")
            yield f"{indent}  {value.name} = {value.number}{_brackets(pairs)};"
        yield f"{indent}}}"

    def _extensions(self, extensions: Any, scope: str, indent: str) -> Iterator[str]:
        for field in extensions:
            yield f"{indent}extend {field.extendee.lstrip('.')} {{"
            yield f"{indent}  {self._field(field, scope, {})}"
            yield f"{indent}}}"

    def _service(self, service: Any, scope: str) -> Iterator[str]:
        full = f"{scope}.{service.name}" if scope else service.name
        yield f"service {service.name} {{"
        yield from self._options(service.options, full, "  ")
        for method in service.method:
            request = f"{'stream ' if method.client_streaming else ''}{method.input_type}"
            reply = f"{'stream ' if method.server_streaming else ''}{method.output_type}"
            inner = list(self._options(method.options, f"{full}.{method.name}", "    "))
            yield f"  rpc {method.name}({request}) returns ({reply}){' {' if inner else ';'}"
            yield from inner
            yield from ["  }"] if inner else []
        yield "}"

    def _options(self, options: Any, full: str, indent: str) -> Iterator[str]:
        for pair in self._pairs(options, full):
            yield f"{indent}option {pair};"

    def _pairs(self, options: Any, full: str) -> list[str]:
        pairs = []
        for field, value in options.ListFields():
            if field.is_extension or field.message_type is not None or field.is_repeated or field.name == "map_entry":
                continue
            if field.enum_type is not None:
                pairs.append(f"{field.name} = {field.enum_type.values_by_number[value].name}")
            else:
                pairs.append(f"{field.name} = {_constant(value)}")
        return pairs + [f"({name}) = {_custom_value(value)}" for name, value in self._custom.get(full, {}).items()]


def _brackets(pairs: list[str]) -> str:
    return f" [{', '.join(pairs)}]" if pairs else ""


def _kind(field: Any) -> str:
    return field.type_name or _NAMES[field.type]


def _constant(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quoted(value) if isinstance(value, str) else str(value)


def _custom_value(value: str) -> str:
    """As a string, unless it is plainly a number, true, false, or a message."""
    if value in ("true", "false") or value.lstrip("-").isdigit() or value.startswith("{"):
        return value
    return _quoted(value)


def _default(field: Any) -> str:
    text = field.type in (Field.TYPE_STRING, Field.TYPE_BYTES)
    if field.type == Field.TYPE_BYTES:
        return f'"{field.default_value}"'
    return _quoted(field.default_value) if text else str(field.default_value)


def _own_json_name(field: Any) -> bool:
    head, *rest = field.name.split("_")
    return bool(field.json_name) and field.json_name != head + "".join(one[:1].upper() + one[1:] for one in rest)


def _reserved(holder: Any, indent: str, highest: int, exclusive: int) -> Iterator[str]:
    for one in holder.reserved_range:
        yield f"{indent}reserved {_range(one.start, one.end - exclusive, highest - exclusive)};"
    if holder.reserved_name:
        yield f"{indent}reserved {', '.join(map(_quoted, holder.reserved_name))};"


def _range(start: int, end: int, highest: int) -> str:
    if start == end:
        return str(start)
    return f"{start} to {'max' if end == highest else end}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
