"""Settings of a SQLite namespace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class SqliteConfig:
    """`path` is the database file, made when missing; its folder must exist.

    `durability`: with "synced" an acknowledged write survives a loss of power; with "checkpointed" it survives the
    death of the process, and a loss of power may take the latest ones. `max_bytes` bounds the file, 0 is as far as the
    disk goes. `max_queued` and `max_queued_bytes` bound the calls waiting for the writer, `max_queued` also those that
    wait for a reader. `busy_timeout_s` is how long another program (a backup, the sqlite3 shell) may hold the file.
    """

    path: str
    durability: Literal["synced", "checkpointed"] = "synced"
    max_bytes: int = 0
    readers: int = 2
    max_queued: int = 10_000
    max_queued_bytes: int = 64 * 1024 * 1024
    busy_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        if not self.path or self.path == ":memory:" or self.path.startswith("file:"):
            raise ValueError(f"sqlite path {self.path!r} must be the path of a file; for memory use backend memstore")
        if self.durability not in ("synced", "checkpointed"):
            raise ValueError(f"sqlite durability {self.durability!r} must be synced or checkpointed")
        if self.max_bytes < 0 or self.busy_timeout_s < 0:
            raise ValueError("sqlite max_bytes and busy_timeout_s must not be negative")
        if not 1 <= self.readers <= 64:
            raise ValueError(f"sqlite readers {self.readers} must be 1 to 64")
        if self.max_queued < 1 or self.max_queued_bytes < 1:
            raise ValueError("sqlite max_queued and max_queued_bytes must be at least 1")
