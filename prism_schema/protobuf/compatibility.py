"""Compares Protobuf schemas field by field, by number, as a parser meets them.

A change of type is free only where every value stays what it was: int32 read as int64 is, the other way round is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prism_schema.model import Finding, ParsedSchema
from prism_schema.protobuf.linker import Linked, join
from prism_schema.protobuf.reader import Field

_WIDENED = {
    Field.TYPE_INT32: (Field.TYPE_INT64,),
    Field.TYPE_UINT32: (Field.TYPE_UINT64, Field.TYPE_INT64),
    Field.TYPE_SINT32: (Field.TYPE_SINT64,),
    Field.TYPE_BOOL: (Field.TYPE_INT32, Field.TYPE_INT64, Field.TYPE_UINT32, Field.TYPE_UINT64),
    Field.TYPE_ENUM: (Field.TYPE_INT32, Field.TYPE_INT64),
    Field.TYPE_STRING: (Field.TYPE_BYTES,),
}
_UNSIGNED = (Field.TYPE_UINT32, Field.TYPE_UINT64)


def compare(old: ParsedSchema, new: ParsedSchema) -> list[Finding]:
    """Findings of reading with `new` what `old` wrote. Rules named REQUIRED_ are about fields without `optional`."""
    return list(_Comparison(old.parsed, new.parsed).findings())


class _Comparison:
    def __init__(self, old: Linked, new: Linked) -> None:
        self._old = dict(_messages(old))
        self._new = dict(_messages(new))
        self._old_enums = dict(_enums(old))
        self._new_enums = dict(_enums(new))
        self._package = old.root.descriptor.package

    def findings(self) -> Iterator[Finding]:
        for name, (message, proto3) in self._old.items():
            if message.options.map_entry:
                continue  # compared where the map is a field
            found = self._new.get(name)
            if found is None:
                yield Finding("MESSAGE_REMOVED", self._short(name), f"the message {name} was removed or renamed")
            else:
                yield from self._message(self._short(name), message, found[0], proto3, found[1])
        for name, enum in self._old_enums.items():
            if name in self._new_enums:
                yield from self._enum(self._short(name), enum, self._new_enums[name])

    def _short(self, name: str) -> str:
        return name.removeprefix(f"{self._package}.")

    def _message(self, path: str, old: Any, new: Any, old_proto3: bool, new_proto3: bool) -> Iterator[Finding]:
        written = {field.number: field for field in old.field}
        read = {field.number: field for field in new.field}
        for number, field in written.items():
            where = f"{path}.{field.name}"
            other = read.get(number)
            if other is None:
                if _implicit(field, old_proto3):
                    yield Finding("REQUIRED_FIELD_REMOVED", where, f"Required field {field.name} removed: it had no "
                                  "`optional`")
                elif field.HasField("oneof_index") and not field.proto3_optional:
                    yield Finding("ONEOF_FIELD_REMOVED", where, f"Field {field.name} was removed from a oneof")
                continue
            yield from self._field(where, field, other)
            if _implicit(other, new_proto3) and not _implicit(field, old_proto3):
                yield Finding("REQUIRED_FIELD_ADDED", where, f"Field {field.name} lost its `optional`: it became "
                              "required")
        for number, field in read.items():
            if number not in written and _implicit(field, new_proto3):
                yield Finding("REQUIRED_FIELD_ADDED", f"{path}.{field.name}",
                              f"Required field {field.name} added: it has no `optional`")
        yield from _oneofs(path, old, new)

    def _field(self, path: str, old: Any, new: Any) -> Iterator[Finding]:
        if old.label != new.label:
            labels = {Field.LABEL_REPEATED: "repeated"}
            yield Finding("FIELD_LABEL_CHANGED", path, f"Field {old.name} changed from "
                          f"{labels.get(old.label, 'a single value')} to {labels.get(new.label, 'a single value')}")
        elif not self._readable(old, new):
            yield Finding("FIELD_TYPE_CHANGED", path,
                          f"Field {old.name} changed type from {_type(old)} to {_type(new)}")

    def _readable(self, old: Any, new: Any) -> bool:
        if old.type != new.type:
            return new.type in _WIDENED.get(old.type, ()) or self._positive_enum(old, new)
        entries = self._entry(self._old, old), self._entry(self._new, new)
        if entries[0] is not None and entries[1] is not None:
            return all(self._readable(mine, theirs) for mine, theirs in
                       zip(entries[0].field, entries[1].field, strict=True))
        return entries == (None, None) and bool(old.type_name == new.type_name)

    def _positive_enum(self, old: Any, new: Any) -> bool:
        """An enum without negative values reads as an unsigned number."""
        enum = self._old_enums.get(old.type_name[1:]) if old.type == Field.TYPE_ENUM else None
        return new.type in _UNSIGNED and enum is not None and all(value.number >= 0 for value in enum.value)

    def _entry(self, messages: dict[str, tuple[Any, bool]], field: Any) -> Any:
        """The message of a map's entries; None when the field is no map."""
        found = messages.get(field.type_name[1:])
        return found[0] if found is not None and found[0].options.map_entry else None

    def _enum(self, path: str, old: Any, new: Any) -> Iterator[Finding]:
        known = {value.number for value in new.value}
        for value in old.value:
            if value.number not in known:
                yield Finding("ENUM_VALUE_REMOVED", f"{path}.{value.name}",
                              f"the value {value.name} = {value.number} was removed")


def _implicit(field: Any, proto3: bool) -> bool:
    """Whether this is a singular proto3 field without `optional`."""
    return proto3 and field.label == Field.LABEL_OPTIONAL and not field.HasField("oneof_index")


def _oneofs(path: str, old: Any, new: Any) -> Iterator[Finding]:
    """Fields that could be set together, and now replace each other."""
    groups: dict[int, list[Any]] = {}
    written = {field.number: field for field in old.field}
    for field in new.field:
        if field.HasField("oneof_index") and not field.proto3_optional and field.number in written:
            groups.setdefault(field.oneof_index, []).append(written[field.number])
    for index, fields in groups.items():
        origins = {field.oneof_index if field.HasField("oneof_index") and not field.proto3_optional
                   else -field.number for field in fields}
        if len(origins) > 1:
            yield Finding("FIELDS_MOVED_TO_ONEOF", f"{path}.{new.oneof_decl[index].name}",
                          f"Fields {', '.join(field.name for field in fields)} were moved into one oneof")


def _type(field: Any) -> str:
    return field.type_name[1:] or str(Field.Type.Name(field.type))[5:].lower()


def _messages(linked: Linked) -> Iterator[tuple[str, tuple[Any, bool]]]:
    """full name -> (message, whether its file is proto3), of all files that have text."""
    for file in linked.files:
        waiting = [(file.descriptor.package, one) for one in file.descriptor.message_type]
        while waiting:
            scope, message = waiting.pop(0)
            full = join(scope, message.name)
            yield full, (message, file.proto3)
            waiting += [(full, one) for one in message.nested_type]


def _enums(linked: Linked) -> Iterator[tuple[str, Any]]:
    for file in linked.files:
        package = file.descriptor.package
        yield from ((join(package, enum.name), enum) for enum in file.descriptor.enum_type)
    for full, (message, _) in _messages(linked):
        yield from ((join(full, enum.name), enum) for enum in message.enum_type)
