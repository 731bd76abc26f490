"""What a writer's schema says about an instance: several schemas that hold at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prism_schema.json.documents import Documents

TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_REPLACED_BY_REF = 7  # the draft in which $ref hides its neighbours


@dataclass(frozen=True, slots=True)
class Conjunct:
    """One schema, and the document it stands in."""

    schema: Any
    base: str

    def under(self, schema: Any) -> Conjunct:
        return Conjunct(schema, self.base)


def flatten(conjuncts: tuple[Conjunct, ...], documents: Documents, draft: int) -> tuple[Conjunct, ...]:
    """The conjuncts with `$ref` followed and `allOf` opened."""
    made: list[Conjunct] = []
    waiting = list(reversed(conjuncts))
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        schema = one.schema
        if not isinstance(schema, dict):
            made.append(one)
            continue
        if id(schema) in seen:
            continue
        seen.add(id(schema))
        reference = schema.get("$ref")
        if isinstance(reference, str):
            found = documents.find(reference, one.base)
            waiting += [Conjunct(*found)] if found else []
            if draft == _REPLACED_BY_REF:
                continue
        waiting += [one.under(part) for part in reversed(schema.get("allOf", ()))]
        made.append(one)
    return tuple(made)


class View:
    """The facts that all conjuncts together establish."""

    def __init__(self, conjuncts: tuple[Conjunct, ...]) -> None:
        self.conjuncts = conjuncts
        self.schemas = [one.schema for one in conjuncts if isinstance(one.schema, dict)]
        self.values = self._values()
        self.types = self._types()
        self.empty = any(one.schema is False for one in conjuncts) or not self.types or self.values == []

    def all(self, keyword: str) -> Iterator[Any]:
        """The keyword's values in all conjuncts."""
        return (one[keyword] for one in self.schemas if keyword in one)

    def lowest(self, inclusive: str, exclusive: str = "") -> tuple[float, bool] | None:
        """(bound, whether it is excluded) that the lower bounds establish."""
        bounds = [(value, False) for value in self.all(inclusive)]
        bounds += [(value, True) for value in self.all(exclusive)] if exclusive else []
        return max(bounds, default=None)

    def highest(self, inclusive: str, exclusive: str = "") -> tuple[float, bool] | None:
        """(bound, whether it is excluded) that the upper bounds establish."""
        bounds = [(value, False) for value in self.all(inclusive)]
        bounds += [(value, True) for value in self.all(exclusive)] if exclusive else []
        return min(bounds, key=lambda one: (one[0], not one[1]), default=None)

    @property
    def required(self) -> frozenset[str]:
        return frozenset(name for names in self.all("required") for name in names)

    @property
    def closed(self) -> bool:
        """Whether no property may be there that is not declared."""
        return any(value is False for value in self.all("additionalProperties"))

    def declared(self) -> list[str]:
        """The names of the properties that are declared, and may be there."""
        return list(dict.fromkeys(name for found in self.all("properties") for name in found))

    def _values(self) -> list[Any] | None:
        """The only values there can be, where `enum` or `const` names them."""
        sets = [list(value) for value in self.all("enum")] + [[value] for value in self.all("const")]
        if not sets:
            return None
        return [one for one in sets[0] if all(any(same(one, other) for other in rest) for rest in sets[1:])]

    def _types(self) -> frozenset[str]:
        types = TYPES
        for value in self.all("type"):
            named = {value} if isinstance(value, str) else set(value)
            types &= named | ({"integer"} if "number" in named else set())
        if self.values is not None:
            types &= {type_of(value) for value in self.values}
        return types


def type_of(value: Any) -> str:
    """The JSON type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    return {float: "number", str: "string", list: "array", dict: "object"}[type(value)]


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return bool(one == other)
