"""Reads the thin interfaces out of descriptors, by the options `prism.interface` and `prism.effect`.

The build does so for our own contract, a process for those of third parties. Imports no stubs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet

from prism_proxy.interfaces.interface import BLOCKING, IDEMPOTENT, ONCE, READ, STREAM, Interface, Method

_INTERFACE, _MODEL, _EFFECT = 50203, 50204, 50305  # fields of options.proto
_EFFECTS = ("", READ, IDEMPOTENT, ONCE, STREAM, BLOCKING)


def interfaces_of(file: Any, doc: str = "") -> Iterator[Interface]:
    """Those that a file descriptor declares; their data model is the last part of its package unless they say another.
    ValueError when a method does not say its effect."""
    for service in file.services_by_name.values():
        name = _option(service, _INTERFACE)
        if name is not None:
            model = _option(service, _MODEL)
            yield Interface(
                name.decode(), model.decode() if model else file.package.rpartition(".")[2], service.full_name,
                file.name, doc, tuple(_method(method) for method in service.methods))


def _method(method: Any) -> Method:
    effect = _option(method, _EFFECT)
    if not effect or effect >= len(_EFFECTS):
        raise ValueError(f"{method.full_name} must say what running it twice would do: option (prism.effect)")
    return Method(method.name, method.input_type.full_name, _EFFECTS[effect], method.client_streaming,
                  method.server_streaming)


def _option(descriptor: Any, number: int) -> Any:
    """The last value of an option, whether or not its declaration is known to this process."""
    found: Any = UnknownFieldSet(Empty.FromString(descriptor.GetOptions().SerializeToString()))
    return next((field.data for field in reversed(list(found)) if field.field_number == number), None)
