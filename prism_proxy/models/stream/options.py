"""The options of a namespace that concern streams."""

from __future__ import annotations

from dataclasses import dataclass

from prism_proxy.models.stream.contract import StreamSettings
from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Partitions, groups and retention."""

    partitions: int = setting("Partitions of a stream that is created by its first record.", 1, minimum=1, maximum=1024,
                              unit="partitions")
    ack_timeout: float = setting("A record that a member has had for so long is delivered again.", 30.0, minimum=0.1,
                                 maximum=43_200, unit="seconds")
    max_deliveries: int = setting("Deliveries after which a record goes to <stream>.dlq; 0 is never.", 0, minimum=0,
                                  maximum=1_000_000, unit="deliveries")
    max_age: float = setting("How long records are kept, of streams without SetRetention; 0 has no bound.", 0.0,
                             minimum=0, maximum=3.2e9, unit="seconds")
    max_bytes: int = setting("Bytes that a stream keeps at most, without SetRetention; 0 has no bound.", 0, minimum=0,
                             maximum=2**62, unit="bytes")
    max_records: int = setting("Records that a stream keeps at most, without SetRetention; 0 has no bound.", 0,
                               minimum=0, maximum=2**62, unit="records")
    buffer_bytes: int = setting("Bytes that wait for one reader at most.", 16 * 1024 * 1024, minimum=1024,
                                maximum=2**31, unit="bytes")

    def __post_init__(self) -> None:
        check(self)

    def settings(self) -> StreamSettings:
        return StreamSettings(self.partitions, self.ack_timeout, self.max_deliveries, self.max_age, self.max_bytes,
                              self.max_records)
