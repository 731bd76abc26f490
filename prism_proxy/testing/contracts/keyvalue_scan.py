"""keyvalue_scan: KVS of the specification. Order is not promised, so results compare as sets."""

from __future__ import annotations

from prism_proxy.errors import StatusCode
from prism_proxy.testing.contracts.subject import KeyValueSubject, refused


async def _fill(store: KeyValueSubject, *prefixes: str, count: int) -> dict[str, bytes]:
    items = {f"{prefix}{index}": b"value of %s%d" % (prefix.encode(), index)
             for prefix in prefixes for index in range(count)}
    for key, value in items.items():
        await store.set(key, value)
    return items


class KeyValueScanSuite:
    async def test_KVS_scan_all(self, store: KeyValueSubject) -> None:
        items = await _fill(store, "key", count=10)
        assert {item.key: item.value for item in await store.scan()} == items

    async def test_KVS_scan_prefix(self, store: KeyValueSubject) -> None:
        items = await _fill(store, "user:", "post:", count=5)
        found = {item.key: item.value for item in await store.scan("user:")}
        assert found == {key: value for key, value in items.items() if key.startswith("user:")}

    async def test_KVS_scan_limit(self, store: KeyValueSubject) -> None:
        items = await _fill(store, "key", count=20)
        found = await store.scan(limit=10)
        assert len({item.key for item in found}) == len(found) == 10
        assert items.keys() >= {item.key for item in found}

    async def test_KVS_scan_of_nothing_is_empty(self, store: KeyValueSubject) -> None:
        await _fill(store, "key", count=3)
        assert await store.scan("no-such-prefix") == []
        assert await store.scan("key00") == []

    async def test_KVS_scan_resumes_behind_any_element(self, store: KeyValueSubject) -> None:
        items = await _fill(store, "key", count=25)
        first = await store.scan("key", limit=9)
        rest = await store.scan("key", cursor=first[-1].cursor)
        assert {item.key for item in first} | {item.key for item in rest} == items.keys()
        again = await store.scan("key", cursor=first[3].cursor)
        assert {item.key for item in first[:4]} | {item.key for item in again} == items.keys()

    async def test_KVS_scan_resumes_behind_an_element_deleted_meanwhile(self, store: KeyValueSubject) -> None:
        items = await _fill(store, "key", count=12)
        first = await store.scan(limit=5)
        await store.delete(first[-1].key)
        rest = await store.scan(cursor=first[-1].cursor)
        assert {item.key for item in first} | {item.key for item in rest} == items.keys()

    async def test_KVS_scan_visits_what_stays_while_other_keys_change(self, store: KeyValueSubject) -> None:
        items = await _fill(store, "stays", count=30)
        found, cursor = set(), None
        while page := await store.scan(limit=4, cursor=cursor):
            found |= {item.key for item in page}
            cursor = page[-1].cursor
            await store.set(f"added{len(found)}", b"")
            await store.delete(f"added{len(found) - 4}")
        assert found >= items.keys()

    async def test_KVS_scan_treats_the_prefix_as_text(self, store: KeyValueSubject) -> None:
        keys = ("a*b", "a?b", "a[b]", "axb", "a\\b", "é1", "e1")
        for key in keys:
            await store.set(key, b"")
        for prefix in ("a*", "a?", "a[b]", "a\\", "é"):
            found = {item.key for item in await store.scan_keys(prefix)}
            assert found == {key for key in keys if key.startswith(prefix)}

    async def test_KVS_scan_many_pages(self, store: KeyValueSubject) -> None:
        items = {f"key{index}": b"x" * 5000 for index in range(700)}
        for key, value in items.items():
            await store.set(key, value)
        assert {item.key: item.value for item in await store.scan()} == items

    async def test_KVS_scan_refuses_a_foreign_cursor(self, store: KeyValueSubject) -> None:
        await _fill(store, "key", count=3)
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_CURSOR", "cursor"):
            await store.scan(cursor=b"\xffnot a cursor")
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_CURSOR", "cursor"):
            await store.scan_keys(cursor=b"")

    async def test_KVS_scan_keys(self, store: KeyValueSubject) -> None:
        items = await _fill(store, "key", count=5)
        found = await store.scan_keys()
        assert {item.key for item in found} == items.keys()
        assert all(item.value is None for item in found)

    async def test_KVS_scan_keys_prefix_limit_cursor(self, store: KeyValueSubject) -> None:
        await _fill(store, "user:", "post:", count=5)
        first = await store.scan_keys("user:", limit=2)
        rest = await store.scan_keys("user:", cursor=first[-1].cursor)
        assert len(first) == 2
        assert {item.key for item in first} | {item.key for item in rest} == {f"user:{index}" for index in range(5)}
        assert await store.scan_keys("nobody:") == []

    async def test_KVS_count(self, store: KeyValueSubject) -> None:
        assert await store.count() == 0
        await _fill(store, "key", count=15)
        assert await store.count() == 15
        await store.delete("key3")
        assert await store.count() == 14

    async def test_KVS_count_prefix(self, store: KeyValueSubject) -> None:
        await _fill(store, "user:", "post:", count=10)
        assert await store.count("user:") == 10
        assert await store.count("nobody:") == 0
