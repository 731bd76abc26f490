from collections.abc import Callable
from typing import Any

from prism_proxy._native.grpc.quota import NamespaceQuota
from prism_proxy._native.slots.circuit import CircuitCore
from prism_proxy._native.slots.concurrency_limiter import ConcurrencyCore

class Binding:
    store: Any
    circuit: CircuitCore | None
    limiter: ConcurrencyCore | None
    cipher: Any
    def __init__(
        self, store: Any, circuit: CircuitCore | None = None, limiter: ConcurrencyCore | None = None,
        cipher: Any = None,
    ) -> None: ...

Bindings = dict[bytes, Binding | Callable[[], Binding | None] | None]  # made at once, or at the first call

class NativeRoute:
    route: Any
    name: bytes
    bindings: Bindings
    forward: Any
    owner: bytes | None
    quota: NamespaceQuota | None
    repeated: frozenset[bytes]
    def __init__(
        self, route: Any, name: str, bindings: Bindings | None = None, forward: Any = None,
        owner: str | None = None, quota: NamespaceQuota | None = None, repeated: frozenset[bytes] = frozenset(),
    ) -> None: ...

class RouteTable:
    revision: Any
    def __init__(
        self, revision: Any, routes: list[NativeRoute], default: str,
        by_partition: list[NativeRoute | None] | None = None,
    ) -> None: ...
