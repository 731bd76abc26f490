from collections.abc import Callable

from prism_proxy._native.call import Handler
from prism_proxy._native.resp import RespConnection

class RedisStore:
    prefix: bytes
    bulk_bytes: int
    def __init__(
        self, prefix: bytes, connections: int, bulk_bytes: int, describe: dict[str, Callable[..., Exception]],
    ) -> None: ...
    def set_connection(self, place: int, connection: RespConnection | None) -> None: ...
    def connection_for(self, key: bytes, value_bytes: int = 0) -> RespConnection | None: ...

def handlers() -> dict[str, Handler]: ...
