from typing import Any

class NativeRoute:
    route: Any
    name: bytes
    native_store: Any
    forward: Any
    owner: bytes | None
    def __init__(
        self, route: Any, name: str, native_store: Any, forward: Any = None, owner: str | None = None
    ) -> None: ...

class RouteTable:
    revision: Any
    def __init__(self, revision: Any, routes: list[NativeRoute], default: str) -> None: ...
