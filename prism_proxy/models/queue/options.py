"""The settings of the group `queue` of a namespace."""

from __future__ import annotations

from dataclasses import dataclass

from prism_runtime.settings import check, setting

MAX_VISIBILITY = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """Queues of a namespace."""

    visibility: float = setting("How long a leased message is invisible to others, where a call does not say.", 300.0,
                                minimum=0.1, maximum=MAX_VISIBILITY, unit="s")
    max_receives: int = setting(
        "Deliveries after which an unsettled message goes to the dead letters, where ConfigureDeadLetter did not say; "
        "0 delivers it until it is settled.", 0, minimum=0, maximum=1_000_000, unit="deliveries")
    max_wait: float = setting("How long a call may wait for a message.", 60.0, minimum=0, maximum=3600, unit="s")

    def __post_init__(self) -> None:
        check(self)
