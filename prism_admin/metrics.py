"""What operators scrape of the admin, in Prometheus text format: its calls, the proxies, and what waits.

Reads only; every figure is somebody else's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prism_admin.coordinator import Coordinator
from prism_admin.membership import Status
from prism_admin.request_log import BUCKETS, Observer
from prism_admin.storage.audit import Audit
from prism_admin.storage.store import Store
from prism_runtime.process_metrics import family, header, number, process, sample
from prism_runtime.storage.errors import StorageError


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
        yield family("prism_admin_requests_total", "counter", "calls answered, by the name of their gRPC status", (
            ({"operation": operation, "status": status}, count)
            for (operation, status), count in sorted(observer.requests.items())))
        yield from self._durations()
        for name, text, value in (
                ("prism_admin_audit_failures_total", "audit entries that were not written", self._audit.failures),
                ("prism_admin_rate_limited_total", "calls refused because their user made too many", observer.limited)):
            yield family(name, "counter", text, (({}, value),))
        yield family("prism_admin_proxies", "gauge", "proxies by status", (
            ({"status": status.value}, self._by_status()[status.value]) for status in Status))
        if self._namespaces is not None:
            yield family("prism_admin_namespaces", "gauge", "namespaces, at the last look", (({}, self._namespaces),))
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
            yield family(name, "gauge", text, (({}, value),))
        yield from process()

    def _by_status(self) -> Counter[str]:
        return Counter(self._coordinator.status(proxy).value for proxy in self._coordinator.proxies())

    def _durations(self) -> Iterator[str]:
        name = "prism_admin_request_duration_seconds"
        yield header(name, "histogram", "from a request to its answer")
        for operation, found in sorted(self._observer.durations.items()):
            total = 0
            for bound, count in zip((*BUCKETS, float("inf")), found.counts, strict=True):
                total += count
                yield sample(f"{name}_bucket", {"operation": operation, "le": number(bound)}, total)
            yield sample(f"{name}_sum", {"operation": operation}, found.seconds)
            yield sample(f"{name}_count", {"operation": operation}, total)


def standby_page(standby: bool) -> str:
    """What is known before the database is ours."""
    return family("prism_admin_standby", "gauge", "1 while another admin serves the database", (({}, standby),))
