"""What operators scrape of the admin, in Prometheus text format: its calls, the proxies, and what waits.

Reads only; every figure is somebody else's.
"""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prism_admin.coordinator import Coordinator
from prism_admin.membership import Status
from prism_admin.request_log import BUCKETS, Observer
from prism_admin.storage.audit import Audit
from prism_admin.storage.store import Store
from prism_runtime.storage.errors import StorageError

Samples = Iterable[tuple[Mapping[str, str], float]]


class Metrics:
    """`refresh` before `render`: it asks the database, the rest is in memory."""

    def __init__(self, store: Store, coordinator: Coordinator, observer: Observer, audit: Audit) -> None:
        self._store = store
        self._coordinator = coordinator
        self._observer = observer
        self._audit = audit
        self._namespaces: int | None = None
        self.storage_problem = ""

    async def refresh(self) -> None:
        """Count what is stored; a database that fails is a figure too."""
        try:
            self._namespaces = await self._store.namespaces.count()
        except StorageError as error:
            self.storage_problem = str(error)
        else:
            self.storage_problem = ""

    def readiness(self) -> dict[str, object]:
        """What `/ready` tells beside its status."""
        return {"database": self._store.database.shown, "storage": self.storage_problem or "ok",
                "proxies": dict(self._by_status()), "map_revision": self._coordinator.placement.map.revision}

    def render(self) -> Iterator[str]:
        """The page, in pieces."""
        coordinator, observer = self._coordinator, self._observer
        yield _family("prism_admin_requests_total", "counter", "calls answered, by the name of their gRPC status", (
            ({"operation": operation, "status": status}, count)
            for (operation, status), count in sorted(observer.requests.items())))
        yield from self._durations()
        for name, text, value in (
                ("prism_admin_audit_failures_total", "audit entries that were not written", self._audit.failures),
                ("prism_admin_rate_limited_total", "calls refused because their user made too many", observer.limited)):
            yield _family(name, "counter", text, (({}, value),))
        yield _family("prism_admin_proxies", "gauge", "proxies by status", (
            ({"status": status.value}, self._by_status()[status.value]) for status in Status))
        if self._namespaces is not None:
            yield _family("prism_admin_namespaces", "gauge", "namespaces, at the last look", (({}, self._namespaces),))
        for name, text, value in (
                ("prism_admin_namespaces_pending", "namespaces that their proxy has not confirmed",
                 len(coordinator.pusher.pending)),
                ("prism_admin_partitions_without_owner", "partitions that no proxy owns",
                 coordinator.placement.map.layout.count(None)),
                ("prism_admin_partitions_moving", "partitions on their way to another proxy",
                 len(coordinator.moving)),
                ("prism_admin_partition_map_revision", "of the active map", coordinator.placement.map.revision),
                ("prism_admin_stale_alarm", "1 while most proxies are silent and nothing is moved", coordinator.alarm),
                ("prism_admin_storage_up", "1 when the database answered this scrape", not self.storage_problem),
                ("prism_admin_audit_waiting", "audit entries that are not written yet", self._audit.waiting)):
            yield _family(name, "gauge", text, (({}, value),))
        yield from _process()

    def _by_status(self) -> Counter[str]:
        return Counter(self._coordinator.status(proxy).value for proxy in self._coordinator.proxies())

    def _durations(self) -> Iterator[str]:
        name = "prism_admin_request_duration_seconds"
        yield _header(name, "histogram", "from a request to its answer")
        for operation, found in sorted(self._observer.durations.items()):
            total = 0
            for bound, count in zip((*BUCKETS, float("inf")), found.counts, strict=True):
                total += count
                yield _sample(f"{name}_bucket", {"operation": operation, "le": _number(bound)}, total)
            yield _sample(f"{name}_sum", {"operation": operation}, found.seconds)
            yield _sample(f"{name}_count", {"operation": operation}, total)


def standby_page(standby: bool) -> str:
    """What is known before the database is ours."""
    return _family("prism_admin_standby", "gauge", "1 while another admin serves the database", (({}, standby),))


def _process() -> Iterator[str]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield _family("process_cpu_seconds_total", "counter", "user and system CPU time",
                  (({}, usage.ru_utime + usage.ru_stime),))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    yield _family("process_resident_memory_bytes", "gauge", "resident memory",
                  (({}, pages * os.sysconf("SC_PAGE_SIZE")),))


def _family(name: str, kind: str, text: str, samples: Samples) -> str:
    return _header(name, kind, text) + "".join(_sample(name, labels, value) for labels, value in samples)


def _header(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{key}="{value}"' for key, value in labels.items())  # names of the contract: nothing to escape
    return f"{name}{{{shown}}} {_number(value)}\n" if shown else f"{name} {_number(value)}\n"


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if float(value).is_integer() else repr(float(value))
