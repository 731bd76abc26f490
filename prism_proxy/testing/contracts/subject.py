"""What a suite talks to: one set of calls, whichever layer answers them.

Implementations stand in `driver_subject`, `pattern_subject` and `wire_subject`. A suite sees no product and no layer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import grpc
import pytest

from prism_proxy.contracts.driver import Declaration


class Refused(Exception):  # noqa: N818 - an answer, not a failure of the suite
    """A call was refused. `reason` is that of google.rpc.ErrorInfo, `field` the one complained about."""

    def __init__(self, code: grpc.StatusCode, reason: str, field: str | None = None) -> None:
        super().__init__(f"{code.name} {reason} {field or ''}")
        self.code = code
        self.reason = reason
        self.field = field


@contextmanager
def refused(code: grpc.StatusCode, reason: str | None = None, field: str | None = None) -> Iterator[None]:
    """The block must be refused with this status, and reason and field where given."""
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.code is code, caught.value
    if reason is not None:
        assert caught.value.reason == reason
    if field is not None:
        assert caught.value.field == field


class Item(NamedTuple):
    """An element of a scan; `value` is None when only keys were asked for."""

    key: str
    value: bytes | None
    cursor: bytes


class Compared(NamedTuple):
    done: bool
    actual: bytes | None


class KeyValueSubject(Protocol):
    """Keys are text, values bytes, times whole seconds. Every call raises `Refused` when the answer is an error."""

    @property
    def declaration(self) -> Declaration: ...

    @property
    def wait(self) -> Callable[[float], Awaitable[None]]:
        """Let so many seconds of the store's time pass: by a fake clock where there is one."""

    async def set(self, key: str, value: bytes) -> None: ...
    async def get(self, key: str) -> bytes | None: ...
    async def delete(self, key: str) -> None: ...
    async def exists(self, key: str) -> bool: ...

    async def scan(self, prefix: str = "", limit: int = 0, cursor: bytes | None = None) -> list[Item]: ...
    async def scan_keys(self, prefix: str = "", limit: int = 0, cursor: bytes | None = None) -> list[Item]: ...
    async def count(self, prefix: str = "") -> int: ...

    async def expire(self, key: str, ttl_seconds: int) -> bool: ...
    async def get_ttl(self, key: str) -> int: ...
    async def persist(self, key: str) -> bool: ...

    async def batch_set(self, items: Sequence[tuple[str, bytes]]) -> list[str]:
        """The error text of each item, empty where it was stored."""

    async def batch_get(self, keys: Sequence[str]) -> list[bytes | str | None]: ...  # a str is an item's error
    async def batch_delete(self, keys: Sequence[str]) -> list[str]: ...

    async def compare_and_swap(self, key: str, expected: bytes | None, value: bytes) -> Compared: ...
    async def compare_and_delete(self, key: str, expected: bytes) -> Compared: ...

    async def begin(self, timeout_ms: int = 0, isolation: int = 0) -> str: ...
    async def set_in_transaction(self, transaction: str, key: str, value: bytes) -> None: ...
    async def get_in_transaction(self, transaction: str, key: str) -> bytes | None: ...
    async def commit(self, transaction: str) -> int: ...
    async def rollback(self, transaction: str) -> int: ...
