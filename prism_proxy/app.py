"""Puts together what serves calls, alone or as one of several workers. The only module that knows every room.

    open() --> serve(sockets) --> drain() --> close()

`open` makes the snapshot and opens the drivers, `serve` takes calls, `drain` ends them (see `server.lifecycle`),
`close` closes the drivers and names the exit code. Signals, the telemetry port and the opening of ports belong to the
caller: `processes.single` or `processes.worker`.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from prism_proxy import __version__
from prism_proxy._native.grpc.quota import SharedQuotaTable
from prism_proxy._native.grpc.replies import QueuedTotal
from prism_proxy.cluster import Cluster, tls_refused
from prism_proxy.errors import PrismError
from prism_proxy.interfaces.catalogue import lasting, namespaced, waits
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.placement import Placement
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.namespaces.status import NamespaceStatus, readiness
from prism_proxy.process_config import ProxyConfig
from prism_proxy.server.descriptors import tell_of_fewer, within_descriptors
from prism_proxy.server.drain import drain
from prism_proxy.server.health import HealthServicer, add_health
from prism_proxy.server.reflection import Reflection, add_reflection
from prism_proxy.server.registration import add_methods
from prism_proxy.server.server import Server
from prism_proxy.standard import DriverFactory
from prism_proxy.status import ProcessStatus
from prism_proxy.steps.resources import StepResources
from prism_proxy.telemetry.derived import derived
from prism_proxy.telemetry.loop_monitor import LoopMonitor
from prism_proxy.telemetry.metrics import Metrics
from prism_proxy.watching import Watching
from prism_runtime import lifecycle, log
from prism_runtime.lifecycle import Lifecycle, StartError, State, close_all, end_after
from prism_runtime.tls import TlsError

if TYPE_CHECKING:  # a proxy without an admin has no use for it
    from prism_proxy.membership.control_call import ControlCallHandler

HEALTH_REFRESH_SECONDS = 1.0
DRIVER_DRAIN_SECONDS = 3.0  # for writes under way in a driver once the last call has ended
FORCED_END_SECONDS = 1.0  # for closing what is left once the end is forced

Report = Callable[[Mapping[str, NamespaceStatus]], None]


class App:
    """`report` is given the state of the namespaces served here every second; by default it goes straight to
    grpc.health.v1. `page` holds the counts of rate and load limits; workers share the supervisor's. `peers` are the
    addresses at which workers take each other's calls, by worker. Those calls have a server of their own: it outlasts
    the drain of the public one, and does not count calls a second time. `ask` answers calls of the control plane, where
    this proxy belongs to an admin."""

    def __init__(
        self, config: ProxyConfig, *, placement: Placement | None = None, page: SharedQuotaTable | None = None,
        peers: Sequence[str] = (), report: Report | None = None, ask: ControlCallHandler | None = None,
    ) -> None:
        self._log = log.get("prism.proxy")
        self._configured_limits = config.limits
        config = replace(config, limits=within_descriptors(config.limits))
        self._config = config
        self._report = report or self.show_health
        self._placement = placement or Placement()
        self.namespaces = Namespaces()
        self._step_resources = StepResources(config.secrets, schemas=config.schemas)
        self.activator = Activator(self.namespaces, DriverFactory(), self._placement, page, self._step_resources,
                                   QueuedTotal(config.pubsub.buffer_total))
        self.metrics = Metrics(version=__version__, namespaced=namespaced)
        self._watching = Watching(config, self.metrics, waits)
        self.lifecycle = Lifecycle(self._state_changed)
        self._health = HealthServicer()
        self._monitor = LoopMonitor(self.metrics.loop_stall)
        self._server = Server(
            config.limits, stats_for=self.metrics.stats_for, namespaced=namespaced, lasting=lasting,
            on_tls_error=tls_refused)
        self._internal = Server(config.limits, namespaced=namespaced, lasting=lasting)
        self._ask = ask
        self.cluster = Cluster(
            config, self._placement, self.namespaces, self.activator, self._server, self._internal, peers)
        self.process_status = ProcessStatus(
            self.namespaces, self.lifecycle, self._server, self._monitor, self.activator.queued)
        self.metrics.collectors += [
            lambda: derived(self.metrics.figures()), self.process_status.collect, self.cluster.collect]
        self._reflection: Reflection | None = None
        self._refresher: asyncio.Task[None] | None = None
        self._ended: int | None = None
        self._drain_began = 0.0

    # --- start ------------------------------------------------------------------------------------------------------

    async def open(self, namespaces: Sequence[NamespaceConfig]) -> None:
        """The first snapshot, with its drivers open, and everything that answers; `activator` changes it later.

        StartError when a namespace cannot be served as configured.
        """
        try:
            self._server.watch = self._watching.open()
            await self.activator.apply(namespaces)
        except (ValueError, PrismError) as error:
            raise StartError(str(error)) from error
        self.cluster.open()
        add_methods(self._internal, self.namespaces, None)
        services = add_methods(self._server, self.namespaces, self.cluster.handles)
        others = [add_health(self._server, self._health)]
        if self._ask is not None:
            others.append(self.cluster.add_services(self._ask))
        self._reflection = add_reflection(
            self._server, lambda: [*services.names, *others], services.load_messages)

    async def serve(
        self, sockets: Sequence[socket.socket], *, internal: socket.socket | None = None, owned: bool = True
    ) -> None:
        """Take calls from sockets that listen, and those that other workers forward from `internal`.

        `owned`: files of Unix sockets go when they close.
        """
        try:
            for sock in sockets:
                self._server.adopt(sock, self._config.tls, owned=owned)
        except TlsError as error:
            raise StartError(str(error)) from error
        tell_of_fewer(self._configured_limits, self._config.limits)
        await self._server.start()
        if internal is not None:
            self._internal.adopt(internal, None, owned=False, trusted=True)
            await self._internal.start()
        self._monitor.start()
        self._report(self.process_status.namespaces())
        self._refresher = asyncio.get_running_loop().create_task(self._refresh())
        self.lifecycle.enter(State.RUNNING)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(HEALTH_REFRESH_SECONDS)
            self._report(self.process_status.namespaces())
            self.cluster.reload_tls()

    def show_health(self, namespaces: Mapping[str, NamespaceStatus]) -> None:
        """Put the states of all namespaces into grpc.health.v1, as `namespace/<name>`."""
        self._health.follow({f"namespace/{name}": status.serving for name, status in namespaces.items()})
        if self.lifecycle.state is State.RUNNING:
            self._health.set("", readiness(State.RUNNING.value, namespaces)[0])

    # --- stop -------------------------------------------------------------------------------------------------------

    async def drain(self, force: asyncio.Event) -> None:
        """End the calls, as `server.drain` says."""
        self._drain_began = time.monotonic()
        end_after(self._config.limits.drain_longest_s)
        self.lifecycle.enter(State.DRAINING)
        self._ended = await drain(self._server, self._config.limits, force)
        if self._ended is None:
            end_after(FORCED_END_SECONDS)

    async def close(self) -> int:
        """Take no more calls of other workers and close the drivers; the exit code."""
        forced = self._ended is None
        await self._internal.stop(0 if forced else self._config.limits.drain_timeout_s)
        self.lifecycle.enter(State.STOPPING)
        if self._refresher is not None:
            self._refresher.cancel()
        self._monitor.stop()
        deadline_s = 0 if forced else DRIVER_DRAIN_SECONDS
        routes = self.namespaces.current.here().values()
        problems = await close_all((part for route in routes for part in (route.pattern, route.chain)), deadline_s)
        problems += await close_all((driver for route in routes for driver in route.drivers), deadline_s)
        await self.activator.close()
        await self.cluster.close()
        await self._watching.close()
        for problem in problems:
            self._log.error("a backend did not close cleanly", exc_info=problem)
        self.lifecycle.enter(State.STOPPED)
        self._log.info("stopped", seconds=round(time.monotonic() - self._drain_began, 3), aborted=self._ended,
                       forced=forced)
        if self._ended != 0:
            return lifecycle.EXIT_FORCED
        return lifecycle.EXIT_ERROR if problems else lifecycle.EXIT_CLEAN

    def _state_changed(self, old: State, new: State) -> None:
        if new is State.DRAINING:
            self._health.drain()
            if self._reflection is not None:
                self._reflection.drain()
        self._log.debug("state changed", old=old.value, new=new.value)
