"""The thin interfaces as data: name, data model, gRPC service, methods.

A backend declares the names it implements, once, in its driver; presence means the capability works. Servicers, suites,
registry files and errors take services and methods from here and nowhere else.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

_KEYVALUE = "prism.interfaces.keyvalue.KeyValue"


@dataclass(frozen=True, slots=True)
class Method:
    """`effect` says what running it twice would do; `streams` is for one whose reply is a stream. `request` is the full
    name of its request's message."""

    name: str
    request: str
    effect: str
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Interface:
    """One thin interface of a data model. `service` is the full name of its gRPC service, `stubs` the module with its
    messages."""

    name: str
    model: str
    service: str
    stubs: str
    methods: tuple[Method, ...]

    def path(self, method: str) -> str:
        return f"/{self.service}/{method}"


def _keyvalue(name: str, service: str, *methods: Method) -> Interface:
    return Interface(
        name, "keyvalue", f"{_KEYVALUE}{service}Interface", f"prism.interfaces.keyvalue.{name}_pb2", methods)


BUILT_IN = (
    _keyvalue("keyvalue_basic", "Basic", Method("Set", "SetRequest", "IDEMPOTENT"), Method("Get", "GetRequest", "READ"),
              Method("Delete", "DeleteRequest", "IDEMPOTENT"), Method("Exists", "ExistsRequest", "READ")),
    _keyvalue("keyvalue_scan", "Scan", Method("Scan", "ScanRequest", "READ", True),
              Method("ScanKeys", "ScanKeysRequest", "READ", True), Method("Count", "CountRequest", "READ")),
    _keyvalue("keyvalue_ttl", "TTL", Method("Expire", "ExpireRequest", "IDEMPOTENT"),
              Method("GetTTL", "GetTTLRequest", "READ"), Method("Persist", "PersistRequest", "ONCE")),
    _keyvalue("keyvalue_transactional", "Transactional", Method("BeginTransaction", "BeginTransactionRequest", "ONCE"),
              Method("SetInTransaction", "SetInTransactionRequest", "ONCE"),
              Method("GetInTransaction", "GetInTransactionRequest", "ONCE"), Method("Commit", "CommitRequest", "ONCE"),
              Method("Rollback", "RollbackRequest", "ONCE")),
    _keyvalue("keyvalue_batch", "Batch", Method("BatchSet", "BatchSetRequest", "IDEMPOTENT"),
              Method("BatchGet", "BatchGetRequest", "READ"), Method("BatchDelete", "BatchDeleteRequest", "IDEMPOTENT")),
    _keyvalue("keyvalue_cas", "CAS", Method("CompareAndSwap", "CompareAndSwapRequest", "ONCE"),
              Method("CompareAndDelete", "CompareAndDeleteRequest", "ONCE")),
)


@functools.cache
def catalogue() -> Mapping[str, Interface]:
    """Every interface by name."""
    return {interface.name: interface for interface in BUILT_IN}


@functools.cache
def services() -> Mapping[str, Interface]:
    """Every interface by the full name of its service."""
    return {interface.service: interface for interface in catalogue().values()}


def of_model(model: str) -> tuple[Interface, ...]:
    """The interfaces of a data model."""
    return tuple(interface for interface in catalogue().values() if interface.model == model)


@functools.cache
def reads() -> frozenset[bytes]:
    """Paths of methods that change nothing, and need nothing of the process that serves them but the data."""
    return frozenset(interface.path(method.name).encode() for interface in catalogue().values()
                     for method in interface.methods if method.effect == "READ")


def namespaced(path: str) -> bool:
    """Whether the method at `path` belongs to a service whose calls name a namespace."""
    return path.lstrip("/").rpartition("/")[0] in services()
