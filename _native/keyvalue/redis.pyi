from collections.abc import Callable

from prism_proxy._native.grpc.call import Handler
from prism_proxy._native.redis.resp import FairShare, RespConnection, Writes

class PoolSlots:
    connections: list[RespConnection | None]
    writes: list[Writes]
    def __init__(self, connections: int) -> None: ...

class RedisStore:
    prefix: bytes
    bulk_bytes: int
    max_value_bytes: int
    max_pending: int
    shares: list[FairShare]
    swap_script: bytes
    delete_script: bytes
    def __init__(
        self, prefix: bytes, bulk_bytes: int, max_value_bytes: int, max_pending: int,
        describe: dict[str, Callable[..., Exception]],
    ) -> None: ...
    def attach(self, places: PoolSlots) -> None: ...
    def detach(self) -> None: ...
    @property
    def pending(self) -> int: ...
    def pick(self, key: bytes, bulk: bool = False) -> tuple[RespConnection | None, FairShare | None]: ...
    def route(self, keys: list[bytes], size: int, bulk: bool) -> tuple[
        RespConnection | None, FairShare | None, bytes | None, tuple[RespConnection | None, ...]]: ...

def handlers() -> dict[str, Handler]: ...
