"""A namespace in a Redis cluster: its commands go to the node that has their slot, and follow redirections.

Errors leave here in the terms of the pool, so that one table knows their meaning. Nothing is repeated but what a node
refused because another one has the slot: what else to try again is the slot's decision.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio.cluster import PipelineCommand
from redis.crc import key_slot

from prism_proxy._native.keyvalue.redis import RedisStore
from prism_proxy._native.redis.resp import ConnectionLost, PipelineFull, RespError
from prism_proxy.backends.redis.cluster_client import FAILURES, SharedCluster
from prism_proxy.backends.redis.commands import Command, Commands, Reply, when_there_is_room
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.status import CLOSED, NOT_OPEN, Connections, durability, report, without_server
from prism_proxy.backends.redis.subscriptions import Subscriptions
from prism_proxy.backends.shared_pools import SharedPool, SharedPools
from prism_proxy.contracts.driver import HealthReport

REDIRECTIONS = 8
TRY_AGAIN_S = 0.02  # while some keys of a command are on their way to another node
_KINDS: dict[type[Exception], str] = {
    exceptions.NoScriptError: "NOSCRIPT", exceptions.ReadOnlyError: "READONLY", exceptions.OutOfMemoryError: "OOM",
    exceptions.NoPermissionError: "NOPERM", exceptions.AuthenticationError: "NOAUTH",
    exceptions.ClusterCrossSlotError: "CROSSSLOT", exceptions.BusyLoadingError: "LOADING",
    exceptions.MasterDownError: "MASTERDOWN", exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.TryAgainError: "TRYAGAIN", exceptions.MovedError: "MOVED", exceptions.AskError: "ASK",
    exceptions.SlotNotCoveredError: "CLUSTERDOWN",
}
_REDIRECTED = (exceptions.AskError, exceptions.TryAgainError)  # MovedError is an AskError
_TOPOLOGY = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ClusterDownError, exceptions.ReadOnlyError,
             exceptions.SlotNotCoveredError, OSError)


def cluster(config: RedisConfig, shared_pools: SharedPools) -> Cluster:
    """OSError or ValueError when the files for TLS cannot be used."""

    def plan() -> Callable[[], SharedCluster]:
        config.tls_context()  # reads the files, so that a mistake shows now
        return lambda: SharedCluster(config)

    return Cluster(config, shared_pools.pool(config.shared_pool_key, plan))


class Cluster(Commands):
    """One namespace's view of a cluster."""

    sharded = True
    native_store: RedisStore | None = None

    def __init__(self, config: RedisConfig, shared_pool: SharedPool[SharedCluster]) -> None:
        self._config = config
        self._shared_pool = shared_pool
        self._shared: SharedCluster | None = None
        self._closed = NOT_OPEN
        self._at: Counter[str] = Counter()  # commands in progress, by node

    @property
    def commands(self) -> Commands:
        return self

    # --- life -------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self._shared = self._shared_pool.join()

    async def opened(self) -> None:
        assert self._shared is not None
        await self._shared.looked.wait()

    async def drained(self) -> None:
        while self._at:  # noqa: ASYNC110 - an event for every reply would cost more
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        if self._shared is not None:
            self._shared, self._closed = None, CLOSED
            await self._shared_pool.leave()

    @property
    def info(self) -> Mapping[str, str]:
        return self._shared.info if self._shared is not None else {}

    @property
    def durability(self) -> str:
        return durability(self.info)

    @property
    def subscriptions(self) -> Subscriptions:
        if self._shared is None:
            raise ConnectionLost(self._closed, False)
        return self._shared.subscriptions

    def health(self) -> HealthReport:
        shared = self._shared
        if shared is None:
            return without_server(self._config, self._shared_pool, self._closed)
        nodes = shared.primaries()
        useful = [node for node in nodes if node.name not in shared.down]
        ready = max(1, sum(len(node._connections) for node in useful)) if useful and not shared.failure else 0
        return report(shared.info, self._config, Connections(
            ready, ready + len(shared.down), sum(len(node._free) for node in useful), sum(self._at.values()),
            sum(self._room(shared, node.name) for node in nodes) or 1, shared.failure or shared.troubles,
            self._shared_pool))

    # --- commands ---------------------------------------------------------------------------------------------------

    @property
    def servers(self) -> int:
        return len(self._shared.primaries()) if self._shared is not None else 0

    async def execute(self, *arguments: bytes, key: bytes, bulk: bool = False, replicas: int = 0) -> Reply:
        shared, command = self._ready(), _command(arguments)
        await self._follow(shared, command)
        return self._result(command)

    async def execute_many(self, commands: Sequence[Command]) -> list[Reply]:
        """In one piece for each node, all nodes at the same time."""
        shared = self._ready()
        parts: dict[Any, list[PipelineCommand]] = defaultdict(list)
        prepared = [_command(command) for command in commands]
        for command in prepared:
            try:
                parts[shared.node_of(_slot(command))].append(command)
            except exceptions.SlotNotCoveredError as error:
                command.result = error
        await asyncio.gather(*(self._pass(shared, node, part) for node, part in parts.items()))
        return [self._translated(command.result) if isinstance(command.result, Exception) else command.result
                for command in prepared]

    async def scan(self, server: int, *arguments: bytes) -> Reply:
        shared = self._ready()
        node = shared.primaries()[server]
        command = PipelineCommand(0, "SCAN", *arguments[1:])
        await self._send(shared, node, [command])
        return self._result(command)

    async def _pass(self, shared: SharedCluster, node: Any, part: list[PipelineCommand]) -> None:
        """Send a part to a node; what it redirects goes where it says, one by one."""
        await self._send(shared, node, part)
        for command in part:
            if isinstance(command.result, _REDIRECTED):
                await self._follow(shared, command, command.result, node)

    async def _follow(
        self, shared: SharedCluster, command: PipelineCommand, refusal: Exception | None = None, by: Any = None
    ) -> None:
        """Get the result of the node that has the slot, after the refusal `by` a node. The command is executed once, or
        never."""
        for _ in range(REDIRECTIONS):
            asking: list[PipelineCommand] = []
            if isinstance(refusal, exceptions.MovedError):
                node = shared.moved(refusal, by)
            elif isinstance(refusal, exceptions.AskError):
                node = shared.named(refusal, by)
                asking = [PipelineCommand(0, "ASKING")]
            else:
                if refusal is not None:
                    await asyncio.sleep(TRY_AGAIN_S)
                try:
                    node = shared.node_of(_slot(command))
                except exceptions.SlotNotCoveredError as error:
                    command.result = error
                    return
            await self._send(shared, node, [*asking, command])
            if not isinstance(command.result, _REDIRECTED):
                return
            refusal, by = command.result, node

    async def _send(self, shared: SharedCluster, node: Any, commands: list[PipelineCommand]) -> None:
        """Commands on one connection; what becomes of each is its result."""
        try:
            await shared.order.clear(commands, self._config.max_wait_s)
            await when_there_is_room(lambda: self._enter(shared, node), self._config.max_wait_s)
        except (PipelineFull, ConnectionLost) as error:
            for command in commands:
                command.result = error
            return
        try:
            await shared.order.exchange(node, commands)
        except FAILURES as error:
            for command in commands:
                command.result = error
        finally:
            self._leave(shared, node.name)

    def _enter(self, shared: SharedCluster, node: Any) -> None:
        """Take one of the connections to a node. PipelineFull when the namespace has got its part of them, or there is
        none."""
        name = node.name
        if self._at[name] >= self._room(shared, name):
            raise PipelineFull(f"{self._at[name]} connections to a node of the cluster are in use")
        if not node._free and len(node._connections) >= node.max_connections:
            raise PipelineFull("all connections to a node of the cluster are in use")
        shared.users[name] += not self._at[name]
        self._at[name] += 1

    def _leave(self, shared: SharedCluster, name: str) -> None:
        self._at[name] -= 1
        if not self._at[name]:
            del self._at[name]
            shared.users[name] -= 1

    def _room(self, shared: SharedCluster, name: str) -> int:
        """An equal part, among the namespaces that have commands there, and one in any case."""
        users = shared.users[name] + (name not in self._at)
        return max(1, self._config.cluster_connections // users)

    def _ready(self) -> SharedCluster:
        if self._shared is None:
            raise ConnectionLost(self._closed, False)
        if self._shared.failure is not None:
            raise ConnectionLost(self._shared.failure, False)
        return self._shared

    def _result(self, command: PipelineCommand) -> Reply:
        if isinstance(command.result, Exception):
            raise self._translated(command.result) from command.result
        return command.result

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, _TOPOLOGY) and not isinstance(error, exceptions.MaxConnectionsError) and self._shared:
            self._shared.suspect()
        return _translated(error)


def _command(command: Command) -> PipelineCommand:
    return PipelineCommand(0, command[0].decode(), *command[1:])


def _slot(command: PipelineCommand) -> int:
    """That of the first key."""
    return key_slot(command.args[3 if command.args[0] in ("EVAL", "EVALSHA") else 1])


def _translated(error: Exception) -> Exception:
    """The error in the pool's terms."""
    if isinstance(error, exceptions.MaxConnectionsError):
        return PipelineFull("all connections to a node of the cluster are in use")
    if isinstance(error, PipelineFull):
        return error
    for known, kind in _KINDS.items():
        if isinstance(error, known):
            return RespError(f"{kind} ")
    if isinstance(error, exceptions.ResponseError):
        return RespError(str(error))
    text = str(error)
    return ConnectionLost(text or type(error).__name__, "connecting to" not in text)
