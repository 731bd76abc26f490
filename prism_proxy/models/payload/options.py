"""The settings of the group `payload` of a namespace."""

from __future__ import annotations

from dataclasses import dataclass

from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True)
class PayloadOptions:
    """Payloads that are streamed, in namespaces with `claim_check`."""

    idle_timeout: float = setting("An upload of which nothing arrives for so long ends, and leaves nothing.", 60.0,
                                  minimum=0.1, maximum=3600, unit="s")
    chunk_bytes: int = setting("Bytes of one message of Fetch at most.", 1024 * 1024, minimum=16 * 1024,
                               maximum=4 * 1024 * 1024 - 1024, unit="bytes")

    def __post_init__(self) -> None:
        check(self)
