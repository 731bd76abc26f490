"""Whether bytes are a JSON text that a schema accepts: orjson makes the value, the compiled schema judges it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from prism_schema.json.parse import JsonSchema
from prism_schema.model import ParsedSchema, SchemaError, Violation

MAX_VIOLATIONS = 20


def validator(schema: ParsedSchema, type_name: str | None = None, *,
              implicit_required: bool = True) -> Callable[[bytes], list[Violation]]:
    """See `prism_schema.validator`. A JSON Schema has one type: `type_name` has to be among its names."""
    parsed: JsonSchema = schema.parsed
    if type_name is not None and schema.types and type_name not in schema.types:
        raise SchemaError(f"the schema has no title, $id or definition {type_name!r}; it has {', '.join(schema.types)}")
    loads, is_valid = orjson.loads, parsed.compiled.is_valid

    def validate(data: bytes) -> list[Violation]:
        try:
            value = loads(data)
        except orjson.JSONDecodeError as error:
            return [Violation("", "JSON text", error.msg[:100])]
        return [] if is_valid(value) else _explain(parsed, value)

    return validate


def _explain(parsed: JsonSchema, value: Any) -> list[Violation]:
    found = []
    for error in parsed.compiled.iter_errors(value):
        found.append(_violation(error))
        if len(found) == MAX_VIOLATIONS:
            break
    return found


def _violation(error: Any) -> Violation:
    """The place and the rule. Values stay out of it: they may be personal data, and violations are logged."""
    path = ".".join(map(str, error.instance_path))
    keyword = str(error.schema_path[-1]) if error.schema_path else ""
    kind = error.kind
    if keyword == "required" or type(kind).__name__.endswith("_Required"):
        missing = str(getattr(kind, "property", ""))
        return Violation(f"{path}.{missing}".strip("."), "a value", "nothing")
    actual = _name(error.instance)
    if keyword == "type":
        types = getattr(kind, "types", None)
        return Violation(path, " or ".join(types) if types else "another type", actual)
    if keyword in ("additionalProperties", "unevaluatedProperties"):
        return Violation(path, "no other properties", ", ".join(getattr(kind, "unexpected", []))[:200] or actual)
    return Violation(path, f"what `{keyword}` allows", actual)


def _name(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), type(value).__name__)
