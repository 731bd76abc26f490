from collections.abc import Callable, Sequence
from typing import Any

from prism_proxy._native.memstore.store import MessageBytes
from prism_proxy._native.queue.entries import QueueEntries

class QueueTable:
    queues: dict[str, Any]
    memory: MessageBytes
    def __init__(
        self, memory: MessageBytes, overhead: int, make: Callable[[str], QueueEntries], ring_at: Callable[[int], None],
    ) -> None: ...

class LocalQueues:
    def __init__(
        self, table: QueueTable, check: Callable[[str], Sequence[str]], use: Callable[[str], None], counts: Any,
        most_bytes: int, visibility_s: float, max_wait_s: float, expired: str,
    ) -> None: ...
