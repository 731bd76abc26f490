"""The parent of the workers: it opens the ports, keeps the workers running, and answers operators for all of them.

It serves no call itself, so little can go wrong in it. Everything is opened before there is a loop; workers are started
by exec and inherit what they serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from prism_proxy import __version__
from prism_proxy._native.grpc.quota import SharedQuotaTable
from prism_proxy.configuration.loader import Configuration, ConfigurationSource
from prism_proxy.membership.control_call import ControlCall, ControlReply
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.status import NamespaceStatus, readiness
from prism_proxy.process_config import ProxyConfig
from prism_proxy.processes.fleet import Fleet
from prism_proxy.processes.internal_sockets import InternalSockets
from prism_proxy.processes.management import Management
from prism_proxy.processes.messages import Start
from prism_proxy.server.ports import close_ports, open_ports, open_telemetry, port_of
from prism_proxy.telemetry.metrics import Metric, counters, gauges, process_metrics, text_of
from prism_runtime import log
from prism_runtime.http_port import TelemetryServer
from prism_runtime.lifecycle import EXIT_ERROR, EXIT_FORCED, Lifecycle, State, StopRequest, end_after

if TYPE_CHECKING:
    from prism_proxy.forwarding.partitions import PartitionMap
    from prism_proxy.membership.migration.coordinator import MigrationWorkers

MARGIN_SECONDS = 1.0  # workers end themselves in time; only what hangs is killed


def run(source: ConfigurationSource, configuration: Configuration) -> int:
    """Serve with the configured number of processes until told to stop; the exit code. StartError when that cannot
    begin."""
    config = configuration.proxy
    log.configure(config.log_level, config.log_format)
    with contextlib.ExitStack() as opened:
        ports = open_ports(config.listen, workers=config.workers, share_port=config.reuse_port)
        opened.callback(close_ports, ports)
        internal = InternalSockets(config.workers)
        opened.callback(internal.close)
        return asyncio.run(Supervisor(source, configuration, ports, internal).run())


class Supervisor:
    """`ports` are the listening sockets of each worker."""

    def __init__(
        self, source: ConfigurationSource, configuration: Configuration, ports: Sequence[Sequence[socket.socket]],
        internal: InternalSockets,
    ) -> None:
        self._log = log.get("prism.supervisor")
        self._config = configuration.proxy
        self._namespaces = configuration.namespaces
        self._ports = ports
        self._internal = internal
        self._page = SharedQuotaTable(configuration.proxy.workers)
        self._lifecycle = Lifecycle()
        self._source, self._configuration = source, configuration
        self._started = time.time()

    async def run(self) -> int:
        config = self._config
        stop = StopRequest()
        stop.on_signals()
        self._fleet = fleet = Fleet(
            [self._start(worker) for worker in range(config.workers)], on_death=self._page.forget,
            answer=self._answer)
        self._management = Management(self._source, self._configuration, self)
        telemetry = TelemetryServer(self._metrics, self._readiness, refresh=fleet.collect)
        try:
            metrics_port = await open_telemetry(telemetry, config.metrics_listen)
            gave_up = await self._serve(stop, metrics_port)
            code = await self._drain(stop)
            return EXIT_ERROR if gave_up and code != EXIT_FORCED else code
        finally:
            fleet.kill()
            await telemetry.close()

    async def _serve(self, stop: StopRequest, metrics_port: int | None) -> bool:
        """Start the workers and wait for a signal; True when it is the workers that cannot go on."""
        starting = asyncio.ensure_future(self._fleet.start())
        stopped = asyncio.ensure_future(stop.drain.wait())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            return False
        starting.result()
        await self._management.join(self._port_numbers())
        self._lifecycle.enter(State.RUNNING)
        self._management.start()
        self._log.info("serving", version=__version__, ports=self._port_numbers(),
                       metrics_port=metrics_port, pid=os.getpid(), workers=self._config.workers,
                       namespaces=list(self._fleet.aggregator.states()))
        gone = asyncio.ensure_future(self._fleet.given_up.wait())
        await asyncio.wait({stopped, gone}, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            self._log.error("giving up: a worker ended five times within a minute")
        return gone.done()

    def _start(self, worker: int) -> Start:
        return Start(
            config=self._config, namespaces=self._namespaces, worker=worker, workers=self._config.workers, epoch=0,
            sockets=tuple(sock.fileno() for sock in self._ports[worker]),
            internal_socket=self._internal.sockets[worker].fileno(), internal_paths=self._internal.paths,
            quotas=self._page.fd)

    def _port_numbers(self) -> list[int]:
        """In the order of `config.listen`."""
        return [port_of(sock) for sock in self._ports[0][:len(self._config.listen)]]

    async def _answer(self, request: ControlCall) -> ControlReply:
        return await self._management.answer(request)

    # --- what is managed (`Managed`) --------------------------------------------------------------------------------

    async def apply(self, proxy: ProxyConfig, namespaces: Sequence[NamespaceConfig]) -> None:
        await self._fleet.apply(proxy, tuple(namespaces))

    def end_calls(self, namespaces: Collection[str]) -> None:
        self._fleet.end_calls(namespaces)

    def families(self) -> Iterable[Metric | None]:
        return self._fleet.metrics.families(self._own())

    def states(self) -> Mapping[str, NamespaceStatus]:
        return self._fleet.aggregator.states()

    def set_partition_map(self, found: PartitionMap) -> None:
        self._fleet.set_partition_map(found)

    def migration_workers(self) -> MigrationWorkers:
        from prism_proxy.processes.migration_workers import FleetMigrationWorkers

        return FleetMigrationWorkers(self._fleet)

    # --- the end ----------------------------------------------------------------------------------------------------

    async def _drain(self, stop: StopRequest) -> int:
        limits = self._config.limits
        began = time.monotonic()
        seconds = limits.drain_longest_s + MARGIN_SECONDS
        end_after(seconds + MARGIN_SECONDS)
        if self._lifecycle.state is State.RUNNING:
            self._lifecycle.enter(State.DRAINING)
        await self._management.close()
        close_ports(self._ports)  # workers hold theirs until they have accepted what waits there
        code = await self._fleet.drain(stop.force, seconds)
        self._lifecycle.enter(State.STOPPING)
        self._lifecycle.enter(State.STOPPED)
        self._log.info("stopped", seconds=round(time.monotonic() - began, 3), code=code)
        return code

    # --- what is shown ----------------------------------------------------------------------------------------------

    def _readiness(self) -> tuple[bool, dict[str, object]]:
        ready, details = readiness(self._lifecycle.state.value, self._fleet.aggregator.states())
        return ready and any(worker_slot.serving for worker_slot in self._fleet.worker_slots), {
            **details, **self._management.status(),
            "workers": [worker_slot.shown() for worker_slot in self._fleet.worker_slots]}

    def _metrics(self) -> Iterator[str]:
        return text_of(self.families())

    def _own(self) -> Iterator[Metric]:
        worker_slots = self._fleet.worker_slots
        yield from self._management.collect()
        yield from process_metrics(__version__, self._started)
        yield gauges("prism_ready", "1 while this process should get calls.", {(): float(self._readiness()[0])},
                     merge="min")
        yield gauges("prism_namespace_health", "1 healthy, 2 degraded, 3 unhealthy.", {
            (("namespace", name), ("backend", status.backend)): float(status.health)
            for name, status in self._fleet.aggregator.states().items()}, merge="max")
        yield gauges("prism_workers", "Workers that serve calls.", {
            (): sum(worker_slot.serving for worker_slot in worker_slots)})
        yield counters("prism_worker_restarts_total", "Workers that ended and were started again.", "worker",
                       {str(worker_slot.start.worker): worker_slot.restarts.total for worker_slot in worker_slots})
