"""Settings of a memstore namespace, and what the backend declares about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from prism_proxy.contracts.driver import Declaration
from prism_proxy.models.keyvalue import contract as keyvalue
from prism_proxy.models.pubsub import contract as pubsub
from prism_proxy.models.queue import contract as queue
from prism_proxy.models.stream import contract as stream
from prism_runtime.settings import check, setting

DECLARATION = Declaration(
    "memstore", keyvalue.ALL | pubsub.ALL | queue.ALL | stream.ALL, state="local", durability="volatile",
    parts=frozenset({"pubsub", "queue", "stream"}), movable=True)


@dataclass(frozen=True, slots=True)
class MemstoreConfig:
    """Memory of the proxy process; what it holds ends with the process."""

    DECLARES: ClassVar[Declaration] = DECLARATION
    max_bytes: int = setting("Memory for keys, values and overhead; at the bound writes are refused.",
                             256 * 1024 * 1024, minimum=1024 * 1024, maximum=2**47, unit="bytes")
    max_keys: int = setting("Keys at most; 0 is unbounded.", 0, minimum=0, maximum=2**32, unit="keys")
    evict: bool = setting("Drop the least recently used keys at the bound, instead of refusing writes.", False)

    def __post_init__(self) -> None:
        check(self)

    @property
    def declaration(self) -> Declaration:
        return DECLARATION
