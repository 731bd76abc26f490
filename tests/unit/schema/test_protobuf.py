"""Protobuf schemas: what is read, what is refused, and what a payload's bytes have to be."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from google.protobuf import message_factory

from prism_schema import Level, Resolved, SchemaError, SchemaKind, Violation, check, compare, parse, validator

ORDER = """
// An order. /* not a comment */
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "prism/options.proto";
option go_package = "example.com/shop";
message Order {
  option (prism.namespace) = "shop";
  string order_id = 1;
  optional string email = 2 [(prism.pii) = "email", (prism.encrypt_at_rest) = true];
  double total = 3; /* in euros */
  map<string, Line> lines = 4;
  repeated int32 counts = 5 [packed = false];
  oneof payment { string card = 6; Line cash = 7; }
  optional google.protobuf.Timestamp at = 8;
  optional Status status = 9;
  optional string old = 16 [deprecated = true];
  reserved 10, 12 to 15, 1000 to max;
  reserved "foo", 'bar';
  message Line { optional sint32 quantity = 1; optional .shop.Order.Line next = 2; }
  enum Status { option allow_alias = true; UNKNOWN = 0; PAID = 1; SETTLED = 1; OWED = -1; reserved 5; }
}
service Orders { rpc Get (Order) returns (stream Order) { option deprecated = true; } }
"""


def proto(text: str, *references: Resolved) -> Any:
    return parse(SchemaKind.PROTOBUF, text, references)


def message_class(schema: Any, name: str) -> Any:
    return message_factory.GetMessageClass(schema.parsed.pool.FindMessageTypeByName(name))


def test_types_fields_and_tags() -> None:
    schema = proto(ORDER)
    assert schema.types == ("shop.Order", "shop.Order.Line")
    assert [(one.path, one.pii, one.encrypt, one.deprecated) for one in schema.tags] == [
        ("email", "email", True, ""), ("old", "", False, "true")]
    assert [one.path for one in schema.fields if not one.optional] == ["order_id", "total"]


def test_the_canonical_text_is_a_schema_and_the_same_for_every_spelling() -> None:
    schema = proto(ORDER)
    again = proto(schema.canonical)
    assert again.canonical == schema.canonical
    assert again.fingerprint == schema.fingerprint
    assert proto("\n".join(f"  {line}  // more" for line in ORDER.splitlines())).fingerprint == schema.fingerprint
    assert proto(ORDER.replace("total = 3", "sum = 3")).fingerprint != schema.fingerprint


def test_a_serialised_descriptor_is_the_same_schema() -> None:
    schema = proto(ORDER)
    from prism import options_pb2  # as a producer has them, whose compiler put the options into the descriptor

    descriptor = schema.parsed.root.descriptor
    descriptor.message_type[0].field[1].options.Extensions[options_pb2.pii] = "email"
    descriptor.message_type[0].field[1].options.Extensions[options_pb2.encrypt_at_rest] = True
    descriptor.message_type[0].options.Extensions[options_pb2.namespace] = "shop"
    text = base64.b64encode(descriptor.SerializeToString()).decode()
    assert proto(text).canonical == schema.canonical


def test_imports_are_references() -> None:
    unit = Resolved("shop/unit.proto", 'syntax = "proto3"; package shop; message Unit { string name = 1; }')
    public = Resolved("all.proto", 'syntax = "proto3"; import public "shop/unit.proto";')
    text = 'syntax = "proto3"; package shop.api; import "all.proto"; message M { Unit unit = 1; }'
    assert proto(text, public, unit).types == ("shop.api.M",)
    with pytest.raises(SchemaError, match=r"'shop/unit\.proto' is not among the references"):
        proto(text, public)
    circle = Resolved("all.proto", 'syntax = "proto3"; import "all.proto";')
    with pytest.raises(SchemaError, match="circle"):
        proto(text, circle)


@pytest.mark.parametrize(("text", "problem"), [
    ("message A {", "line 1"),
    ("\n\nsyntax = 'proto4';", "line 3"),
    ("edition = '2023'; message A {}", "editions are not read"),
    ("message A { required int32 a = 1; }", "`required` is not accepted"),
    ("message A { optional group G = 1 {} }", "groups are not read"),
    ("message A { int32 a = 1; }", "needs optional or repeated"),
    ("syntax = 'proto3';\nmessage A {\n B b = 1; }", "line 3: the type 'B' is not defined"),
    ("syntax = 'proto3'; message A { int32 b = 1; int32 c = 1; }", "duplicate"),
    ("syntax = 'proto3'; message A { int32 b = 1; int32 b = 2; }", "duplicate"),
    ("syntax = 'proto3'; message A { int32 b = 1; reserved 1; }", "reserved"),
    ("syntax = 'proto3'; message A { int32 b = 19500; }", "no number"),
    ("syntax = 'proto3'; message A { int32 b = 0x" + "f" * 5000 + "; }", "expected a whole number"),
    ("syntax = 'proto3'; enum A { B = 0; C = 3000000000; }", "3000000000 is not a 32-bit integer"),
    ("syntax = 'proto3'; enum A { B = 0; C = -3000000000; }", "-3000000000 is not a 32-bit integer"),
    ("syntax = 'proto3'; enum A { B = 0; reserved 5 to 3000000000; }", "not a 32-bit integer"),
    ("syntax = 'proto3'; message A { reserved 1 to 536870912; }", "536870912 is larger than 536870911"),
    ("syntax = 'proto3'; message A { map<float, int32> b = 1; }", "keys of a map"),
    ("syntax = 'proto3'; message A { int32 b = 1 [default = 3]; }", "default"),
    ("syntax = 'proto3'; message A { int32 b = 1 [nothing = 3]; }", "no option 'nothing'"),
    ("syntax = 'proto3'; enum A { B = 1; }", "has to be 0"),
    ("syntax = 'proto3'; import 'x.proto';", "not among the references"),
    ("\0", "not understood"),
])
def test_what_is_no_schema_is_refused(text: str, problem: str) -> None:
    with pytest.raises(SchemaError, match=problem):
        proto(text)


def test_proto2_defaults_and_extensions() -> None:
    schema = proto("""syntax = "proto2"; message A { optional int32 a = 1 [default = -5]; extensions 100 to 199;
                      optional bytes b = 2 [default = "\\001x\\""]; }
                      extend A { optional string note = 100; }""")
    assert message_class(schema, "A")().a == -5
    assert message_class(schema, "A")().b == b'\x01x"'
    assert proto(schema.canonical).canonical == schema.canonical


def test_payloads() -> None:
    schema = proto(ORDER)
    order = message_class(schema, "shop.Order")
    validate = validator(schema)
    good = order(order_id="7", total=1.5, counts=[1, 2], status=-1, cash={"quantity": 1})
    good.lines["a"].quantity = -3
    good.at.GetCurrentTime()
    data = good.SerializeToString()
    assert validate(data) == []
    assert validate(order(order_id="7").SerializeToString()) == [Violation("total", "a value", "nothing")]
    assert validator(schema, implicit_required=False)(b"") == []
    assert validate(data + b"\x18\x05") == [Violation("total", "double", "a varint")]
    assert validate(data + b"\x0a\x01\xff") == [Violation("order_id", "string", "bytes that are not UTF-8")]
    assert validate(data + b"\x48\x07") == [Violation("status", "a value of shop.Order.Status", "7")]
    assert validate(data + b"\x3a\x02\x0a\x00") == [Violation("cash.quantity", "sint32", "bytes with a length")]
    assert validate(data + b"\xa2\x06\x01x") == []  # field 100, which a newer schema may have
    assert [one.actual for one in validate(data[:-1])] == ["the end of the payload"]
    assert validator(schema, "shop.Order.Line")(b"\x08\x02") == []
    with pytest.raises(SchemaError, match="defines no type"):
        validator(schema, "shop.Nothing")


def v(fields: str, more: str = "") -> Any:
    return proto(f'syntax = "proto3"; message Order {{ {fields} }} {more}')


V1 = "string order_id = 1; string user_id = 2; double total = 3;"


@pytest.mark.parametrize(("old", "new", "rules"), [
    (V1, V1 + "optional double tax_amount = 4; optional string promo_code = 5;", []),
    (V1, V1 + "string payment_method = 4;", ["REQUIRED_FIELD_ADDED"]),
    (V1, "string order_id = 1; string user_id = 2;", ["REQUIRED_FIELD_REMOVED"]),
    ("optional int32 a = 1;", "", []),
    ("int32 a = 3;", "float a = 3;", ["FIELD_TYPE_CHANGED"]),
    ("int32 a = 3;", "int64 a = 3;", []),
    ("int64 a = 3;", "int32 a = 3;", ["FIELD_TYPE_CHANGED"]),
    ("int32 a = 3;", "repeated int32 a = 3;", ["FIELD_LABEL_CHANGED"]),
    ("optional int32 a = 1;", "int32 a = 1;", ["REQUIRED_FIELD_ADDED"]),
    ("map<string, int32> a = 1;", "map<string, int64> a = 1;", []),
    ("map<string, int32> a = 1;", "map<string, string> a = 1;", ["FIELD_TYPE_CHANGED"]),
    ("oneof x { int32 a = 1; }", "oneof x { int32 b = 2; }", ["ONEOF_FIELD_REMOVED"]),
    ("optional int32 a = 1; optional int32 b = 2;", "oneof x { int32 a = 1; int32 b = 2; }",
     ["FIELDS_MOVED_TO_ONEOF"]),
    ("enum E { A = 0; B = 1; } optional E e = 1;", "enum E { A = 0; } optional E e = 1;", ["ENUM_VALUE_REMOVED"]),
    ("message M { optional int32 a = 1; } optional M m = 1;", "message N { optional int32 a = 1; } optional N m = 1;",
     ["FIELD_TYPE_CHANGED", "MESSAGE_REMOVED"]),
    ("message M { optional int32 a = 1; } optional M m = 1;", "message M { optional string a = 1; } optional M m = 1;",
     ["FIELD_TYPE_CHANGED"]),
])
def test_findings(old: str, new: str, rules: list[str]) -> None:
    assert [one.rule for one in compare(v(old), v(new), implicit_required=True)] == rules


def test_stock_clients_may_add_fields_without_optional() -> None:
    old, new = v(V1), v(V1 + "string payment_method = 4;")
    assert check(new, [old], Level.FULL) == []
    assert [one.rule for one in check(old, [new], Level.BACKWARD)] == ["REQUIRED_FIELD_REMOVED"]
    assert {one.direction for one in check(new, [old], Level.FULL, implicit_required=True)} == {"backward", "forward"}
