"""A step that stamps what a KeyValue store holds."""

from __future__ import annotations

from typing import Any

from prism_proxy.errors import PrismError, StatusCode
from prism_toy.declaration import StampOptions


class StampStep:
    def __init__(self, namespace: str, options: StampOptions, resources: Any, *, assigned: bool) -> None:
        self.values = Stamps(options.text.encode() + b":")

    async def open(self) -> None:
        """There is nothing to fetch."""


class Stamps:
    def __init__(self, stamp: bytes) -> None:
        self._stamp = stamp

    def seal(self, key: bytes, value: bytes) -> bytes:
        return self._stamp + value

    def open(self, key: bytes, stored: bytes) -> bytes:
        if not stored.startswith(self._stamp):
            raise PrismError(StatusCode.FAILED_PRECONDITION, "NOT_STAMPED", "the stored value has no stamp")
        return stored[len(self._stamp):]
