"""What the servicers share: the requests of an upload as chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from prism_proxy.errors import invalid


async def first_of(requests: AsyncIterator[Any]) -> Any:
    """The request that names the object."""
    async for request in requests:
        return request
    raise invalid("bucket", "the stream was empty: the first message names the object")


def milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
