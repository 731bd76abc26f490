import asyncio
from collections.abc import Callable

from prism_proxy._native.grpc.call import Handler
from prism_proxy._native.http2.limits import NativeLimits

class ForwardConnection(asyncio.Protocol):
    def __init__(self, handler: ForwardHandler, limits: NativeLimits, opened: asyncio.Future[None]) -> None: ...
    @property
    def gone(self) -> bool: ...
    def close(self) -> None: ...
    def tick(self) -> None: ...

class ForwardHandler(Handler):
    peer: str
    calls: int
    waiting: int
    waiting_bytes: int
    holding: bool
    down: bool
    @property
    def connection_count(self) -> int: ...
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        peer: str,
        wait_ns: int,
        most_waiting: int,
        most_waiting_bytes: int,
        want: Callable[[], None],
        failure: Callable[[str, bool, str], Exception],
        peer_token: bytes,
        worker: bool,
    ) -> None: ...
    def close(self) -> None: ...
    def release(self) -> None: ...
