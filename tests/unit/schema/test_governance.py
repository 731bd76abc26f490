"""Tags: personal data, optional fields, deprecation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prism_schema import SchemaKind, parse
from prism_schema.governance import contradictions, deprecations, untagged_pii, without_optional

V1 = 'syntax = "proto3"; message Order { string order_id = 1; string user_id = 2; double total = 3; }'
IMPORT = 'syntax = "proto3"; import "prism/options.proto";'


def proto(text: str) -> Any:
    return parse(SchemaKind.PROTOBUF, text)


def test_every_field_without_optional_is_listed() -> None:
    assert [one.path for one in without_optional(proto(V1))] == ["order_id", "user_id", "total"]


def test_exceptions_are_globs_on_names() -> None:
    assert [one.path for one in without_optional(proto(V1), ["*_id"])] == ["total"]
    optional = V1.replace(" string", " optional string").replace(" double", " optional double")
    assert without_optional(proto(optional)) == []


@pytest.mark.parametrize(("kind", "text"), [
    (SchemaKind.PROTOBUF, 'syntax = "proto3"; message M { string userEmail = 1; string mail = 2; }'),
    (SchemaKind.JSON, json.dumps({"properties": {"userEmail": {"type": "string"}, "mail": {"type": "string"}}})),
    (SchemaKind.AVRO, json.dumps({"type": "record", "name": "M", "fields": [
        {"name": "userEmail", "type": "string"}, {"name": "mail", "type": "string"}]})),
])
def test_a_name_that_looks_like_personal_data_needs_a_tag(kind: SchemaKind, text: str) -> None:
    schema = parse(kind, text)
    assert [one.path for one in untagged_pii(schema)] == ["userEmail"]
    assert [one.path for one in untagged_pii(schema, ["mail"])] == ["userEmail", "mail"]


def test_a_tag_answers_the_suspicion() -> None:
    tagged = proto(f'{IMPORT} message M {{ string email = 1 [(prism.pii) = "email"]; '
                   'string address = 2 [(prism.pii) = "none"]; }')
    assert untagged_pii(tagged) == []
    assert tagged.contains_pii
    assert not proto(f'{IMPORT} message M {{ string address = 2 [(prism.pii) = "none"]; }}').contains_pii


def test_high_sensitivity_needs_an_owner_and_encryption() -> None:
    text = (f'{IMPORT} message M {{ option (prism.sensitivity) = "high"; '
            'string email = 1 [(prism.pii) = "email"]; }')
    assert [(one.rule, one.path) for one in contradictions(proto(text))] == [
        ("OWNER_TEAM_MISSING", ""), ("PII_NOT_ENCRYPTED", "email")]
    whole = text.replace('"high";', '"high"; option (prism.owner_team) = "shop";').replace(
        '"email"]', '"email", (prism.encrypt_at_rest) = true]')
    assert contradictions(proto(whole)) == []


def test_deprecation_has_date_and_reason() -> None:
    text = (f'{IMPORT} message M {{ optional string a = 1 [(prism.deprecated) = "2025-12-31", '
            '(prism.deprecated_reason) = "read b"]; optional string b = 2; optional int32 c = 3 [deprecated = true]; }')
    assert [one.message for one in deprecations(proto(text))] == [
        "the field 'a' is deprecated since 2025-12-31: read b", "the field 'c' is deprecated"]
