"""Finds the modules of a format. Each has a folder with `parse`, `compatibility` and `validate`, loaded when needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType

from prism_schema.limits import check_size
from prism_schema.model import ParsedSchema, Resolved, SchemaError, SchemaKind, Violation

Validator = Callable[[bytes], list[Violation]]


def parse(kind: SchemaKind, text: str, references: Sequence[Resolved] = ()) -> ParsedSchema:
    """SchemaError when the text, or one it refers to, is not a schema of this format or is over a bound."""
    check_size(text, *(one.text for one in references))
    names = [one.name for one in references]
    if len(set(names)) != len(names):
        raise SchemaError(f"a reference is given twice: {next(one for one in names if names.count(one) > 1)}")
    parsed: ParsedSchema = part(kind, "parse").parse(text, tuple(references))
    return parsed


def validator(schema: ParsedSchema, type_name: str | None = None, *, implicit_required: bool = True) -> Validator:
    """A function from a payload to its violations; none means that the payload follows the schema. Make it once.

    `type_name` is the type of a payload, by default the first of `schema.types`. `implicit_required`: a singular
    proto3 field without `optional` has to be there.
    """
    if type_name is not None and schema.kind is not SchemaKind.JSON and type_name not in schema.types:
        raise SchemaError(f"the schema defines no type {type_name!r}; it has {', '.join(schema.types[:10]) or 'none'}")
    made: Validator = part(schema.kind, "validate").validator(schema, type_name, implicit_required=implicit_required)
    return made


def part(kind: SchemaKind, name: str) -> ModuleType:
    """The module `name` of a format."""
    return import_module(f"prism_schema.{kind.value.lower()}.{name}")
