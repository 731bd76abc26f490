"""The fields of a JSON Schema, with their tags."""

from __future__ import annotations

from typing import Any

from prism_schema.json.documents import Documents
from prism_schema.limits import MAX_DEPTH, MAX_TYPES
from prism_schema.model import Field
from prism_schema.tagging import field_tags


def fields_of(root: Any, documents: Documents) -> tuple[Field, ...]:
    """Properties at all levels. A type that holds itself is listed once."""
    made: dict[str, Field] = {}
    _collect(root, documents.root, "", documents, made, ())
    return tuple(made.values())


def _collect(schema: Any, base: str, path: str, documents: Documents, made: dict[str, Field],
             inside: tuple[int, ...]) -> None:
    if not isinstance(schema, dict) or id(schema) in inside or len(inside) > MAX_DEPTH or len(made) > MAX_TYPES * 4:
        return
    inside = (*inside, id(schema))
    reference = schema.get("$ref")
    if isinstance(reference, str) and (found := documents.find(reference, base)):
        _collect(*found, path, documents, made, inside)
    required = schema.get("required")
    properties = schema.get("properties")
    for name, one in properties.items() if isinstance(properties, dict) else ():
        where = f"{path}.{name}" if path else name
        tags = _tags(one, base, documents)
        made[where] = Field(where, name, not (isinstance(required, list) and name in required), **tags)
        _collect(one, base, where, documents, made, inside)
    for keyword in ("allOf", "anyOf", "oneOf"):
        for one in schema.get(keyword) or ():
            _collect(one, base, path, documents, made, inside)
    for keyword in ("items", "additionalProperties"):
        _collect(schema.get(keyword), base, f"{path}[]", documents, made, inside)


def _tags(schema: Any, base: str, documents: Documents) -> dict[str, Any]:
    """The property's own tags, else those of the type that it names."""
    tags = field_tags(schema) if isinstance(schema, dict) else field_tags({})
    reference = schema.get("$ref") if isinstance(schema, dict) else None
    if any(tags.values()) or not isinstance(reference, str):
        return tags
    found = documents.find(reference, base)
    return field_tags(found[0]) if found and isinstance(found[0], dict) else tags
