"""The other processes that an app works with: workers of the same proxy, and proxies of the same admin.

Calls go to them and come from them, and data move between them. A proxy of its own has none of this and imports none of
it. Nothing here decides who owns what: that is the partition map's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from prism_proxy._native.grpc.call import Handler
from prism_proxy.interfaces.catalogue import reads
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.placement import Placement
from prism_proxy.namespaces.snapshot import Namespaces, Snapshot
from prism_proxy.process_config import ProxyConfig
from prism_proxy.server.server import Server
from prism_proxy.telemetry.metrics import Metric, gauges
from prism_runtime import log
from prism_runtime.lifecycle import StartError
from prism_runtime.tls import PeerContexts, TlsError
from prism_runtime.tokens import bearer

if TYPE_CHECKING:
    from prism_proxy.forwarding.handle_relay import HandleRelay
    from prism_proxy.forwarding.ownership import Ownership
    from prism_proxy.forwarding.partitions import PartitionMap
    from prism_proxy.forwarding.peer import Peer
    from prism_proxy.membership.control_call import ControlCallHandler
    from prism_proxy.membership.migration.relay import Relay
    from prism_proxy.membership.migration.target_client import TargetClient
    from prism_proxy.membership.migration.worker import MigrationWorker

_FORWARDING = {
    "connections": "Connections to other workers and proxies that take forwarded calls.",
    "calls": "Forwarded calls in progress.",
    "waiting": "Of these, calls that wait for a connection.", "waiting_bytes": "Request bytes of calls that wait.",
}


class Cluster:
    """`public` is the server that callers reach, `internal` the one for calls that other workers forward; `workers` are
    the addresses of the internal servers, by worker."""

    def __init__(self, config: ProxyConfig, placement: Placement, namespaces: Namespaces, activator: Activator,
                 public: Server, internal: Server, workers: Sequence[str]) -> None:
        self._config = config
        self._placement = placement
        self._namespaces = namespaces
        self._activator = activator
        self._public, self._internal = public, internal
        self._worker_addresses = workers
        self._workers: dict[int, Peer] = {}
        self._token = ""
        self._tls: PeerContexts | None = None
        self._ownership: Ownership | None = None
        self._records: Relay | None = None
        self.handles: HandleRelay | None = None
        self.migration_worker: MigrationWorker | None = None

    # --- start ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Both servers follow the active namespaces from now on. StartError when a file cannot be used."""
        if self._worker_addresses:
            self._meet_workers()
        if self._config.admin.joined:
            self._join()
        self._namespaces.on_swap(self._route)

    def add_services(self, ask: ControlCallHandler) -> str:
        """Register the services for the admin and for other proxies; the name of the one for the admin."""
        from prism_proxy.membership.migration.relay import Relay
        from prism_proxy.membership.migration.servicer import add_transfer
        from prism_proxy.membership.migration.worker import MigrationWorker
        from prism_proxy.membership.servicer import add_control_plane
        from prism_proxy.server.channel import Channel

        name = add_control_plane(self._public, self._token, ask)
        self.migration_worker = MigrationWorker(self._activator, self._namespaces, self._target, ask)
        workers = [Channel(address, limits=self._config.limits) for address in self._worker_addresses]
        self._records = Relay(self._placement, workers, bearer(self._token))
        for server in (self._public, self._internal):
            add_transfer(server, self._token, ask, self.migration_worker, self._records)
        return name

    def _meet_workers(self) -> None:
        from prism_proxy.forwarding.handle_relay import HandleRelay
        from prism_proxy.forwarding.peer import Peer

        limits = self._config.limits
        self.handles = HandleRelay(self._placement.worker, self._worker_addresses, limits)
        self._workers = {
            worker: Peer(address, name=f"worker {worker}", limits=limits, down_reason="OWNER_RESTARTING", worker=True)
            for worker, address in enumerate(self._worker_addresses)}

    def _join(self) -> None:
        """Forward calls to other proxies of an admin, and trust theirs."""
        from prism_proxy.forwarding.ownership import Ownership, peer_token_of
        from prism_proxy.forwarding.peer import Peer
        from prism_proxy.membership.identity import read_token

        self._token = read_token(self._config.admin.token_file)
        self._tls = tls = self._peer_tls()
        context = None if tls is None else lambda: tls.current
        peer_token = self._public.peer_token = peer_token_of(self._token)
        self._ownership = Ownership(self._config.admin.proxy_id, lambda owner: Peer(
            owner.address, name=owner.proxy_id, tls=context, limits=self._config.limits, peer_token=peer_token))

    def _peer_tls(self) -> PeerContexts | None:
        """Other proxies are reached by TLS where this one is."""
        files = self._config.admin
        if self._config.tls is None:
            return None
        try:
            return PeerContexts(files.ca, files.cert, files.key)
        except TlsError as error:
            raise StartError(f"--admin-ca, --admin-cert or --admin-key: {error}") from error

    def _target(self, move_id: str, address: str) -> TargetClient:
        from prism_proxy.membership.migration.target_client import RemoteTargetClient
        from prism_proxy.server.channel import Channel

        tls = self._tls.current if self._tls is not None else None
        channel = Channel(address, tls=tls, limits=self._config.limits)
        return RemoteTargetClient(move_id, channel, bearer(self._token))

    # --- where calls go ---------------------------------------------------------------------------------------------

    def _route(self, current: Snapshot) -> None:
        owner = self._ownership.proxy_id if self._ownership is not None else None
        paused, unlisted = self._namespaces.paused, self._namespaces.unlisted
        self._internal.set_routes(current.table(owner=owner, paused=paused, unlisted=unlisted))
        by_partition = self._ownership.routes if self._ownership is not None else None
        self._public.set_routes(current.table(
            self._forward, reads(current.interfaces()), owner, by_partition, paused, unlisted))

    def _forward(self, worker: int) -> Handler:
        """What takes the calls of namespaces that another worker serves. Its connection is kept from then on."""
        self._workers[worker].start()
        return self._workers[worker].handler

    def set_overrides(self, unlisted: Collection[str], paused: Collection[str]) -> None:
        """While data move: these namespaces get no call, and calls of those wait."""
        if self.migration_worker is not None:
            self.migration_worker.set_overrides(unlisted, paused)
        else:
            self._namespaces.set_overrides(unlisted, paused)

    def set_partition_map(self, found: PartitionMap) -> None:
        """Forward the calls of partitions that other proxies own, where this proxy belongs to an admin."""
        if self._ownership is not None and self._ownership.set(found):
            self._route(self._namespaces.current)

    def reload_tls(self) -> None:
        """New connections to other proxies use the files of now."""
        if self._tls is not None:
            try:
                self._tls.reload_if_changed()
            except TlsError as error:
                tls_refused(error)

    # --- what is shown, and the end ---------------------------------------------------------------------------------

    def collect(self) -> Iterable[Metric]:
        kinds = {"worker": list(self._workers.values()),
                 "proxy": list(self._ownership.peers) if self._ownership is not None else []}
        kinds = {kind: peers for kind, peers in kinds.items() if peers}
        for name, text in _FORWARDING.items() if kinds else ():
            yield gauges(f"prism_forward_{name}", text, {
                (("to", kind),): float(sum(peer.stats()[name] for peer in peers)) for kind, peers in kinds.items()})

    async def close(self) -> None:
        """After both servers have drained."""
        for part in (self.migration_worker, self._records, self.handles):
            if part is not None:
                await part.close()
        await asyncio.gather(*(peer.close() for peer in self._workers.values()))
        if self._ownership is not None:
            await self._ownership.close()


def tls_refused(error: TlsError) -> None:
    """Say that changed files were not used."""
    log.get("prism.proxy").error("TLS files were not reloaded", error=str(error))
