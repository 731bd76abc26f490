"""The rate and load limits a namespace can be configured with. `quotas` activates them."""

from __future__ import annotations

from dataclasses import dataclass

from prism_runtime.settings import check, setting

LEAST_BURST = 10  # clients send in parallel: a lower default would refuse callers who keep to a low rate
BURST_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """What the callers of a namespace may take of a proxy, all its workers together. Every 0 is unlimited."""

    requests_per_second: float = setting(
        "Calls admitted a second, in the long run; 0 is unlimited.", 0.0, minimum=0, maximum=10_000_000,
        unit="requests/s")
    burst: int = setting(
        "Calls admitted at once after a quiet time; 0 is what a tenth of a second admits, and at least 10.", 0,
        minimum=0, maximum=100_000_000, unit="requests")
    concurrent_calls: int = setting(
        "Calls in progress at once, a stream being one for as long as it lasts; 0 is unlimited.", 0, minimum=0,
        maximum=1_000_000_000, unit="calls")
    bytes_in_flight: int = setting(
        "Bytes of request messages that unfinished calls hold at once; 0 is unlimited.", 0, minimum=0,
        maximum=2**50, unit="bytes")

    def __post_init__(self) -> None:
        check(self)

    @property
    def burst_size(self) -> int:
        """The effective burst, in calls."""
        return self.burst or max(LEAST_BURST, round(self.requests_per_second * BURST_SECONDS))

    @property
    def limited(self) -> bool:
        """Whether there is anything to enforce."""
        return bool(self.requests_per_second or self.concurrent_calls or self.bytes_in_flight)
