"""Whether the JSON of a default stands for a value of its type."""

from __future__ import annotations

from typing import Any

from prism_schema.avro.types import MISSING, AvroType

_RANGES = {"int": (-2**31, 2**31 - 1), "long": (-2**63, 2**63 - 1)}


def fits(kind: AvroType, value: Any) -> bool:
    """A union's default may stand for any of its branches."""
    match kind.kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "int" | "long":
            low, high = _RANGES[kind.kind]
            return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        case "float" | "double":
            return (isinstance(value, int | float) and not isinstance(value, bool)) or value in ("NaN", "Infinity",
                                                                                                "-Infinity", "INF")
        case "bytes":
            return _is_bytes(value)
        case "fixed":
            return _is_bytes(value) and len(value) == kind.size
        case "string":
            return isinstance(value, str)
        case "enum":
            return value in kind.symbols
        case "array":
            return isinstance(value, list) and all(fits(kind.element, one) for one in value)
        case "map":
            return isinstance(value, dict) and all(fits(kind.element, one) for one in value.values())
        case "record":
            return isinstance(value, dict) and all(
                fits(field.type, value[field.name]) if field.name in value else field.default is not MISSING
                for field in kind.fields)
        case _:
            return any(fits(branch, value) for branch in kind.branches)


def _is_bytes(value: Any) -> bool:
    return isinstance(value, str) and all(ord(one) < 256 for one in value)
