"""What a queue in a SQLite file takes, synced, beside a plain sqlite3 script that does the same writes.

`python -m benchmarks.sqlite_queue` prints a line a figure. The driver is called in process: what gRPC costs is the same
for every backend, and measured elsewhere. The plain script inserts rows of the same size into one table with one index,
in transactions as large as those that the driver made, and is what SQLite and the disk allow.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from statistics import median

from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.models.messages import StoredMessage
from prism_proxy.models.queue.contract import Outcome, QueueItem, Settlement

CALLERS = 64
BATCH = 500
SECONDS = 2.0
ROUNDS = 3
SIZE = 100
QUEUE = "jobs"
GOALS = {"single": 20_000, "batched": 110_000}
Step = Callable[[SqliteDriver], Awaitable[int]]


@cache
def items(count: int) -> list[QueueItem]:
    """Made once: what a message costs before it is stored is not the store's."""
    now = time.time_ns() // 1_000_000
    return [QueueItem(StoredMessage(str(uuid.uuid4()), bytes(SIZE), {"content-type": "text/plain"}, now))
            for _ in range(count)]


async def enqueue_one(driver: SqliteDriver) -> int:
    await driver.queue.enqueue(QUEUE, items(1))
    return 1


async def enqueue_batch(driver: SqliteDriver) -> int:
    await driver.queue.enqueue(QUEUE, items(BATCH))
    return BATCH


async def consume(driver: SqliteDriver) -> int:
    """Leased and acknowledged, by batches."""
    leased = await driver.queue.lease(QUEUE, BATCH, 60, 0)
    await driver.queue.settle(QUEUE, [message.receipt for message in leased], Settlement(Outcome.DONE))
    return len(leased)


async def rate(driver: SqliteDriver, callers: int, step: Step, seconds: float = SECONDS) -> float:
    """Messages a second over all callers."""
    began = time.monotonic()
    done = 0

    async def call() -> None:
        nonlocal done
        while time.monotonic() - began < seconds:
            count = await step(driver)
            done += count
            if not count:
                return

    await asyncio.gather(*(call() for _ in range(callers)))
    return done / (time.monotonic() - began)


async def measured(callers: int, step: Step, depth: int = 0) -> tuple[float, float]:
    """Messages a second of a fresh store that holds `depth` messages, and how many a commit had."""
    with tempfile.TemporaryDirectory() as folder:
        driver = SqliteDriver(SqliteConfig(f"{folder}/store.db"))
        await driver.open()
        try:
            for _ in range(0, depth, 10_000):
                await driver.queue.enqueue(QUEUE, items(10_000))
            before = int(driver.health().details["commits"])
            found = await rate(driver, callers, step)
            commits = int(driver.health().details["commits"]) - before
        finally:
            await driver.close()
    return found, found * SECONDS / max(commits, 1)


def plain(per_commit: int, seconds: float = SECONDS) -> float:
    """Rows a second of the sqlite3 module alone, synced, in transactions of so many."""
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "plain.db", isolation_level=None)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL",
                          "CREATE TABLE job (id INTEGER PRIMARY KEY, rank INTEGER, name TEXT, headers BLOB, data BLOB)",
                          "CREATE INDEX ready ON job (rank, id)"):
            connection.execute(statement)
        rows = [(str(uuid.uuid4()), b"content-type\x00text/plain", bytes(SIZE)) for _ in range(per_commit)]
        began, done = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO job (rank, name, headers, data) VALUES (5, ?, ?, ?)", rows)
            connection.execute("COMMIT")
            done += per_commit
        found = done / (time.monotonic() - began)
        connection.close()
    return found


def main() -> None:
    for name, callers, step in (("single", CALLERS, enqueue_one), ("batched", 8, enqueue_batch)):
        rates, scripts, commit = [], [], 1.0
        for _ in range(ROUNDS):  # in turns, so that the machine's moods hit both
            found, commit = asyncio.run(measured(callers, step))
            rates.append(found)
            scripts.append(plain(max(1, round(commit))))
        print(f"{name}, {callers} callers: {median(rates):,.0f}/s (goal {GOALS[name]:,}), {commit:.0f} a commit, "
              f"plain sqlite3 {median(scripts):,.0f}/s")
    found, _ = asyncio.run(measured(8, consume, 400_000))
    print(f"leased and acknowledged by {BATCH}: {found:,.0f}/s")


if __name__ == "__main__":
    main()
