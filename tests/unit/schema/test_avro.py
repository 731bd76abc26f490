"""Avro schemas: what is read, what is refused, and what a payload's bytes have to be."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest

from prism_schema import Finding, Level, Resolved, SchemaError, SchemaKind, Violation, check, compare, parse, validator

ORDER: dict[str, Any] = {
    "type": "record", "name": "Order", "namespace": "shop", "fields": [
        {"name": "id", "type": "string"},
        {"name": "email", "type": ["null", "string"], "default": None, "pii": "email"},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "tags", "type": {"type": "map", "values": {"type": "enum", "name": "Tag", "symbols": ["A", "B"]}}},
        {"name": "next", "type": ["null", "Order"], "default": None},
    ]}


def avro(value: Any, *references: Resolved) -> Any:
    return parse(SchemaKind.AVRO, json.dumps(value), references)


def encoded(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(schema))), value)
    return out.getvalue()


def test_names_and_tags() -> None:
    schema = avro(ORDER)
    assert schema.types == ("shop.Order", "shop.Tag")
    assert [(one.path, one.pii) for one in schema.tags] == [("email", "email")]
    assert schema.contains_pii
    assert [one.path for one in schema.fields if not one.optional] == ["id", "total", "tags"]


def test_the_canonical_text_does_not_depend_on_spelling() -> None:
    other = {**ORDER, "name": "shop.Order"}
    del other["namespace"]
    assert avro(other).fingerprint == avro(ORDER).fingerprint
    assert parse(SchemaKind.AVRO, json.dumps(ORDER, indent=4)).canonical == avro(ORDER).canonical
    changed = json.loads(json.dumps(ORDER).replace('"default": null', '"default": null, "doc": "x"'))
    assert avro(changed).fingerprint != avro(ORDER).fingerprint
    assert avro(json.loads(avro(ORDER).canonical)).canonical == avro(ORDER).canonical


def test_references_are_read_in_the_order_that_they_need() -> None:
    outer = Resolved("b", json.dumps({"type": "record", "name": "x.B", "fields": [{"name": "a", "type": "x.A"}]}))
    inner = Resolved("a", json.dumps({"type": "fixed", "name": "x.A", "size": 2}))
    schema = avro({"type": "record", "name": "x.C", "fields": [{"name": "b", "type": "B"}]}, outer, inner)
    assert schema.types == ("x.C",)
    assert validator(schema)(b"ab") == []
    with pytest.raises(SchemaError, match=r"reference 'b'.*x\.A.*not defined"):
        avro("x.B", outer)


@pytest.mark.parametrize(("text", "problem"), [
    ("{", "line 1.*not JSON"),
    ('{"type": "record", "name": "R", "doc": "\\ud800", "fields": []}', "surrogate"),
    ('{"type": "fixed", "name": "F", "size": ' + "9" * 5000 + "}", "not JSON"),
    ('{"type": "record", "name": "R", "fields": [{"name": "a", "type": "Nothing"}]}', r"a: the type 'Nothing'"),
    ('{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int", "default": "x"}]}', "does not fit"),
    ('{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]}', "two"),
    ('{"type": "record", "name": "R", "fields": {}}', "array"),
    ('{"type": "record", "name": "1R", "fields": []}', "no name of a type"),
    ('{"type": "enum", "name": "E", "symbols": ["A", "A"]}', "twice"),
    ('{"type": "enum", "name": "E", "symbols": ["A"], "default": "B"}', "not among"),
    ('{"type": "fixed", "name": "F", "size": -1}', "size"),
    ('["int", "int"]', "two branches int"),
    ('["int", ["null"]]', "union"),
    ('{"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 3}', "scale"),
    ('{"type": "array"}', "items"),
    ('{"type": "int", "type": "long"}', "twice"),
    ("7", "a type is"),
])
def test_what_is_no_schema_is_refused(text: str, problem: str) -> None:
    with pytest.raises(SchemaError, match=problem):
        parse(SchemaKind.AVRO, text)


def test_payloads() -> None:
    validate = validator(avro(ORDER))
    good = encoded(ORDER, {"id": "7", "total": b"\x01", "tags": {"x": "B"}, "next": None})
    assert validate(good) == []
    assert validate(good[:-1]) == [Violation("next", "union", "the end of the payload")]
    assert validate(good + b"!") == [Violation("", "the end of the datum", "1 bytes more")]
    assert validate(b"\x02\xff" + good[2:]) == [Violation("id", "string", "bytes that are not UTF-8")]
    assert validate(good.replace(b"\x02x\x02", b"\x02x\x08")) == [Violation("tags.0", "one of 2 symbols", "symbol 4")]
    assert validate(b"") == [Violation("id", "string", "the end of the payload")]


def test_an_array_of_nothing_costs_nothing() -> None:
    validate = validator(avro({"type": "array", "items": "null"}))
    huge = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f\x00"
    assert [one.path for one in validate(huge)] == [""]


def test_levels() -> None:
    old = avro(ORDER)
    added = avro({**ORDER, "fields": [*ORDER["fields"], {"name": "note", "type": "string"}]})
    rule = "READER_FIELD_MISSING_DEFAULT_VALUE"
    assert [(one.rule, one.path) for one in compare(old, added)] == [(rule, "note")]
    assert check(added, [old], Level.FORWARD) == []
    assert check(added, [old], Level.NONE) == []
    assert [one.direction for one in check(added, [old], Level.FULL)] == ["backward"]
    assert check(added, [old, added], Level.BACKWARD) == []
    assert [one.against for one in check(added, [old, added], Level.BACKWARD_TRANSITIVE)] == [0]
    other = parse(SchemaKind.JSON, "{}")
    assert compare(old, other) == [
        Finding("SCHEMA_KIND_CHANGED", "", "Type mismatch: AVRO data cannot be read as JSON")]
