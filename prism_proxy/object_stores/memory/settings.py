"""Settings of an object store in memory."""

from __future__ import annotations

from dataclasses import dataclass

from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True)
class MemoryObjectsSettings:
    """Objects in the memory of one worker, gone with it."""

    capacity: int = setting("Bytes of all objects together; beyond, the store is full.", 256 * 1024 * 1024, minimum=1,
                            unit="bytes")

    def __post_init__(self) -> None:
        check(self)
