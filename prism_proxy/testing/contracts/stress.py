"""IFC-4: writers and readers at once, for a while."""

from __future__ import annotations

import asyncio
import time

from prism_proxy.testing.contracts.subject import KeyValueSubject, Refused

WRITERS, READERS = 10, 50
LEAST_CALLS = 100  # also on a machine that is busy with something else


class StressSuite:
    """`stress_seconds` is a fixture: 5 in the long form."""

    async def test_IFC4_ten_writers_and_fifty_readers(self, store: KeyValueSubject, stress_seconds: float) -> None:
        done = errors = 0
        end = time.monotonic() + stress_seconds

        async def repeat(write: bool, worker: int) -> None:
            nonlocal done, errors
            turn = 0
            while time.monotonic() < end or done <= LEAST_CALLS:
                key = f"key{(worker + turn) % 20}"
                turn += 1
                try:
                    await (store.set(key, b"%d" % turn) if write else store.get(key))
                    done += 1
                except Refused:
                    errors += 1
                await asyncio.sleep(0)

        await asyncio.gather(*(repeat(True, index) for index in range(WRITERS)),
                             *(repeat(False, index) for index in range(READERS)))
        assert done > LEAST_CALLS
        assert errors < 0.01 * done
