"""keyvalue_batch: results keep the order of the request; nothing is atomic."""

from __future__ import annotations

from prism_proxy.testing.contracts.subject import KeyValueSubject


class KeyValueBatchSuite:
    async def test_KVH_batch_set(self, store: KeyValueSubject) -> None:
        items = [(f"key{index}", b"%d" % index) for index in range(100)]
        assert await store.batch_set(items) == [""] * 100
        for key, value in items[::9]:
            assert await store.get(key) == value

    async def test_KVH_batch_set_of_a_repeated_key_the_last_wins(self, store: KeyValueSubject) -> None:
        assert await store.batch_set([("key", b"first"), ("other", b"x"), ("key", b"last")]) == ["", "", ""]
        assert await store.get("key") == b"last"
        assert await store.get("other") == b"x"

    async def test_KVH_batch_set_overwrites(self, store: KeyValueSubject) -> None:
        await store.set("key", b"before")
        await store.batch_set([("key", b"after")])
        assert await store.get("key") == b"after"

    async def test_KVH_batch_set_empty(self, store: KeyValueSubject) -> None:
        assert await store.batch_set([]) == []

    async def test_KVH_batch_get_keeps_order_and_repeats(self, store: KeyValueSubject) -> None:
        await store.set("a", b"1")
        await store.set("b", b"")
        assert await store.batch_get(["b", "missing", "a", "b"]) == [b"", None, b"1", b""]

    async def test_KVH_batch_get_of_missing_keys(self, store: KeyValueSubject) -> None:
        assert await store.batch_get(["x", "y"]) == [None, None]
        assert await store.batch_get([]) == []

    async def test_KVH_batch_delete(self, store: KeyValueSubject) -> None:
        for key in ("a", "b", "c"):
            await store.set(key, b"value")
        await store.batch_delete(["a", "c"])
        assert await store.batch_get(["a", "b", "c"]) == [None, b"value", None]

    async def test_KVH_batch_delete_of_missing_keys_succeeds(self, store: KeyValueSubject) -> None:
        await store.set("b", b"value")
        await store.batch_delete(["a", "a", "c"])
        await store.batch_delete([])
        assert await store.get("b") == b"value"

    async def test_KVH_largest_batch(self, store: KeyValueSubject) -> None:
        keys = [f"key{index}" for index in range(10_000)]
        assert await store.batch_set([(key, key.encode()) for key in keys]) == [""] * 10_000
        assert await store.batch_get(keys) == [key.encode() for key in keys]
        await store.batch_delete(keys)
        assert await store.batch_get(keys[:10]) == [None] * 10
