"""A driver whose backend takes a fixed number of calls a second, queueing what comes faster; and open-loop load."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from prism_proxy.contracts.driver import Declaration, Health, HealthReport
from prism_proxy.errors import PrismError
from prism_proxy.models.keyvalue import contract as keyvalue


class FixedCapacity:
    """`capacity` calls a second by `servers` servers, first come, first served: an idle one answers in
    `servers / capacity` seconds. It queues for ever, as a naive backend does."""

    declaration = Declaration("fixed", frozenset({keyvalue.BASIC}), state="shared", durability="volatile")

    def __init__(self, capacity: float, servers: int) -> None:
        self.service_s = servers / capacity
        self._free_at = [0.0] * servers
        self.served = 0

    async def open(self) -> None: ...
    async def drain(self, deadline_s: float) -> None: ...
    async def close(self) -> None: ...

    def health(self) -> HealthReport:
        return HealthReport(Health.HEALTHY)

    def classify(self, error: Exception) -> PrismError | None:
        return None

    def done_at(self) -> float:
        """When a call that comes now is answered, by the loop's clock."""
        server = min(range(len(self._free_at)), key=self._free_at.__getitem__)
        done = max(self._free_at[server], asyncio.get_running_loop().time()) + self.service_s
        self._free_at[server] = done
        return done

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        answered = loop.create_future()
        loop.call_at(self.done_at(), answered.set_result, None)
        await answered
        self.served += 1

    async def get(self, key: bytes) -> bytes | None:
        await self._serve()
        return b"value"

    async def set(self, key: bytes, value: bytes) -> None:
        await self._serve()

    async def delete(self, key: bytes) -> bool:
        await self._serve()
        return True

    async def exists(self, key: bytes) -> bool:
        await self._serve()
        return True


async def open_loop(rate: float, seconds: float, call: Callable[[], Awaitable[None]], seed: int = 1) -> None:
    """Start `call` at random times, `rate` a second on average, whatever becomes of the earlier ones."""
    loop, draw, tasks = asyncio.get_running_loop(), random.Random(seed), set()
    at, end = loop.time(), loop.time() + seconds
    while (at := at + draw.expovariate(rate)) < end:
        if at > loop.time():
            await asyncio.sleep(at - loop.time())
        tasks.add(asyncio.ensure_future(call()))
    await asyncio.gather(*tasks)
