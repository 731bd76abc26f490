"""Logical types. One that does not fit its type is ignored, as the specification demands, except a decimal whose
numbers contradict each other: nobody means that."""

from __future__ import annotations

from typing import Any

from prism_schema.avro.types import AvroType
from prism_schema.model import SchemaError

_CARRIERS = {
    "decimal": ("bytes", "fixed"), "big-decimal": ("bytes",), "uuid": ("string", "fixed"), "date": ("int",),
    "time-millis": ("int",), "time-micros": ("long",), "timestamp-millis": ("long",), "timestamp-micros": ("long",),
    "timestamp-nanos": ("long",), "local-timestamp-millis": ("long",), "local-timestamp-micros": ("long",),
    "local-timestamp-nanos": ("long",), "duration": ("fixed",),
}


def annotate(made: AvroType, value: dict[str, Any], path: str) -> dict[str, Any]:
    """Put the logical type of `value` on `made`; the attributes besides `type`, for the canonical text."""
    name = value.get("logicalType")
    if isinstance(name, str) and made.kind in _CARRIERS.get(name, ()):
        made.logical = name
        if name == "decimal":
            made.precision, made.scale = _decimal(value, path)
    return {key: value[key] for key in sorted(value) if key != "type"}


def _decimal(value: dict[str, Any], path: str) -> tuple[int, int]:
    precision, scale = value.get("precision"), value.get("scale", 0)
    if not isinstance(precision, int) or precision <= 0:
        raise SchemaError("a decimal needs `precision`, a number above 0", path=path)
    if not isinstance(scale, int) or not 0 <= scale <= precision:
        raise SchemaError("the scale of a decimal lies between 0 and its precision", path=path)
    return precision, scale
