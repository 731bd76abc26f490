import asyncio
from collections.abc import Callable, Iterable

from prism_proxy._native.http2.limits import NativeLimits

Metadata = Iterable[tuple[str, str | bytes]]

class CallError(Exception):
    code: int
    message: str
    trailers: tuple[tuple[str, str | bytes], ...]
    executed: bool
    def __init__(
        self, code: int, message: str, trailers: tuple[tuple[str, str | bytes], ...] = (), executed: bool = True
    ) -> None: ...

class ClientCall:
    initial_metadata: tuple[tuple[str, str | bytes], ...]
    @property
    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]: ...
    async def send(self, message: bytes) -> None: ...
    def half_close(self) -> None: ...
    def cancel(self) -> None: ...
    async def read(self) -> bytes | None: ...

class ClientConnection(asyncio.Protocol):
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: NativeLimits,
        authority: str,
        closed: Callable[[ClientConnection], None],
    ) -> None: ...
    @property
    def usable(self) -> bool: ...
    def call(self, path: str, metadata: Metadata = (), timeout_s: float | None = None) -> ClientCall: ...
    async def unary(
        self, path: str, request: bytes, metadata: Metadata = (), timeout_s: float | None = None
    ) -> bytes: ...
    def close(self) -> None: ...
