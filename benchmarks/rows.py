"""What is measured: one row is one load over several servers in turns. The first server of a row is ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.loads import Ghz, H2Load, Load, PrismLoad, StockClient

START = "start"


@dataclass(frozen=True, slots=True)
class Row:
    """`keys` are stored before the load starts. `load` None measures start-up and idle memory instead."""

    title: str
    load: Load | None
    servers: tuple[str, ...]
    keys: int = 1
    quick_keys: int = 1


_MAPS = ("prism", "tonic", "grpc_go", "grpc_aio")
_ALL = ("prism", "nghttpd", "tonic", "grpc_go", "envoy", "grpc_aio")

ROWS: Mapping[str, Row] = {
    "get": Row("Get, 8 connections x 10 streams, h2load", H2Load("Get"), _ALL),
    "set": Row("Set, 8 connections x 10 streams, h2load", H2Load("Set"), _MAPS),
    "get-checked": Row("Get, 8x10, every reply checked", PrismLoad(), _ALL),
    "set-checked": Row("Set, 8x10, every reply checked", PrismLoad(("--set-percent=100",)), _MAPS),
    "fresh": Row("Get, 8x10, a fresh grpc-timeout and traceparent on each call, as literals",
                 PrismLoad(("--fresh=literal",)), _MAPS),
    "fresh-indexed": Row("Get, 8x10, the same two entered into the header table on each call",
                         PrismLoad(("--fresh=indexed",)), _MAPS),
    "uniform": Row("half Get half Set, uniform over 1,000,000 keys (100,000 with --quick), 8x10",
                   PrismLoad(("--set-percent=50",)), ("prism-1g", "tonic", "grpc_go"), 1_000_000, 100_000),
    "stock": Row("Get, stock grpcio.aio client, 32 in flight", StockClient(), _MAPS),
    "ghz": Row("Get, ghz, 80 in flight over 8 connections", Ghz(), _MAPS),
    "tls": Row("Get over TLS 1.3, 8x10, h2load", H2Load("Get"), ("prism-tls", "prism")),
    "servicer": Row("Get, a Python servicer, 8x10, h2load", H2Load("Get"), ("prism-servicer", "grpc_aio")),
    "forward": Row("Get, 8x10, passed on to the process that owns the namespace: CPU of the first process alone",
                   PrismLoad(), ("prism-forward", "prism")),
    "redis-get": Row("Get over Redis, 8x10; the CPU is the server's, without Redis", PrismLoad(),
                     ("prism-redis", "prism-redis-2w", "redis_py")),
    "redis-set": Row("Set over Redis, 8x10; the CPU is the server's, without Redis",
                     PrismLoad(("--set-percent=100",)), ("prism-redis", "redis_py")),
    "workers": Row("Get, 8x10, one process and two workers; about half the calls are forwarded to the other worker",
                   PrismLoad(), ("prism", "prism-2w")),
    START: Row("start to first answered call, and idle memory", None, ("prism", "prism-2w", "grpc_aio", "bare")),
}
