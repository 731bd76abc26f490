"""A native yes or no before the validator that knows the reasons, which decides where native code says no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prism_schema import ParsedSchema, SchemaKind, Violation, validator

Check = Callable[[bytes], list[Violation]]
_VALID: list[Violation] = []


def fast_validator(schema: ParsedSchema, type_name: str | None, *, implicit_required: bool) -> Check:
    """As `prism_schema.validator`."""
    slow = validator(schema, type_name, implicit_required=implicit_required)
    native = native_check(schema, type_name, implicit_required=implicit_required)
    if native is None:
        return slow
    valid = native  # a name that cannot be None, for the closure

    def check(data: bytes) -> list[Violation]:
        return _VALID if valid(data) else slow(data)

    return check


def native_check(schema: ParsedSchema, type_name: str | None, *, implicit_required: bool) -> Any:
    """None where native code has no tables for the schema."""
    if schema.kind is SchemaKind.PROTOBUF:
        from prism_proxy._native.schema.protobuf import ProtobufCheck
        from prism_schema.protobuf.tables import tables

        try:
            return ProtobufCheck(tables(schema.parsed, type_name or schema.types[0],
                                        implicit_required=implicit_required))
        except ValueError:
            return None
    if schema.kind is SchemaKind.AVRO:
        from prism_proxy._native.schema.avro import AvroCheck
        from prism_schema.avro.validate import root

        return AvroCheck(root(schema, type_name))
    return None
