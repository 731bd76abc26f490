"""Rolling restarts and kills of proxies under messages: a stock client that resumes loses nothing acknowledged, and
no subscription ends without a status."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.services.nats import NatsServer
from tests.services.nats import binary as nats_binary
from tests.services.proxy import ProxyProcess, proxy
from tests.services.redis import RedisServer, binary
from tests.services.workers import WorkersProcess
from tests.support.message_ledger import MessageLedger

ROUNDS = 50 if os.environ.get("PRISM_SOAK") else 5
KILLS = 20 if os.environ.get("PRISM_SOAK") else 1
WORKER_KILLS = 4 if os.environ.get("PRISM_SOAK") else 2  # the fifth death in a minute ends a proxy
EARLIER = os.environ.get("PRISM_TEST_EARLIER")  # the Python of an environment in which an earlier release is installed
SUBSCRIPTIONS = 3  # of a ledger with topics


async def drain(process: ProxyProcess) -> None:
    assert await process.stop() == 0
    assert process.lines[-1]["aborted"] == 0


async def kill(process: ProxyProcess) -> None:
    process.signal(signal.SIGKILL)
    await process.wait()


@pytest.mark.timeout(60 + 10 * (ROUNDS + KILLS))
async def test_a_proxy_over_sqlite_starts_again_and_again(tmp_path: Path) -> None:
    """One proxy has the file: callers wait for the next one."""
    config = tmp_path / "prism.yaml"
    store = f"{{driver: sqlite, config: {{path: '{tmp_path}/store.db'}}}}"
    config.write_text(f"namespaces: {{n: {{backends: {{store: {store}}}}}}}")
    process = await proxy("--config", str(config)).start()
    arguments = ("--config", str(config), "--listen", process.address)
    try:
        async with MessageLedger(process.address, "n", topics=True) as ledger:
            for turn in range(ROUNDS + KILLS):
                await ledger.progress()
                ledger.killed = turn >= ROUNDS
                await (kill if ledger.killed else drain)(process)
                process = await proxy(*arguments).start()
            await ledger.settled()
        assert ledger.ends["DRAINING"] == ROUNDS * SUBSCRIPTIONS, ledger.ends
    finally:
        await process.__aexit__()


@pytest.mark.timeout(60 + 10 * (ROUNDS + KILLS))
@pytest.mark.skipif(binary() is None or nats_binary() is None, reason="there is no redis-server or nats-server")
async def test_proxies_over_brokers_are_replaced_one_by_one(tmp_path: Path) -> None:
    """Two proxies on one port; callers of the one that goes are served by the other."""
    async with RedisServer("--appendonly", "yes") as redis, NatsServer(jetstream=True) as nats:
        config = tmp_path / "prism.yaml"
        config.write_text(f"""
namespaces:
  redis: {{backends: {{store: {{driver: redis, config: {{url: '{redis.url}'}}}}}}, stream: {{ack_timeout: 1s}}}}
  nats:
    backends: {{store: {{driver: nats, config: {{url: '{nats.url}', jetstream: true}}}}}}
    stream: {{ack_timeout: 1s}}
    queue: {{visibility: 1s}}
""")
        first = await proxy("--config", str(config), "--reuse-port").start()
        arguments = ("--config", str(config), "--reuse-port", "--listen", first.address)
        pair = [first, await proxy(*arguments).start()]
        try:
            async with (
                MessageLedger(first.address, "redis", topics=False) as one,
                MessageLedger(first.address, "nats", topics=True) as other,
            ):
                for turn in range(ROUNDS + KILLS):
                    await asyncio.gather(one.progress(), other.progress())
                    one.killed = other.killed = turn >= ROUNDS
                    going, pair[turn % 2] = pair[turn % 2], await proxy(*arguments).start()
                    await (kill if one.killed else drain)(going)
                await asyncio.gather(one.settled(), other.settled())
            assert one.ends["DRAINING"] + other.ends["DRAINING"] >= ROUNDS
        finally:
            for process in pair:
                await process.__aexit__()


@pytest.mark.timeout(60 + 10 * (ROUNDS + KILLS))
@pytest.mark.skipif(binary() is None or nats_binary() is None, reason="there is no redis-server or nats-server")
async def test_workers_are_killed_one_by_one(tmp_path: Path) -> None:
    """One of two workers has the file; the other one passes its calls on."""
    async with RedisServer("--appendonly", "yes") as redis, NatsServer(jetstream=True) as nats:
        config = tmp_path / "prism.yaml"
        config.write_text(f"""
namespaces:
  sqlite: {{backends: {{store: {{driver: sqlite, config: {{path: '{tmp_path}/store.db'}}}}}}}}
  redis: {{backends: {{store: {{driver: redis, config: {{url: '{redis.url}'}}}}}}, stream: {{ack_timeout: 1s}}}}
  nats:
    backends: {{store: {{driver: nats, config: {{url: '{nats.url}', jetstream: true}}}}}}
    stream: {{ack_timeout: 1s}}
    queue: {{visibility: 1s}}
""")
        async with WorkersProcess(proxy("--config", str(config), "--workers", "2")) as workers:
            await workers.until_serving(0)
            async with (
                MessageLedger(workers.address, "sqlite", topics=True) as one,
                MessageLedger(workers.address, "redis", topics=False) as two,
                MessageLedger(workers.address, "nats", topics=True) as three,
            ):
                ledgers = (one, two, three)
                for turn in range(WORKER_KILLS):
                    await asyncio.gather(*(ledger.progress() for ledger in ledgers))
                    for ledger in ledgers:
                        ledger.killed = True
                    await workers.kill(turn % 2)
                    await workers.until_serving(turn + 1)
                await asyncio.gather(*(ledger.progress() for ledger in ledgers))
                await asyncio.gather(*(ledger.settled() for ledger in ledgers))


@pytest.mark.timeout(120)
@pytest.mark.skipif(EARLIER is None or binary() is None, reason="PRISM_TEST_EARLIER names no earlier release's Python")
async def test_an_earlier_release_is_updated_and_comes_back(tmp_path: Path) -> None:
    """Two proxies of the earlier release over one Redis are replaced by two of this one, one by one, and back."""
    async with RedisServer("--appendonly", "yes") as redis:
        config = tmp_path / "prism.yaml"
        store = f"{{driver: redis, config: {{url: '{redis.url}'}}}}"
        config.write_text(f"namespaces: {{n: {{backends: {{store: {store}}}}}}}")
        anywhere = ("--config", str(config), "--reuse-port", "--metrics-listen", "127.0.0.1:0", "--listen")
        earlier: dict[str, Any] = {"python": EARLIER, "program": ("-P", "-m", "prism_proxy")}
        first = await ProxyProcess(*anywhere, "127.0.0.1:0", **earlier).start()
        pair = [first, await ProxyProcess(*anywhere, first.address, **earlier).start()]
        try:
            async with MessageLedger(first.address, "n", topics=False) as ledger:
                releases: list[dict[str, Any]] = [{}, {}, earlier, earlier]
                for turn, release in enumerate(releases):
                    await ledger.progress(200)
                    going = pair[turn % 2]
                    pair[turn % 2] = await ProxyProcess(*anywhere, first.address, **release).start()
                    await drain(going)
                await ledger.progress(200)
                await ledger.settled()
        finally:
            for process in pair:
                await process.__aexit__()
