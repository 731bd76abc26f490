"""Reads a Protobuf schema: the text of a .proto file, or a serialised descriptor in base64, which the serialisers of
some stock clients register."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2 as pb
from google.protobuf.message import DecodeError

from prism_schema.model import Field, ParsedSchema, Resolved, SchemaError, SchemaKind
from prism_schema.protobuf.binary_options import custom_options
from prism_schema.protobuf.linker import join, link
from prism_schema.protobuf.printer import print_file
from prism_schema.tagging import ENCRYPTING, SCHEMA_TAGS

_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")


def parse(text: str, references: tuple[Resolved, ...]) -> ParsedSchema:
    """A schema whose descriptors are built, with all that it imports."""
    linked = link(text_of(text), tuple(Resolved(one.name, text_of(one.text)) for one in references))
    root = linked.root
    custom = linked.custom
    types = tuple(name for name, _ in _messages(root.descriptor))
    fields = tuple(_fields(root.descriptor, custom))
    tags = {tag: value for name in ("", *types) for tag in SCHEMA_TAGS if (value := _option(custom.get(name, {}), tag))}
    return ParsedSchema(SchemaKind.PROTOBUF, text, print_file(root.descriptor, root.custom), references, types, fields,
                        tags, linked)


def text_of(text: str) -> str:
    """The .proto text of a schema in either form."""
    if not _BASE64.fullmatch(text) or not text.strip():
        return text
    try:
        file = pb.FileDescriptorProto.FromString(base64.b64decode(text, validate=False))
    except (binascii.Error, DecodeError):
        return text
    if not file.name and not file.message_type:
        return text
    if file.edition or file.syntax == "editions":
        raise SchemaError("editions are not read: write syntax = \"proto3\" or \"proto2\"")
    return print_file(file, custom_options(file))


def _messages(file: Any) -> Iterator[tuple[str, Any]]:
    """(full name, message): those of the file first, then those inside them."""
    waiting = [(join(file.package, one.name), one) for one in file.message_type]
    while waiting:
        yield from waiting
        waiting = [(join(scope, one.name), one) for scope, outer in waiting for one in outer.nested_type
                   if not one.options.map_entry]


def _fields(file: Any, custom: dict[str, dict[str, str]]) -> Iterator[Field]:
    """The fields of all messages. Those of the first message go by their own name, others by their message's too."""
    first = True
    for full, message in _messages(file):
        for field in message.field:
            path = field.name if first else f"{full.removeprefix(f'{file.package}.')}.{field.name}"
            optional = field.proto3_optional or field.label != field.LABEL_OPTIONAL or field.HasField("oneof_index") \
                or file.syntax != "proto3"
            options = custom.get(f"{full}.{field.name}", {})
            required = _option(options, "required") == "true"
            deprecated = _option(options, "deprecated") or ("true" if field.options.deprecated else "")
            yield Field(path, field.name, optional and not required, _option(options, "pii"),
                        any(_option(options, one) not in ("", "false") for one in ENCRYPTING), deprecated,
                        _option(options, "deprecated_reason"))
        first = False


def _option(options: dict[str, str], name: str) -> str:
    """A tag by the name of its option, in whatever package the option is defined."""
    for written, value in options.items():
        if written == name or written.endswith(f".{name}"):
            return value
    return ""
