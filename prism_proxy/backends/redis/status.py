"""What operators see of a Redis: its health, and what becomes of acknowledged writes when it dies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.shared_pools import SharedPool
from prism_proxy.contracts.driver import Connections as DriverConnections
from prism_proxy.contracts.driver import Health, HealthReport
from prism_proxy.models.messages import DeliveryClass, Guarantee

NEARLY_FULL = 0.9
NOT_OPEN, CLOSED = "the driver is not open", "the driver was closed"
_REPLICATION = "replicated asynchronously: a failover may lose the latest writes"
_PERSISTENCE = {
    "always": "synced to its disk before they are acknowledged",
    "everysec": "the last second is lost with the server",
    "no": "what the system had not written is lost with the server",
}


def durability(info: Mapping[str, str]) -> str:
    """In the server's own terms, as far as the proxy may ask."""
    if not info:
        return "asynchronous"
    if info.get("aof_enabled", "0") == "0" and info.get("appendonly") != "yes":
        return f"asynchronous: in memory, snapshots at most; {_REPLICATION}"
    sync = info.get("appendfsync", "")
    loss = _PERSISTENCE.get(sync, "the proxy may not ask how often its log is synced")
    return f"asynchronous: appendonly {sync or 'yes'}, {loss}; {_REPLICATION}"


def message_class(info: Mapping[str, str], wait_replicas: int = 0) -> DeliveryClass:
    """Of messages that Redis keeps, from the server's own settings."""
    logged = info.get("aof_enabled") == "1" or info.get("appendonly") == "yes"
    sync = info.get("appendfsync", "everysec") if logged else ""
    failover = (f"A message is acknowledged when {wait_replicas} replicas have it." if wait_replicas else
                "A failover may lose messages that the replica had not got yet: it is replicated asynchronously.")
    if not logged:
        return DeliveryClass(Guarantee.AT_LEAST_ONCE, "what was not in a snapshot", "what was not in a snapshot",
                             notes=(failover, "The server keeps no log (appendonly no)."))
    power = {"always": "nothing", "everysec": "up to 1 s"}.get(sync, "what the system had not written")
    return DeliveryClass(Guarantee.AT_LEAST_ONCE, "nothing", power, notes=(failover,))


class Connections(NamedTuple):
    """Connections that are `ready`, of `size`; `idle` ones have nothing to do. Of the namespace itself, `pending`
    commands of at most `capacity` wait for an answer. `failure` is why the last connection was lost."""

    ready: int
    size: int
    idle: int
    pending: int
    capacity: int
    failure: str
    shared_pool: SharedPool[Any]


def report(info: Mapping[str, str], config: RedisConfig, connections: Connections) -> HealthReport:
    ready, size, idle, pending, capacity, failure, shared_pool = connections
    role = info.get("role", "unknown")
    details = {
        "mode": config.mode, "total_conns": str(ready), "idle_conns": str(idle), "pending": str(pending),
        "server_version": info.get("redis_version", "unknown"), "role": role,
        "server": config.server, "pool": str(shared_pool.number), "pool_namespaces": str(shared_pool.users),
    }
    if info.get("fence") == "refused":
        details["anomaly"] = ("the ACL user may not CLIENT KILL: a write given up while Redis was stopped may be "
                              "executed after a newer one")
    if ready == 0:
        status, message = Health.UNHEALTHY, f"no connection: {failure}"
    elif ready < size:
        status, message = Health.DEGRADED, f"{ready} of {size} connections: {failure}"
    elif role not in ("master", "unknown", "cluster"):
        status, message = Health.DEGRADED, "this Redis is a replica: it refuses writes"
    elif pending >= NEARLY_FULL * capacity:
        status, message = Health.DEGRADED, f"{pending} commands wait for an answer"
    else:
        status, message = Health.HEALTHY, f"Redis {details['server_version']}, {config.mode}, {role}"
    return HealthReport(status, message, details, connections=DriverConnections(
        config.server, ready, idle, str(shared_pool.number)))


def without_server(config: RedisConfig, shared_pool: SharedPool[Any], failure: str) -> HealthReport:
    """Of a driver that is not open yet, or not any more."""
    return replace(report({}, config, Connections(0, 0, 0, 0, 1, failure, shared_pool)), closed=failure == CLOSED)
