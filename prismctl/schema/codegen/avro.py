"""The records of an Avro schema."""

from __future__ import annotations

from typing import Any

from prism_schema import ParsedSchema
from prismctl.schema.codegen.model import CodegenError, Member, Model, Record, Type, identifier

_SCALARS = {"string": "string", "bytes": "bytes", "int": "int", "long": "long", "float": "float", "double": "double",
            "boolean": "boolean", "enum": "string", "fixed": "bytes"}

_LOGICAL = frozenset({"decimal", "uuid", "date", "time-millis", "time-micros", "timestamp-millis", "timestamp-micros",
                      "duration"})


def model(schema: ParsedSchema) -> Model:
    """CodegenError when the schema is no record."""
    if schema.parsed.kind != "record":
        raise CodegenError(f"the schema is of type {schema.parsed.kind}: code is made for records")
    tags = {field.path: field for field in schema.fields}
    made: dict[str, Record] = {}
    _record(schema.parsed, "", tags, made)
    return Model(tuple(made.values()))


def _record(kind: Any, path: str, tags: dict[str, Any], made: dict[str, Record]) -> str:
    name = identifier(kind.name)
    if name in made:
        return name
    record = made[name] = Record(name)
    for field in kind.fields:
        where = f"{path}.{field.name}" if path else field.name
        tag = tags.get(where)
        inner = _without_null(field.type)
        record.members.append(Member(
            field.name, _type(inner or field.type, where, tags, made), inner is not None,
            tag.pii if tag else "", tag.deprecated if tag else ""))
    return name


def _without_null(kind: Any) -> Any:
    """The one other branch of a union with null; None for other types."""
    if kind.kind != "union":
        return None
    others = [branch for branch in kind.branches if branch.kind != "null"]
    return others[0] if len(others) == 1 and len(kind.branches) == 2 else None


def _type(kind: Any, path: str, tags: dict[str, Any], made: dict[str, Record]) -> Type:
    if kind.logical in _LOGICAL:
        # A decoder of Python gives a value of the language's own.
        return Type("any", under="" if kind.logical in ("decimal", "duration") else _SCALARS.get(kind.kind, ""))
    if kind.kind == "record":
        return Type("record", name=_record(kind, path, tags, made))
    if kind.kind in ("array", "map"):
        return Type("list" if kind.kind == "array" else "map", _type(kind.element, f"{path}[]", tags, made))
    return Type(_SCALARS.get(kind.kind, "any"))
