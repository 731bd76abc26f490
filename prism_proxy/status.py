"""What one process shows of itself: the state of each namespace, readiness, and the metrics kept outside native code.

It reads, and changes nothing.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator

from prism_proxy import __version__
from prism_proxy._native.grpc.replies import QueuedTotal
from prism_proxy.contracts.driver import Connections
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.namespaces.status import NamespaceStatus, readiness
from prism_proxy.server.server import Server
from prism_proxy.slots import status as slot_status
from prism_proxy.telemetry.loop_monitor import LoopMonitor
from prism_proxy.telemetry.metrics import Metric, Sample, counters, gauges
from prism_runtime.lifecycle import Lifecycle

LIMITING_NS = 10_000_000_000  # a namespace is shown as limiting for this long after its last refusal


class ProcessStatus:
    """The view of one serving process."""

    def __init__(self, namespaces: Namespaces, lifecycle: Lifecycle, server: Server, monitor: LoopMonitor,
                 queued: QueuedTotal) -> None:
        self._namespaces = namespaces
        self._lifecycle = lifecycle
        self._server = server
        self._monitor = monitor
        self._queued = queued
        self._opened = time.monotonic()

    def namespaces(self) -> dict[str, NamespaceStatus]:
        """The namespaces whose driver is open here."""
        out = {}
        for name, route in self._namespaces.current.here().items():
            report = slot_status.namespace_health(route.slots.values(), route.pattern)
            limiting = route.quota.limiting(LIMITING_NS) if route.quota is not None else []
            out[name] = NamespaceStatus(
                route.backend, report.status.value, report.message, route.state, route.durability,
                {**report.details, "limiting": limiting} if limiting else report.details,
                sum(driver.health().stored_bytes or 0 for driver in route.drivers))
        return out

    def readiness(self) -> tuple[bool, dict[str, object]]:
        return readiness(self._lifecycle.state.value, self.namespaces())

    def collect(self) -> Iterable[Metric]:
        yield counters("prism_limit_hits_total", "Limits hit, by name.", "limit", self._server.limit_hits())
        yield Metric("prism_loop_long_stalls_total", "counter", "Timers of the event loop that fired over 2 ms late.",
                     [Sample((), self._monitor.long_stalls)])
        unheard = self._server.watch.unheard if self._server.watch is not None else 0
        yield Metric("prism_call_reports_dropped_total", "counter",
                     "Calls that were to be logged or traced, beyond what a second allows.", [Sample((), unheard)])
        yield gauges("prism_ready", "1 while this process should get calls.", {(): float(self.readiness()[0])},
                     merge="min")
        for name, value in self._server.stats().items():
            yield gauges(f"prism_server_{name}", f"Server gauge: {name.replace('_', ' ')}.", {(): value})
        yield gauges("prism_pubsub_queued_bytes", "Bytes that wait for subscribers.", {(): float(self._queued.used)})
        yield Metric("prism_pubsub_buffer_total_hits_total", "counter",
                     "Messages that found pubsub.buffer_total used up.", [Sample((), self._queued.refused)])
        namespaces = self.namespaces()
        yield gauges("prism_namespace_health", "1 healthy, 2 degraded, 3 unhealthy.", {
            (("namespace", name), ("backend", status.backend)): float(status.health)
            for name, status in namespaces.items()}, merge="max")
        here = self._namespaces.current.here().values()
        yield from slot_status.metrics(slot for route in here for slot in route.slots.values())
        for route in here:
            yield from route.pattern.metrics()
            yield from route.chain.metrics()
        routes = self._namespaces.current.routes
        quotas = {name: route.quota for name, route in routes.items() if route.quota is not None}
        yield gauges("prism_namespace_limit_usage", "What counts towards a limit: calls a second, calls, bytes.", {
            (("namespace", name), ("dimension", dimension)): value
            for name, quota in quotas.items() for dimension, value in quota.usage().items()})  # its own share
        yield Metric("prism_namespace_limited_total", "counter", "Calls refused by a limit of their namespace.", [
            Sample((("namespace", name), ("dimension", dimension)), count)
            for name, quota in quotas.items() for dimension, count in quota.refused().items()])
        drivers = {status.backend: __version__ for status in namespaces.values()}
        yield gauges("backend_driver_info", "Drivers in use.", {
            (("name", name), ("version", version)): 1.0 for name, version in drivers.items()}, merge="max")
        reports = [(name, driver.declaration.name, driver.health())
                   for name, route in self._namespaces.current.here().items() for driver in route.drivers]
        yield from _connections((backend, report.connections) for _, backend, report in reports if report.connections)
        yield Metric("prism_cache_evictions_total", "counter", "Keys dropped for want of memory.", [
            Sample((("namespace", name),), float(report.evicted)) for name, _, report in reports
            if report.evicted is not None])
        yield gauges("backend_driver_uptime_seconds", "Time since the driver was opened.", {
            (("name", name),): time.monotonic() - self._opened for name in drivers}, merge="max")


def _connections(found: Iterable[tuple[str, Connections]]) -> Iterator[Metric]:
    """Of the drivers that have some, by backend. Those that namespaces share count once."""
    active: dict[str, int] = defaultdict(int)
    size: dict[str, int] = defaultdict(int)
    servers: dict[tuple[str, str], int] = defaultdict(int)
    seen: set[tuple[str, str]] = set()
    for backend, connections in found:
        shared = (backend, connections.pool)
        servers[backend, connections.server] += 0 if shared in seen else connections.open
        if not connections.open or shared in seen:
            continue
        if connections.pool:
            seen.add(shared)
        active[backend] += connections.open - connections.idle
        size[backend] += connections.open
    yield gauges("backend_driver_connections_active", "Connections of a driver with commands in progress.",
                 {(("name", name),): float(count) for name, count in active.items()})
    yield gauges("prism_backend_pool_size", "Connections that a driver has open.",
                 {(("backend", name),): float(count) for name, count in size.items()})
    yield gauges("prism_backend_server_connections", "Connections that are open to a server.", {
        (("backend", name), ("server", server)): float(count) for (name, server), count in servers.items()})
