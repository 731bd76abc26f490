"""Workers of a proxy that belongs to an admin: a new one knows from its first call who serves what."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import grpc

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from tests.services.cluster import MEMSTORE, Client, cluster

ORDERS = (("x-namespace", "orders"),)  # partition 238, of the last of a few proxies


async def test_a_worker_that_starts_again_passes_calls_on_at_once(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2, "--workers", "2") as found:
        await found.create(["orders"], MEMSTORE)
        first = found.proxies[1]
        workers = json.loads((await first.get("/ready"))[1])["workers"]
        for worker in workers:
            os.kill(worker["pid"], signal.SIGKILL)
        answered, said = 0, set()
        while answered < 30:
            client = Client(first.address)
            try:
                assert await client.owner(ORDERS) == "proxy-02"
                await client.store.Set(kv.SetRequest(key="a", value=b"1"), metadata=ORDERS, timeout=5)
                answered += 1
            except grpc.aio.AioRpcError as error:
                said.add(f"{error.code()} {error.details()} {error.trailing_metadata()}")
                await asyncio.sleep(0.01)
            finally:
                await client.channel.close()
        assert not [text for text in said if "OWNER_UNKNOWN" in text or "NOT_FOUND" in text], said
