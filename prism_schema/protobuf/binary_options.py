"""Custom options of a serialised descriptor stand there under numbers: those of `prism/options.proto`, by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2 as pb
from google.protobuf.descriptor import FieldDescriptor

from prism_schema.protobuf.known import known
from prism_schema.protobuf.linker import join
from prism_schema.protobuf.options import Custom
from prism_schema.protobuf.wire import Truncated, fields


def custom_options(file: pb.FileDescriptorProto) -> dict[str, Custom]:
    """By the full name of the element."""
    names = _names()
    made: dict[str, Custom] = {}
    for full, options in _holders(file):
        if found := _of(options, names):
            made[full] = found
    return made


def _names() -> dict[tuple[str, int], Any]:
    """(options message, number) -> extension."""
    file = known("prism/options.proto")
    return {(one.extendee, one.number): one for one in file.extension} if file else {}


def _holders(file: pb.FileDescriptorProto) -> Iterator[tuple[str, Any]]:
    yield "", file.options
    waiting = [(file.package, one) for one in file.message_type]
    while waiting:
        scope, message = waiting.pop()
        full = join(scope, message.name)
        yield full, message.options
        yield from ((f"{full}.{field.name}", field.options) for field in message.field)
        waiting += [(full, one) for one in message.nested_type]


def _of(options: Any, names: dict[tuple[str, int], Any]) -> Custom:
    made: Custom = {}
    try:
        for number, value in fields(options.SerializeToString()):
            extension = names.get((f".{options.DESCRIPTOR.full_name}", number))
            if extension is None:
                continue
            if isinstance(value, bytes):
                text = value.decode(errors="replace")
            else:
                text = str(value) if extension.type != FieldDescriptor.TYPE_BOOL else ("true" if value else "false")
            made[f"prism.{extension.name}"] = text
    except Truncated:
        return {}
    return made
