from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from prism_proxy._native.grpc.call import Handler
from prism_proxy._native.grpc.call_watch import CallWatch
from prism_proxy._native.grpc.metrics import MethodStats
from prism_proxy._native.grpc.routing import RouteTable
from prism_proxy._native.http2.limits import NativeLimits

class Method: ...

class ServerCore:
    connections: set[Any]
    streams: int
    handlers_running: int
    bytes_held: int
    servicer_backlog: int
    encode_shed: Callable[[], list[list[tuple[bytes, bytes]]]]
    draining: bool
    echoes_ids: bool
    peer_token: bytes | None
    watch: CallWatch | None
    def __init__(
        self,
        loop: Any,
        limits: Any,
        native_limits: NativeLimits,
        resolve: Callable[[str, Sequence[tuple[str, str | bytes]]], Method | None],
        stats_for: Callable[[str | None, str, str], MethodStats],
        describe_error: Callable[..., Any],
        executor: Executor,
    ) -> None: ...
    def add_method(
        self, path: str, natives: list[Handler], servicer: Handler | None, namespaced: bool, lasting: bool = False
    ) -> Method: ...
    def transient_method(self, path: str, servicer: Handler, namespaced: bool, lasting: bool = False) -> Method: ...
    def set_routes(self, table: RouteTable) -> None: ...
