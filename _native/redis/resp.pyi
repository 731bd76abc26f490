import asyncio
from collections.abc import Callable
from typing import Any

from prism_proxy._native.redis.replies import ConnectionLost as ConnectionLost
from prism_proxy._native.redis.replies import PipelineFull as PipelineFull
from prism_proxy._native.redis.replies import RespError as RespError

class FairShare:
    pending: int
    max_pending: int
    users: int
    def __init__(self, max_pending: int) -> None: ...

class Writes:
    def count(self, bucket: int) -> int: ...

class RespConnection(asyncio.Protocol):
    ready: bool
    silent: bool
    refused: bool
    writes: Writes
    closed_reason: str | None
    last_reply_ns: int
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        closed: Callable[[RespConnection, str], None],
        *,
        max_pending: int = 10_000,
        max_queued_bytes: int = ...,
        max_reply_bytes: int = ...,
        max_value_bytes: int = ...,
        read_timeout_s: float = 3.0,
        writes: Writes | None = None,
    ) -> None: ...
    @property
    def usable(self) -> bool: ...
    @property
    def pending(self) -> int: ...
    def set_ready(self, read_only: Callable[[], None] | None = None) -> None: ...
    def listen(self, on_push: Callable[[list[Any]], None]) -> None: ...
    def retire(self) -> None: ...
    def settle(self) -> None: ...
    @property
    def sent(self) -> int: ...
    @property
    def answered(self) -> int: ...
    def execute(
        self, *arguments: bytes, share: FairShare | None = None, buckets: bytes | None = None,
    ) -> asyncio.Future[Any]: ...
    def tell(self, *arguments: bytes) -> None: ...
    def abort(self, reason: str) -> None: ...
