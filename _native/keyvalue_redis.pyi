from collections.abc import Callable
from typing import Any

from prism_proxy._native.call import Handler
from prism_proxy._native.resp import RespConnection

class RedisStore:
    prefix: bytes
    bulk_bytes: int
    circuit: Any
    def __init__(
        self, prefix: bytes, connections: int, bulk_bytes: int, describe: dict[str, Callable[..., Exception]],
        circuit: Any = None,
    ) -> None: ...
    def set_connection(self, place: int, connection: RespConnection | None) -> None: ...
    def connection_for(self, key: bytes, value_bytes: int = 0) -> RespConnection | None: ...

def handlers() -> dict[str, Handler]: ...
