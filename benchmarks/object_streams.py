"""How fast objects stream through the contract, beside obstore alone, and what memory that takes.

    python -m benchmarks.object_streams [http://ACCESS:SECRET@HOST:PORT] [--mib 256] [--rounds 3]

Without an address a server is started. Both go in turns against one server. The source is one block over and over, so
that its making costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import obstore

from benchmarks.s3 import s3
from prism_proxy.object_stores.s3.settings import S3Settings
from prism_proxy.object_stores.s3.store import S3Store

MIB = 1024 * 1024
BUCKET = "bench-streams"
BLOCK = os.urandom(MIB)


class Run(NamedTuple):
    """MiB a second, CPU seconds a GiB of this process, and by how many MiB its memory grew at most."""

    name: str
    speed: float
    cpu: float
    growth: float


def settings(url: str) -> S3Settings:
    parts = urlsplit(url)
    return S3Settings(endpoint=f"{parts.scheme}://{parts.hostname}:{parts.port}", access_key=parts.username or "",
                      secret_key=parts.password or "")


async def source(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield BLOCK


async def measured(name: str, count: int, work: Callable[[], Awaitable[Any]]) -> Run:
    before, peak = _memory(), 0.0
    ended = asyncio.Event()

    async def watch() -> None:
        nonlocal peak
        while not ended.is_set():
            peak = max(peak, _memory() - before)
            await asyncio.sleep(0.02)

    watching = asyncio.ensure_future(watch())
    began, used = time.perf_counter(), _cpu()
    await work()
    took, cpu = time.perf_counter() - began, _cpu() - used
    ended.set()
    await watching
    return Run(name, count / took, cpu * 1024 / count, peak)


async def compare(chosen: S3Settings, count: int, rounds: int) -> list[Run]:
    store = S3Store(chosen)
    await store.create_bucket(BUCKET)
    client = store.client(BUCKET)

    async def put_alone() -> None:
        await obstore.put_async(client, "alone", source(count), chunk_size=chosen.part_bytes, max_concurrency=3)

    async def get_alone() -> None:
        size = 0
        async for chunk in (await obstore.get_async(client, "alone")).stream(MIB):
            size += len(chunk)
        assert size == count * MIB

    async def get() -> None:
        size = 0
        async with await store.get_stream(BUCKET, "ours") as download:
            async for chunk in download:
                size += len(chunk)
        assert size == count * MIB

    runs = []
    try:
        for _ in range(rounds):
            runs.append(await measured("put, obstore alone", count, put_alone))
            runs.append(await measured("put", count, lambda: store.put_stream(BUCKET, "ours", source(count))))
            runs.append(await measured("get, obstore alone", count, get_alone))
            runs.append(await measured("get", count, get))
    finally:
        await store.delete_bucket(BUCKET)
        await store.close()
    return runs


def best(runs: list[Run], name: str) -> Run:
    return max((run for run in runs if run.name == name), key=lambda run: run.speed)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory() -> float:
    """Resident MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="")
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with s3(given.url) as url:
        runs = asyncio.run(compare(settings(url), given.mib, given.rounds))
    for run in runs:
        print(f"{run.name:20} {run.speed:7.0f} MiB/s {run.cpu:6.2f} CPU s/GiB  +{run.growth:.0f} MiB")
    for name in ("put", "get"):
        share = best(runs, name).speed / best(runs, f"{name}, obstore alone").speed
        print(f"{name}: {share:.0%} of obstore's own speed")


if __name__ == "__main__":
    main()
