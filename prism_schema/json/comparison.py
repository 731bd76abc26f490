"""Compares what a writer's schemas establish with each keyword of the reader's."""

from __future__ import annotations

from typing import Any

from prism_schema import json_text
from prism_schema.json import arrays, objects, scalars
from prism_schema.json.parse import JsonSchema
from prism_schema.json.view import Conjunct, View, flatten, same
from prism_schema.model import Finding

MAX_COMPARISONS = 20_000
MAX_VALUES = 100  # of an enum that are looked at one by one
# keywords that are compared as a whole: the same on both sides, or a finding
_OPAQUE = ("not", "if", "contains", "minContains", "maxContains", "dependentSchemas", "unevaluatedProperties",
           "unevaluatedItems", "$dynamicRef")
_GROUPS = {"if": ("if", "then", "else"), "contains": ("contains", "minContains", "maxContains")}


class Comparison:
    """One reading of `writer`'s data with `reader`."""

    def __init__(self, writer: JsonSchema, reader: JsonSchema) -> None:
        self.writer = writer
        self.reader = reader
        self._open: set[tuple[Any, ...]] = set()
        self._count = 0

    def compare(self, old: tuple[Conjunct, ...], new: Conjunct, path: str) -> list[Finding]:
        """Why an instance of `old` may not be one of `new`."""
        key = (*(id(one.schema) for one in old), id(new.schema))
        if key in self._open:  # types that hold themselves: what is asked here is being answered
            return []
        self._count += 1
        if self._count > MAX_COMPARISONS:
            return [Finding("TOO_COMPLEX", path, "the schemas combine in too many ways to compare")]
        self._open.add(key)
        try:
            return self._compare(old, new, path)
        finally:
            self._open.discard(key)

    def _compare(self, old: tuple[Conjunct, ...], new: Conjunct, path: str) -> list[Finding]:
        flat = flatten(old, self.writer.documents, self.writer.draft)
        view = View(flat)
        if view.empty:
            return []
        found: list[Finding] = []
        for part in flatten((new,), self.reader.documents, self.reader.draft):
            if part.schema is False:
                return [Finding("SCHEMA_CLOSED", path, "the reader accepts nothing here")]
            if isinstance(part.schema, dict):
                found += self._keywords(view, part, path)
        if not found:
            return []
        for alternatives in _alternatives(flat, view):
            split = [self.compare(one, new, path) for one in alternatives]
            return [one for part in split for one in part]
        return found

    def _keywords(self, view: View, new: Conjunct, path: str) -> list[Finding]:
        found = scalars.compare(view, new.schema, path)
        if found:  # another type: nothing further can be said
            return found
        if "object" in view.types:
            found += objects.compare(self, view, new, path)
        if "array" in view.types:
            found += arrays.compare(self, view, new, path)
        for keyword in ("anyOf", "oneOf"):
            if keyword in new.schema:
                found += self._branches(view, new, keyword, path)
        for keyword in _OPAQUE:
            if keyword in new.schema and not _established(view, new.schema, keyword):
                found.append(Finding("KEYWORD_CHANGED", path, f"`{keyword}` was added or changed"))
        return found

    def _branches(self, view: View, new: Conjunct, keyword: str, path: str) -> list[Finding]:
        if _established(view, new.schema, keyword):
            return []
        branches = new.schema[keyword]
        fitting = [index for index, one in enumerate(branches)
                   if not self.compare(view.conjuncts, new.under(one), path)]
        if not fitting:
            return [Finding("SUM_TYPE_NARROWED", path, f"no branch of `{keyword}` accepts all that was written")]
        if keyword == "oneOf" and not all(self._apart(view, new.under(one)) for index, one in enumerate(branches)
                                          if index != fitting[0]):
            return [Finding("SUM_TYPE_NARROWED", path, "more than one branch of `oneOf` may accept what was written")]
        return []

    def _apart(self, view: View, new: Conjunct) -> bool:
        """Whether the branch certainly accepts nothing of what was written, by its types or constants."""
        other = View(flatten((new,), self.reader.documents, self.reader.draft))
        if not view.types & other.types:
            return True
        if view.values is not None and other.values is not None:
            return not any(same(one, two) for one in view.values for two in other.values)
        if "object" not in view.types or view.types != {"object"}:
            return False
        for name in view.required & other.required:
            mine, theirs = _constants(view, name), _constants(other, name)
            if mine and theirs and not any(same(one, two) for one in mine for two in theirs):
                return True
        return False


def _constants(view: View, name: str) -> list[Any]:
    """The values that a property may have, where `const` or `enum` stands in the property itself."""
    for found in view.all("properties"):
        schema = found.get(name)
        if isinstance(schema, dict) and "const" in schema:
            return [schema["const"]]
        if isinstance(schema, dict) and isinstance(schema.get("enum"), list):
            return list(schema["enum"])
    return []


def _alternatives(flat: tuple[Conjunct, ...], view: View) -> list[list[tuple[Conjunct, ...]]]:
    """The writer's schemas split into cases that together are all of them: by a sum, else by value or type. At most one
    way."""
    for index, one in enumerate(flat):
        for keyword in ("anyOf", "oneOf"):
            if isinstance(one.schema, dict) and keyword in one.schema:
                rest = {key: value for key, value in one.schema.items() if key != keyword}
                return [[(*flat[:index], one.under(rest), *flat[index + 1:], one.under(branch))
                         for branch in one.schema[keyword]]]
    if view.values is not None and 1 < len(view.values) <= MAX_VALUES:
        return [[(*flat, Conjunct({"const": value}, flat[0].base)) for value in view.values]]
    if len(view.types - {"integer"}) > 1 and view.values is None and any("type" in one for one in view.schemas):
        base = flat[0].base
        return [[(*flat, Conjunct({"type": name}, base)) for name in sorted(view.types - {"integer"}
                                                                            or view.types)]]
    return []


def _established(view: View, schema: dict[str, Any], keyword: str) -> bool:
    """Whether the writer says the same, word for word."""
    group = _GROUPS.get(keyword, (keyword,))
    wanted = json_text.dump([schema.get(one) for one in group], sort=True)
    return any(json_text.dump([one.get(part) for part in group], sort=True) == wanted
               for one in view.schemas if keyword in one)
