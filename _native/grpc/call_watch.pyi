from collections.abc import Callable, Iterable
from typing import Any

Span = tuple[str, int, int, dict[str, str | int], str]
TraceIds = tuple[int, int, int]

class EndedCall:
    namespace: str
    service: str
    operation: str
    backend: str
    code: int
    elapsed_ns: int
    ended_ns: int
    metadata: tuple[tuple[str, str | bytes], ...]
    peer: str
    spans: list[Span] | tuple[()]
    trace: TraceIds | None
    streaming: bool
    trailers: tuple[tuple[bytes, bytes], ...]
    connection: Any
    def __init__(
        self, stats: Any, code: int, elapsed_ns: int, metadata: tuple[tuple[str, str | bytes], ...], peer: str,
        spans: list[Span] | tuple[()], trace: TraceIds | None = None, streaming: bool = False,
        trailers: tuple[tuple[bytes, bytes], ...] = (), connection: Any = None,
    ) -> None: ...

class CallWatch:
    traces: bool
    unheard: int
    def __init__(
        self, report: Callable[[EndedCall], None], statuses: Iterable[int], *, slow_s: float = 0,
        traces: bool = False, share: float = 0, reports_per_s: int = 1000,
        audit: Callable[[EndedCall], None] | None = None,
    ) -> None: ...
