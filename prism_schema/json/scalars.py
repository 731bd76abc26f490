"""Types, values, numbers and strings."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from prism_schema.json.view import View, same, type_of
from prism_schema.model import Finding

_NUMBERS = frozenset({"integer", "number"})


def compare(view: View, new: dict[str, Any], path: str) -> list[Finding]:
    """Findings of the reader's keywords on types, values, numbers and strings."""
    found = _types(view, new, path) or _values(view, new, path)
    if found:
        return found
    if view.types & _NUMBERS:
        found += _numbers(view, new, path)
    if "string" in view.types:
        found += _strings(view, new, path)
    return found


def _types(view: View, new: dict[str, Any], path: str) -> list[Finding]:
    if "type" not in new:
        return []
    named = {new["type"]} if isinstance(new["type"], str) else set(new["type"])
    allowed = named | ({"integer"} if "number" in named else set())
    lost = view.types - allowed
    if not lost or (lost == {"number"} and "integer" in named and _one_integer(view)):
        return []
    written = "any type" if len(view.types) >= 7 else " or ".join(sorted(view.types))
    return [Finding("TYPE_NARROWED", path, f"the type changed from {written} to {' or '.join(sorted(named))}")]


def _one_integer(view: View) -> bool:
    """Whether its bounds leave one number, and that is whole."""
    low, high = view.lowest("minimum", "exclusiveMinimum"), view.highest("maximum", "exclusiveMaximum")
    return low is not None and low == high and not low[1] and low[0] % 1 == 0


def _values(view: View, new: dict[str, Any], path: str) -> list[Finding]:
    for keyword in ("enum", "const"):
        if keyword not in new:
            continue
        allowed = new["enum"] if keyword == "enum" else [new["const"]]
        written = view.values
        if written is None and view.types == {"boolean"}:
            written = [True, False]
        if written is None and view.types == {"null"}:
            written = [None]
        if written is None:
            return [Finding("ENUM_ARRAY_NARROWED", path, f"`{keyword}` was added")]
        lost = [one for one in written if not any(same(one, other) for other in allowed)]
        if lost:
            return [Finding("ENUM_ARRAY_NARROWED", path, f"{len(lost)} of the values are no longer accepted")]
    return []


def _numbers(view: View, new: dict[str, Any], path: str) -> list[Finding]:
    values = None if view.values is None else [one for one in view.values if type_of(one) in _NUMBERS]
    low = view.lowest("minimum", "exclusiveMinimum") if values is None else (min(values), False)
    high = view.highest("maximum", "exclusiveMaximum") if values is None else (max(values), False)
    found = []
    for keyword, excluded in (("minimum", False), ("exclusiveMinimum", True)):
        if keyword in new and (low is None or low < (new[keyword], excluded)):
            found.append(_bound("MINIMUM_INCREASED", keyword, new, path))
    for keyword, excluded in (("maximum", False), ("exclusiveMaximum", True)):
        if keyword in new and (high is None or (high[0], not high[1]) > (new[keyword], not excluded)):
            found.append(_bound("MAXIMUM_DECREASED", keyword, new, path))
    if "multipleOf" in new and not _multiple(view, Fraction(str(new["multipleOf"])), values):
        found.append(_bound("MULTIPLE_OF_CHANGED", "multipleOf", new, path))
    return found


def _multiple(view: View, divisor: Fraction, values: list[Any] | None) -> bool:
    if values is not None:
        return all(Fraction(str(one)) % divisor == 0 for one in values)
    steps = [Fraction(str(one)) for one in view.all("multipleOf")]
    steps += [Fraction(1)] if not view.types & {"number"} else []
    return any(step % divisor == 0 for step in steps)


def _strings(view: View, new: dict[str, Any], path: str) -> list[Finding]:
    values = None if view.values is None else [one for one in view.values if isinstance(one, str)]
    low = view.lowest("minLength") if values is None else (min(map(len, values)), False)
    high = view.highest("maxLength") if values is None else (max(map(len, values)), False)
    found = []
    if new.get("minLength", 0) > (low[0] if low else 0):
        found.append(_bound("MIN_LENGTH_INCREASED", "minLength", new, path))
    if "maxLength" in new and (high is None or high[0] > new["maxLength"]):
        found.append(_bound("MAX_LENGTH_DECREASED", "maxLength", new, path))
    if "pattern" in new and new["pattern"] not in view.all("pattern"):
        found.append(_bound("PATTERN_CHANGED", "pattern", new, path))
    return found


def _bound(rule: str, keyword: str, new: dict[str, Any], path: str) -> Finding:
    return Finding(rule, path, f"`{keyword}` {new[keyword]} was added or is narrower than before")
