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
# one call of every method, by interface and gRPC name
CALLS: dict[tuple[str, str], Callable[[KeyValueSubject], Awaitable[object]]] = {
    (keyvalue.BASIC, "Set"): lambda store: store.set("key", b"v"),
    (keyvalue.BASIC, "Get"): lambda store: store.get("key"),
    (keyvalue.BASIC, "Delete"): lambda store: store.delete("key"),
    (keyvalue.BASIC, "Exists"): lambda store: store.exists("key"),
    (keyvalue.SCAN, "Scan"): lambda store: store.scan(),
    (keyvalue.SCAN, "ScanKeys"): lambda store: store.scan_keys(),
    (keyvalue.SCAN, "Count"): lambda store: store.count(),
    (keyvalue.TTL, "Expire"): lambda store: store.expire("key", 1),
    (keyvalue.TTL, "GetTTL"): lambda store: store.get_ttl("key"),
    (keyvalue.TTL, "Persist"): lambda store: store.persist("key"),
    (keyvalue.BATCH, "BatchSet"): lambda store: store.batch_set([("key", b"v")]),
    (keyvalue.BATCH, "BatchGet"): lambda store: store.batch_get(["key"]),
    (keyvalue.BATCH, "BatchDelete"): lambda store: store.batch_delete(["key"]),
    (keyvalue.CAS, "CompareAndSwap"): lambda store: store.compare_and_swap("key", None, b"v"),
    (keyvalue.CAS, "CompareAndDelete"): lambda store: store.compare_and_delete("key", b"v"),
    (keyvalue.TRANSACTIONAL, "BeginTransaction"): lambda store: store.begin(),
    (keyvalue.TRANSACTIONAL, "SetInTransaction"): lambda store: store.set_in_transaction("handle", "key", b"v"),
    (keyvalue.TRANSACTIONAL, "GetInTransaction"): lambda store: store.get_in_transaction("handle", "key"),
    (keyvalue.TRANSACTIONAL, "Commit"): lambda store: store.commit("handle"),
    (keyvalue.TRANSACTIONAL, "Rollback"): lambda store: store.rollback("handle"),
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
                        await CALLS[interface.name, method.name](layered_store)

    async def test_IFC3_every_declared_method_answers(self, layered_store: KeyValueSubject) -> None:
        """A method forgotten in a servicer would answer UNIMPLEMENTED."""
        for interface in of_model("keyvalue"):
            if interface.name in layered_store.declaration.interfaces and interface.name != keyvalue.TRANSACTIONAL:
                for method in interface.methods:
                    await CALLS[interface.name, method.name](layered_store)
