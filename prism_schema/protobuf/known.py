"""The imports that need no reference: those that come with Protobuf, Google's common types, and our own options."""

from __future__ import annotations

import re
from importlib import import_module

from google.protobuf import descriptor_pb2 as pb

_KNOWN = re.compile(r"google/(?:protobuf|type|rpc|api)/(?:compiler/)?[a-z_0-9]+\.proto|prism/options\.proto")


def known(name: str) -> pb.FileDescriptorProto | None:
    """The file of an import; None when it has to come from a reference."""
    if not _KNOWN.fullmatch(name):
        return None
    try:
        module = import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    except ImportError:
        return None
    return pb.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
