"""What a validator needs to know of each message: its fields by number, and which of them have to be there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prism_schema.protobuf.linker import Linked, join
from prism_schema.protobuf.reader import Field
from prism_schema.protobuf.wire import FIXED32, FIXED64, SIZED, VARINT

_WIRE = {
    Field.TYPE_DOUBLE: FIXED64, Field.TYPE_FIXED64: FIXED64, Field.TYPE_SFIXED64: FIXED64, Field.TYPE_FLOAT: FIXED32,
    Field.TYPE_FIXED32: FIXED32, Field.TYPE_SFIXED32: FIXED32, Field.TYPE_STRING: SIZED, Field.TYPE_BYTES: SIZED,
    Field.TYPE_MESSAGE: SIZED,
}


@dataclass(slots=True, eq=False)
class FieldRule:
    """`wire` is the wire type of one value; `packable` values may also come many in one."""

    number: int
    name: str
    label: str
    wire: int
    packable: bool
    utf8: bool
    values: frozenset[int] | None  # of an enum
    message: MessageRule | None


@dataclass(slots=True, eq=False)
class MessageRule:
    """`required` are numbers of fields that have to be there."""

    name: str
    fields: dict[int, FieldRule] = field(default_factory=dict)
    required: tuple[int, ...] = ()


def tables(linked: Linked, type_name: str, *, implicit_required: bool) -> MessageRule:
    """The rules of one message, and of all that it holds. Messages refer to each other, also in circles."""
    messages: dict[str, tuple[Any, bool]] = {}
    enums: dict[str, frozenset[int]] = {}
    for file in linked.files:
        waiting = [(file.descriptor.package, one) for one in file.descriptor.message_type]
        nested_enums = [(file.descriptor.package, one) for one in file.descriptor.enum_type]
        while waiting:
            scope, message = waiting.pop()
            full = join(scope, message.name)
            # a message of an imported standard type has fields without `optional`, which its readers take as zero
            messages[full] = message, file.proto3 and bool(file.lines or file is linked.root)
            waiting += [(full, one) for one in message.nested_type]
            nested_enums += [(full, one) for one in message.enum_type]
        enums |= {join(scope, one.name): frozenset(value.number for value in one.value) for scope, one in nested_enums}
    made: dict[str, MessageRule] = {}

    def rule(name: str) -> MessageRule:
        if name in made:
            return made[name]
        message, proto3 = messages[name]
        built = made[name] = MessageRule(name)
        required = []
        for one in message.field:
            kind = one.type_name[1:]
            wire = _WIRE.get(one.type, VARINT)
            built.fields[one.number] = FieldRule(
                one.number, one.name, kind or str(Field.Type.Name(one.type))[5:].lower(), wire,
                one.label == Field.LABEL_REPEATED and wire != SIZED, one.type == Field.TYPE_STRING,
                enums[kind] if one.type == Field.TYPE_ENUM else None,
                rule(kind) if one.type == Field.TYPE_MESSAGE else None)
            implicit = proto3 and one.label == Field.LABEL_OPTIONAL and not one.HasField("oneof_index")
            custom = linked.custom.get(f"{name}.{one.name}", {})
            tagged = any(key.rpartition(".")[2] == "required" and value == "true" for key, value in custom.items())
            if tagged or (implicit and implicit_required and not message.options.map_entry):
                required.append(one.number)
        built.required = tuple(required)
        return built

    return rule(type_name)
