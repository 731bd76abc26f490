"""The items of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prism_schema.json.view import Conjunct, View
from prism_schema.model import Finding

if TYPE_CHECKING:
    from prism_schema.json.comparison import Comparison


def compare(comparison: Comparison, view: View, new: Conjunct, path: str) -> list[Finding]:
    """Findings of the reader's keywords on arrays."""
    schema = new.schema
    found = []
    low, high = view.lowest("minItems"), view.highest("maxItems")
    if schema.get("minItems", 0) > (low[0] if low else 0):
        found.append(Finding("MIN_ITEMS_INCREASED", path, f"`minItems` {schema['minItems']} was added or increased"))
    if "maxItems" in schema and (high is None or high[0] > schema["maxItems"]):
        found.append(Finding("MAX_ITEMS_DECREASED", path, f"`maxItems` {schema['maxItems']} was added or decreased"))
    if schema.get("uniqueItems") and not any(view.all("uniqueItems")) and not (high and high[0] <= 1):
        found.append(Finding("UNIQUE_ITEMS_ADDED", path, "`uniqueItems` was added"))
    return found + _items(comparison, view, new, path)


def _items(comparison: Comparison, view: View, new: Conjunct, path: str) -> list[Finding]:
    heads, rest = _split(new.schema)
    written = [(one, *_split(one.schema)) for one in view.conjuncts if isinstance(one.schema, dict)]
    high = view.highest("maxItems")
    longest = max([len(heads), *(len(head) for _, head, _ in written)])
    found: list[Finding] = []
    for index in range(longest + 1):
        if high is not None and index >= high[0]:
            break
        wanted = heads[index] if index < len(heads) else rest
        if wanted is None or wanted is True:
            continue
        old = tuple(one.under(head[index] if index < len(head) else tail) for one, head, tail in written
                    if index < len(head) or tail is not None)
        where = f"{path}[]" if index >= len(heads) else f"{path}[{index}]"
        found += comparison.compare(old or (Conjunct(True, new.base),), new.under(wanted), where)
    return found


def _split(schema: dict[str, Any]) -> tuple[list[Any], Any]:
    """(schemas of the first items, schema of the others or None), in the spelling of either draft."""
    items = schema.get("items")
    if isinstance(items, list):
        return items, schema.get("additionalItems")
    return schema.get("prefixItems", []), items
