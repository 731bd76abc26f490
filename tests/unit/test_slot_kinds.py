"""The kinds of slot calls beside `call`: those that wait, those that open something, and one for many callers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from prism_proxy.contracts.driver import Declaration, Health, HealthReport
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.slots.batch import Batch
from prism_proxy.slots.circuit import State
from prism_proxy.slots.operation import Effect, Operation
from prism_proxy.slots.options import CircuitOptions, ConcurrencyOptions, SlotOptions
from prism_proxy.slots.slot import Slot

TAKE = Operation("Take", Effect.NON_IDEMPOTENT)
OPEN = Operation("Open", Effect.READ)


class Driver:
    def __init__(self, state: str = "shared") -> None:
        self.declaration = Declaration("fake", frozenset(), state, "synced")

    async def open(self) -> None: ...

    async def drain(self, deadline_s: float) -> None: ...

    async def close(self) -> None: ...

    def health(self) -> HealthReport:
        return HealthReport(Health.HEALTHY)

    def classify(self, error: Exception) -> PrismError | None:
        return PrismError(StatusCode.UNAVAILABLE, "GONE", str(error)) if isinstance(error, OSError) else None


def slot(**options: object) -> Slot[Driver]:
    return Slot("store", "orders", Driver(), options=SlotOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["blocking", "stream"])
async def test_what_waits_takes_no_permit_and_is_no_sample(kind: str) -> None:
    under = slot(concurrency=ConcurrencyOptions(min_limit=1, initial_limit=1, max_limit=1, max_queued=0))
    assert under.limiter is not None
    arrived = asyncio.Event()

    async def wait() -> str:
        await arrived.wait()
        return "it"

    waiting = [asyncio.ensure_future(getattr(under, kind)(TAKE, None, wait)) for _ in range(100)]
    await asyncio.sleep(0.01)
    assert under.limiter.in_flight == 0

    async def quick() -> str:
        return "quick"

    assert await under.call(TAKE, None, quick) == "quick", "a long poll stands in nobody's way"
    arrived.set()
    assert await asyncio.gather(*waiting) == ["it"] * 100


async def test_what_waits_opens_the_circuit_and_is_refused_by_it() -> None:
    under = slot(circuit=CircuitOptions(max_failures=2))

    async def fail() -> None:
        raise OSError("gone")

    for _ in range(2):
        with pytest.raises(PrismError, match="GONE"):
            await under.blocking(TAKE, None, fail)
    assert under.circuit is not None
    assert under.circuit.state is State.OPEN
    with pytest.raises(PrismError, match="CIRCUIT_OPEN"):
        await under.blocking(TAKE, None, fail)
    with pytest.raises(PrismError, match="CIRCUIT_OPEN"):
        await under.call(TAKE, None, fail)


async def test_what_opens_a_stream_is_made_again_until_it_is_open() -> None:
    under, tries = slot(), []

    async def subscribe() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("not yet")
        return "open"

    assert await under.stream(OPEN, None, subscribe) == "open"
    assert len(tries) == 3
    assert under.resilience is not None
    assert under.resilience.retried == 2
    told = under.stream_error(OPEN, OSError("lost"))
    assert told is not None
    assert (told.reason, told.metadata["namespace"], told.metadata["operation"]) == ("GONE", "orders", "Open")
    assert under.stream_error(OPEN, ValueError("ours")) is None


class Backend:
    """Remembers what came together; a call waits while it is `slow`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.slow = asyncio.Event()
        self.slow.set()

    async def take(self, items: list[int]) -> Sequence[int | PrismError]:
        self.batches.append(items)
        await self.slow.wait()
        if 13 in items and len(items) == 1:
            raise OSError("a whole call")
        return [PrismError(StatusCode.INVALID_ARGUMENT, "ODD", str(item)) if item % 2 else item * 10 for item in items]


async def test_a_batch_goes_at_once_and_gathers_while_one_is_in_progress() -> None:
    backend = Backend()
    batch = Batch[int, int](slot(), TAKE, backend.take, most_items=3)
    assert await batch.add(2) == 20
    backend.slow.clear()
    first = asyncio.ensure_future(batch.add(4))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(batch.add(item)) for item in (6, 7, 8, 10)]
    gone = asyncio.ensure_future(batch.add(12))
    await asyncio.sleep(0.01)
    gone.cancel()
    backend.slow.set()
    assert await first == 40
    results = await asyncio.gather(*others, return_exceptions=True)
    assert [result for result in results if isinstance(result, int)] == [60, 80, 100]
    assert isinstance(results[1], PrismError)
    assert backend.batches == [[2], [4], [6, 7, 8], [10]]


async def test_a_batch_is_bounded_by_bytes_and_its_failure_is_that_of_each() -> None:
    backend = Backend()
    batch = Batch[int, int](slot(), TAKE, backend.take, most_bytes=10)
    backend.slow.clear()
    first = asyncio.ensure_future(batch.add(2, size=100))
    await asyncio.sleep(0.001)
    others = [asyncio.ensure_future(batch.add(item, size=6)) for item in (4, 6)]
    await asyncio.sleep(0.001)
    backend.slow.set()
    assert [await first, *await asyncio.gather(*others)] == [20, 40, 60]
    assert backend.batches == [[2], [4], [6]]
    with pytest.raises(PrismError, match="GONE") as caught:
        await batch.add(13)
    assert caught.value.metadata["outcome"] == "unknown"
