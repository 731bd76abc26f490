"""A Redis cluster, by redis-py's client: it knows the slots, follows redirections and learns a new topology.

Errors leave here in the terms of the link, so that one table knows their meaning. redis-py repeats nothing for us: what
to try again is the slot's decision.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from redis import exceptions
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from prism_proxy._native.keyvalue_redis import RedisStore
from prism_proxy._native.resp import ConnectionLost, PipelineFull, RespError
from prism_proxy.backends.redis.commands import Command, Commands, Reply
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.status import durability, report
from prism_proxy.contracts.driver import HealthReport
from prism_proxy.telemetry import log

LOOK_S, LOOK_DOWN_S = 5.0, 0.5  # between two looks whether every primary answers
_SECTIONS = ("server", "replication", "persistence")
_KINDS: dict[type[Exception], str] = {
    exceptions.NoScriptError: "NOSCRIPT", exceptions.ReadOnlyError: "READONLY", exceptions.OutOfMemoryError: "OOM",
    exceptions.NoPermissionError: "NOPERM", exceptions.AuthenticationError: "NOAUTH",
    exceptions.ClusterCrossSlotError: "CROSSSLOT", exceptions.BusyLoadingError: "LOADING",
    exceptions.MasterDownError: "MASTERDOWN", exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.TryAgainError: "TRYAGAIN",
}
_FAILURES = (exceptions.RedisError, exceptions.RedisClusterException, OSError)
ResultT = TypeVar("ResultT")


class Cluster(Commands):
    """The commands, and the life of the client under them."""

    sharded = True
    native_store: RedisStore | None = None

    def __init__(self, config: RedisConfig) -> None:
        self._config = config
        self._tls = config.tls_context() is not None  # reads the files, so that a mistake shows now
        self._client: Any = None
        self._task: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self._pending = 0
        self._log = log.get("prism.redis")
        self._failure: str | None = "not connected yet"
        self._info: dict[str, str] = {}

    @property
    def commands(self) -> Commands:
        return self

    # --- life -------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def opened(self) -> None:
        await self._looked.wait()

    async def drained(self) -> None:
        while self._pending:  # noqa: ASYNC110 - an event for every reply would cost more
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._failure = "the driver was closed"
        if self._client is not None:
            await self._client.aclose()

    @property
    def durability(self) -> str:
        return durability(self._info)

    def health(self) -> HealthReport:
        primaries = self._primaries()
        connections = 0 if self._failure else max(1, sum(len(node._connections) for node in primaries))
        return report(self._info, self._config, ready=connections, size=connections,
                      idle=sum(len(node._free) for node in primaries), pending=self._pending,
                      capacity=max(1, len(primaries)) * self._config.cluster_connections,
                      failure=self._failure or "")

    async def _watch(self) -> None:
        """Look whether every primary answers, all the time."""
        while True:
            try:
                async with asyncio.timeout(self._config.connect_timeout_s + self._config.read_timeout_s):
                    await self._look()
            except (*_FAILURES, TimeoutError) as error:
                reason = type(error).__name__ if isinstance(error, TimeoutError) else str(error)
                if self._failure is None or not self._looked.is_set():
                    self._log.warning("no connection to the Redis cluster", reason=reason)
                self._failure = reason or type(error).__name__
            else:
                self._failure = None
            self._looked.set()
            await asyncio.sleep(random.uniform(0.8, 1.2) * (LOOK_DOWN_S if self._failure else LOOK_S))

    async def _look(self) -> None:
        if self._client is None:
            self._client = self._make()
        client = self._client
        await client.initialize()
        nodes = self._primaries()
        await asyncio.gather(*(client.execute_command("PING", target_nodes=node) for node in nodes))
        found: dict[str, str] = {}
        for section in _SECTIONS:
            with contextlib.suppress(exceptions.ResponseError):
                told = await client.execute_command("INFO", section, target_nodes=nodes[0])
                found |= {name: str(value) for name, value in told.items()}
        with contextlib.suppress(exceptions.ResponseError):
            told = await client.execute_command("CONFIG GET", "append*", target_nodes=nodes[0])
            found |= {str(name): str(value) for name, value in told.items()}
        self._info = {**found, "role": "cluster"}

    def _make(self) -> Any:
        config = self._config
        user, password = config.credentials
        files: dict[str, Any] = {}
        if self._tls:
            tls = config.tls
            files = {"ssl": True, "ssl_check_hostname": True,
                     "ssl_ca_certs": str(tls.ca_file) if tls.ca_file else None,
                     "ssl_certfile": str(tls.cert_file) if tls.cert_file else None,
                     "ssl_keyfile": str(tls.key_file) if tls.key_file else None}
        return RedisCluster(
            startup_nodes=[ClusterNode(address.host, address.port) for address in config.addresses],
            username=user or None, password=password or None, max_connections=config.cluster_connections,
            socket_connect_timeout=config.connect_timeout_s, socket_timeout=config.read_timeout_s,
            retry=Retry(NoBackoff(), 0), client_name="prism-proxy", **files)

    def _primaries(self) -> list[Any]:
        """In an order that is the same on every proxy."""
        return sorted(self._client.get_primaries(), key=lambda node: str(node.name)) if self._client else []

    # --- commands ---------------------------------------------------------------------------------------------------

    @property
    def servers(self) -> int:
        return len(self._primaries())

    async def execute(self, *arguments: bytes, key: bytes, bulk: bool = False) -> Reply:
        return await self._run(self._ready().execute_command(arguments[0].decode(), *arguments[1:]))

    async def execute_many(self, commands: Sequence[Command]) -> list[Reply]:
        pipeline = self._ready().pipeline()
        for command in commands:
            pipeline.execute_command(command[0].decode(), *command[1:])
        replies = await self._run(pipeline.execute(raise_on_error=False))
        return [_translated(reply) if isinstance(reply, Exception) else reply for reply in replies]

    async def scan(self, server: int, *arguments: bytes) -> Reply:
        node = self._primaries()[server]
        cursors, keys = await self._run(self._ready().execute_command("SCAN", *arguments[1:], target_nodes=node))
        return cursors[node.name], keys

    def _ready(self) -> Any:
        if self._failure is not None:
            raise ConnectionLost(self._failure, False)
        return self._client

    async def _run(self, command: Awaitable[ResultT]) -> ResultT:
        self._pending += 1
        try:
            return await command
        except _FAILURES as error:
            raise _translated(error) from error
        finally:
            self._pending -= 1


def _translated(error: Exception) -> Exception:
    """The error in the link's terms."""
    for known, kind in _KINDS.items():
        if isinstance(error, known):
            return RespError(f"{kind} ")
    if isinstance(error, exceptions.ResponseError):
        return RespError(str(error))
    if isinstance(error, exceptions.MaxConnectionsError):
        return PipelineFull("all connections to a node of the cluster are in use")
    text = str(error)
    if isinstance(error, exceptions.RedisClusterException) and "key slot" in text:
        return RespError("CROSSSLOT ")
    sent = not (isinstance(error, exceptions.RedisClusterException) or "connecting to" in text)
    return ConnectionLost(text or type(error).__name__, sent)
