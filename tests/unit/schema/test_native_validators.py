"""The native validators say yes only where the formats' own validators find nothing, whatever the bytes are."""

from __future__ import annotations

import copy
import io
import json
import random
from typing import Any

import fastavro
import pytest

from prism_proxy._native.schema.avro import AvroCheck
from prism_proxy._native.schema.protobuf import MAX_REQUIRED, ProtobufCheck
from prism_schema import SchemaError, SchemaKind, parse, validator
from prism_schema.protobuf.tables import tables
from tests.unit.schema import test_avro_pairs as avro
from tests.unit.schema import test_protobuf_pairs as protobuf


def damaged(payload: bytes, chance: random.Random) -> bytes:
    """The payload with bytes changed, cut, doubled or put in."""
    made = bytearray(payload)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(made) + 1)
        match chance.randrange(4):
            case 0 if at < len(made):
                made[at] = chance.randrange(256)
            case 1:
                del made[at:at + chance.randint(1, 4)]
            case 2:
                made[at:at] = made[at:at + chance.randint(1, 6)]
            case _:
                made[at:at] = chance.randbytes(chance.randint(1, 11))
    return bytes(made)


def judge(native: Any, slow: Any, payload: bytes, chance: random.Random) -> tuple[int, int]:
    """(damaged payloads that both accept, those that only Python accepts)."""
    assert native(payload)
    both = strict = 0
    for _ in range(40):
        bytes_ = damaged(payload, chance)
        found = slow(bytes_)
        if native(bytes_):
            assert found == [], bytes_
            both += 1
        else:
            strict += found == []
    return both, strict


@pytest.mark.parametrize("implicit", [False, True])
def test_protobuf(implicit: bool) -> None:
    both = strict = 0
    for seed in range(100):
        chance = random.Random(seed)
        schema = protobuf.Maker(chance).schema()
        text = protobuf.text(schema)
        parsed = parse(SchemaKind.PROTOBUF, text.replace("optional ", "") if implicit else text)
        native = ProtobufCheck(tables(parsed.parsed, "M", implicit_required=False))
        data = protobuf.Data(chance, schema, parsed)
        for _ in range(3):
            payload = data.made().SerializeToString()
            one, two = judge(native, validator(parsed, "M", implicit_required=False), payload, chance)
            both, strict = both + one, strict + two
    assert both > 1000
    assert strict * 20 < both


def test_avro() -> None:
    both = strict = 0
    for seed in range(100):
        chance = random.Random(seed)
        maker = avro.Maker(chance)
        schema = maker.schema()
        parsed = parse(SchemaKind.AVRO, json.dumps(schema))
        native, slow = AvroCheck(parsed.parsed), validator(parsed)
        for _ in range(3):
            out = io.BytesIO()
            fastavro.schemaless_writer(out, fastavro.parse_schema(copy.deepcopy(schema)), maker.datum(schema))
            one, two = judge(native, slow, out.getvalue(), chance)
            both, strict = both + one, strict + two
    assert both > 200
    assert strict * 20 < both


def test_fields_that_have_to_be_there() -> None:
    parsed = parse(SchemaKind.PROTOBUF, 'syntax = "proto3"; message M { string a = 1; M m = 2; int32 far = 100000; }')
    native = ProtobufCheck(tables(parsed.parsed, "M", implicit_required=True))
    inner = b"\x0a\x01x\xa0\x8d\x06\x01"
    assert not native(b"")
    assert not native(inner)
    assert not native(inner + b"\x12\x00")
    many = "".join(f"int32 f{n} = {n};" for n in range(1, MAX_REQUIRED + 2))
    parsed = parse(SchemaKind.PROTOBUF, f'syntax = "proto3"; message M {{ {many} }}')
    with pytest.raises(ValueError, match="have to be there"):
        ProtobufCheck(tables(parsed.parsed, "M", implicit_required=True))


def test_values_of_enums() -> None:
    parsed = parse(SchemaKind.PROTOBUF, """syntax = "proto3"; message M { optional E e = 1; repeated D d = 2; }
                   enum E { A = 0; B = -5; C = 1000000; } enum D { X = 0; Y = 1; }""")
    native = ProtobufCheck(tables(parsed.parsed, "M", implicit_required=True))
    for payload, valid in ((b"\x08\xc0\x84\x3d", True), (b"\x08\xfb" + b"\xff" * 8 + b"\x01", True),
                           (b"\x08\x01", False), (b"\x12\x02\x00\x01", True), (b"\x12\x02\x00\x02", False),
                           (b"\x10\x01", True)):
        assert native(payload) is valid
        assert (validator(parsed)(payload) == []) is valid


def test_avro_without_bytes_takes_no_time() -> None:
    parsed = parse(SchemaKind.AVRO, '{"type": "array", "items": "null"}')
    payload = b"\xfe\xff\x01" * 300_000 + b"\x00"
    assert AvroCheck(parsed.parsed)(payload)
    assert validator(parsed)(payload) == []
    levels = [{"type": "record", "name": f"R{n}", "fields": [{"name": name, "type": f"R{n + 1}"} for name in "ab"]}
              for n in range(40)]
    schema: Any = {"type": "record", "name": "R40", "fields": []}
    for level in reversed(levels):
        level["fields"][0]["type"] = schema
        schema = level
    with pytest.raises(SchemaError, match="expands"):
        parse(SchemaKind.AVRO, json.dumps(schema))
    with pytest.raises(SchemaError, match="holds itself"):
        parse(SchemaKind.AVRO, '{"type": "record", "name": "R", "fields": [{"name": "r", "type": "R"}]}')
