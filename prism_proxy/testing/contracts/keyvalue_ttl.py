"""keyvalue_ttl: KVT of the specification. A time to live of 0 there is a Set without Expire here."""

from __future__ import annotations

from prism_proxy.testing.contracts.subject import KeyValueSubject


class KeyValueTTLSuite:
    async def test_KVT_readable_before_expiry(self, store: KeyValueSubject) -> None:
        await store.set("key", b"value")
        assert await store.expire("key", 10)
        assert await store.get("key") == b"value"
        assert await store.exists("key")

    async def test_KVT_gone_after_expiry(self, store: KeyValueSubject) -> None:
        await store.set("key", b"value")
        await store.expire("key", 1)
        await store.wait(1.1)
        assert not await store.exists("key")
        assert await store.get("key") is None
        assert await store.get_ttl("key") == -2

    async def test_KVT_without_expiry_stays(self, store: KeyValueSubject) -> None:
        await store.set("key", b"value")
        await store.wait(1.1)
        assert await store.get("key") == b"value"
        assert await store.get_ttl("key") == -1

    async def test_KVT_overwrite_resets(self, store: KeyValueSubject) -> None:
        await store.set("key", b"first")
        await store.expire("key", 2)
        await store.wait(1.2)
        await store.set("key", b"second")
        await store.expire("key", 2)
        await store.wait(1.2)
        assert await store.get("key") == b"second"
        await store.wait(1.3)
        assert await store.get("key") is None

    async def test_KVT_set_clears_expiry(self, store: KeyValueSubject) -> None:
        await store.set("key", b"first")
        await store.expire("key", 1)
        await store.set("key", b"second")
        assert await store.get_ttl("key") == -1
        await store.wait(1.1)
        assert await store.get("key") == b"second"

    async def test_KVT_several_expire_in_their_order(self, store: KeyValueSubject) -> None:
        for seconds in (1, 2, 4):
            await store.set(f"key{seconds}", b"value")
            await store.expire(f"key{seconds}", seconds)
        await store.wait(1.4)
        assert [await store.exists(f"key{seconds}") for seconds in (1, 2, 4)] == [False, True, True]
        await store.wait(1.2)
        assert [await store.exists(f"key{seconds}") for seconds in (1, 2, 4)] == [False, False, True]

    async def test_KVT_delete_before_expiry(self, store: KeyValueSubject) -> None:
        await store.set("key", b"first")
        await store.expire("key", 1)
        await store.delete("key")
        await store.set("key", b"second")
        await store.wait(1.1)
        assert await store.get("key") == b"second"

    async def test_KVT_expire_missing(self, store: KeyValueSubject) -> None:
        assert not await store.expire("nothing-here", 10)
        assert not await store.exists("nothing-here")

    async def test_KVT_expire_zero_deletes_now(self, store: KeyValueSubject) -> None:
        await store.set("key", b"value")
        assert await store.expire("key", 0)
        assert not await store.exists("key")
        assert not await store.expire("key", 0)

    async def test_KVT_expire_replaces_expiry(self, store: KeyValueSubject) -> None:
        await store.set("key", b"value")
        await store.expire("key", 1)
        await store.expire("key", 100)
        await store.wait(1.1)
        assert await store.get("key") == b"value"

    async def test_KVT_expire_for_centuries(self, store: KeyValueSubject) -> None:
        await store.set("key", b"value")
        assert await store.expire("key", 2**33)
        assert await store.get("key") == b"value"
        assert await store.get_ttl("key") > 2**30

    async def test_KVT_get_ttl_rounds_up(self, store: KeyValueSubject) -> None:
        await store.set("key", b"value")
        await store.expire("key", 10)
        await store.wait(0.3)
        assert await store.get_ttl("key") == 10

    async def test_KVT_get_ttl_without_expiry_or_key(self, store: KeyValueSubject) -> None:
        await store.set("key", b"value")
        assert await store.get_ttl("key") == -1
        assert await store.get_ttl("nothing-here") == -2

    async def test_KVT_persist(self, store: KeyValueSubject) -> None:
        await store.set("key", b"value")
        await store.expire("key", 1)
        assert await store.persist("key")
        await store.wait(1.1)
        assert await store.get("key") == b"value"
        assert await store.get_ttl("key") == -1

    async def test_KVT_persist_without_expiry_or_key(self, store: KeyValueSubject) -> None:
        await store.set("key", b"value")
        assert not await store.persist("key")
        assert not await store.persist("nothing-here")
        assert not await store.exists("nothing-here")
