"""Where subschemas stand in a JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# of the same instance
IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies")
# of its members
MEMBERS = ("properties", "patternProperties", "additionalProperties", "propertyNames", "items", "prefixItems",
           "additionalItems", "contains", "unevaluatedProperties", "unevaluatedItems")
_NAMED = ("properties", "patternProperties", "dependentSchemas", "dependencies")


def children(schema: dict[str, Any], keywords: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """(keyword, subschema) of the named keywords."""
    for keyword in keywords:
        value = schema.get(keyword)
        if keyword in _NAMED and isinstance(value, dict):
            yield from ((keyword, one) for one in value.values() if isinstance(one, dict | bool))
        elif isinstance(value, list):
            yield from ((keyword, one) for one in value if isinstance(one, dict | bool))
        elif isinstance(value, dict | bool):
            yield keyword, value
