"""What is refused before a driver sees it. Runs on every layer above the driver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from prism_proxy.errors import StatusCode
from prism_proxy.models.keyvalue import contract as keyvalue
from prism_proxy.testing.contracts.subject import KeyValueSubject, refused

INVALID = StatusCode.INVALID_ARGUMENT
TOO_LONG = "k" * 65537
Call = Callable[[KeyValueSubject, str], Awaitable[object]]


async def _in_transaction(store: KeyValueSubject, key: str, value: bytes | None) -> None:
    transaction = await store.begin()
    if value is None:
        await store.get_in_transaction(transaction, key)
    else:
        await store.set_in_transaction(transaction, key, value)


# every method that takes one key: (method, interface, call)
WITH_KEY: list[tuple[str, str, Call]] = [
    ("Set", keyvalue.BASIC, lambda store, key: store.set(key, b"v")),
    ("Get", keyvalue.BASIC, lambda store, key: store.get(key)),
    ("Delete", keyvalue.BASIC, lambda store, key: store.delete(key)),
    ("Exists", keyvalue.BASIC, lambda store, key: store.exists(key)),
    ("Expire", keyvalue.TTL, lambda store, key: store.expire(key, 1)),
    ("GetTTL", keyvalue.TTL, lambda store, key: store.get_ttl(key)),
    ("Persist", keyvalue.TTL, lambda store, key: store.persist(key)),
    ("CompareAndSwap", keyvalue.CAS, lambda store, key: store.compare_and_swap(key, None, b"v")),
    ("CompareAndDelete", keyvalue.CAS, lambda store, key: store.compare_and_delete(key, b"v")),
    ("SetInTransaction", keyvalue.TRANSACTIONAL, lambda store, key: _in_transaction(store, key, b"v")),
    ("GetInTransaction", keyvalue.TRANSACTIONAL, lambda store, key: _in_transaction(store, key, None)),
]
# every method that takes a transaction
WITH_TRANSACTION: list[tuple[str, Call]] = [
    ("SetInTransaction", lambda store, handle: store.set_in_transaction(handle, "key", b"v")),
    ("GetInTransaction", lambda store, handle: store.get_in_transaction(handle, "key")),
    ("Commit", lambda store, handle: store.commit(handle)),
    ("Rollback", lambda store, handle: store.rollback(handle)),
]


class KeyValueRulesSuite:
    """For drivers with all six interfaces."""

    @pytest.mark.parametrize("key", ["", TOO_LONG], ids=["empty", "too-long"])
    @pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, _, call in WITH_KEY])
    async def test_IFC3_bad_keys_are_refused(self, layered_store: KeyValueSubject, call: Call, key: str) -> None:
        with refused(INVALID, "INVALID_KEY", "key"):
            await call(layered_store, key)

    async def test_IFC3_bad_keys_fail_their_item_of_a_batch_alone(self, layered_store: KeyValueSubject) -> None:
        items = [(f"key{index}", b"v") for index in range(10)]
        items[3], items[7] = ("", b"v"), (TOO_LONG, b"v")
        errors = await layered_store.batch_set(items)
        assert [index for index, error in enumerate(errors) if error] == [3, 7]
        assert all("INVALID_KEY" in error for error in errors if error)
        assert await layered_store.batch_get(["key2", "key8", "key3"]) == [b"v", b"v", None]
        found = await layered_store.batch_get(["key2", "", "nothing", TOO_LONG, "key8"])
        assert [found[0], found[2], found[4]] == [b"v", None, b"v"]
        assert all(isinstance(error, str) and "INVALID_KEY" in error for error in (found[1], found[3]))
        errors = await layered_store.batch_delete(["key2", "", "nothing", TOO_LONG, "key8"])
        assert [index for index, error in enumerate(errors) if error] == [1, 3]
        assert all("INVALID_KEY" in error for error in errors if error)
        assert await layered_store.batch_get(["key2", "key8", "key4"]) == [None, None, b"v"]

    async def test_IFC3_a_ttl_that_no_store_can_hold_is_refused(self, layered_store: KeyValueSubject) -> None:
        await layered_store.set("key", b"v")
        for seconds in (9_000_000_001, 2**53, 2**63 - 1):
            with refused(INVALID, field="ttl_seconds"):
                await layered_store.expire("key", seconds)
        assert await layered_store.get_ttl("key") == -1
        assert await layered_store.expire("key", 9_000_000_000)
        assert 9_000_000_000 - 10 < await layered_store.get_ttl("key") <= 9_000_000_000, "kept, not cut"

    async def test_IFC3_prefixes_are_bounded(self, layered_store: KeyValueSubject) -> None:
        with refused(INVALID, "INVALID_KEY", "prefix"):
            await layered_store.scan(TOO_LONG)
        with refused(INVALID, "INVALID_KEY", "prefix"):
            await layered_store.scan_keys(TOO_LONG)
        with refused(INVALID, "INVALID_KEY", "prefix"):
            await layered_store.count(TOO_LONG)

    async def test_IFC3_negative_limits_are_refused(self, layered_store: KeyValueSubject) -> None:
        with refused(INVALID, field="limit"):
            await layered_store.scan(limit=-1)
        with refused(INVALID, field="limit"):
            await layered_store.scan_keys(limit=-1)

    async def test_IFC3_negative_ttl_is_refused(self, layered_store: KeyValueSubject) -> None:
        await layered_store.set("key", b"v")
        with refused(INVALID, field="ttl_seconds"):
            await layered_store.expire("key", -1)
        assert await layered_store.exists("key")

    async def test_IFC3_batches_are_bounded(self, layered_store: KeyValueSubject) -> None:
        keys = [f"k{index}" for index in range(10_001)]
        with refused(INVALID, field="requests"):
            await layered_store.batch_set([(key, b"") for key in keys])
        with refused(INVALID, field="keys"):
            await layered_store.batch_get(keys)
        with refused(INVALID, field="keys"):
            await layered_store.batch_delete(keys)
        assert not await layered_store.exists("k0")

    @pytest.mark.parametrize(("timeout_ms", "isolation", "field"), [
        (-1, 0, "timeout_ms"), (300_001, 0, "timeout_ms"), (0, 1, "isolation"), (0, -1, "isolation")])
    async def test_IFC3_begin_is_refused(
        self, layered_store: KeyValueSubject, timeout_ms: int, isolation: int, field: str
    ) -> None:
        with refused(INVALID, field=field):
            await layered_store.begin(timeout_ms, isolation)

    @pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, call in WITH_TRANSACTION])
    async def test_IFC3_transactions_that_are_not_open(self, layered_store: KeyValueSubject, call: Call) -> None:
        with refused(INVALID, "INVALID_TRANSACTION_ID", "transaction_id"):
            await call(layered_store, "no such thing")
        committed, rolled_back = await layered_store.begin(), await layered_store.begin()
        await layered_store.commit(committed)
        await layered_store.rollback(rolled_back)
        epoch = committed.split(".")[-2]
        lost = committed.replace(epoch, "0" * len(epoch))
        for handle, reason in ((committed, "TRANSACTION_ENDED"), (rolled_back, "TRANSACTION_ENDED"),
                               (lost, "TRANSACTION_LOST")):
            with refused(StatusCode.ABORTED, reason):
                await call(layered_store, handle)

    async def test_IFC3_batches_of_too_many_bytes_are_refused(self, layered_store: KeyValueSubject) -> None:
        await layered_store.set("large", bytes(5 * 1024 * 1024))
        await layered_store.set("small", b"v")
        assert len(await layered_store.batch_get(["large"] * 3)) == 3
        with refused(StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE"):
            await layered_store.batch_get(["small", *["large"] * 9_999])

    async def test_IFC3_transactions_of_too_many_keys_are_refused(self, layered_store: KeyValueSubject) -> None:
        transaction = await layered_store.begin()
        for index in range(1000):
            await layered_store.set_in_transaction(transaction, f"key{index}", b"v")
        with refused(StatusCode.RESOURCE_EXHAUSTED, "TRANSACTION_TOO_LARGE"):
            await layered_store.set_in_transaction(transaction, "last", b"v")
        with refused(StatusCode.RESOURCE_EXHAUSTED, "TRANSACTION_TOO_LARGE"):
            await layered_store.get_in_transaction(transaction, "last")
        assert await layered_store.commit(transaction) == 1000

    async def test_IFC3_large_transactions_are_refused_and_stay_open(self, layered_store: KeyValueSubject) -> None:
        transaction = await layered_store.begin()
        await layered_store.set_in_transaction(transaction, "key", b"v")
        for index in range(2):
            await layered_store.set_in_transaction(transaction, f"large{index}", bytes(7 * 1024 * 1024))
        with refused(StatusCode.RESOURCE_EXHAUSTED, "TRANSACTION_TOO_LARGE"):
            await layered_store.set_in_transaction(transaction, "last", bytes(3 * 1024 * 1024))
        assert await layered_store.get_in_transaction(transaction, "key") == b"v"
        assert await layered_store.rollback(transaction) == 0
