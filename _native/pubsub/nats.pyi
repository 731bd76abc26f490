from collections.abc import Callable, Sequence

from prism_proxy._native.envelope.codec import Writer
from prism_proxy._native.grpc.call import Handler
from prism_proxy._native.grpc.outlet import OutletCounters
from prism_proxy._native.nats.connection import NatsConnection

class NatsTopic:
    def __init__(self, subject: bytes, headers: bytes, writer: Writer | None = None) -> None: ...

class NatsPublisher:
    def __init__(
        self, find: Callable[[], tuple[NatsConnection, int]], resolve: Callable[[str], Sequence[NatsTopic]],
        counters: OutletCounters, most_bytes: int, raw: bool, explain: Callable[[Exception], object],
    ) -> None: ...

def handlers() -> dict[str, Handler]: ...
