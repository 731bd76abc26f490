"""A proxy that is one process: its ports, its signals, its operators' port."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from prism_proxy import __version__
from prism_proxy.app import App
from prism_proxy.configuration.loader import Configuration, ConfigurationSource
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.status import NamespaceStatus
from prism_proxy.process_config import ProxyConfig
from prism_proxy.processes.management import Management
from prism_proxy.server.ports import open_ports, open_telemetry, port_of
from prism_proxy.telemetry.metrics import Metric
from prism_runtime import log
from prism_runtime.http_port import TelemetryServer
from prism_runtime.lifecycle import StopRequest, spare_collector

if TYPE_CHECKING:
    from prism_proxy.forwarding.partitions import PartitionMap
    from prism_proxy.membership.control_call import ControlCall, ControlReply
    from prism_proxy.membership.migration.coordinator import MigrationWorkers


class Single:
    """Implements `Managed` for an app in this process, and is the app's way to what manages it."""

    def __init__(self, source: ConfigurationSource, configuration: Configuration) -> None:
        joined = configuration.proxy.admin.joined
        self.app = App(configuration.proxy, ask=self._answer if joined else None)
        self.management = Management(source, configuration, self)
        self.app.metrics.collectors.append(self.management.collect)

    async def _answer(self, request: ControlCall) -> ControlReply:
        return await self.management.answer(request)

    async def apply(self, proxy: ProxyConfig, namespaces: Sequence[NamespaceConfig]) -> None:
        await self.app.activator.apply(namespaces)

    def end_calls(self, namespaces: Collection[str]) -> None:
        self.app.activator.end_calls(namespaces)

    def families(self) -> Iterable[Metric | None]:
        return self.app.metrics.families()

    def states(self) -> Mapping[str, NamespaceStatus]:
        return self.app.process_status.namespaces()

    def set_partition_map(self, found: PartitionMap) -> None:
        self.app.cluster.set_partition_map(found)

    def migration_workers(self) -> MigrationWorkers:
        assert self.app.cluster.migration_worker is not None  # a proxy that joined an admin has one
        return self.app.cluster.migration_worker

    def readiness(self) -> tuple[bool, dict[str, object]]:
        ready, details = self.app.process_status.readiness()
        return ready, {**details, **self.management.status()}


async def run(source: ConfigurationSource, configuration: Configuration) -> int:
    """Serve until told to stop; the exit code. StartError when a port, a file or a namespace cannot be used."""
    config = configuration.proxy
    log.configure(config.log_level, config.log_format)
    stop = StopRequest()
    stop.on_signals()
    single = Single(source, configuration)
    app, management = single.app, single.management
    telemetry = TelemetryServer(app.metrics.render, single.readiness)
    await app.open(configuration.namespaces)
    sockets = open_ports(config.listen, share_port=config.reuse_port)[0]
    ports = [port_of(sock) for sock in sockets[:len(config.listen)]]
    await management.join(ports)
    await app.serve(sockets)
    metrics_port = await open_telemetry(telemetry, config.metrics_listen)
    management.start()
    spare_collector()
    log.get("prism.proxy").info("serving", version=__version__, ports=ports, metrics_port=metrics_port,
                                pid=os.getpid(), namespaces=list(app.namespaces.current.routes))
    await stop.drain.wait()
    await management.close()
    await app.drain(stop.force)
    await telemetry.close()
    return await app.close()
