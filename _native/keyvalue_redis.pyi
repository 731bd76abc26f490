from collections.abc import Callable

from prism_proxy._native.call import Handler
from prism_proxy._native.resp import RespConnection, Share

class Places:
    connections: list[RespConnection | None]
    def __init__(self, connections: int) -> None: ...

class RedisStore:
    prefix: bytes
    bulk_bytes: int
    max_value_bytes: int
    max_pending: int
    shares: list[Share]
    def __init__(
        self, prefix: bytes, bulk_bytes: int, max_value_bytes: int, max_pending: int,
        describe: dict[str, Callable[..., Exception]],
    ) -> None: ...
    def attach(self, places: Places) -> None: ...
    def detach(self) -> None: ...
    @property
    def pending(self) -> int: ...
    def way(self, key: bytes, value_bytes: int = 0, bulk: bool = False) -> tuple[RespConnection | None, Share | None]:
        ...

def handlers() -> dict[str, Handler]: ...
