"""What payloads by claim cost: streams of gigabytes, and a message of 2 MiB beside the bare put of its object.

    python -m benchmarks.payloads [http://ACCESS:SECRET@HOST:PORT] [--mib 1024] [--chunk-kib 512] [--rounds 50]
    python -m benchmarks.payloads FOLDER ...

Without a place an S3 server is started. After the streams obstore alone puts and gets as many bytes there. CPU is that
of the proxy's process alone, read from the kernel; memory is its growth during the stream.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import grpc
import obstore
from obstore.store import LocalStore

from benchmarks.object_streams import settings, source
from benchmarks.s3 import s3
from prism.interfaces.payload import payload_pb2 as pb
from prism.interfaces.payload import payload_pb2_grpc as rpc
from prism.interfaces.queue import queue_basic_pb2 as queue
from prism.interfaces.queue import queue_basic_pb2_grpc as queue_rpc
from prism_proxy.object_stores.contract import ObjectStore
from prism_proxy.object_stores.directory.settings import DirectorySettings
from prism_proxy.object_stores.directory.store import DirectoryStore
from prism_proxy.object_stores.s3.store import S3Store
from tests.services.proxy import ProxyProcess

KIB, MIB, GIB = 1024, 1024**2, 1024**3
LARGE = [("grpc.max_receive_message_length", 8 * MIB), ("grpc.max_send_message_length", 8 * MIB)]
BUCKET = "bench-claims"


class Cost(NamedTuple):
    """Seconds and CPU seconds a GiB, and MiB of growth."""

    wall: float
    cpu: float
    growth: float


def configuration(place: str) -> str:
    if "://" in place:
        parts = urlsplit(place)
        driver = (f"{{driver: s3, config: {{endpoint: '{parts.scheme}://{parts.hostname}:{parts.port}', "
                  f"access_key: '{parts.username}', secret_key: '{parts.password}'}}}}")
    else:
        driver = f"{{driver: directory, config: {{path: '{place}'}}}}"
    return (f"namespaces:\n  default:\n    backends:\n      store: {{driver: memstore}}\n      object_store: {driver}\n"
            f"    claim_check: {{enabled: true, bucket: {BUCKET}, ttl: {{retention_after_read: 0s}}}}\n")


class Watched:
    """The proxy's process, as the kernel counts it."""

    def __init__(self, proxy: ProxyProcess) -> None:
        self._proxy = proxy
        self._stat = Path(f"/proc/{proxy.process.pid}/stat")

    def cpu(self) -> float:
        fields = self._stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def cost(self, work: Any, size: int) -> tuple[Any, Cost]:
        before, cpu, began = self._proxy.resident_bytes(), self.cpu(), time.monotonic()
        most = before
        running = asyncio.ensure_future(work)
        while not running.done():
            most = max(most, self._proxy.resident_bytes())
            await asyncio.wait({running}, timeout=0.05)
        scale = GIB / size
        return running.result(), Cost((time.monotonic() - began) * scale, (self.cpu() - cpu) * scale,
                                      (most - before) / MIB)


async def alone(place: str, mib: int) -> tuple[float, float]:
    """Seconds a GiB to put and to get an object by obstore alone, as fast as its client goes."""
    if "://" in place:
        client: Any = S3Store(settings(place)).client(BUCKET)
    else:
        client = LocalStore(Path(place, "alone"), mkdir=True)
    began = time.monotonic()
    await obstore.put_async(client, "alone", source(mib), chunk_size=8 * MIB, max_concurrency=3)
    put = time.monotonic()
    async for _ in (await obstore.get_async(client, "alone")).stream(MIB):
        pass
    got = time.monotonic()
    await obstore.delete_async(client, "alone")
    return (put - began) * 1024 / mib, (got - put) * 1024 / mib


async def streams(proxy: ProxyProcess, channel: grpc.aio.Channel, place: str, mib: int, chunk: int) -> None:
    stub, watched, block = rpc.PayloadInterfaceStub(channel), Watched(proxy), os.urandom(chunk)

    async def pieces(count: int) -> AsyncIterator[pb.PublishPayloadRequest]:
        yield pb.PublishPayloadRequest(head=pb.PayloadHead(queue="q"))
        for _ in range(count):
            yield pb.PublishPayloadRequest(chunk=block)

    async def fetch(claim_id: str) -> int:
        return sum([len(part.chunk) async for part in stub.Fetch(pb.FetchRequest(topic="q", claim_id=claim_id))])

    for size in (64 * MIB, mib * MIB):  # the first one warms up
        sent, publish = await watched.cost(stub.Publish(pieces(size // chunk)), size)
        _, read = await watched.cost(fetch(sent.claim_id), size)
        put, got = await alone(place, size // MIB)
    for name, cost, direct in (("publish", publish, put), ("fetch", read, got)):
        print(f"{name}: {1 / cost.wall * 1024:.0f} MiB/s, {direct / cost.wall:.0%} of obstore alone, "
              f"{cost.cpu:.2f} CPU s/GiB, memory + {cost.growth:.0f} MiB")


async def messages(channel: grpc.aio.Channel, store: ObjectStore, rounds: int) -> None:
    stub, payload = queue_rpc.QueueBasicInterfaceStub(channel), os.urandom(2 * MIB)
    times: dict[str, list[float]] = {"put": [], "enqueue": [], "dequeue": []}
    await store.open()
    await store.create_bucket(BUCKET)
    for number in range(rounds):
        began = time.perf_counter()
        await store.put(BUCKET, f"bare/{number}", payload)
        put = time.perf_counter()
        await stub.Enqueue(queue.EnqueueRequest(queue="m", payload=payload))
        enqueued = time.perf_counter()
        await stub.Dequeue(queue.DequeueRequest(queue="m"))
        for name, spent in (("put", put - began), ("enqueue", enqueued - put),
                            ("dequeue", time.perf_counter() - enqueued)):
            times[name].append(spent * 1000)
    await store.close()
    for name, found in times.items():
        print(f"2 MiB {name}: median {statistics.median(found):.1f} ms")


def bare(place: str) -> ObjectStore:
    """The object store itself."""
    return S3Store(settings(place)) if "://" in place else DirectoryStore(DirectorySettings(path=Path(place)))


async def measure(place: str, file: str, mib: int, chunk: int, rounds: int) -> None:
    anywhere = ("--config", file, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    async with (
        ProxyProcess(*anywhere) as proxy, grpc.aio.insecure_channel(proxy.address, options=LARGE) as channel,
    ):
        await streams(proxy, channel, place, mib, chunk)
        await messages(channel, bare(place), rounds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.payloads")
    parser.add_argument("place", nargs="?", default="")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--chunk-kib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, s3(options.place) as place:
        file = Path(folder, "prism.yaml")
        file.write_text(configuration(place))
        asyncio.run(measure(place, str(file), options.mib, options.chunk_kib * KIB, options.rounds))


if __name__ == "__main__":
    main()
