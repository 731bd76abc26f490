"""A proxy that is one process: its ports, its signals, its telemetry port."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prism_proxy import __version__
from prism_proxy.app import App
from prism_proxy.configuration.loader import Configuration, ConfigurationSource
from prism_proxy.configuration.reloader import Reloader
from prism_proxy.server.ports import open_ports, open_telemetry, port_of
from prism_runtime import log
from prism_runtime.http_port import TelemetryServer
from prism_runtime.lifecycle import StopRequest, spare_collector

if TYPE_CHECKING:
    from prism_proxy.membership.control_call import ControlCall, ControlReply
    from prism_proxy.membership.member import Member


async def run(source: ConfigurationSource, configuration: Configuration) -> int:
    """Serve until told to stop; the exit code. StartError when a port, a file or a namespace cannot be used."""
    config = configuration.proxy
    log.configure(config.log_level, config.log_format)
    stop = StopRequest()
    stop.on_signals()
    member: Member | None = None

    async def ask(request: ControlCall) -> ControlReply:
        assert member is not None  # calls are served once it has joined
        return await member.answer(request)

    app = App(config, ask=ask if config.admin.joined else None)

    async def apply(found: Configuration) -> None:
        await (app.activator.apply(found.namespaces) if member is None else member.set_file(found.namespaces))
        log.configure(found.proxy.log_level, found.proxy.log_format)

    reloader = Reloader(source, configuration, apply)
    reloader.on_signal()
    app.metrics.collectors.append(reloader.collect)

    def readiness() -> tuple[bool, dict[str, object]]:
        ready, details = app.process_status.readiness()
        return ready, {**details, "configuration": reloader.status(),
                       **({"admin": member.status()} if member is not None else {})}

    telemetry = TelemetryServer(app.metrics.render, readiness)
    await app.open(configuration.namespaces)
    sockets = open_ports(config.listen, share_port=config.reuse_port)[0]
    ports = [port_of(sock) for sock in sockets[:len(config.listen)]]
    if config.admin.joined:
        from prism_proxy.membership.member import make_member  # a proxy of its own needs no client of the admin
        from prism_proxy.membership.migration.coordinator import MigrationCoordinator

        assert app.migration_worker is not None
        moves = MigrationCoordinator(app.migration_worker)
        member = make_member(
            config, ports, configuration.namespaces, app.activator.apply, app.activator.end_calls, app.metrics.families,
            app.process_status.namespaces, moves, app.set_partition_map)
        app.metrics.collectors += [member.collect, moves.collect]
        await member.start()
    await app.serve(sockets)
    metrics_port = await open_telemetry(telemetry, config.metrics_listen)
    reloader.start()
    spare_collector()
    log.get("prism.proxy").info("serving", version=__version__, ports=ports, metrics_port=metrics_port,
                                pid=os.getpid(), namespaces=list(app.namespaces.current.routes))
    await stop.drain.wait()
    await reloader.close()
    if member is not None:
        await member.close()
        await moves.close()
    await app.drain(stop.force)
    await telemetry.close()
    return await app.close()
