"""Namespaces as the wire has them, from rows of storage and back."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from prism import control_plane_pb2 as pb
from prism_admin.storage.namespaces import Namespace


def to_json(config: pb.NamespaceConfig) -> dict[str, Any]:
    """What is stored; it holds secrets."""
    return MessageToDict(config)


def to_config(stored: dict[str, Any]) -> pb.NamespaceConfig:
    return ParseDict(stored, pb.NamespaceConfig(), ignore_unknown_fields=True)


def assignment(namespace: Namespace, revision: int) -> pb.NamespaceAssignment:
    """`revision` is that of the map that makes the receiver its owner."""
    return pb.NamespaceAssignment(namespace=namespace.name, partition_id=namespace.partition,
                                  config=to_config(namespace.config), version=namespace.version, revision=revision)
