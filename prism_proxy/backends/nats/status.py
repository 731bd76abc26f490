"""What operators see of a NATS server."""

from __future__ import annotations

from prism_proxy.backends.nats.client import NatsClient
from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.contracts.driver import Connections, Health, HealthReport

NOT_OPEN, CLOSED = "the driver is not open", "the driver was closed"


def report(config: NatsConfig, client: NatsClient | None, failure: str, pool: int) -> HealthReport:
    """Of the connection; `failure` says why there is no client."""
    connection = client.connection if client is not None else None
    up = client is not None and connection is not None and connection.usable
    info = client.info if client is not None else {}
    details = {
        "server": str(client.address) if client is not None and client.address is not None else config.server,
        "server_version": str(info.get("version", "unknown")), "subject_prefix": config.names.prefix,
        "max_payload": str(info.get("max_payload", "unknown")), "cluster": str(info.get("cluster", "")),
        "jetstream": str(bool(info.get("jetstream"))).lower(),
    }
    if client is not None:
        details |= {"subscriptions": str(client.channels), "connects": str(client.connects)}
    if connection is not None:
        details |= {"in_msgs": str(connection.received), "out_msgs": str(connection.sent),
                    "pending_bytes": str(connection.queued_bytes)}
    if not up:
        why = failure if client is None else client.failure
        return HealthReport(Health.UNHEALTHY, f"no connection: {why}", details, closed=failure == CLOSED,
                            connections=Connections(config.server, 0, 0, str(pool)))
    return HealthReport(Health.HEALTHY, f"NATS {details['server_version']}", details,
                        connections=Connections(details["server"], 1, 0, str(pool)))
