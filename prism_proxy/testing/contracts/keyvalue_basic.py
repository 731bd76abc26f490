"""keyvalue_basic: KVB of the specification."""

from __future__ import annotations

import asyncio
import random

import pytest

from prism_proxy.testing.contracts.subject import KeyValueSubject

MEGABYTE = bytes(i % 256 for i in range(1024 * 1024))


class KeyValueBasicSuite:
    async def test_KVB_set_get(self, store: KeyValueSubject) -> None:
        await store.set("key", b"test-value")
        assert await store.get("key") == b"test-value"

    async def test_KVB_get_missing_is_not_an_error(self, store: KeyValueSubject) -> None:
        assert await store.get("nothing-here") is None

    async def test_KVB_delete(self, store: KeyValueSubject) -> None:
        await store.set("key", b"value")
        await store.set("other", b"stays")
        await store.delete("key")
        assert await store.get("key") is None
        assert await store.get("other") == b"stays"

    async def test_KVB_delete_missing_succeeds(self, store: KeyValueSubject) -> None:
        await store.delete("nothing-here")
        assert not await store.exists("nothing-here")

    async def test_KVB_exists(self, store: KeyValueSubject) -> None:
        assert not await store.exists("key")
        await store.set("key", b"value")
        assert await store.exists("key")

    async def test_KVB_exists_missing_is_false(self, store: KeyValueSubject) -> None:
        await store.set("key", b"value")
        assert not await store.exists("key2")
        assert not await store.exists("ke")

    async def test_KVB_set_get_delete_chain(self, store: KeyValueSubject) -> None:
        for value in (b"first", b"second"):
            await store.set("key", value)
            assert await store.get("key") == value
            await store.delete("key")
            assert await store.get("key") is None

    async def test_KVB_overwrite(self, store: KeyValueSubject) -> None:
        for value in (b"original", b"updated by something longer", b"short"):
            await store.set("key", value)
            assert await store.get("key") == value

    @pytest.mark.parametrize("value", [b"\x00\x01\x02\xff\xfe\xfd", b"", MEGABYTE], ids=["binary", "empty", "1MB"])
    async def test_KVB_values_are_bytes(self, store: KeyValueSubject, value: bytes) -> None:
        await store.set("key", value)
        assert await store.get("key") == value
        assert await store.exists("key")

    @pytest.mark.parametrize("key", ["a", "a:b-c_d.e/f", "clé ключ 鍵 🔑", "with\x00nul", " ", "k" * 65536],
                             ids=["one", "separators", "unicode", "nul", "space", "longest"])
    async def test_KVB_keys_are_text(self, store: KeyValueSubject, key: str) -> None:
        await store.set(key, b"value")
        assert await store.get(key) == b"value"
        await store.delete(key)
        assert not await store.exists(key)

    async def test_KVB_random_keys_and_values(self, store: KeyValueSubject) -> None:
        chance = random.Random(7)
        expected = {f"{index}-" + "x" * chance.randrange(10, 200): chance.randbytes(chance.randrange(2000))
                    for index in range(50)}
        for key, value in expected.items():
            await store.set(key, value)
        deleted = chance.sample(sorted(expected), 15)
        for key in deleted:
            await store.delete(key)
        for key, value in expected.items():
            assert await store.get(key) == (None if key in deleted else value)

    async def test_KVB_concurrent_sets(self, store: KeyValueSubject) -> None:
        await asyncio.gather(*(store.set(f"key{index}", b"%d" % index) for index in range(100)))
        values = await asyncio.gather(*(store.get(f"key{index}") for index in range(100)))
        assert values == [b"%d" % index for index in range(100)]

    async def test_KVB_concurrent_deletes_all_succeed(self, store: KeyValueSubject) -> None:
        await store.set("key", b"value")
        await asyncio.gather(*(store.delete("key") for _ in range(10)))
        assert not await store.exists("key")

    async def test_KVB_readers_beside_writers_never_lose_the_key(self, store: KeyValueSubject) -> None:
        await store.set("key", b"0")

        async def read() -> None:
            for _ in range(10):
                assert await store.get("key") is not None

        async def write(writer: int) -> None:
            for turn in range(10):
                await store.set("key", b"%d-%d" % (writer, turn))

        await asyncio.gather(*(read() for _ in range(10)), *(write(writer) for writer in range(5)))

    async def test_KVB_the_last_of_many_updates_wins(self, store: KeyValueSubject) -> None:
        for turn in range(100):
            await store.set("key", b"%d" % turn)
        assert await store.get("key") == b"99"
