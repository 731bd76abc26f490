"""The thin interfaces as data: name, gRPC service, methods.

A backend declares the names it implements, once, in its driver; presence means the capability works. Suites, registry
files and errors take names and methods from here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from prism_proxy.contracts.keyvalue import (
    KeyValueBasic,
    KeyValueBatch,
    KeyValueCas,
    KeyValueScan,
    KeyValueTransactional,
    KeyValueTTL,
)

Contract = TypeVar("Contract")


@dataclass(frozen=True)
class Interface(Generic[Contract]):
    """One thin interface. `Contract` is the Protocol its drivers implement."""

    name: str
    service: str
    methods: tuple[str, ...]

    def path(self, method: str) -> str:
        """The gRPC path of a method."""
        return f"/{self.service}/{method}"


KEYVALUE_BASIC = Interface[KeyValueBasic](
    "keyvalue_basic", "prism.interfaces.keyvalue.KeyValueBasicInterface", ("Set", "Get", "Delete", "Exists"))
KEYVALUE_SCAN = Interface[KeyValueScan](
    "keyvalue_scan", "prism.interfaces.keyvalue.KeyValueScanInterface", ("Scan", "ScanKeys", "Count"))
KEYVALUE_TTL = Interface[KeyValueTTL](
    "keyvalue_ttl", "prism.interfaces.keyvalue.KeyValueTTLInterface", ("Expire", "GetTTL", "Persist"))
KEYVALUE_TRANSACTIONAL = Interface[KeyValueTransactional](
    "keyvalue_transactional", "prism.interfaces.keyvalue.KeyValueTransactionalInterface",
    ("BeginTransaction", "SetInTransaction", "GetInTransaction", "Commit", "Rollback"))
KEYVALUE_BATCH = Interface[KeyValueBatch](
    "keyvalue_batch", "prism.interfaces.keyvalue.KeyValueBatchInterface", ("BatchSet", "BatchGet", "BatchDelete"))
KEYVALUE_CAS = Interface[KeyValueCas](
    "keyvalue_cas", "prism.interfaces.keyvalue.KeyValueCASInterface", ("CompareAndSwap", "CompareAndDelete"))

KEYVALUE: tuple[Interface[Any], ...] = (
    KEYVALUE_BASIC, KEYVALUE_SCAN, KEYVALUE_TTL, KEYVALUE_TRANSACTIONAL, KEYVALUE_BATCH, KEYVALUE_CAS)
BY_NAME = {interface.name: interface for interface in KEYVALUE}
