"""A scan: pages fetched from the driver only as fast as the caller takes elements.

Between pages nothing is pinned: a page continues after a cursor. A scan that is older than 5 minutes, or whose caller
took nothing for 30 s, ends with an error; the cursor of the last element taken resumes it.
"""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple

from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.keyvalue.contract import ScanPage

MAX_AGE_S = 300.0
MAX_PAUSE_S = 30.0
FIRST_PAGE = 32
MAX_PAGE = 1024
MAX_NAME = 64  # characters of a key that an error quotes
PAGE_BYTES = 1024 * 1024  # pages are sized so that values of the size last seen fill about this much


FetchPage = Callable[[bytes | None, int], Awaitable[ScanPage]]
Unseal = Callable[[bytes, bytes], Awaitable[bytes]]


class ScannedItem(NamedTuple):
    """`value` is None when only keys were asked for; `cursor` resumes behind this element."""

    key: str
    value: bytes | None
    cursor: bytes


async def elements(
    fetch: FetchPage, cursor: bytes | None, limit: int, clock: Callable[[], float], unseal: Unseal | None = None,
) -> AsyncIterator[ScannedItem]:
    """Elements behind `cursor`, at most `limit` (0 = all). `fetch(cursor, count)` gets a page; `clock` is monotonic;
    `unseal(key, stored)` makes the value of what is stored.

    PrismError ABORTED, reason SCAN_EXPIRED, for a scan too old or too slow. A value that cannot be served ends the scan
    with its error, which names the key and has the cursor that resumes behind it.
    """
    began = clock()
    left = limit or sys.maxsize
    count = FIRST_PAGE
    while True:
        page = await fetch(cursor, min(count, left))
        for key, value in page.items:
            offered = clock()
            if unseal is not None and value is not None:
                value = await _unsealed(unseal, page, key, value)
            yield ScannedItem(key.decode("utf-8", "replace"), value, page.after(key))
            _check_age(clock() - began, clock() - offered)
            left -= 1
            if left == 0:
                return
        cursor = page.cursor
        if cursor is None:
            return
        _check_age(clock() - began, 0.0)
        count = _next_count(page.items)


async def _unsealed(unseal: Unseal, page: ScanPage, key: bytes, stored: bytes) -> bytes:
    try:
        return await unseal(key, stored)
    except PrismError as error:
        name = key.decode("utf-8", "replace")
        raise replace(
            error, message=f"the value of key {name[:MAX_NAME]!r} cannot be served: {error.message}; the scan goes on "
            "behind it with the cursor of this error",
            metadata={**error.metadata, "key": name[:MAX_NAME], "cursor": b64encode(page.after(key)).decode()},
        ) from error


def _next_count(items: list[tuple[bytes, bytes | None]]) -> int:
    size = sum(len(key) + len(value or b"") for key, value in items)
    return max(1, min(MAX_PAGE, PAGE_BYTES * len(items) // max(1, size))) if items else FIRST_PAGE


def _check_age(age: float, pause: float) -> None:
    if age <= MAX_AGE_S and pause <= MAX_PAUSE_S:
        return
    why = (f"it is older than {MAX_AGE_S:.0f} s" if age > MAX_AGE_S
           else f"no element was taken for {MAX_PAUSE_S:.0f} s")
    raise PrismError(StatusCode.ABORTED, "SCAN_EXPIRED",
                     f"the scan ended because {why}: resume with the cursor of the last element")
