"""A process that works on a folder is killed at random points. What it had acknowledged is there, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from pathlib import Path

from prism_proxy.object_stores.directory import paths
from prism_proxy.object_stores.directory.settings import DirectorySettings
from prism_proxy.object_stores.directory.store import DirectoryStore

ROUNDS = 5
WRITER = """
import asyncio, hashlib, os, random, sys
from pathlib import Path
from prism_proxy.object_stores.contract import PutOptions
from prism_proxy.object_stores.directory.settings import DirectorySettings
from prism_proxy.object_stores.directory.store import DirectoryStore

async def pieces(data):
    for start in range(0, len(data), 100_000):
        yield data[start:start + 100_000]

def say(*words):
    os.write(1, (" ".join(words) + chr(10)).encode())

async def worker(store, number, rng):
    while True:
        key = f"shop/{number}/{rng.randrange(5)}"
        chosen = rng.random()
        if chosen < 0.6:
            data = rng.randbytes(rng.randrange(3_000_000))
            digest = hashlib.sha256(data).hexdigest()
            say("may", key, digest)
            await store.put_stream("claims", key, pieces(data), PutOptions(tags={"prism-pending": "1"}))
            say("has", key, digest)
        elif chosen < 0.8:
            say("may", key, "nothing")
            await store.delete("claims", key)
            say("has", key, "nothing")
        elif await store.exists("claims", key):
            await store.set_tags("claims", key, {})

async def main():
    store = DirectoryStore(DirectorySettings(Path(sys.argv[1]), sync=False))
    await store.open()
    await store.create_bucket("claims")
    say("ready")
    await asyncio.gather(*(worker(store, number, random.Random()) for number in range(4)))

asyncio.run(main())
"""


async def test_a_kill_leaves_what_was_acknowledged_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "objects"
    known: dict[str, set[str]] = {}  # by key what may be there: digests, or "nothing"
    for _ in range(ROUNDS):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(root), stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        await asyncio.sleep(random.uniform(0.05, 0.4))
        process.kill()
        _follow((await process.stdout.read()).decode(), known)
        await process.wait()
        store = DirectoryStore(DirectorySettings(root))
        await store.open()
        found = {info.key: hashlib.sha256((await store.get("claims", info.key))[1]).hexdigest()
                 for info in (await store.list("claims")).objects}
        for key, allowed in known.items():
            assert found.get(key, "nothing") in allowed
            known[key] = {found.get(key, "nothing")}
        assert await store.list_uploads("claims") == []
        files = [path for path in (root / "claims").rglob("*") if path.is_file() and not path.name.endswith(paths.LOCK)]
        assert len(files) == 2 * len(found)
        await store.close()
    assert len(known) > 5


def _follow(lines: str, known: dict[str, set[str]]) -> None:
    """A change that was not acknowledged may have happened."""
    for line in lines.splitlines():
        word, key, state = line.split(" ")
        known[key] = {state} if word == "has" else known.get(key, {"nothing"}) | {state}
