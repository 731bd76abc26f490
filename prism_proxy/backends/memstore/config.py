"""Settings of a memstore namespace."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemstoreConfig:
    """`max_bytes` counts keys, values and overhead; at the bound writes are refused, or with `evict` the least recently
    used keys go. `max_keys` 0 is unbounded."""

    max_bytes: int = 256 * 1024 * 1024
    max_keys: int = 0
    evict: bool = False
