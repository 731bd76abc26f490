"""Every service the data port offers: its servicer, and how generated code registers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prism.interfaces.keyvalue import (
    keyvalue_basic_pb2_grpc,
    keyvalue_batch_pb2_grpc,
    keyvalue_cas_pb2_grpc,
    keyvalue_scan_pb2_grpc,
    keyvalue_transactional_pb2_grpc,
    keyvalue_ttl_pb2_grpc,
)
from prism_proxy.interfaces.base import Relay, Resolve
from prism_proxy.interfaces.keyvalue_basic import KeyValueBasicServicer
from prism_proxy.interfaces.keyvalue_batch import KeyValueBatchServicer
from prism_proxy.interfaces.keyvalue_cas import KeyValueCasServicer
from prism_proxy.interfaces.keyvalue_scan import KeyValueScanServicer
from prism_proxy.interfaces.keyvalue_transactional import KeyValueTransactionalServicer
from prism_proxy.interfaces.keyvalue_ttl import KeyValueTTLServicer

_PACKAGE = "prism.interfaces.keyvalue."
SERVICES: dict[str, tuple[Callable[[Resolve, Relay | None], Any], Callable[[Any, Any], None]]] = {
    _PACKAGE + "KeyValueBasicInterface": (
        KeyValueBasicServicer, keyvalue_basic_pb2_grpc.add_KeyValueBasicInterfaceServicer_to_server),
    _PACKAGE + "KeyValueScanInterface": (
        KeyValueScanServicer, keyvalue_scan_pb2_grpc.add_KeyValueScanInterfaceServicer_to_server),
    _PACKAGE + "KeyValueTTLInterface": (
        KeyValueTTLServicer, keyvalue_ttl_pb2_grpc.add_KeyValueTTLInterfaceServicer_to_server),
    _PACKAGE + "KeyValueBatchInterface": (
        KeyValueBatchServicer, keyvalue_batch_pb2_grpc.add_KeyValueBatchInterfaceServicer_to_server),
    _PACKAGE + "KeyValueCASInterface": (
        KeyValueCasServicer, keyvalue_cas_pb2_grpc.add_KeyValueCASInterfaceServicer_to_server),
    _PACKAGE + "KeyValueTransactionalInterface": (
        KeyValueTransactionalServicer,
        keyvalue_transactional_pb2_grpc.add_KeyValueTransactionalInterfaceServicer_to_server),
}

# Paths of methods that change nothing, and need nothing of the process that serves them but the data.
READS = frozenset(f"/{_PACKAGE}KeyValue{name}".encode() for name in (
    "BasicInterface/Get", "BasicInterface/Exists", "ScanInterface/Scan", "ScanInterface/ScanKeys",
    "ScanInterface/Count", "TTLInterface/GetTTL", "BatchInterface/BatchGet"))


def add_interfaces(server: Any, resolve: Resolve, relay: Relay | None = None) -> list[str]:
    """Register every service on `server`; returns their full names. `relay` leads to the other workers."""
    for servicer, register in SERVICES.values():
        register(servicer(resolve, relay), server)
    return list(SERVICES)


def namespaced(path: str) -> bool:
    """Whether the method at `path` belongs to a service whose calls name a namespace."""
    return path.lstrip("/").rpartition("/")[0] in SERVICES
