"""A proxy that is one process: its ports, its signals, its telemetry port."""

from __future__ import annotations

import os

from prism_proxy import __version__
from prism_proxy.app import App
from prism_proxy.config import ProxyConfig
from prism_proxy.server.lifecycle import StopRequest
from prism_proxy.server.ports import open_ports, open_telemetry, port_of
from prism_proxy.telemetry import log
from prism_proxy.telemetry.http import TelemetryServer


async def run(config: ProxyConfig) -> int:
    """Serve until told to stop; the exit code. StartError when a port or a file cannot be used."""
    log.configure(config.log_level, config.log_format)
    stop = StopRequest()
    stop.on_signals()
    app = App(config)
    telemetry = TelemetryServer(app.metrics.render, app.overview.readiness)
    await app.open()
    sockets = open_ports(config.listen, share_port=config.reuse_port)[0]
    ports = [port_of(sock) for sock in sockets]
    await app.serve(sockets)
    metrics_port = await open_telemetry(telemetry, config.metrics_listen)
    log.get("prism.proxy").info("serving", version=__version__, ports=ports, metrics_port=metrics_port,
                                pid=os.getpid(), namespaces=list(app.namespaces.current.routes))
    await stop.drain.wait()
    await app.drain(stop.force)
    await telemetry.close()
    return await app.close()
