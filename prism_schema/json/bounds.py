"""Refuses schemas whose references multiply or lead back to themselves without end."""

from __future__ import annotations

from typing import Any

from prism_schema.json.documents import Documents
from prism_schema.json.keywords import IN_PLACE, MEMBERS, children
from prism_schema.limits import MAX_DEPTH, MAX_TYPES
from prism_schema.model import SchemaError

MAX_EXPANSION = 20_000  # subschemas that one instance could be held against


def check_bounds(root: Any, documents: Documents) -> None:
    """SchemaError when the schema is over a bound, or a `$ref` leads nowhere or in a circle."""
    for value in (root, *{id(one): one for _, one in documents.resources}.values()):
        _check_depth(value)
    _Expansion(documents).check(root)


def _check_depth(root: Any) -> None:
    waiting: list[tuple[Any, int]] = [(root, 0)]
    seen = 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if depth > 2 * MAX_DEPTH:
            raise SchemaError(f"types nest deeper than {MAX_DEPTH}")
        if seen > 20 * MAX_TYPES:
            raise SchemaError(f"the schema defines more than {MAX_TYPES} types")
        if isinstance(value, dict):
            waiting += [(one, depth + 1) for one in value.values() if isinstance(one, dict | list)]
        elif isinstance(value, list):
            waiting += [(one, depth + 1) for one in value if isinstance(one, dict | list)]


class _Expansion:
    """Counts the subschemas that apply to one instance in place, with `$ref` followed. A circle among those never ends;
    a circle through members ends with the instance."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def check(self, root: Any) -> None:
        """All subschemas that the root reaches."""
        waiting: list[tuple[Any, str]] = [(root, self._documents.root)]
        seen: set[int] = set()
        while waiting:
            schema, base = waiting.pop()
            if not isinstance(schema, dict) or id(schema) in seen:
                continue
            seen.add(id(schema))
            self._size(schema, base, 0)
            waiting += [(one, base) for _, one in children(schema, IN_PLACE + MEMBERS)]
            for keyword in ("$defs", "definitions"):
                waiting += [(one, base) for one in _values(schema.get(keyword))]
            target = self._target(schema, base)
            waiting += [target] if target else []

    def _size(self, schema: Any, base: str, depth: int) -> int:
        if not isinstance(schema, dict):
            return 1
        key = id(schema)
        if key in self._sizes:
            return self._sizes[key]
        if key in self._open:
            raise SchemaError(f"a reference leads back to itself: {schema.get('$ref', '')}")
        if depth > 4 * MAX_DEPTH:
            raise SchemaError(f"references nest deeper than {4 * MAX_DEPTH}")
        self._open.add(key)
        size = 1 + sum(self._size(one, base, depth + 1) for _, one in children(schema, IN_PLACE))
        target = self._target(schema, base)
        if target:
            size += self._size(*target, depth + 1)
        self._open.discard(key)
        if size > MAX_EXPANSION:
            raise SchemaError(f"the schema's references expand to more than {MAX_EXPANSION} schemas")
        self._sizes[key] = size
        return size

    def _target(self, schema: dict[str, Any], base: str) -> tuple[Any, str] | None:
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return None
        found = self._documents.find(reference, base)
        if found is None:
            raise SchemaError(f"$ref {reference!r} leads to nothing in the schema or its references", path="$ref")
        return found


def _values(found: Any) -> list[Any]:
    return list(found.values()) if isinstance(found, dict) else []
