"""The records of a JSON Schema: objects with properties. What has several forms is `any`."""

from __future__ import annotations

import json
from typing import Any

from prism_schema import ParsedSchema
from prismctl.schema.codegen.model import CodegenError, Member, Model, Record, Type, identifier

_SCALARS = {"string": "string", "integer": "long", "number": "double", "boolean": "boolean"}


def model(schema: ParsedSchema) -> Model:
    """CodegenError when the schema is no object."""
    root = json.loads(schema.text)
    if not isinstance(root, dict) or not isinstance(root.get("properties"), dict):
        raise CodegenError("the schema has no `properties`: code is made for objects")
    reader = _Reader(root, {field.path: field for field in schema.fields})
    reader.record(root, str(root.get("title") or "Message"), "")
    return Model(tuple(reader.made.values()))


class _Reader:
    def __init__(self, root: dict[str, Any], tags: dict[str, Any]) -> None:
        self._root = root
        self._tags = tags
        self._known: dict[int, str] = {}  # names of objects that were read
        self.made: dict[str, Record] = {}

    def record(self, schema: dict[str, Any], wanted: str, path: str) -> str:
        if id(schema) in self._known:
            return self._known[id(schema)]
        name = identifier(wanted)
        while name in self.made:
            name += "2"
        self._known[id(schema)] = name
        made = self.made[name] = Record(name)
        required = schema.get("required", ())
        for key, one in schema["properties"].items():
            where = f"{path}.{key}" if path else key
            tag = self._tags.get(where)
            made.members.append(Member(
                key, self.type(one, key, where), key not in required, tag.pii if tag else "",
                tag.deprecated if tag else ""))
        return name

    def type(self, schema: Any, key: str, path: str) -> Type:
        schema = self._followed(schema)
        if not isinstance(schema, dict):
            return Type("any")
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next(iter(part for part in kind if part != "null"), None) if len(kind) <= 2 else None
        if isinstance(schema.get("properties"), dict) and kind in ("object", None):
            return Type("record", name=self.record(schema, str(schema.get("title") or key), path))
        if kind == "array" and isinstance(schema.get("items"), dict):
            return Type("list", self.type(schema["items"], key, f"{path}[]"))
        if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
            return Type("map", self.type(schema["additionalProperties"], key, f"{path}[]"))
        return Type(_SCALARS.get(str(kind), "any"))

    def _followed(self, schema: Any) -> Any:
        """What a reference within the document leads to; another one is `any`."""
        seen: set[str] = set()
        while isinstance(schema, dict) and isinstance(target := schema.get("$ref"), str):
            if not target.startswith("#/") or target in seen:
                return None
            seen.add(target)
            schema = self._root
            for part in target[2:].split("/"):
                part = part.replace("~1", "/").replace("~0", "~")
                schema = schema.get(part) if isinstance(schema, dict) else None
        return schema
