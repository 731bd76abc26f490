"""Schemas in files: their format by the file's name, and what is wrong with them."""

from __future__ import annotations

import sys
from fnmatch import fnmatch
from pathlib import Path

import prism_schema
from prism_schema import Field, ParsedSchema, SchemaError, SchemaKind

_KINDS = {".proto": SchemaKind.PROTOBUF, ".avsc": SchemaKind.AVRO, ".avro": SchemaKind.AVRO, ".json": SchemaKind.JSON}
FORMATS = {SchemaKind.PROTOBUF: "protobuf", SchemaKind.JSON: "json-schema", SchemaKind.AVRO: "avro"}


class FileError(Exception):
    """The file cannot be read, or holds no schema."""


def kind_of(path: Path, given: str) -> SchemaKind:
    """The format that was given, or the one of the file's name. FileError."""
    if given:
        wanted = given.lower().replace("_", "-")
        for kind, name in FORMATS.items():
            if wanted in (name, kind.value.lower()):
                return kind
        raise FileError(f"--format {given!r}: use protobuf, json-schema or avro")
    try:
        return _KINDS[path.suffix]
    except KeyError:
        raise FileError(f"{path}: its format is not in its name; give --format protobuf, json-schema or avro") from None


def read(path: Path) -> str:
    """FileError. `-` is standard input."""
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def parse(path: Path, given: str) -> ParsedSchema:
    """FileError names the line."""
    kind = kind_of(path, given)
    try:
        return prism_schema.parse(kind, read(path))
    except SchemaError as error:
        raise FileError(f"{path}: {error}") from None


def not_optional(schema: ParsedSchema, exceptions: list[str]) -> list[Field]:
    """Fields that a writer may not leave out, but for those whose name an exception matches."""
    return [field for field in schema.fields
            if not field.optional and not any(fnmatch(field.name, exception) for exception in exceptions)]


def advice(field: Field, kind: SchemaKind) -> str:
    """One line on a field that is not optional."""
    how = {SchemaKind.PROTOBUF: "write `optional` before its type", SchemaKind.AVRO: "make it a union with null and a "
           "default", SchemaKind.JSON: "leave it out of `required`"}[kind]
    return f"{field.path}: the field is not optional: {how}, so that a later version can do without it"
