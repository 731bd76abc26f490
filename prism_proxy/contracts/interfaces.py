"""The thin interfaces as data: name, gRPC service, methods.

A backend declares the names it implements, once, in its driver; presence means the capability works. Suites, registry
files and errors take services and methods from here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from prism_proxy.contracts import keyvalue


@dataclass(frozen=True, slots=True)
class Interface:
    """One thin interface; `service` is the full name of its gRPC service."""

    name: str
    service: str
    methods: tuple[str, ...]


_KEYVALUE = "prism.interfaces.keyvalue.KeyValue"
KEYVALUE = (
    Interface(keyvalue.BASIC, _KEYVALUE + "BasicInterface", ("Set", "Get", "Delete", "Exists")),
    Interface(keyvalue.SCAN, _KEYVALUE + "ScanInterface", ("Scan", "ScanKeys", "Count")),
    Interface(keyvalue.TTL, _KEYVALUE + "TTLInterface", ("Expire", "GetTTL", "Persist")),
    Interface(keyvalue.TRANSACTIONAL, _KEYVALUE + "TransactionalInterface",
              ("BeginTransaction", "SetInTransaction", "GetInTransaction", "Commit", "Rollback")),
    Interface(keyvalue.BATCH, _KEYVALUE + "BatchInterface", ("BatchSet", "BatchGet", "BatchDelete")),
    Interface(keyvalue.CAS, _KEYVALUE + "CASInterface", ("CompareAndSwap", "CompareAndDelete")),
)
