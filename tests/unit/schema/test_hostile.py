"""Schemas and payloads that are made to cost: refused at once, without memory to speak of."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from prism_schema import Resolved, SchemaError, SchemaKind, parse, validator

AVRO, JSON, PROTOBUF = SchemaKind
SECONDS, BYTES = 0.1, 50 * 1024 * 1024


def doubling(keyword: str) -> str:
    """Two references at each of 40 levels."""
    return json.dumps({"$ref": "#/$defs/d0", "$defs": {
        **{f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}, "d40": {"type": "string"}}})


def nested_records(depth: int) -> str:
    made: Any = "int"
    for number in range(depth):
        made = {"type": "record", "name": f"R{number}", "fields": [{"name": "f", "type": made}]}
    return json.dumps(made)


HOSTILE: dict[str, tuple[SchemaKind, str]] = {
    "avro of 10 MB": (AVRO, json.dumps("x" * 10_000_000)),
    "json of 10 MB": (JSON, json.dumps({"description": "x" * 10_000_000})),
    "protobuf of 10 MB": (PROTOBUF, "message A {}\n" * 800_000),
    "avro in 10,000 arrays": (AVRO, '{"type":"array","items":' * 10_000 + '"int"' + "}" * 10_000),
    "avro in 200 records": (AVRO, nested_records(200)),
    "avro of 6,000 types": (AVRO, json.dumps({"type": "record", "name": "R", "fields": [
        {"name": f"f{n}", "type": {"type": "fixed", "name": f"F{n}", "size": 1}} for n in range(6_000)]})),
    "json in 10,000 objects": (JSON, '{"items":' * 10_000 + "{}" + "}" * 10_000),
    "protobuf in 10,000 messages": (PROTOBUF, "message A {" * 10_000 + "}" * 10_000),
    "protobuf of 10,000 messages": (PROTOBUF, "".join(f"message A{n} {{}}" for n in range(10_000))),
    "protobuf of 20,000 fields": (PROTOBUF, 'syntax="proto3";message A{' + "".join(
        f"int32 f{n}={n + 1};" for n in range(18_000)) + "}"),
    "references that double, allOf": (JSON, doubling("allOf")),
    "references that double, anyOf": (JSON, doubling("anyOf")),
    "references in a circle": (JSON, json.dumps({"$ref": "#/$defs/a", "$defs": {
        "a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}})),
    "a pattern that explodes": (JSON, '{"pattern": "((a{1,100}){1,100}){1,100}"}'),
    "a pattern with a look-ahead": (JSON, '{"pattern": "(?=(a+)+)b"}'),
    "an option without end": (PROTOBUF, 'option (x) = ' + "{a:" * 10_000),
    "a string without end": (PROTOBUF, 'syntax = "' + "x" * 500_000),
    "a comment without end": (PROTOBUF, "/*" * 250_000),
    "a number of 500,000 digits": (JSON, '{"minimum": ' + "9" * 500_000 + "}"),
    "names of 500,000 letters": (PROTOBUF, "syntax = 'proto3'; message " + "a." * 250_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_is_refused_at_once(name: str) -> None:
    kind, text = HOSTILE[name]
    parse_small(kind)  # the modules of the format are there
    best = min(_seconds(lambda: _refused(kind, text)) for _ in range(3))  # other tests run beside this one
    assert best < SECONDS, f"{best:.3f} s"
    tracemalloc.start()
    try:
        _refused(kind, text)
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()


def parse_small(kind: SchemaKind) -> None:
    parse(kind, {AVRO: '"int"', JSON: "{}", PROTOBUF: "message A {}"}[kind])


def _refused(kind: SchemaKind, text: str) -> None:
    with pytest.raises(SchemaError):
        parse(kind, text)


def _seconds(call: Callable[[], None]) -> float:
    """Of CPU: a busy machine changes nothing."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def test_imports_in_a_circle_are_refused() -> None:
    one = Resolved("one.proto", 'import "two.proto";')
    two = Resolved("two.proto", 'import "one.proto";')
    with pytest.raises(SchemaError, match="circle"):
        parse(PROTOBUF, 'import "one.proto"; message A {}', [one, two])
    first = Resolved("a", '{"$ref": "b"}')
    second = Resolved("b", '{"$ref": "a"}')
    with pytest.raises(SchemaError, match="back to itself"):
        parse(JSON, '{"$ref": "a"}', [first, second])


def test_references_that_double_through_imports_are_bounded() -> None:
    texts = [Resolved(f"{n}", json.dumps({"allOf": [{"$ref": f"{n + 1}"}] * 2})) for n in range(40)]
    with pytest.raises(SchemaError, match="expand"):
        parse(JSON, '{"$ref": "0"}', [*texts, Resolved("40", "{}")])


@pytest.mark.parametrize(("kind", "text", "payload"), [
    (AVRO, '{"type": "array", "items": "null"}', b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f\x00"),
    (AVRO, '{"type": "record", "name": "R", "fields": [{"name": "f", "type": ["null", "R"]}]}', b"\x02" * 1_000_000),
    (AVRO, '"bytes"', b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"),
    (PROTOBUF, "message A { optional A a = 1; }", b"\x0a\x80\x80\x80\x80\x7f"),
    (PROTOBUF, "message A { optional A a = 1; }", b"\x0b" * 100_000),
    (PROTOBUF, "message A { optional A a = 1; }", b"\x80" * 100_000),
    (JSON, '{"pattern": "^(a+)+$"}', json.dumps("a" * 200_000 + "!").encode()),
    (JSON, '{"items": {"$ref": "#"}, "maxItems": 0}', b"[" * 100_000 + b"]" * 100_000),
])
def test_a_hostile_payload_is_a_violation(kind: SchemaKind, text: str, payload: bytes) -> None:
    validate = validator(parse(kind, text))
    assert validate(payload) != []
    assert min(_seconds(lambda: validate(payload) and None) for _ in range(3)) < SECONDS
