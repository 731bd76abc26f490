"""Which proxy serves which partition, and the way to the others.

    map --> one route a partition of another proxy, which forwards there
        --> one `Peer` a proxy, kept as long as a map names it and calls are in progress on it

A call of a namespace that this process knows never looks here.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import replace

from prism_proxy._native.grpc.routing import NativeRoute
from prism_proxy._native.grpc.static_error import StaticErrorHandler
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.forwarding.partitions import PARTITIONS, Owner, PartitionMap
from prism_proxy.forwarding.peer import Peer
from prism_runtime import log
from prism_runtime.tasks import cancel

RETRY_SECONDS = 1.0
LEAVING_SECONDS = 300.0  # for calls in progress to a proxy that no map names any more
_POLL_SECONDS = 0.1


def peer_token_of(token: str) -> str:
    """What proxies that share a token show each other; it does not tell the token. Empty without one."""
    return hmac.new(token.encode(), b"prism peer", hashlib.sha256).hexdigest() if token else ""


class Ownership:
    """`make_peer(owner)` makes the way to another proxy; ValueError when its address is none. `routes` stand in the
    routing table by partition."""

    def __init__(self, proxy_id: str, make_peer: Callable[[Owner], Peer]) -> None:
        self._log = log.get("prism.ownership")
        self.proxy_id = proxy_id
        self._make_peer = make_peer
        self._peers: dict[Owner, Peer] = {}
        self._leaving: dict[Peer, asyncio.Task[None]] = {}
        self.map: PartitionMap | None = None
        self.routes: list[NativeRoute | None] = [_refusing("", _unheard)] * PARTITIONS

    @property
    def peers(self) -> Iterable[Peer]:
        """Those with calls in progress, or to come."""
        return (*self._peers.values(), *self._leaving)

    def set(self, found: PartitionMap) -> bool:
        """Activate a newer map, or newer addresses of the same one; False for an older one."""
        known = self.map
        if known is not None and found.revision <= known.revision and (
                found == known or found != replace(known, arriving=found.arriving, unsettled=found.unsettled)):
            return False
        self.map = found
        others = {owner for owner in found.owners if owner is not None and owner.proxy_id != self.proxy_id}
        ways = {owner: self._way(owner) for owner in others}
        if found.arriving:
            ours = _refusing(self.proxy_id, _arriving, ours=True)
            ways |= {owner: ours for owner in found.owners if owner is not None and owner not in others}
        nobody, unsettled = _refusing("", _nobody), _refusing(self.proxy_id, _unsettled, ours=True)
        self.routes = [nobody if owner is None else ways.get(owner) for owner in found.owners]
        for partition in found.unsettled:
            self.routes[partition] = self.routes[partition] or unsettled
        for owner in self._peers.keys() - others:
            peer = self._peers.pop(owner)
            self._leaving[peer] = asyncio.get_running_loop().create_task(self._leave(peer))
        return True

    def _way(self, owner: Owner) -> NativeRoute:
        if not owner.address:
            return _refusing(owner.proxy_id, lambda: _down(owner))
        peer = self._peers.get(owner)
        if peer is None:
            try:
                peer = self._make_peer(owner)
            except ValueError as error:
                self._log.error("a proxy cannot be reached", owner=owner.proxy_id, address=owner.address,
                                problem=str(error))
                return _refusing(owner.proxy_id, lambda: _down(owner))
            self._peers[owner] = peer
            peer.start()
        return NativeRoute(None, "", None, peer.handler, owner.proxy_id)

    async def _leave(self, peer: Peer) -> None:
        for _ in range(int(LEAVING_SECONDS / _POLL_SECONDS)):
            if not peer.stats()["calls"]:
                break
            await asyncio.sleep(_POLL_SECONDS)
        else:
            self._log.warning("calls to a proxy that is gone did not end", calls=peer.stats()["calls"])
        await peer.close()
        self._leaving.pop(peer, None)

    async def close(self) -> None:
        """After the server has drained."""
        await cancel(list(self._leaving.values()))
        await asyncio.gather(*(peer.close() for peer in self.peers))


def _refusing(owner: str, make: Callable[[], PrismError], *, ours: bool = False) -> NativeRoute:
    return NativeRoute(None, "", None, StaticErrorHandler(make, ours), owner or None)


def _unheard() -> PrismError:
    return _unavailable("OWNER_UNKNOWN", "this proxy has not heard from the admin yet, so it does not know who serves "
                                         "the namespace")


def _arriving() -> PrismError:
    return _unavailable("NAMESPACE_ARRIVING", "the namespace is not known here, and the admin is still telling this "
                                              "proxy which ones it serves")


def _unsettled() -> PrismError:
    return _unavailable("NAMESPACE_UNSETTLED", "the namespace is not active here, but may be soon, or elsewhere: one "
                                               "of its partition was just revoked, or could not be activated")


def _nobody() -> PrismError:
    return _unavailable("NO_OWNER", "no proxy serves the partition of the namespace")


def _down(owner: Owner) -> PrismError:
    return _unavailable("OWNER_DOWN", f"the owner of the namespace, {owner.proxy_id}, is not there")


def _unavailable(reason: str, message: str) -> PrismError:
    return PrismError(StatusCode.UNAVAILABLE, reason, message, {"outcome": "not_executed"}, retry_after=RETRY_SECONDS)
