from collections.abc import Callable, Iterable
from typing import Any

Span = tuple[str, int, int, dict[str, str | int], str]

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
    def __init__(
        self, stats: Any, code: int, elapsed_ns: int, metadata: tuple[tuple[str, str | bytes], ...], peer: str,
        spans: list[Span] | tuple[()],
    ) -> None: ...

class CallWatch:
    spans: bool
    unheard: int
    def __init__(
        self, report: Callable[[EndedCall], None], statuses: Iterable[int], *, slow_s: float = 0, share: float = 0,
        parents: bool = False, spans: bool = False, reports_per_s: int = 1000,
    ) -> None: ...
