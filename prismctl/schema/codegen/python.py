"""Python of a schema: a dataclass for each record, with `encode`, `decode` and a typed subscription.

The code needs what its format needs: nothing for JSON, `fastavro` for Avro, `protobuf` for Protobuf; `subscribe` needs
the stubs of Prism.
"""

from __future__ import annotations

import base64
import keyword
from collections.abc import Callable, Iterator

from prism_schema import ParsedSchema, SchemaKind
from prismctl.schema.codegen.model import Member, Model, Origin, Record, Type
from prismctl.schema.codegen.python_runtime import AVRO, JSON, PROTOBUF, SUBSCRIBE

_TYPES = {"string": "str", "bytes": "bytes", "int": "int", "long": "int", "float": "float", "double": "float",
          "boolean": "bool", "any": "Any"}
_RUNTIMES = {SchemaKind.AVRO: AVRO, SchemaKind.JSON: JSON, SchemaKind.PROTOBUF: PROTOBUF}


def module(model: Model, schema: ParsedSchema, origin: Origin) -> str:
    """The text of a module."""
    main = model.records[0].name
    lines = [
        f'"""{main}: {origin.version} of the topic {origin.topic}.', "",
        'Made by `prismctl schema codegen`: change the schema, not this file."""', "",
        "from __future__ import annotations", "", "import dataclasses",
        "from collections.abc import Callable, Iterator", "from typing import Any", "",
        f"NAMESPACE, TOPIC, VERSION, SCHEMA_ID = {origin.namespace!r}, {origin.topic!r}, {origin.version!r}, "
        f"{origin.schema_id}", f"SCHEMA = {origin.text!r}"]
    if schema.kind is SchemaKind.PROTOBUF:
        files = [base64.b64encode(file.descriptor.SerializeToString()).decode() for file in schema.parsed.files]
        lines += [f"MESSAGE = {schema.types[0]!r}", f"FILES = {files!r}"]
    for record in model.records:
        lines += ["", "", *_record(record, record.name == main)]
    text = "\n".join(lines) + "\n"
    return text + (_RUNTIMES[schema.kind] + SUBSCRIBE).replace("MAIN", main)


def _record(record: Record, main: bool) -> Iterator[str]:
    yield "@dataclasses.dataclass(kw_only=True)"
    yield f"class {record.name}:"
    pii = {member.name: member.pii for member in record.members if member.pii}
    if pii:
        named = ", ".join(f"{name} ({kind})" for name, kind in pii.items())
        yield f'    """Personal data: {named}. It is not in `repr`."""'
        yield ""
    for member in record.members:
        yield _member(member)
    if not record.members:
        yield "    pass"
    yield from ("", "    def to_dict(self) -> dict[str, Any]:", "        found: dict[str, Any] = {")
    for member in record.members:
        yield f"            {member.name!r}: {_out(member.type, f'self.{_name(member)}', member.optional)},"
    yield from ("        }", "        return found", "", "    @classmethod",
                f"    def from_dict(cls, data: dict[str, Any]) -> {record.name}:", "        return cls(")
    for member in record.members:
        got = f"data[{member.name!r}]"
        into = _into(member.type, got)
        if member.optional:
            into = f"None if data.get({member.name!r}) is None else {into}"
        yield f"            {_name(member)}={into},"
    yield "        )"
    if main:
        yield from ("", "    def encode(self) -> bytes:", '        """The payload of a message."""',
                    "        return _encode(self.to_dict())", "", "    @classmethod",
                    f"    def decode(cls, payload: bytes) -> {record.name}:",
                    '        """ValueError for a payload that is no such message."""',
                    "        return cls.from_dict(_decode(payload))")


def _member(member: Member) -> str:
    hint = _hint(member.type) + (" | None" if member.optional else "")
    options = [*(["default=None"] if member.optional else []), *(["repr=False"] if member.pii else [])]
    value = f" = dataclasses.field({', '.join(options)})" if member.pii else " = None" if member.optional else ""
    note = f"  # deprecated: {' '.join(member.deprecated.split())}" if member.deprecated else ""
    return f"    {_name(member)}: {hint}{value}{note}"


def _name(member: Member) -> str:
    name = "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in member.name)
    name = name if name[:1].isalpha() or name[:1] == "_" else f"f_{name}"
    taken = keyword.iskeyword(name) or name in ("to_dict", "from_dict", "encode", "decode")
    return f"{name}_" if taken else name


def _hint(kind: Type) -> str:
    if kind.kind == "list" and kind.item is not None:
        return f"list[{_hint(kind.item)}]"
    if kind.kind == "map" and kind.item is not None:
        return f"dict[str, {_hint(kind.item)}]" if kind.item.kind != "any" else "dict[Any, Any]"
    return kind.name or _TYPES[kind.kind]


def _holds_record(kind: Type) -> bool:
    return kind.kind == "record" or (kind.item is not None and _holds_record(kind.item))


def _out(kind: Type, value: str, optional: bool) -> str:
    if not _holds_record(kind):
        return value
    made = _convert(kind, value, lambda one, inner: f"{inner}.to_dict()")
    return f"None if {value} is None else {made}" if optional else made


def _into(kind: Type, value: str) -> str:
    return _convert(kind, value, lambda one, inner: f"{one.name}.from_dict({inner})") if _holds_record(kind) else value


def _convert(kind: Type, value: str, record: Callable[[Type, str], str]) -> str:
    if kind.kind == "list" and kind.item is not None:
        return f"[{_convert(kind.item, 'one', record)} for one in {value}]"
    if kind.kind == "map" and kind.item is not None:
        return f"{{key: {_convert(kind.item, 'one', record)} for key, one in {value}.items()}}"
    return record(kind, value)
