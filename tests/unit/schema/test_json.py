"""JSON Schema: what is read, what is refused, and what the findings of a comparison are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prism_schema import Resolved, SchemaError, SchemaKind, Violation, compare, parse, validator

ORDER: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#", "title": "Order", "type": "object",
    "required": ["order_id", "total"], "properties": {
        "order_id": {"type": "string"}, "user_id": {"type": "string"}, "total": {"type": "number"},
        "email": {"type": "string", "pii": "email"}, "old": {"type": "string", "deprecated": "2025-12-31"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}}}}}}


def schema(value: Any, *references: Resolved) -> Any:
    return parse(SchemaKind.JSON, json.dumps(value), references)


def test_fields_and_tags() -> None:
    order = schema(ORDER)
    assert order.types == ("Order",)
    assert [(one.path, one.pii, one.deprecated) for one in order.tags] == [
        ("email", "email", ""), ("old", "", "2025-12-31")]
    assert [one.path for one in order.fields if not one.optional] == ["order_id", "total"]
    assert "lines[].sku" in [one.path for one in order.fields]


def test_violations_name_field_expected_and_actual() -> None:
    validate = validator(schema(ORDER))
    assert validate(b'{"order_id": "7", "total": 1.5}') == []
    assert validate(b'{"order_id": "7"}') == [Violation("total", "a value", "nothing")]
    assert validate(b'{"order_id": "7", "total": "1"}') == [Violation("total", "number", "string")]
    assert [one.expected for one in validate(b'{"order_id"')] == ["JSON text"]
    assert [one.path for one in validate(b'{"order_id": "7", "total": 1, "lines": [{"sku": 1}]}')] == ["lines.0.sku"]


def test_references_are_given_and_nothing_is_fetched() -> None:
    item = Resolved("item.json", '{"type": "object", "properties": {"sku": {"type": "string"}}}')
    validate = validator(schema({"properties": {"item": {"$ref": "item.json"}}}, item))
    assert [str(one) for one in validate(b'{"item": {"sku": 1}}')] == ["item.sku: expected string, got integer"]
    with pytest.raises(SchemaError, match=r"'item\.json' leads to nothing"):
        schema({"properties": {"item": {"$ref": "item.json"}}})
    with pytest.raises(SchemaError, match="leads to nothing"):
        schema({"$ref": "http://127.0.0.1:1/x"})


DOUBLING = {"$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)} | {"d30": {}},
            "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(("text", "problem"), [
    ("[]", "object"),
    ('{"type": "strin"}', "type"),
    ('{"pattern": "(?=a)b"}', "pattern"),
    ('{"pattern": "(a{1000}){1000}"}', "pattern"),
    ('{"$ref": "#"}', "back to itself"),
    ('{"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}', "back to itself"),
    ('{"$schema": "http://json-schema.org/draft-04/schema#"}', "draft-07 or 2020-12"),
    (json.dumps(DOUBLING), "expand"),
    ('{"not":' * 3000 + "{}" + "}" * 3000, "nest deeper"),
    ('{"a": NaN}', "NaN"),
    ('{"minimum": ' + "9" * 5000 + "}", "not JSON"),
])
def test_what_is_no_schema_is_refused(text: str, problem: str) -> None:
    with pytest.raises(SchemaError, match=problem):
        parse(SchemaKind.JSON, text)


def test_a_pattern_that_explodes_elsewhere_takes_linear_time() -> None:
    validate = validator(schema({"pattern": "^(a+)+$"}))
    assert len(validate(json.dumps("a" * 50_000 + "!").encode())) == 1


def obj(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}


@pytest.mark.parametrize(("old", "new", "rules"), [
    (obj(a=STRING), obj(a=STRING, b=STRING), []),
    (obj(a=STRING), {**obj(a=STRING, b=STRING), "required": ["b"]}, ["REQUIRED_PROPERTY_ADDED"]),
    (obj(a=STRING), {**obj(a=STRING, b={"default": 1}), "required": ["b"]}, []),
    (obj(a=STRING), obj(a=INTEGER), ["TYPE_NARROWED"]),
    (obj(a=INTEGER), obj(a=NUMBER), []),
    (obj(a=NUMBER), obj(a=INTEGER), ["TYPE_NARROWED"]),
    (obj(a=NUMBER | {"minimum": 1, "maximum": 1}), obj(a=INTEGER), []),
    (obj(a=NUMBER | {"minimum": 1, "maximum": 2}), obj(a=INTEGER), ["TYPE_NARROWED"]),
    (obj(a={"enum": [1, 2]}), obj(a={"enum": [1, 2, 3]}), []),
    (obj(a={"enum": [1, 2]}), obj(a={"enum": [1]}), ["ENUM_ARRAY_NARROWED"]),
    (obj(a={"enum": [1]}), obj(a=STRING), ["TYPE_NARROWED"]),
    (obj(a=STRING, b=STRING), {**obj(a=STRING), "additionalProperties": False},
     ["PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL", "ADDITIONAL_PROPERTIES_NARROWED"]),
    (obj(a=STRING), {**obj(a=STRING), "additionalProperties": False}, ["ADDITIONAL_PROPERTIES_NARROWED"]),
    ({**obj(a=STRING), "additionalProperties": False}, {**obj(a=STRING, b=STRING), "additionalProperties": False}, []),
    ({**obj(), "additionalProperties": INTEGER}, obj(b=STRING), ["TYPE_NARROWED"]),
    ({"type": "integer", "minimum": 3}, {"type": "integer", "minimum": 2}, []),
    ({"type": "integer", "minimum": 3}, {"type": "integer", "exclusiveMinimum": 3}, ["MINIMUM_INCREASED"]),
    ({"type": "string", "maxLength": 3}, {"type": "string", "maxLength": 2}, ["MAX_LENGTH_DECREASED"]),
    (STRING, {"type": "string", "pattern": "^a"}, ["PATTERN_CHANGED"]),
    (STRING, {"anyOf": [STRING, {"type": "null"}]}, []),
    ({"type": ["string", "null"]}, {"oneOf": [STRING, {"type": "null"}]}, []),
    ({"anyOf": [STRING, {"type": "null"}]}, {"type": ["string", "null"]}, []),
    ({"anyOf": [STRING, INTEGER]}, STRING, ["TYPE_NARROWED"]),
    ({"$ref": "#/$defs/a", "$defs": {"a": STRING}}, STRING, []),
    ({"allOf": [STRING, {"minLength": 2}]}, {"minLength": 1}, []),
    ({"type": "array", "items": INTEGER}, {"type": "array", "items": NUMBER}, []),
    ({"type": "array", "items": STRING}, {"type": "array", "items": NUMBER}, ["TYPE_NARROWED"]),
    (STRING, {"not": {"const": "x"}}, ["KEYWORD_CHANGED"]),
    (obj(child={"$ref": "#"}), obj(child={"$ref": "#"}, more=STRING), []),
])
def test_findings(old: Any, new: Any, rules: list[str]) -> None:
    assert [one.rule for one in compare(schema(old), schema(new))] == rules
