"""What is measured of messaging, and the figures it is meant to reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import toolchain
from benchmarks.machine import LOAD_CORE, OUT, SERVER_CORE
from benchmarks.servers import configured, proxy, python, redis_port, redis_server

MEMSTORE, AIO = "memstore", "grpc_aio"
COUNTED = 200_000  # messages of rows that fill and empty a queue


@dataclass(frozen=True, slots=True)
class Row:
    """`mode` and `flags` are those of message_load. A row of `counted` messages is measured to its end, another for a
    time. `most_us`, `most_sets` and `most_p99_us` are goals on memstore: µs of CPU, multiples of a
    Set in the same run, and the 99th percentile of what the generator waits for. A row of a `broker` is measured there
    alone, by `direct`."""

    title: str
    mode: str
    flags: Sequence[str] = ()
    counted: bool = False
    peer: bool = True
    most_us: float | None = None
    most_sets: float | None = None
    most_p99_us: float | None = None
    broker: str = ""


def _fan_out(subscribers: int, most_us: float | None = None) -> Row:
    return Row(f"a delivery, 1 to {subscribers}", "stream",
               ("--connections=1", f"--subscribers={subscribers}", "--window=1024"), most_us=most_us)


def _direct(broker: str, title: str) -> Row:
    return Row(title, "direct", counted=True, broker=broker)


ROWS: Mapping[str, Row] = {
    "set": Row("Set of KeyValue", "set", peer=False),
    "publish": Row("Publish", "publish", most_sets=1.3),
    "publish-batch": Row("PublishBatch of 100, a message", "batch", ("--connections=4", "--streams=1"), peer=False),
    "publish-stream": Row("PublishStream, a message", "stream", ("--connections=4",), most_sets=1.0),
    "deliver-1": _fan_out(1),
    "deliver-10": _fan_out(10, 0.30),
    "deliver-100": _fan_out(100, 0.20),
    "paced-100": Row("a delivery, 1 to 100, 100 messages a second", "stream", (
        "--connections=1", "--subscribers=100", "--rate=100"), peer=False, most_p99_us=5_000),
    "paced-1000": Row("a delivery, 1 to 1,000, 5 messages a second", "stream", (
        "--connections=1", "--subscribers=1000", "--subscriber-connections=20", "--rate=5"), peer=False,
        most_p99_us=20_000),
    "enqueue": Row("Enqueue", "enqueue", (), counted=True, peer=False),
    "enqueue-batch": Row("EnqueueBatch of 100, a message", "fill", ("--connections=2", "--streams=2"), counted=True,
                         peer=False),
    "consume": Row("lease and settle by batches of 100, a message", "consume", ("--connections=2", "--streams=2"),
                   counted=True, peer=False, most_us=2.5),
    "redis-publish": _direct("redis", "PUBLISH in pipelines of 100"),
    "redis-deliver-10": _direct("redis", "a delivery of PUBLISH, 1 to 10"),
    "redis-append": _direct("redis", "XADD in pipelines of 100"),
    "redis-consume": _direct("redis", "XREADGROUP, XACK and XDEL by batches of 100, a message"),
    "nats-deliver-1": _direct("nats", "a delivery of PUB, 1 to 1"),
    "nats-deliver-10": _direct("nats", "a delivery of PUB, 1 to 10"),
    "jetstream-append": _direct("nats", "a publish to JetStream on disk, 1,000 in flight"),
    "jetstream-consume": _direct("nats", "pull and acknowledge by batches of 100, a message"),
}


@dataclass(frozen=True, slots=True)
class Server:
    """As `benchmarks.servers.Server`, of messages. A `broker` is measured without a proxy."""

    label: str
    command: Callable[[int], list[str]]
    ours: bool = True
    beside: Callable[[int], list[str]] | None = None
    beside_core: int = LOAD_CORE
    broker: str = ""


def _store(name: str, driver: str, config: str) -> Callable[[int], list[str]]:
    def command(port: int) -> list[str]:
        OUT.mkdir(exist_ok=True)
        filled = config.replace("@PORT@", str(port)).replace("@BESIDE@", str(redis_port(port)))
        store = f"{{driver: {driver}, config: {{{filled}}}}}"
        return proxy(*configured(f"messages-{name}-{port}", f"{{backends: {{store: {store}}}}}"))(port)

    return command


def _nats_server(port: int) -> list[str]:
    return [toolchain.nats_server(), "--addr", "127.0.0.1", "--port", str(port),
            "--jetstream", "--store_dir", str(OUT / f"messages-{port}.jetstream")]


SERVERS: Mapping[str, Server] = {
    MEMSTORE: Server("memstore", _store("memstore", "memstore", "max_bytes: 1GiB")),  # room for COUNTED messages
    "sqlite": Server("sqlite", _store("sqlite", "sqlite", f"path: '{OUT}/messages-@PORT@.db'")),
    "redis": Server("redis", _store("redis", "redis", "url: 'redis://127.0.0.1:@BESIDE@/0'"),
                    beside=lambda port: redis_server(redis_port(port))),
    "nats": Server("nats", _store("nats", "nats", "url: 'nats://127.0.0.1:@BESIDE@', jetstream: true"),
                   beside=lambda port: _nats_server(redis_port(port))),
    AIO: Server("grpc.aio on uvloop, a dict of queues", lambda port: python(
        "benchmarks.peers.message_servicer", f"127.0.0.1:{port}"), ours=False, beside_core=SERVER_CORE),
    "redis-direct": Server("redis-server alone", redis_server, ours=False, broker="redis"),
    "nats-direct": Server("nats-server alone", _nats_server, ours=False, broker="nats"),
}
