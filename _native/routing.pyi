from typing import Any

from prism_proxy._native.circuit import CircuitCore
from prism_proxy._native.concurrency_limiter import ConcurrencyCore
from prism_proxy._native.quota import NamespaceQuota

class NativeRoute:
    route: Any
    name: bytes
    native_store: Any
    forward: Any
    owner: bytes | None
    circuit: CircuitCore | None
    limiter: ConcurrencyCore | None
    quota: NamespaceQuota | None
    repeated: frozenset[bytes]
    def __init__(
        self, route: Any, name: str, native_store: Any, forward: Any = None, owner: str | None = None,
        circuit: CircuitCore | None = None, quota: NamespaceQuota | None = None,
        repeated: frozenset[bytes] = frozenset(),
        limiter: ConcurrencyCore | None = None,
    ) -> None: ...

class RouteTable:
    revision: Any
    def __init__(
        self, revision: Any, routes: list[NativeRoute], default: str,
        by_partition: list[NativeRoute | None] | None = None,
    ) -> None: ...
