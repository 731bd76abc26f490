"""A proxy that is one process: its ports, its signals, its telemetry port."""

from __future__ import annotations

import os

from prism_proxy import __version__
from prism_proxy.app import App
from prism_proxy.configuration.loader import Configuration, ConfigurationSource
from prism_proxy.configuration.reloader import Reloader
from prism_proxy.server.lifecycle import StopRequest
from prism_proxy.server.ports import open_ports, open_telemetry, port_of
from prism_proxy.telemetry import log
from prism_proxy.telemetry.http import TelemetryServer


async def run(source: ConfigurationSource, configuration: Configuration) -> int:
    """Serve until told to stop; the exit code. StartError when a port, a file or a namespace cannot be used."""
    config = configuration.proxy
    log.configure(config.log_level, config.log_format)
    stop = StopRequest()
    stop.on_signals()
    app = App(config)

    async def apply(found: Configuration) -> None:
        await app.applier.apply(found.namespaces)
        log.configure(found.proxy.log_level, found.proxy.log_format)

    reloader = Reloader(source, configuration, apply)
    reloader.on_signal()
    app.metrics.collectors.append(reloader.collect)

    def readiness() -> tuple[bool, dict[str, object]]:
        ready, details = app.overview.readiness()
        return ready, {**details, "configuration": reloader.status()}

    telemetry = TelemetryServer(app.metrics.render, readiness)
    await app.open(configuration.namespaces)
    sockets = open_ports(config.listen, share_port=config.reuse_port)[0]
    ports = [port_of(sock) for sock in sockets]
    await app.serve(sockets)
    metrics_port = await open_telemetry(telemetry, config.metrics_listen)
    reloader.start()
    log.get("prism.proxy").info("serving", version=__version__, ports=ports, metrics_port=metrics_port,
                                pid=os.getpid(), namespaces=list(app.namespaces.current.routes))
    await stop.drain.wait()
    await reloader.close()
    await app.drain(stop.force)
    await telemetry.close()
    return await app.close()
