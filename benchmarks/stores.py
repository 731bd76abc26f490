"""What lies behind the proxy: Redis asked directly, latency the proxy adds to it, and how SQLite shares its syncs.

`python -m benchmarks.stores` prints a line a figure. Server and load have a core each, as in `python -m benchmarks`;
Redis is on the load's.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator

from benchmarks import toolchain
from benchmarks.loads import PrismLoad
from benchmarks.machine import LOAD_CORE, ROOT, Process, free_port, pinned
from benchmarks.servers import SERVERS, configured, redis_port, redis_server
from benchmarks.statistics import median
from benchmarks.toolchain import MissingToolError

RATE, CONNECTIONS = 1000, 16
SECONDS, ROUNDS = 4.0, 3
WRITERS = 64


@contextlib.contextmanager
def over_redis() -> Iterator[tuple[Process, int]]:
    """A proxy over a Redis of its own, with the keys of the workload in it."""
    port = free_port()
    with (Process("stores-redis", redis_server(redis_port(port)), {}, LOAD_CORE) as redis,
          Process("stores-proxy", SERVERS["prism-redis"].command(port), {}) as proxy):
        redis.await_listening(redis_port(port))
        proxy.await_listening(port)
        PrismLoad(("--sequential", "--set-percent=100")).calls(port, 1)
        yield proxy, port


def redis_itself() -> None:
    """Requests a second of redis-benchmark, one at a time and 32 in a pipeline, beside ours of one core."""
    tool = toolchain.program("redis-benchmark", "apt: redis-server")
    with over_redis() as (_, port):
        for depth in (1, 32):
            out = _load([tool, "-p", str(redis_port(port)), "-t", "get,set", "-d", "100", "-c", "50", "-n",
                         str(100_000 * (10 if depth > 1 else 1)), "-P", str(depth), "--csv"])
            rates = dict(re.findall(r'"(SET|GET)","([\d.]+)"', out))
            print(f"redis-benchmark -P {depth}: Get {float(rates['GET']):,.0f}/s, Set {float(rates['SET']):,.0f}/s")
        seen = PrismLoad().run(port, SECONDS)
        print(f"through the proxy, 8x10: Get {seen.calls / seen.seconds:,.0f}/s")


def added_latency() -> None:
    """At 1,000 calls a second over 16 connections: through the proxy, less Redis asked directly, in turns."""
    with over_redis() as (proxy, port):
        _load(["redis-cli", "-p", str(redis_port(port)), "set", "key-0000000", "a" * 100])
        found: dict[str, list[dict[str, float]]] = {"redis": [], "grpc": []}
        for _ in range(ROUNDS):
            for kind, at in (("redis", redis_port(port)), ("grpc", port)):
                found[kind].append(json.loads(_load([
                    sys.executable, "-m", "benchmarks.load.paced", kind, str(at), str(RATE), str(CONNECTIONS),
                    str(SECONDS)])))
        rss = proxy.usage().rss_bytes / 1e6
    middle = {kind: {name: median([turn[name] for turn in turns]) for name in turns[0]}
              for kind, turns in found.items()}
    for kind, label in (("redis", "Redis directly"), ("grpc", "through the proxy")):
        told = middle[kind]
        print(f"{label}, {RATE}/s: mean {told['mean_us']:.0f} us, p50 {told['p50_us']:.0f} us, "
              f"p99 {told['p99_us']:.0f} us, missed {told['missed']:.0f}")
    added = {name: middle["grpc"][name] - middle["redis"][name] for name in ("mean_us", "p99_us")}
    print(f"added: mean {added['mean_us']:.0f} us (goal 100), p99 {added['p99_us']:.0f} us (goal 400), "
          f"{rss:.1f} MB (goal 45)")


def durable_writes() -> None:
    """Writes a second of 64 callers to a synced SQLite namespace, and how many of them a sync serves."""
    port, operators = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        store = f"{{driver: sqlite, config: {{path: '{folder}/store.db'}}}}"
        flags = configured("sqlite", f"{{backends: {{store: {store}}}}}")
        command = [sys.executable, "-m", "prism_proxy", "--listen", f"127.0.0.1:{port}", "--metrics-listen",
                   f"127.0.0.1:{operators}", "--log-level", "warning", *flags]
        with Process("stores-sqlite", command, {}) as proxy:
            proxy.await_listening(port)
            load = PrismLoad(("--set-percent=100", "--keys=10000", "--connections=8", f"--streams={WRITERS // 8}"))
            load.run(port, 1)
            before, used = _details(operators), proxy.usage().cpu_seconds
            seen = load.run(port, SECONDS)
            after, spent = _details(operators), proxy.usage().cpu_seconds - used
    commits = int(after["commits"]) - int(before["commits"])
    print(f"sqlite, synced, {WRITERS} callers: {seen.calls / seen.seconds:,.0f} writes/s, "
          f"{commits / seen.calls:.3f} commits (one sync each) a write, {spent / seen.calls * 1e6:.0f} us CPU a write, "
          f"p99 {(seen.p99_us or 0) / 1000:.1f} ms")


def _details(port: int) -> dict[str, str]:
    """What the driver of the namespace `default` says of itself."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
        found: dict[str, str] = json.load(answer)["namespaces"]["default"]
    return found


def _load(command: list[str]) -> str:
    done = subprocess.run(pinned(LOAD_CORE, command), capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout


def main() -> None:
    for figure in (redis_itself, added_latency, durable_writes):
        try:
            figure()
        except (MissingToolError, RuntimeError, OSError) as trouble:
            print(f"{figure.__name__}: not measured: {trouble}")


if __name__ == "__main__":
    main()
