"""What key-value interfaces promise together: every write but Expire and Persist clears the expiry of its key."""

from __future__ import annotations

import pytest

from prism_proxy.errors import StatusCode
from prism_proxy.models.keyvalue import contract as keyvalue
from prism_proxy.testing.contracts.subject import KeyValueSubject, refused


def _need(store: KeyValueSubject, *interfaces: str) -> None:
    missing = set(interfaces) - store.declaration.interfaces
    if missing:
        pytest.skip(f"{', '.join(sorted(missing))} is not declared")


async def _expiring(store: KeyValueSubject) -> None:
    await store.set("key", b"old")
    await store.expire("key", 1)
    assert await store.get_ttl("key") == 1


class KeyValueTogetherSuite:
    async def test_KVT_batch_set_clears_expiry(self, store: KeyValueSubject) -> None:
        _need(store, keyvalue.TTL, keyvalue.BATCH)
        await _expiring(store)
        await store.batch_set([("key", b"new")])
        assert await store.get_ttl("key") == -1

    async def test_KVT_compare_and_swap_clears_expiry_when_it_swaps(self, store: KeyValueSubject) -> None:
        _need(store, keyvalue.TTL, keyvalue.CAS)
        await _expiring(store)
        await store.compare_and_swap("key", b"another", b"new")
        assert await store.get_ttl("key") == 1
        await store.compare_and_swap("key", b"old", b"new")
        assert await store.get_ttl("key") == -1

    async def test_KVT_commit_clears_expiry(self, store: KeyValueSubject) -> None:
        _need(store, keyvalue.TTL, keyvalue.TRANSACTIONAL)
        await _expiring(store)
        transaction = await store.begin()
        await store.set_in_transaction(transaction, "key", b"new")
        await store.commit(transaction)
        assert await store.get_ttl("key") == -1

    async def test_KVT_expired_keys_are_gone_for_every_interface(self, store: KeyValueSubject) -> None:
        _need(store, *keyvalue.ALL)
        await _expiring(store)
        await store.wait(1.1)
        assert await store.scan() == []
        assert await store.count() == 0
        assert await store.batch_get(["key"]) == [None]
        assert not (await store.compare_and_delete("key", b"old")).done
        assert (await store.compare_and_swap("key", None, b"new")).done

    async def test_KVX_conflict_with_an_expiry(self, store: KeyValueSubject) -> None:
        _need(store, keyvalue.TTL, keyvalue.TRANSACTIONAL)
        await _expiring(store)
        transaction = await store.begin()
        assert await store.get_in_transaction(transaction, "key") == b"old"
        await store.wait(1.1)
        with refused(StatusCode.ABORTED, "TRANSACTION_CONFLICT"):
            await store.commit(transaction)
