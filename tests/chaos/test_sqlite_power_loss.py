"""200 disks after 200 losses of power: with durability `synced` every acknowledged write and message is on each.

A writer is traced (`sync_trace.c`), then cut off at random points of what it did (`disk_image.py`). The same images
lose acknowledged writes when the driver does not sync, which shows that the test can fail.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from tests.chaos.disk_image import Event, Image, events
from tests.chaos.test_sqlite_kill import numbered

IMAGES = 200
LANES = 4
WRITER = """
import asyncio, os, subprocess, sys
from prism_proxy.backends.sqlite import committer
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.models.messages import StoredMessage
from prism_proxy.models.queue.contract import QueueItem
from tests.chaos.disk_image import note
from tests.chaos.test_sqlite_kill import value

path, base, durability, lanes = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
trace = int(os.environ["SYNC_TRACE_FD"])
committer.CHECKPOINT_BYTES, committer.LOG_BYTES = 256 * 1024, 768 * 1024  # often, and the log starts over

async def write(driver, lane):
    number = 0
    # At least so many, and on until the log was copied often enough to show something.
    while number < 120 or (int(driver.health().details["checkpoints"]) < 3 and number < 3000):
        number += 1
        os.write(trace, note(b"begin %d %d" % (lane, number)))
        pair = {b"left%d" % lane: value(number), b"right%d" % lane: value(number)}
        message = StoredMessage(f"{lane} {number}", b"%d" % number, {}, 1)
        sent, _ = await asyncio.gather(driver.queue.enqueue("q", [QueueItem(message)]), driver.commit({}, pair))
        assert sent == [message.message_id]
        os.write(trace, note(b"done %d %d" % (lane, number)))

async def main():
    driver = SqliteDriver(SqliteConfig(path, durability=durability, reserve_bytes=0))
    await driver.open()
    # in a process of its own: closing a descriptor of the database here would drop SQLite's locks
    subprocess.run(["cp", "-r", os.path.dirname(path), base], check=True, env={"PATH": os.environ["PATH"]})
    os.write(trace, note(b"base"))
    await asyncio.gather(*(write(driver, lane) for lane in range(lanes)))
    print(driver.health().details["checkpoints"], flush=True)
    os._exit(0)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("shim") / "sync_trace.so"
    source = Path(__file__).with_name("sync_trace.c")
    subprocess.run(["cc", "-O1", "-Wall", "-shared", "-fPIC", "-o", built, source, "-lpthread"], check=True)
    return built


def traced(folder: Path, shim: Path, durability: str) -> list[Event]:
    """What a writer did since the copy of its folder, `base`, was made."""
    (folder / "disk").mkdir()
    with (folder / "trace").open("ab") as trace:
        environment = {**os.environ, "LD_PRELOAD": str(shim), "SYNC_TRACE_FD": str(trace.fileno()),
                       "SYNC_TRACE_FOLDER": str(folder / "disk")}
        done = subprocess.run(
            [sys.executable, "-c", WRITER, folder / "disk" / "store.db", folder / "base", durability, str(LANES)],
            env=environment, pass_fds=[trace.fileno()], check=True, capture_output=True, text=True, timeout=50)
    assert int(done.stdout) >= 3, "the log was hardly ever copied: images would show little"
    found = list(events((folder / "trace").read_bytes()))
    start = next(index for index, event in enumerate(found) if event.data == b"base")
    assert any(event.kind == "w" and event.path.endswith(".db") for event in found[start:])
    return found[start + 1:]


async def damaged_lanes(folder: Path, acknowledged: list[int], begun: list[int]) -> int:
    """How many lanes miss an acknowledged message or their last acknowledged write, or hold half of one. What is there
    must have been written."""
    with sqlite3.connect(folder / "store.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    driver = SqliteDriver(SqliteConfig(str(folder / "store.db"), durability="checkpointed", reserve_bytes=0))
    await driver.open()
    try:
        lost = 0
        queued = {message.message_id for message in await driver.queue.peek("q", 100_000, 0)}
        for lane in range(LANES):
            left, right = await driver.batch_get([b"left%d" % lane, b"right%d" % lane])
            if left != right:
                lost += 1
                continue
            assert numbered(left) <= begun[lane]
            assert f"{lane} {begun[lane] + 1}" not in queued
            messages = all(f"{lane} {number}" in queued for number in range(1, acknowledged[lane] + 1))
            lost += numbered(left) < acknowledged[lane] or not messages
        return lost
    finally:
        await driver.close()


async def images_with_losses(folder: Path, shim: Path, durability: str) -> int:
    history = await asyncio.to_thread(traced, folder, shim, durability)
    chance = random.Random(7)
    cuts = set(chance.sample(range(len(history)), IMAGES))
    image = Image(folder / "base")
    acknowledged, begun = [0] * LANES, [0] * LANES
    losses = 0
    for index, event in enumerate(history):
        if event.kind == "n":
            kind, lane, number = event.data.split()
            (begun if kind == b"begin" else acknowledged)[int(lane)] = int(number)
        else:
            image.happen(event)
        if index in cuts:
            disk = folder / f"image{index}"
            disk.mkdir()
            image.lose_power(disk, chance)
            losses += await damaged_lanes(disk, acknowledged, begun) > 0
    return losses


async def test_synced_writes_survive_every_loss_of_power(tmp_path: Path, shim: Path) -> None:
    assert await images_with_losses(tmp_path, shim, "synced") == 0


async def test_checkpointed_writes_do_not(tmp_path: Path, shim: Path) -> None:
    assert await images_with_losses(tmp_path, shim, "checkpointed") > IMAGES // 10
