"""The control plane: how fast it starts, what it holds, what heartbeats cost, how a proxy with much to serve joins.

`python -m benchmarks.admin` prints a line a figure. The admin, over SQLite, and the load have a core each.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from admin_client import AdminClient
from benchmarks.machine import LOAD_CORE, Process, free_port
from benchmarks.statistics import median
from prism import control_plane_pb2 as pb
from prism_admin.layout import partition_of
from prism_admin.storage import tables
from prism_admin.storage.store import open_store
from prism_runtime.storage.database_url import parse

STARTS = 5
PROXIES, BEATS, AT_ONCE, HEALTHS = 100, 4000, 50, 20
FLEET, INTERVAL_SECONDS = 1000, 30
NAMESPACES = 10_000
CONFIG = {"backends": {"store": {"backendType": "redis", "connectionString": "redis://cache:6379/0"}},
          "patterns": {"keyvalue": {"patternName": "keyvalue"}}}


def admin(urn: str, port: int) -> Process:
    return Process("admin", [sys.executable, "-m", "prism_admin", "serve", "--db", urn, "--listen", f"127.0.0.1:{port}",
                             "--metrics-listen", "off", "--log-level", "error"], {})


def start(folder: Path) -> None:
    """Milliseconds from spawn to an open port: on no database, then on a current one; and what it holds then."""
    found = []
    for _ in range(1 + STARTS):
        port = free_port()
        with admin(f"sqlite:///{folder / 'start.db'}", port) as process:
            found.append(process.await_listening(port) * 1000)
            held = process.usage().rss_bytes
    print(f"start to serving: {found[0]:.0f} ms on no database, {median(found[1:]):.0f} ms on a current one (goal 400)")
    print(f"resident memory: {held / 1e6:.0f} MB (goal 90)")


async def heartbeats(folder: Path) -> None:
    """CPU of the admin a heartbeat, and what a fleet costs of one core."""
    port = free_port()
    with admin(f"sqlite:///{folder / 'beats.db'}", port) as process:
        process.await_listening(port)
        client = AdminClient(f"127.0.0.1:{port}")
        for number in range(PROXIES):
            await client.register(pb.ProxyRegistration(proxy_id=f"proxy-{number}", address=f"127.0.0.1:{1 + number}"))
        health = {f"tenant-{number}": pb.NamespaceHealth(status="healthy") for number in range(HEALTHS)}
        before = process.usage().cpu_seconds
        for first in range(0, BEATS, AT_ONCE):
            await asyncio.gather(*(client.heartbeat(pb.ProxyHeartbeat(
                proxy_id=f"proxy-{number % PROXIES}", namespace_health=health))
                for number in range(first, first + AT_ONCE)))
        spent = (process.usage().cpu_seconds - before) / BEATS
        await client.close()
    share = spent * FLEET / INTERVAL_SECONDS * 100
    print(f"heartbeat of {HEALTHS} namespaces: {spent * 1e6:.0f} µs CPU; {FLEET} proxies at {INTERVAL_SECONDS} s: "
          f"{share:.1f} % of a core (goal 5)")


async def joining(folder: Path) -> None:
    """Seconds until a proxy that joins has all that it serves, and its admin knows."""
    urn = f"sqlite:///{folder / 'many.db'}"
    store = await open_store(parse(urn))
    names = [f"tenant-{number}" for number in range(NAMESPACES)]
    async with store.engine.begin() as connection:
        await connection.execute(tables.namespaces.insert(), [
            {"name": name, "partition_id": partition_of(name), "config": CONFIG, "config_version": 1}
            for name in names])
    await store.close()
    port = free_port()
    with admin(urn, port) as process:
        process.await_listening(port)
        client = AdminClient(f"127.0.0.1:{port}")
        began = time.perf_counter()
        ack = await client.register(pb.ProxyRegistration(proxy_id="proxy-1", address="127.0.0.1:1"))
        registered = time.perf_counter() - began
        await client.heartbeat(pb.ProxyHeartbeat(proxy_id="proxy-1", namespace_health={
            item.namespace: pb.NamespaceHealth(status="healthy") for item in ack.initial_namespaces}))
        spent = time.perf_counter() - began
        held = process.usage().rss_bytes
        await client.close()
    print(f"{len(ack.initial_namespaces)} of {NAMESPACES} namespaces reach a joining proxy in {registered:.2f} s, "
          f"confirmed after {spent:.2f} s (goal 2); the admin then holds {held / 1e6:.0f} MB")


def main() -> int:
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory() as folder:
        start(Path(folder))
        asyncio.run(heartbeats(Path(folder)))
        asyncio.run(joining(Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
