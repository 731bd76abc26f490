"""Refuses records that hold each other so often, or without end, that a datum of no bytes would take forever."""

from __future__ import annotations

from prism_schema.avro.types import AvroType
from prism_schema.model import SchemaError

MAX_EXPANSION = 20_000  # types that a datum has before it needs a byte for another one


def check_expansion(root: AvroType) -> None:
    """SchemaError for a record that holds itself without a union or an array between, or is too much."""
    sizes: dict[int, int] = {}
    waiting, seen = [root], set()
    while waiting:
        kind = waiting.pop()
        if id(kind) in seen:
            continue
        seen.add(id(kind))
        if kind.kind == "record":
            _size(kind, sizes, set())
        waiting += [*kind.branches, *(field.type for field in kind.fields), *([kind.items] if kind.items else [])]


def _size(kind: AvroType, sizes: dict[int, int], inside: set[int]) -> int:
    if kind.kind != "record":
        return 1
    if id(kind) in inside:
        raise SchemaError(f"the record {kind.name} holds itself, and no datum ends: put a union or an array between")
    if id(kind) not in sizes:
        inside.add(id(kind))
        sizes[id(kind)] = 1 + sum(_size(field.type, sizes, inside) for field in kind.fields)
        inside.discard(id(kind))
    if sizes[id(kind)] > MAX_EXPANSION:
        raise SchemaError(f"the record {kind.name} expands to more than {MAX_EXPANSION} types")
    return sizes[id(kind)]
