"""What a heartbeat tells: the health of each namespace, its calls, and what the proxy uses of its machine.

Everything is read from the figures that operators see too, so that the admin and a scrape never disagree.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from prism import control_plane_pb2 as pb
from prism_proxy.contracts.driver import Health
from prism_proxy.namespaces.status import NamespaceStatus
from prism_proxy.telemetry.metrics import Metric, Sample

_CALLS, _IN_PROGRESS = "prism_requests_total", "prism_requests_in_progress"
_CPU, _MEMORY = "process_cpu_seconds_total", "process_resident_memory_bytes"


class HeartbeatReport:
    """`families` and `namespaces` are those of all processes of this proxy; rates are since the last heartbeat."""

    def __init__(self, proxy_id: str, families: Callable[[], Iterable[Metric | None]],
                 namespaces: Callable[[], Mapping[str, NamespaceStatus]]) -> None:
        self._proxy_id = proxy_id
        self._families = families
        self._namespaces = namespaces
        self._started = self._at = time.monotonic()
        self._calls: dict[str, float] = {}
        self._cpu_s = 0.0

    def heartbeat(self) -> pb.ProxyHeartbeat:
        now = time.monotonic()
        seconds = max(now - self._at, 1e-3)
        found = {metric.name: list(metric.samples) for metric in self._families()
                 if metric is not None and metric.name in (_CALLS, _IN_PROGRESS, _CPU, _MEMORY)}
        calls = _by_namespace(found.get(_CALLS, ()))
        sessions = _by_namespace(found.get(_IN_PROGRESS, ()))
        cpu_s = _total(found.get(_CPU, ()))
        beat = pb.ProxyHeartbeat(
            proxy_id=self._proxy_id, timestamp=int(time.time()), resources=pb.ResourceUsage(
                cpu_percent=100 * max(cpu_s - self._cpu_s, 0.0) / seconds,
                memory_mb=int(_total(found.get(_MEMORY, ())) / 2**20),
                goroutine_count=len(asyncio.all_tasks()), uptime_seconds=int(now - self._started)))
        for name, status in self._namespaces().items():
            beat.namespace_health[name].CopyFrom(pb.NamespaceHealth(
                active_sessions=int(sessions.get(name, 0)), status=Health(status.health).name.lower(),
                storage_bytes=status.stored_bytes,
                requests_per_second=round(max(calls.get(name, 0) - self._calls.get(name, 0), 0) / seconds)))
        self._at, self._calls, self._cpu_s = now, calls, cpu_s
        return beat


def _by_namespace(samples: Iterable[object]) -> dict[str, float]:
    """Sums of a family by its label `namespace`."""
    out: dict[str, float] = defaultdict(float)
    for sample in samples:
        if isinstance(sample, Sample):
            out[dict(sample.labels).get("namespace", "")] += sample.value
    return out


def _total(samples: Iterable[object]) -> float:
    return sum(sample.value for sample in samples if isinstance(sample, Sample))
