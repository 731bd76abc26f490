"""Compares schemas: pairwise by the rules of their format, and against a history at a level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prism_schema.formats import part
from prism_schema.levels import Level
from prism_schema.model import Finding, ParsedSchema

KIND_CHANGED = "SCHEMA_KIND_CHANGED"
REQUIRED_FIELD_ADDED = "REQUIRED_FIELD_ADDED"
REQUIRED_FIELD_REMOVED = "REQUIRED_FIELD_REMOVED"


def compare(old: ParsedSchema, new: ParsedSchema, *, implicit_required: bool = False) -> list[Finding]:
    """What prevents a reader with `new` from reading data written with `old`.

    A singular proto3 field without `optional` counts as required when it is removed. `implicit_required` counts it when
    it is added as well: the rule of governed namespaces, while stock registry clients expect such a field to be free.
    """
    if old.kind is not new.kind:
        return [Finding(KIND_CHANGED, "", f"Type mismatch: {old.kind} data cannot be read as {new.kind}")]
    found: list[Finding] = part(new.kind, "compatibility").compare(old, new)
    return [one for one in found if implicit_required or one.rule != REQUIRED_FIELD_ADDED]


def check(new: ParsedSchema, previous: Sequence[ParsedSchema], level: Level, *,
          implicit_required: bool = False) -> list[Finding]:
    """What forbids `new` after `previous` (oldest first) at a level."""
    if level is Level.NONE or not previous:
        return []
    found: list[Finding] = []
    for index in range(len(previous)) if level.transitive else (len(previous) - 1,):
        old = previous[index]
        if level.backward:
            found += [replace(one, direction="backward", against=index)
                      for one in compare(old, new, implicit_required=implicit_required)]
        if level.forward and old.kind is new.kind:
            found += [replace(one, direction="forward", against=index)
                      for one in compare(new, old, implicit_required=implicit_required)
                      if implicit_required or one.rule != REQUIRED_FIELD_REMOVED]
        elif level.forward and not level.backward:
            found += [replace(one, direction="forward", against=index) for one in compare(new, old)]
    return found
