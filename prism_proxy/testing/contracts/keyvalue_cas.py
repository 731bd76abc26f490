"""keyvalue_cas: a failed comparison is an answer that carries what was found."""

from __future__ import annotations

import asyncio

from prism_proxy.testing.contracts.subject import Compared, KeyValueSubject


class KeyValueCasSuite:
    async def test_CAS_swap_what_is_there(self, store: KeyValueSubject) -> None:
        await store.set("key", b"old")
        assert (await store.compare_and_swap("key", b"old", b"new")).done
        assert await store.get("key") == b"new"

    async def test_CAS_swap_refuses_another_value(self, store: KeyValueSubject) -> None:
        await store.set("key", b"actual")
        assert await store.compare_and_swap("key", b"expected", b"new") == Compared(False, b"actual")
        assert await store.get("key") == b"actual"

    async def test_CAS_swap_missing_key(self, store: KeyValueSubject) -> None:
        assert await store.compare_and_swap("key", b"expected", b"new") == Compared(False, None)
        assert not await store.exists("key")

    async def test_CAS_create_once(self, store: KeyValueSubject) -> None:
        assert (await store.compare_and_swap("key", None, b"first")).done
        assert await store.compare_and_swap("key", None, b"second") == Compared(False, b"first")
        assert await store.get("key") == b"first"

    async def test_CAS_empty_is_not_absent(self, store: KeyValueSubject) -> None:
        assert await store.compare_and_swap("key", b"", b"new") == Compared(False, None)
        await store.set("key", b"")
        assert await store.compare_and_swap("key", None, b"new") == Compared(False, b"")
        assert (await store.compare_and_swap("key", b"", b"new")).done

    async def test_CAS_delete_what_is_there(self, store: KeyValueSubject) -> None:
        await store.set("key", b"value")
        assert (await store.compare_and_delete("key", b"value")).done
        assert not await store.exists("key")

    async def test_CAS_delete_refuses_another_value_or_no_key(self, store: KeyValueSubject) -> None:
        await store.set("key", b"actual")
        assert await store.compare_and_delete("key", b"expected") == Compared(False, b"actual")
        assert await store.compare_and_delete("missing", b"") == Compared(False, None)
        assert await store.get("key") == b"actual"

    async def test_CAS_no_update_is_lost(self, store: KeyValueSubject) -> None:
        await store.set("counter", b"0")

        async def add() -> None:
            done = False
            while not done:
                seen = await store.get("counter") or b""
                done = (await store.compare_and_swap("counter", seen, b"%d" % (int(seen) + 1))).done

        await asyncio.gather(*(add() for _ in range(20)))
        assert await store.get("counter") == b"20"

    async def test_CAS_one_of_many_creates(self, store: KeyValueSubject) -> None:
        results = await asyncio.gather(*(store.compare_and_swap("key", None, b"%d" % index) for index in range(20)))
        assert sum(result.done for result in results) == 1
