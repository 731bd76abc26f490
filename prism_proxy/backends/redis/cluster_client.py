"""redis-py's client of a cluster, which namespaces share: its nodes, their connections, and who has which slot.

Commands go to nodes directly: what redis-py does of its own after a redirection or an error (close all connections of
all nodes, send ASKING on one connection and the command on another) would fail the calls of others.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from redis import exceptions
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from prism_proxy._native.redis.resp import ConnectionLost
from prism_proxy.backends.redis.cluster_order import WriteOrder
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.dial import Endpoint, options_of
from prism_proxy.backends.redis.subscriptions import Subscriptions
from prism_proxy.telemetry.outage import Outage
from prism_runtime import log
from prism_runtime.backoff import jittered
from prism_runtime.tasks import cancel

LOOK_S, LOOK_DOWN_S = 5.0, 0.5  # between two looks whether every primary is of use
# connections to a node, as a multiple of the setting: 1 + 1/2 + ... + 1/1000, for namespaces that want their equal part
# while others have more
OVERFLOW = 8
FAILURES = (exceptions.RedisError, exceptions.RedisClusterException, OSError)
_SECTIONS = ("server", "replication", "persistence")


class SharedCluster:
    """`failure` is None while a primary answers. `down` says why a primary is of no use: it does not answer, or
    refuses all keys because the cluster is not whole as it sees it (after a failover they learn of it one by one).
    `users` counts the namespaces that have commands at a node. Both by the node's name."""

    def __init__(self, config: RedisConfig) -> None:
        self._config = config
        self._task: asyncio.Task[None] | None = None
        self._outage = Outage(log.get("prism.redis"), "no connection to the Redis cluster", "the Redis cluster is back")
        self._client: Any = None
        self._stale = asyncio.Event()
        self._closed = False
        self._asked = ""  # the host of the node that is asked for the slots
        self.subscriptions = Subscriptions(options_of(config), self._any)  # each node hears of all that is published
        self.order = WriteOrder(lambda node: any(node.name == found.name for found in self.primaries()))
        self.looked = asyncio.Event()
        self.users: Counter[str] = Counter()
        self.failure: str | None = "not connected yet"
        self.down: dict[str, str] = {}
        self.info: dict[str, str] = {}

    def open(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        self._closed = True
        await self.subscriptions.close()
        await self.order.close()
        self._stale.set()
        if self._task is not None:
            await cancel([self._task])  # redis-py may swallow it
        self.failure = "the driver was closed"
        if self._client is not None:
            await self._client.aclose()

    # --- nodes ------------------------------------------------------------------------------------------------------

    def primaries(self) -> list[Any]:
        """In an order that is the same on every proxy."""
        return sorted(self._client.get_primaries(), key=lambda node: str(node.name)) if self._client else []

    async def _any(self) -> Endpoint:
        useful = [node for node in self.primaries() if node.name not in self.down]
        if not useful:
            raise ConnectionLost(self.failure or "the cluster has no primary", False)
        node = random.choice(useful)
        return Endpoint(node.host, node.port)

    def node_of(self, slot: int) -> Any:
        """The primary that has a slot, as far as is known. SlotNotCoveredError when none has."""
        return self._client.nodes_manager.get_node_from_slot(slot)

    def moved(self, error: exceptions.MovedError, by: Any) -> Any:
        """The node that has the slot now, as the node `by` says."""
        node = self.named(error, by)
        self._client.nodes_manager.slots_cache[error.slot_id] = [node]
        return node

    def named(self, error: exceptions.AskError, by: Any) -> Any:
        """The node that a redirection names. Without a host it is the host of the node that answered."""
        nodes = self._client.nodes_manager
        host = error.host or by.host
        node = self._client.get_node(host=host, port=error.port)
        if node is None:
            node = ClusterNode(host, error.port, "primary", **nodes.connection_kwargs)
            nodes.nodes_cache[node.name] = node
        node.server_type = "primary"
        return node

    def suspect(self) -> None:
        """Something did not go as the topology says: look at once."""
        self._stale.set()

    @property
    def troubles(self) -> str:
        """What is the matter with the primaries that are `down`, for people; empty when nothing is."""
        return "; ".join(f"{name}: {why}" for name, why in sorted(self.down.items()))

    # --- watch ------------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look whether every primary is of use, all the time."""
        while not self._closed:
            stale = self._stale.is_set() or bool(self.down) or self.failure is not None
            self._stale.clear()
            try:
                async with asyncio.timeout(self._config.connect_timeout_s + self._config.read_timeout_s):
                    await self._look(stale)
            except Exception as error:  # noqa: BLE001 - whatever redis-py makes of an answer, nobody else looks
                self._failed(str(error) or type(error).__name__)
            else:
                self.failure = None
                self._outage.end()
            self.looked.set()
            await self._pause(jittered(LOOK_DOWN_S if self.down or self.failure else LOOK_S, 0.2))

    async def _pause(self, seconds: float) -> None:
        """Until the next look: at most twice a second."""
        await asyncio.sleep(min(seconds, LOOK_DOWN_S))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0, seconds - LOOK_DOWN_S)):
                await self._stale.wait()

    def _failed(self, reason: str) -> None:
        self._outage.begin(reason=reason)
        self.failure = reason

    async def _look(self, stale: bool) -> None:
        if self._client is None:
            client = self._make()
            await self._ask_for_slots(client, client.initialize)
            self._client = client
        elif stale:
            await self._ask_for_slots(self._client, self._client.nodes_manager.initialize)
        nodes = self.primaries()
        troubles = await asyncio.gather(*(self._trouble(node) for node in nodes))
        self.down = {node.name: str(trouble) or type(trouble).__name__
                     for node, trouble in zip(nodes, troubles, strict=True) if trouble is not None}
        answering = [node for node, trouble in zip(nodes, troubles, strict=True)
                     if trouble is None or isinstance(trouble, exceptions.ClusterDownError)]
        if not answering:
            raise exceptions.ConnectionError(self.troubles or "the cluster has no primary")
        await self._learn(answering[0])

    async def _ask_for_slots(self, client: Any, ask: Callable[[], Awaitable[Any]]) -> None:
        """Ask nodes who has which slot, one by one: an address without a host is that of the host which answered."""
        nodes = client.nodes_manager
        known = dict(nodes.startup_nodes)
        error: Exception = exceptions.ConnectionError("the cluster has no node")
        for name in random.sample(sorted(known), len(known)):
            nodes.startup_nodes = {name: known[name]}
            self._asked = known[name].host
            try:
                await ask()
            except FAILURES as failure:
                error = failure
            else:
                return
        nodes.startup_nodes = known
        raise error

    def _address(self, address: tuple[str | None, int]) -> tuple[str, int]:
        """Of a node, as the cluster tells it."""
        return address[0] or self._asked, address[1]

    async def _trouble(self, node: Any) -> Exception | None:
        """Why a node is of no use: ClusterDownError if it answers, but would refuse all keys."""
        try:
            async with asyncio.timeout(self._config.connect_timeout_s):
                told = await node.execute_command("CLUSTER INFO")
        except (exceptions.MaxConnectionsError, exceptions.NoPermissionError):
            return None
        except (*FAILURES, TimeoutError) as error:
            return error
        return None if told.get("cluster_state") == "ok" else exceptions.ClusterDownError("it says the cluster is down")

    async def _learn(self, node: Any) -> None:
        """What a server says of itself."""
        found: dict[str, str] = {}
        for section in _SECTIONS:
            with contextlib.suppress(exceptions.ResponseError):
                told = await node.execute_command("INFO", section)
                found |= {name: str(value) for name, value in told.items()}
        with contextlib.suppress(exceptions.ResponseError):
            told = await node.execute_command("CONFIG GET", "append*")
            found |= {str(name): str(value) for name, value in told.items()}
        self.info = {**found, "role": "cluster"}

    def _make(self) -> Any:
        config = self._config
        user, password = config.credentials
        files: dict[str, Any] = {}
        if config.secure:
            tls = config.tls
            files = {"ssl": True, "ssl_check_hostname": True,
                     "ssl_ca_certs": str(tls.ca_file) if tls.ca_file else None,
                     "ssl_certfile": str(tls.cert_file) if tls.cert_file else None,
                     "ssl_keyfile": str(tls.key_file) if tls.key_file else None}
        return RedisCluster(
            startup_nodes=[ClusterNode(address.host, address.port) for address in config.addresses],
            username=user or None, password=password or None, max_connections=OVERFLOW * config.cluster_connections,
            socket_connect_timeout=config.connect_timeout_s, socket_timeout=config.read_timeout_s,
            require_full_coverage=False, protocol=2, address_remap=self._address,
            retry=Retry(NoBackoff(), 0), client_name="prism-proxy", **files)
