"""keyvalue_transactional: all writes or none, serializable, checked at Commit."""

from __future__ import annotations

import asyncio

from prism_proxy.errors import StatusCode
from prism_proxy.testing.contracts.subject import KeyValueSubject, Refused, refused


class KeyValueTransactionalSuite:
    """`versions_repeat`: a value that was changed and changed back has its old version, which is no conflict."""

    versions_repeat = False

    async def test_KVX_begin_gives_distinct_handles(self, store: KeyValueSubject) -> None:
        handles = [await store.begin() for _ in range(5)]
        assert len(set(handles)) == 5

    async def test_KVX_commit_applies_all(self, store: KeyValueSubject) -> None:
        transaction = await store.begin()
        await store.set_in_transaction(transaction, "a", b"1")
        await store.set_in_transaction(transaction, "b", b"2")
        assert await store.get("a") is None
        assert await store.commit(transaction) == 2
        assert [await store.get("a"), await store.get("b")] == [b"1", b"2"]

    async def test_KVX_commit_of_a_key_written_twice_counts_once(self, store: KeyValueSubject) -> None:
        transaction = await store.begin()
        await store.set_in_transaction(transaction, "a", b"1")
        await store.set_in_transaction(transaction, "a", b"2")
        assert await store.commit(transaction) == 1
        assert await store.get("a") == b"2"

    async def test_KVX_commit_of_nothing(self, store: KeyValueSubject) -> None:
        assert await store.commit(await store.begin()) == 0

    async def test_KVX_get_reads_its_own_writes(self, store: KeyValueSubject) -> None:
        await store.set("a", b"stored")
        transaction = await store.begin()
        assert await store.get_in_transaction(transaction, "a") == b"stored"
        await store.set_in_transaction(transaction, "a", b"own")
        assert await store.get_in_transaction(transaction, "a") == b"own"
        assert await store.get("a") == b"stored"

    async def test_KVX_get_missing(self, store: KeyValueSubject) -> None:
        transaction = await store.begin()
        assert await store.get_in_transaction(transaction, "missing") is None
        assert await store.commit(transaction) == 0

    async def test_KVX_rollback_applies_nothing(self, store: KeyValueSubject) -> None:
        transaction = await store.begin()
        await store.set_in_transaction(transaction, "a", b"1")
        assert await store.rollback(transaction) == 0
        assert not await store.exists("a")

    async def test_KVX_conflict_with_a_set(self, store: KeyValueSubject) -> None:
        await store.set("read", b"before")
        transaction = await store.begin()
        await store.get_in_transaction(transaction, "read")
        await store.set_in_transaction(transaction, "written", b"1")
        await store.set("read", b"after")
        with refused(StatusCode.ABORTED, "TRANSACTION_CONFLICT"):
            await store.commit(transaction)
        assert not await store.exists("written")

    async def test_KVX_conflict_with_a_set_of_the_same_value(self, store: KeyValueSubject) -> None:
        await store.set("read", b"same")
        transaction = await store.begin()
        await store.get_in_transaction(transaction, "read")
        await store.set("read", b"other")
        await store.set("read", b"same")
        await self._changed_back(store, transaction)

    async def test_KVX_conflict_with_a_deletion_and_a_creation(self, store: KeyValueSubject) -> None:
        await store.set("there", b"value")
        for key in ("there", "missing"):
            transaction = await store.begin()
            await store.get_in_transaction(transaction, key)
            await store.delete("there")
            await store.set("missing", b"now there")
            with refused(StatusCode.ABORTED, "TRANSACTION_CONFLICT"):
                await store.commit(transaction)
            await store.set("there", b"value")
            await store.delete("missing")

    async def test_KVX_conflict_with_a_key_deleted_and_set_again(self, store: KeyValueSubject) -> None:
        await store.set("read", b"value")
        transaction = await store.begin()
        await store.get_in_transaction(transaction, "read")
        await store.delete("read")
        await store.set("read", b"value")
        await self._changed_back(store, transaction)

    async def _changed_back(self, store: KeyValueSubject, transaction: str) -> None:
        """What was read is again as it was read: the transaction may as well have run now."""
        await store.set_in_transaction(transaction, "written", b"1")
        if self.versions_repeat:
            assert await store.commit(transaction) == 1
        else:
            with refused(StatusCode.ABORTED, "TRANSACTION_CONFLICT"):
                await store.commit(transaction)

    async def test_KVX_changes_of_other_keys_are_no_conflict(self, store: KeyValueSubject) -> None:
        transaction = await store.begin()
        await store.get_in_transaction(transaction, "read")
        await store.set_in_transaction(transaction, "written", b"mine")
        await store.set("other", b"theirs")
        await store.set("written", b"theirs, not read by us")
        assert await store.commit(transaction) == 1
        assert await store.get("written") == b"mine"

    async def test_KVX_no_write_skew(self, store: KeyValueSubject) -> None:
        """Two transactions read both keys and write one each: one of them must fail."""
        first, second = await store.begin(), await store.begin()
        for transaction in (first, second):
            for key in ("a", "b"):
                assert await store.get_in_transaction(transaction, key) is None
        await store.set_in_transaction(first, "a", b"1")
        await store.set_in_transaction(second, "b", b"1")
        assert await store.commit(first) == 1
        with refused(StatusCode.ABORTED, "TRANSACTION_CONFLICT"):
            await store.commit(second)
        assert not await store.exists("b")

    async def test_KVX_concurrent_transfers_keep_the_sum(self, store: KeyValueSubject) -> None:
        for account in range(4):
            await store.set(f"account{account}", b"100")

        async def transfer(source: str, target: str) -> None:
            while True:
                transaction = await store.begin()
                try:
                    taken = int(await store.get_in_transaction(transaction, source) or 0)
                    given = int(await store.get_in_transaction(transaction, target) or 0)
                    await store.set_in_transaction(transaction, source, b"%d" % (taken - 1))
                    await store.set_in_transaction(transaction, target, b"%d" % (given + 1))
                    await store.commit(transaction)
                except Refused as error:
                    if error.code is not StatusCode.ABORTED:
                        raise
                else:
                    return

        await asyncio.gather(*(transfer(f"account{index % 4}", f"account{(index + 1) % 4}") for index in range(20)))
        balances = [int(await store.get(f"account{account}") or 0) for account in range(4)]
        assert balances == [100] * 4
