"""What supervisor and worker tell each other.

    supervisor                                worker
       | -- Start ------------------------------> |   configuration, sockets, who it is
       | <------------------------------ Ready -- |   or Failed
       | -- Prepare(n) -------------------------> |   namespaces to serve: open what is new
       | <--------------------------- Answer(n) - |
       | -- Commit(n) --------------------------> |   or Discard: all workers activate it, or none
       | <--------------------------- Answer(n) - |
       | -- Collect(n) -------------------------> |
       | <-------------------------- MetricsSnapshot(n) - |
       | <----------------------------- StatusUpdate -- |   the namespaces whose driver is open there, when they change
       | -- MergedStatus ------------------------------> |   the states of all namespaces, as all workers show them
       | -- Partitions -------------------------> |   which proxy serves what, when this one belongs to an admin
       | <--------------------------- Asked(n) -- |   a call of the control plane that reached the worker
       | -- Replied(n) -------------------------> |
       | -- SetOverrides ------------------------------> |   which namespaces get no call, and of which calls wait
       | -- EndCalls ---------------------------> |   of namespaces that were revoked, and had their grace
       | -- Asked(n) ---------------------------> |   a step of a move of data, for the worker that has them
       | <------------------------- Replied(n) -- |
       | -- Drain ------------------------------> |   no new calls; those in progress finish
       | <---------------------------- Drained -- |   still serves calls that other workers forward
       | -- Stop -------------------------------> |   everything has drained: end
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prism_proxy.forwarding.partitions import PartitionMap
from prism_proxy.membership.control_call import ControlCall, ControlReply
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.status import NamespaceStatus
from prism_proxy.process_config import ProxyConfig


@dataclass(frozen=True, slots=True)
class Start:
    """Sockets are inherited file descriptors; `internal` is those at which each worker takes forwarded calls,
    `quotas` the page of rate and load limits."""

    config: ProxyConfig
    namespaces: tuple[NamespaceConfig, ...]
    worker: int
    workers: int
    epoch: int
    sockets: tuple[int, ...]
    internal_socket: int
    internal_paths: tuple[str, ...]
    quotas: int
    partitions: PartitionMap | None = None
    unlisted: frozenset[str] = frozenset()
    paused: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Prepare:
    number: int
    config: ProxyConfig
    namespaces: tuple[NamespaceConfig, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """Activate what was prepared last."""

    number: int


@dataclass(frozen=True, slots=True)
class Discard:
    number: int


@dataclass(frozen=True, slots=True)
class Collect:
    number: int


@dataclass(frozen=True, slots=True)
class MergedStatus:
    namespaces: Mapping[str, NamespaceStatus]


@dataclass(frozen=True, slots=True)
class Partitions:
    map: PartitionMap


@dataclass(frozen=True, slots=True)
class SetOverrides:
    """While data move: as `namespaces.snapshot.Namespaces.set_overrides`."""

    unlisted: frozenset[str]
    paused: frozenset[str]


@dataclass(frozen=True, slots=True)
class EndCalls:
    """As `namespaces.activator.Activator.end_calls`."""

    namespaces: frozenset[str]


@dataclass(frozen=True, slots=True)
class Asked:
    number: int
    request: ControlCall


@dataclass(frozen=True, slots=True)
class Replied:
    number: int
    reply: ControlReply


@dataclass(frozen=True, slots=True)
class Drain:
    pass


@dataclass(frozen=True, slots=True)
class Force:
    """End at once."""


@dataclass(frozen=True, slots=True)
class Stop:
    pass


@dataclass(frozen=True, slots=True)
class Ready:
    pass


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker cannot start, for a reason that a restart will not change."""

    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """To the request of that number: done, or what the problem is."""

    number: int
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    namespaces: Mapping[str, NamespaceStatus]


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """`metrics` in the form of `telemetry.merge.pack`. Those of the last message of a worker outlive it."""

    number: int
    metrics: list[Any]


@dataclass(frozen=True, slots=True)
class Drained:
    pass
