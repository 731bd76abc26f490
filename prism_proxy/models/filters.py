"""The filter language: an object of `field` or `field.op`: value, all of which must hold; $and, $or, $not nest.

A field that is missing makes every comparison false, and so does a value of another kind. Regular expressions run in
time linear in the text: only what needs no backtracking is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from prism_proxy.errors import PrismError, invalid

MAX_DEPTH, MAX_CLAUSES = 5, 20
MAX_REGEX, MAX_REGEX_TEXT = 256, 1024
OPERATORS = ("eq", "ne", "lt", "lte", "gt", "gte", "startswith", "endswith", "contains", "regex", "in", "exists",
             "type")
Test = Callable[[Mapping[str, Any]], bool]
_MISSING = object()
_NESTED = re.compile(r"\([^)]*[*+{][^)]*\)\s*[*+{]|\\[1-9]|\(\?")  # repeats of repeats, references, extensions


def compiled(filter: Mapping[str, Any]) -> Test:
    """A test of metadata. PrismError INVALID_ARGUMENT, FILTER_TOO_COMPLEX or INVALID_FILTER."""
    clauses = [0]
    return _all(filter, 1, clauses)


def _all(found: Any, depth: int, clauses: list[int]) -> Test:
    if not isinstance(found, Mapping):
        raise _invalid("a filter is an object of fields")
    if depth > MAX_DEPTH:
        raise invalid("filter", f"the filter nests deeper than {MAX_DEPTH}", reason="FILTER_TOO_COMPLEX")
    tests = [_clause(key, value, depth, clauses) for key, value in found.items()]
    return lambda item: all(test(item) for test in tests)


def _clause(key: str, value: Any, depth: int, clauses: list[int]) -> Test:
    if key in ("$and", "$or"):
        if not isinstance(value, (list, tuple)):
            raise _invalid(f"{key} takes a list of filters")
        tests = [_all(part, depth + 1, clauses) for part in value]
        join = all if key == "$and" else any
        return lambda item: join(test(item) for test in tests)
    if key == "$not":
        test = _all(value, depth + 1, clauses)
        return lambda item: not test(item)
    if key.startswith("$"):
        raise _invalid(f"there is no {key}; known are $and, $or, $not")
    clauses[0] += 1
    if clauses[0] > MAX_CLAUSES:
        raise invalid("filter", f"the filter has more than {MAX_CLAUSES} clauses", reason="FILTER_TOO_COMPLEX")
    name, dot, operator = key.rpartition(".")
    if not dot or operator not in OPERATORS:
        name, operator = key, "eq"
    compare = _comparison(operator, value)

    def holds(item: Mapping[str, Any]) -> bool:
        actual = _lookup(item, name)
        if operator == "exists":
            return (actual is not _MISSING) is bool(value)
        return actual is not _MISSING and compare(actual)

    return holds


def _lookup(item: Mapping[str, Any], name: str) -> Any:
    """A whole name wins over a path into nested objects."""
    if name in item:
        return item[name]
    found: Any = item
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return _MISSING
        found = found[part]
    return found


def _comparison(operator: str, value: Any) -> Callable[[Any], bool]:
    if operator == "regex":
        return _regex(value)
    if operator == "in":
        if not isinstance(value, (list, tuple)):
            raise _invalid("in takes a list")
        return lambda actual: any(_equal(actual, one) for one in value)
    if operator == "type":
        return lambda actual: _type(actual) == value
    if operator == "exists":
        if not isinstance(value, bool):
            raise _invalid("exists takes true or false")
        return lambda actual: True
    return _COMPARISONS[operator](value)


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any], Callable[[Any], bool]]:
    def of(value: Any) -> Callable[[Any], bool]:
        def holds(actual: Any) -> bool:
            left, right = _comparable(actual, value)
            return left is not None and test(left, right)
        return holds
    return of


def _comparable(actual: Any, value: Any) -> tuple[Any, Any]:
    """Metadata are text: they compare with a number as the number they spell."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if isinstance(actual, str):
            try:
                return float(actual), value
            except ValueError:
                return None, None
        return (actual, value) if isinstance(actual, (int, float)) and not isinstance(actual, bool) else (None, None)
    return (actual, value) if isinstance(actual, str) and isinstance(value, str) else (None, None)


def _equal(actual: Any, value: Any) -> bool:
    if value == "*":
        return True
    if isinstance(value, bool):
        return actual is value or actual == str(value).lower()
    if isinstance(value, (int, float)):
        left, right = _comparable(actual, value)
        return left is not None and bool(left == right)
    return bool(actual == value)


def _contains(value: Any) -> Callable[[Any], bool]:
    def holds(actual: Any) -> bool:
        if isinstance(actual, (list, tuple)):
            return any(_equal(one, value) for one in actual)
        return isinstance(actual, str) and isinstance(value, str) and value in actual
    return holds


def _text(test: Callable[[str, str], bool]) -> Callable[[Any], Callable[[Any], bool]]:
    return lambda value: lambda actual: isinstance(actual, str) and isinstance(value, str) and test(actual, value)


_COMPARISONS: dict[str, Callable[[Any], Callable[[Any], bool]]] = {
    "eq": lambda value: lambda actual: _equal(actual, value),
    "ne": lambda value: lambda actual: not _equal(actual, value),
    "lt": _ordered(lambda left, right: bool(left < right)), "lte": _ordered(lambda left, right: bool(left <= right)),
    "gt": _ordered(lambda left, right: bool(left > right)), "gte": _ordered(lambda left, right: bool(left >= right)),
    "startswith": _text(str.startswith), "endswith": _text(str.endswith), "contains": _contains,
}


def _regex(value: Any) -> Callable[[Any], bool]:
    if not isinstance(value, str) or len(value) > MAX_REGEX:
        raise _invalid(f"regex takes an expression of at most {MAX_REGEX} characters")
    if _NESTED.search(value):
        raise invalid("filter", "the expression repeats repeats, or refers to groups, which can take for ever",
                      reason="FILTER_TOO_COMPLEX", value=value)
    try:
        pattern = re.compile(value)
    except re.error as error:
        raise _invalid(f"the expression is malformed: {error}") from error
    return lambda actual: isinstance(actual, str) and pattern.search(actual[:MAX_REGEX_TEXT]) is not None


def _type(actual: Any) -> str:
    if isinstance(actual, bool):
        return "bool"
    if isinstance(actual, (int, float)):
        return "number"
    if isinstance(actual, str):
        return "string"
    return "array" if isinstance(actual, (list, tuple)) else "object" if isinstance(actual, Mapping) else "null"


def _invalid(why: str) -> PrismError:
    return invalid("filter", why, reason="INVALID_FILTER")
