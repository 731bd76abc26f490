"""A driver's declaration against the suites that ran, and what answers for an interface it did not declare."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prism_proxy.errors import StatusCode
from prism_proxy.interfaces.catalogue import of_model
from prism_proxy.models.keyvalue import contract as keyvalue
from prism_proxy.testing.contracts.keyvalue_basic import KeyValueBasicSuite
from prism_proxy.testing.contracts.keyvalue_batch import KeyValueBatchSuite
from prism_proxy.testing.contracts.keyvalue_cas import KeyValueCasSuite
from prism_proxy.testing.contracts.keyvalue_scan import KeyValueScanSuite
from prism_proxy.testing.contracts.keyvalue_transactional import KeyValueTransactionalSuite
from prism_proxy.testing.contracts.keyvalue_ttl import KeyValueTTLSuite
from prism_proxy.testing.contracts.subject import KeyValueSubject, refused

SUITES: dict[str, type] = {
    keyvalue.BASIC: KeyValueBasicSuite,
    keyvalue.SCAN: KeyValueScanSuite,
    keyvalue.TTL: KeyValueTTLSuite,
    keyvalue.BATCH: KeyValueBatchSuite,
    keyvalue.CAS: KeyValueCasSuite,
    keyvalue.TRANSACTIONAL: KeyValueTransactionalSuite,
}
# one call of every method, by gRPC name
CALLS: dict[str, Callable[[KeyValueSubject], Awaitable[object]]] = {
    "Set": lambda store: store.set("key", b"v"),
    "Get": lambda store: store.get("key"),
    "Delete": lambda store: store.delete("key"),
    "Exists": lambda store: store.exists("key"),
    "Scan": lambda store: store.scan(),
    "ScanKeys": lambda store: store.scan_keys(),
    "Count": lambda store: store.count(),
    "Expire": lambda store: store.expire("key", 1),
    "GetTTL": lambda store: store.get_ttl("key"),
    "Persist": lambda store: store.persist("key"),
    "BatchSet": lambda store: store.batch_set([("key", b"v")]),
    "BatchGet": lambda store: store.batch_get(["key"]),
    "BatchDelete": lambda store: store.batch_delete(["key"]),
    "CompareAndSwap": lambda store: store.compare_and_swap("key", None, b"v"),
    "CompareAndDelete": lambda store: store.compare_and_delete("key", b"v"),
    "BeginTransaction": lambda store: store.begin(),
    "SetInTransaction": lambda store: store.set_in_transaction("handle", "key", b"v"),
    "GetInTransaction": lambda store: store.get_in_transaction("handle", "key"),
    "Commit": lambda store: store.commit("handle"),
    "Rollback": lambda store: store.rollback("handle"),
}


class DeclarationSuite:
    """Mixed into the class that runs a driver's suites."""

    async def test_IFC1_suites_are_those_of_the_declaration(self, store: KeyValueSubject) -> None:
        run = {name for name, suite in SUITES.items() if isinstance(self, suite)}
        assert run == store.declaration.interfaces & SUITES.keys()
        assert store.declaration.state in ("local", "shared")
        assert store.declaration.name
        assert store.declaration.durability

    async def test_IFC2_undeclared_interfaces_are_refused(self, layered_store: KeyValueSubject) -> None:
        for interface in of_model("keyvalue"):
            if interface.name not in layered_store.declaration.interfaces:
                for method in interface.methods:
                    with refused(StatusCode.UNIMPLEMENTED, "INTERFACE_NOT_SUPPORTED"):
                        await CALLS[method.name](layered_store)

    async def test_IFC3_every_declared_method_answers(self, layered_store: KeyValueSubject) -> None:
        """A method forgotten in a servicer would answer UNIMPLEMENTED."""
        for interface in of_model("keyvalue"):
            if interface.name in layered_store.declaration.interfaces and interface.name != keyvalue.TRANSACTIONAL:
                for method in interface.methods:
                    await CALLS[method.name](layered_store)
