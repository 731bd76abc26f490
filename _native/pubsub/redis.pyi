from collections.abc import Callable, Sequence

from prism_proxy._native.envelope.codec import Writer
from prism_proxy._native.grpc.call import Handler
from prism_proxy._native.grpc.outlet import OutletCounters
from prism_proxy._native.keyvalue.redis import RedisStore
from prism_proxy._native.schema.check import DeclaredSchema

class RedisPublisher:
    def __init__(
        self, redis: RedisStore, channels: bytes, resolve: Callable[[str], Sequence[Writer]],
        counters: OutletCounters, most_bytes: int, raw: bool, explain: Callable[[Exception], object],
        declared: DeclaredSchema | None = None,
    ) -> None: ...

def rebuilt(topic: bytes, data: bytes, raw: bool) -> bytes: ...
def handlers() -> dict[str, Handler]: ...
