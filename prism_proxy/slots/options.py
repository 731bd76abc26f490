"""What operators may set about a namespace's slots.

Everything here concerns shared backends: local stores are called directly, once.
"""

from __future__ import annotations

from dataclasses import dataclass

from prism_runtime.settings import check, setting


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """When a call that failed by the backend's fault is made again, always within the caller's deadline."""

    max_attempts: int = setting("Attempts of one call, the first one included; 1 turns retries off.", 3,
                                minimum=1, maximum=10)
    backoff_first_s: float = setting("Longest wait before the second attempt; it doubles for each further one.", 0.05,
                                     minimum=0.001, maximum=10, unit="seconds")
    backoff_max_s: float = setting("Longest wait before any attempt.", 1.0, minimum=0.001, maximum=60, unit="seconds")
    budget_ratio: float = setting("Retries allowed for each call of the last 10 s.", 0.2, minimum=0, maximum=1)
    budget_floor_per_s: float = setting("Retries a second that are allowed however few calls there are.", 5.0,
                                        minimum=0, maximum=1000)
    retry_writes: bool = setting(
        "Also repeat Set, Delete, Expire and their batches when it is unknown whether they took effect; a repetition "
        "may overwrite what another caller wrote in between.", False)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class CircuitOptions:
    """When a failing backend is left alone."""

    max_failures: int = setting("Failures in a row that open the circuit.", 5, minimum=1, maximum=1_000_000)
    reset_timeout_s: float = setting("How long the circuit stays open before one call may probe the backend.", 30.0,
                                     minimum=0.001, maximum=3600, unit="seconds")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class ConcurrencyOptions:
    """How many calls may be at the backend at once; the limit follows the backend's latency."""

    adaptive: bool = setting("Limit calls at the backend, and shed what it cannot take.", True)
    min_limit: int = setting("The limit never falls below it: so few are no overload.", 16, minimum=1, maximum=100_000)
    initial_limit: int = setting("The limit before anything was measured.", 16, minimum=1, maximum=100_000)
    max_limit: int = setting("The limit never grows above this.", 10_000, minimum=1, maximum=100_000)
    max_queued: int = setting("Calls that may wait for a permit.", 10_000, minimum=0, maximum=1_000_000)

    def __post_init__(self) -> None:
        check(self)
        if not self.min_limit <= self.initial_limit <= self.max_limit:
            raise ValueError(f"initial_limit is {self.initial_limit}: it must be between min_limit {self.min_limit} "
                             f"and max_limit {self.max_limit}")


@dataclass(frozen=True, slots=True)
class ReconnectOptions:
    """What calls do while a driver says that it has lost its backend and is reconnecting."""

    wait_s: float = setting("How long after the loss calls wait for the connection instead of failing.", 2.0,
                            minimum=0, maximum=60, unit="seconds")
    max_waiting: int = setting("Calls that may wait for it.", 2000, minimum=0, maximum=1_000_000)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class SlotOptions:
    """Resilience of a namespace against its backend."""

    retries: RetryOptions = setting("Repeated attempts.", factory=RetryOptions)
    circuit: CircuitOptions = setting("The circuit breaker.", factory=CircuitOptions)
    concurrency: ConcurrencyOptions = setting("Adaptive concurrency.", factory=ConcurrencyOptions)
    reconnect: ReconnectOptions = setting("Waiting for a lost connection.", factory=ReconnectOptions)
