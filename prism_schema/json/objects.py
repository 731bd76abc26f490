"""The properties of objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema_rs

from prism_schema import json_text
from prism_schema.json.view import Conjunct, View
from prism_schema.model import Finding

if TYPE_CHECKING:
    from prism_schema.json.comparison import Comparison


def compare(comparison: Comparison, view: View, new: Conjunct, path: str) -> list[Finding]:
    """Findings of the reader's keywords on objects."""
    found = _counts(view, new.schema, path) + _required(view, new, path)
    found += _properties(comparison, view, new, path)
    found += _patterns(comparison, view, new, path)
    found += _additional(comparison, view, new, path)
    found += _names(comparison, view, new, path)
    return found + _dependencies(view, new.schema, path)


def matches(pattern: str, name: str) -> bool:
    """Whether a property of this name falls under a pattern; decided by the engine that validates, in linear time."""
    check = jsonschema_rs.Draft7Validator({"patternProperties": {pattern: False}},
                                          pattern_options=jsonschema_rs.RegexOptions())
    return not check.is_valid({name: 0})


def written(view: View, name: str) -> tuple[Conjunct, ...]:
    """What the writer says about one property."""
    made: list[Conjunct] = []
    for one in view.conjuncts:
        if not isinstance(one.schema, dict):
            continue
        found = [one.under(schema) for key, schema in one.schema.get("properties", {}).items() if key == name]
        found += [one.under(schema) for pattern, schema in one.schema.get("patternProperties", {}).items()
                  if matches(pattern, name)]
        if not found and "additionalProperties" in one.schema:
            found = [one.under(one.schema["additionalProperties"])]
        made += found
    return tuple(made)


def _counts(view: View, new: dict[str, Any], path: str) -> list[Finding]:
    low, high = view.lowest("minProperties"), view.highest("maxProperties")
    least = max(low[0] if low else 0, len(view.required))
    found = []
    if new.get("minProperties", 0) > least:
        found.append(Finding("MIN_PROPERTIES_INCREASED", path, f"`minProperties` {new['minProperties']} is higher"))
    if "maxProperties" in new and (high is None or high[0] > new["maxProperties"]):
        found.append(Finding("MAX_PROPERTIES_DECREASED", path, f"`maxProperties` {new['maxProperties']} is lower"))
    return found


def _required(view: View, new: Conjunct, path: str) -> list[Finding]:
    found = []
    for name in new.schema.get("required", ()):
        schema = new.schema.get("properties", {}).get(name)
        if name in view.required or (isinstance(schema, dict) and "default" in schema):
            continue
        found.append(Finding("REQUIRED_PROPERTY_ADDED", _join(path, name),
                             f"the property {name!r} became required and has no default"))
    return found


def _properties(comparison: Comparison, view: View, new: Conjunct, path: str) -> list[Finding]:
    found: list[Finding] = []
    for name, schema in new.schema.get("properties", {}).items():
        old = written(view, name)
        if old:  # else undeclared, and not counted as written
            found += comparison.compare(old, new.under(schema), _join(path, name))
    return found


def _patterns(comparison: Comparison, view: View, new: Conjunct, path: str) -> list[Finding]:
    found: list[Finding] = []
    for pattern, schema in new.schema.get("patternProperties", {}).items():
        for name in view.declared():
            if matches(pattern, name):
                found += comparison.compare(written(view, name), new.under(schema), _join(path, name))
        if schema is True or schema == {}:
            continue
        same = _same_pattern(view, pattern)
        if same:
            found += comparison.compare(same, new.under(schema), _join(path, f"/{pattern}/"))
        elif any(view.all("patternProperties")) or any(value is not False for value in
                                                       view.all("additionalProperties")):
            found.append(Finding("PATTERN_PROPERTY_ADDED", path, f"properties like {pattern} were added"))
    return found


def _additional(comparison: Comparison, view: View, new: Conjunct, path: str) -> list[Finding]:
    wanted = new.schema.get("additionalProperties")
    if wanted is None or wanted is True or wanted == {}:
        return []
    names, patterns = new.schema.get("properties", {}), new.schema.get("patternProperties", {})
    found: list[Finding] = []
    for name in view.declared():
        if name in names or any(matches(pattern, name) for pattern in patterns):
            continue
        where = _join(path, name)
        if comparison.compare(written(view, name), new.under(wanted), where):
            found.append(Finding("PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL", where,
                                 f"the property {name!r} was removed, and others are not accepted"))
    for pattern in (one for found_ in view.all("patternProperties") for one in found_ if one not in patterns):
        old = _same_pattern(view, pattern)
        if comparison.compare(old, new.under(wanted), path):
            found.append(Finding("PATTERN_PROPERTY_REMOVED", path, f"properties like {pattern} were removed"))
    stated = tuple(one.under(one.schema["additionalProperties"]) for one in view.conjuncts
                   if isinstance(one.schema, dict) and "additionalProperties" in one.schema)
    if not view.closed and (not stated or comparison.compare(stated, new.under(wanted), path)):
        found.append(Finding("ADDITIONAL_PROPERTIES_NARROWED", path,
                             "`additionalProperties` accepts less than before"))
    return found


def _names(comparison: Comparison, view: View, new: Conjunct, path: str) -> list[Finding]:
    if "propertyNames" not in new.schema:
        return []
    old = tuple(one.under(one.schema["propertyNames"]) for one in view.conjuncts
                if isinstance(one.schema, dict) and "propertyNames" in one.schema)
    if view.closed and not any(view.all("patternProperties")):
        old += (Conjunct({"enum": view.declared()}, new.base),)
    return comparison.compare((*old, Conjunct({"type": "string"}, new.base)), new.under(new.schema["propertyNames"]),
                              f"{path}{{}}")


def _dependencies(view: View, new: dict[str, Any], path: str) -> list[Finding]:
    found = []
    for keyword in ("dependentRequired", "dependencies"):
        for name, wanted in new.get(keyword, {}).items():
            texts = {json_text.dump(one.get(name), sort=True) for key in ("dependentRequired", "dependencies")
                     for one in view.all(key) if name in one}
            given = isinstance(wanted, list) and view.required.issuperset(wanted)
            if not given and json_text.dump(wanted, sort=True) not in texts and wanted not in (True, {}, []):
                found.append(Finding("DEPENDENCY_ADDED", _join(path, name), f"`{keyword}` demands more than before"))
    return found


def _same_pattern(view: View, pattern: str) -> tuple[Conjunct, ...]:
    return tuple(one.under(one.schema["patternProperties"][pattern]) for one in view.conjuncts
                 if isinstance(one.schema, dict) and pattern in one.schema.get("patternProperties", {}))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
