"""A registry that is killed under registration: what was acknowledged is there, and no id stands for two schemas."""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path

import aiohttp

from tests.services.schema_registry import Rest, record, registry_process

ROUNDS = 100 if os.environ.get("PRISM_SOAK") == "1" else 5
CLIENTS = 4


async def test_no_acknowledged_schema_is_lost_and_no_id_used_twice(tmp_path: Path) -> None:
    database = f"sqlite://{tmp_path / 'schemas.db'}"
    acknowledged: dict[str, int] = {}  # subject -> id
    by_id: dict[int, str] = {}
    removed: set[int] = set()
    names = (f"s{number}" for number in itertools.count())

    async def register(rest: Rest) -> None:
        """Until the registry is killed; every third subject is removed for good, its id is not free again."""
        while True:
            name = next(names)
            status, made = await rest.register(name, record(name, "id"))
            assert status == 200, made
            assert made["id"] not in by_id
            by_id[made["id"]] = name
            acknowledged[name] = made["id"]
            if made["id"] % 3 == 0:
                del acknowledged[name]
                removed.add(made["id"])
                await rest.delete(f"/subjects/{name}")
                await rest.delete(f"/subjects/{name}?permanent=true")

    for _ in range(ROUNDS):
        process = await registry_process("--db", database).start()
        async with Rest(process.url) as rest:
            for name, number in acknowledged.items():
                status, found = await rest.get(f"/subjects/{name}/versions/1")
                assert (status, found["id"]) == (200, number)
            clients = [asyncio.create_task(register(rest)) for _ in range(CLIENTS)]
            await asyncio.sleep(0.4)
            await process.kill()
            ended = await asyncio.gather(*clients, return_exceptions=True)
            assert all(isinstance(error, (aiohttp.ClientError, OSError)) for error in ended), ended
    assert len(acknowledged) > 2 * ROUNDS
    assert removed
