"""A process that writes through the SQLite driver is killed at any moment: what it acknowledged is there, none is half.

The ledger is a pipe: the writer prints what it begins and what was acknowledged, and the pipe outlives it.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver

KILLS = 100 if os.environ.get("PRISM_SOAK") else 20
KEYS = 16
SIZE = 3000
WRITER = """
import asyncio, os, sys
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from tests.chaos.test_sqlite_kill import KEYS, value

async def write(driver, lane, number):
    while True:
        number += 1
        os.write(1, b"begin %d %d\\n" % (lane, number))
        if number % 3:
            await driver.set(b"single%d" % lane, value(number))
        else:
            assert await driver.commit({}, {b"left%d" % lane: value(number), b"right%d" % lane: value(number)})
        os.write(1, b"done %d %d\\n" % (lane, number))

async def main():
    driver = SqliteDriver(SqliteConfig(sys.argv[1], durability=sys.argv[2]))
    await driver.open()
    os.write(1, b"ready\\n")
    await asyncio.gather(*(write(driver, lane, int(sys.argv[3])) for lane in range(KEYS)))

asyncio.run(main())
"""


def value(number: int) -> bytes:
    """Tells which write it is of, and whether it is whole."""
    return (b"%012d" % number) * (SIZE // 12)


def numbered(stored: bytes | None) -> int:
    if stored is None:
        return 0
    number = int(stored[:12])
    assert stored == value(number), "a value is half one write, half another"
    return number


class Ledger:
    """What each lane began and what was acknowledged to it, by kind of write."""

    def __init__(self) -> None:
        self.begun: dict[tuple[int, bool], int] = {}
        self.done: dict[tuple[int, bool], int] = {}

    def read(self, lines: bytes) -> None:
        for line in lines.splitlines():
            kind, _, rest = line.partition(b" ")
            if kind in (b"begin", b"done"):
                lane, number = map(int, rest.split())
                (self.begun if kind == b"begin" else self.done)[lane, number % 3 != 0] = number

    def check(self, lane: int, single: bool, found: int) -> None:
        acknowledged, begun = self.done.get((lane, single), 0), self.begun.get((lane, single), 0)
        assert acknowledged <= found <= begun, f"lane {lane}: {found} is not in {acknowledged}..{begun}"


def run_and_kill(path: Path, durability: str, start: int, delay: float) -> bytes:
    """What the writer wrote to its ledger until it was killed, `delay` seconds after it was ready."""
    with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), durability, str(start)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            # The kernel's buffer of the pipe would stop the writer, so somebody reads until the kill.
            os.set_blocking(process.stdout.fileno(), False)
            lines = b""
            for _ in range(10):
                try:
                    process.wait(delay / 10)
                except subprocess.TimeoutExpired:
                    lines += process.stdout.read() or b""
            assert process.poll() is None, "the writer ended by itself"
        finally:
            process.kill()
        process.wait()
        os.set_blocking(process.stdout.fileno(), True)
        return lines + process.stdout.read()


@pytest.mark.parametrize("durability", ["synced", "checkpointed"])
@pytest.mark.timeout(60 + 3 * KILLS)
async def test_every_acknowledged_write_survives_a_kill(tmp_path: Path, durability: str) -> None:
    path = tmp_path / "store.db"
    ledger = Ledger()
    chance = random.Random(20)
    highest = 0
    for _ in range(KILLS // 2):
        lines = await asyncio.to_thread(run_and_kill, path, durability, highest, chance.uniform(0.02, 0.4))
        ledger.read(lines)
        driver = SqliteDriver(SqliteConfig(str(path)))
        await driver.open()
        try:
            for lane in range(KEYS):
                ledger.check(lane, True, numbered(await driver.get(b"single%d" % lane)))
                left, right = await driver.batch_get([b"left%d" % lane, b"right%d" % lane])
                assert left == right, "half of a transaction is there"
                ledger.check(lane, False, numbered(left))
            versions = [(await driver.get_versioned(b"single%d" % lane))[1] for lane in range(KEYS)]
            assert len({version for version in versions if version}) == len([v for v in versions if v])
        finally:
            await driver.close()
        highest = max([highest, *ledger.begun.values()])
    assert sum(ledger.done.values()) > KILLS, "the writer hardly wrote"
