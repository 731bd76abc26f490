"""Settings of a SQLite namespace, and what the backend declares about itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from prism_proxy.contracts.driver import Declaration
from prism_proxy.models.keyvalue import contract as keyvalue
from prism_proxy.models.pubsub import contract as pubsub
from prism_proxy.models.queue import contract as queue
from prism_proxy.models.stream import contract as stream
from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True)
class SqliteConfig:
    """A SQLite file, durable, served by one process at a time."""

    DECLARES: ClassVar[Declaration] = Declaration(
        "sqlite", keyvalue.ALL | pubsub.ALL | queue.ALL | stream.ALL, state="local", durability="synced",
        parts=frozenset({"pubsub", "stream", "queue"}), movable=True)
    path: str = setting("The database file, made when missing; its folder must exist.")
    durability: Literal["synced", "checkpointed"] = setting(
        "Whether an acknowledged write survives a loss of power (synced), or only the death of the process, while a "
        "loss of power may take the latest ones (checkpointed).", "synced", choices=("synced", "checkpointed"))
    max_bytes: int = setting("Size of the file at most; 0 is as far as the disk goes.", 0, minimum=0, unit="bytes")
    reserve_bytes: int = setting(
        "Room kept in PATH.reserve for deletions and expiries on a full disk, at most a 16th of it; 0 is "
        "none.", 8 * 1024 * 1024, minimum=0, unit="bytes")
    readers: int = setting("Threads that read.", 2, minimum=1, maximum=64, unit="threads")
    max_queued: int = setting("Calls waiting for the writer, and as many for a reader, before they are refused.",
                              10_000, minimum=1, unit="calls")
    max_queued_bytes: int = setting("Bytes of the calls waiting for the writer, before they are refused.",
                                    64 * 1024 * 1024, minimum=1, unit="bytes")
    busy_timeout_s: float = setting("How long another program (a backup, the sqlite3 shell) may hold the file.",
                                    5.0, minimum=0, unit="s")

    def __post_init__(self) -> None:
        check(self)
        if not self.path or self.path == ":memory:" or self.path.startswith("file:"):
            raise ValueError(f"path is {self.path!r}: it must be the path of a file; for memory use driver memstore")

    def relocated(self, place: Callable[[Path], Path]) -> SqliteConfig:
        """These settings with the file elsewhere."""
        return replace(self, path=str(place(Path(self.path))))

    def trouble(self) -> tuple[str, str] | None:
        """Why the file cannot be served on this machine now; see `contracts.driver.Inspectable`."""
        from prism_proxy.backends.sqlite.inspection import trouble  # only `config check` looks at files

        reason = trouble(Path(self.path))
        return ("path", reason) if reason is not None else None

    @property
    def declaration(self) -> Declaration:
        return replace(self.DECLARES, durability=self.durability, exclusive=f"file {os.path.realpath(self.path)}")
