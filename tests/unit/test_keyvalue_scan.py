"""The pace of a scan: pages as the reader takes elements, sized by what they hold, and an end with an error."""

from __future__ import annotations

import pytest

from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.keyvalue import scan
from prism_proxy.models.keyvalue.contract import ScanPage


class Source:
    """`total` elements of `size` bytes; remembers the counts asked for."""

    def __init__(self, total: int, size: int) -> None:
        self.total, self.size, self.asked = total, size, list[int]()

    async def fetch(self, cursor: bytes | None, count: int) -> ScanPage:
        self.asked.append(count)
        first = int(cursor) + 1 if cursor is not None else 0
        last = min(first + count, self.total)
        items: list[tuple[bytes, bytes | None]] = [(b"%d" % index, bytes(self.size)) for index in range(first, last)]
        return ScanPage(items, b"%d" % (last - 1) if last < self.total else None, lambda key: key)


def elements(source: Source, limit: int = 0, now: list[float] | None = None, cursor: bytes | None = None):  # type: ignore[no-untyped-def]
    times = now or [0.0]
    return scan.elements(source.fetch, cursor, limit, lambda: times[0])


@pytest.mark.parametrize("limit", [0, 1, 31, 32, 33, 1000, 5000])
async def test_all_elements_once_and_no_more_than_the_limit(limit: int) -> None:
    source = Source(3000, 10)
    found = [int(item.key) async for item in elements(source, limit)]
    assert found == list(range(min(limit or 3000, 3000)))
    assert limit == 0 or sum(source.asked) <= limit


async def test_the_next_page_is_fetched_only_when_the_last_is_taken() -> None:
    source = Source(1000, 10)
    reader = elements(source)
    for _ in range(scan.FIRST_PAGE):
        await anext(reader)
    assert source.asked == [scan.FIRST_PAGE]
    await anext(reader)
    assert len(source.asked) == 2


@pytest.mark.parametrize(("size", "expected"), [(10, scan.MAX_PAGE), (10_000, 104), (2_000_000, 1)])
async def test_pages_are_sized_by_their_bytes(size: int, expected: int) -> None:
    source = Source(70, size)
    reader = elements(source)
    for _ in range(scan.FIRST_PAGE + 1):
        await anext(reader)
    assert source.asked == [scan.FIRST_PAGE, expected]


async def test_it_resumes_behind_any_element() -> None:
    assert [int(item.key) async for item in elements(Source(40, 1), cursor=b"35")] == [36, 37, 38, 39]


@pytest.mark.parametrize(("step", "taken"), [(31.0, 1), (29.0, 11)], ids=["paused", "old"])
async def test_it_ends_with_an_error_when_slow_or_old(step: float, taken: int) -> None:
    """30 s without a taken element, or 300 s in all."""
    now, found = [0.0], []
    reader = elements(Source(1000, 10), now=now)

    async def read() -> None:
        async for item in reader:
            found.append(item)
            now[0] += step

    with pytest.raises(PrismError) as caught:
        await read()
    assert (caught.value.code, caught.value.reason) == (StatusCode.ABORTED, "SCAN_EXPIRED")
    assert len(found) == taken
    rest = [int(item.key) async for item in elements(Source(1000, 10), cursor=found[-1].cursor)]
    assert rest[0] == taken


async def test_empty_pages_are_no_end_but_count_towards_the_age() -> None:
    now = [0.0]

    async def fetch(cursor: bytes | None, count: int) -> ScanPage:
        now[0] += 50.0
        return ScanPage([], b"on", lambda key: key)

    with pytest.raises(PrismError):
        await anext(scan.elements(fetch, None, 0, lambda: now[0]))
    assert now[0] == 350.0
