"""Streams of objects: they cost about what the client they use costs, in a memory that does not grow with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from benchmarks import object_streams
from benchmarks.object_streams import BLOCK, compare, measured
from prism_proxy.object_stores.s3.store import S3Store
from tests.services.seaweedfs import S3Server

MIB = 1024 * 1024
UPLOADS, SIZE = 20, 8
BUFFER = 32


def url(server: S3Server) -> str:
    return server.endpoint.replace("://", f"://{server.access_key}:{server.secret_key}@")


async def test_streams_cost_about_what_obstore_costs_and_are_flat(s3: S3Server) -> None:
    runs = await compare(object_streams.settings(url(s3)), 64, 2)
    for name in ("put", "get"):
        ours, alone = (min(run.cpu for run in runs if run.name == each) for each in (name, f"{name}, obstore alone"))
        assert ours < 2 * alone, runs  # of a fraction of a second: a busy machine blurs it
    assert max(run.growth for run in runs[4:]) < 48  # 64 MiB went through


async def test_many_uploads_share_the_memory_of_their_store(s3: S3Server) -> None:
    settings = replace(object_streams.settings(url(s3)), part_bytes=5 * MIB, buffer_bytes=BUFFER * MIB)
    store = S3Store(settings)
    await store.create_bucket("test-many")
    waiting = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal waiting
        for number in range(SIZE):
            waiting += number == 0
            yield BLOCK
            waiting -= number == 1  # its second block was taken

    async def upload(number: int) -> None:
        result = await store.put_stream("test-many", f"key/{number}", source())
        assert result.size == SIZE * MIB

    async def all_of_them() -> None:
        running = asyncio.gather(*(upload(number) for number in range(UPLOADS)))
        await asyncio.sleep(0.01)
        assert waiting >= UPLOADS - BUFFER // 10  # two parts each are all there is
        await running

    await upload(0)  # connections and their buffers are there
    run = await measured("many", UPLOADS * SIZE, all_of_them)
    assert run.growth < BUFFER + 24
    assert len((await store.list("test-many")).objects) == UPLOADS
    await store.delete_bucket("test-many")
    await store.close()
