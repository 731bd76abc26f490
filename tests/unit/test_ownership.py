"""The ways to other proxies: made when a map names a proxy, kept while calls run on them."""

from __future__ import annotations

import asyncio

import pytest

from prism_proxy._native.forward.handler import ForwardHandler
from prism_proxy._native.grpc.routing import NativeRoute, RouteTable
from prism_proxy.forwarding import ownership
from prism_proxy.forwarding.ownership import Ownership, peer_token_of
from prism_proxy.forwarding.partitions import PARTITIONS, Owner, PartitionMap
from prism_runtime.address import Address

SELF, FIRST, SECOND = Owner("p0", "10.0.0.1:1"), Owner("p1", "10.0.0.2:1"), Owner("p2", "10.0.0.3:1")


class FakePeer:
    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.calls = 0
        self.started = self.closed = False
        self.handler = ForwardHandler(
            asyncio.get_running_loop(), owner.proxy_id, 0, 0, 0, None, None, b"1", False)

    def start(self) -> None:
        self.started = True

    def stats(self) -> dict[str, int]:
        return {"calls": self.calls}

    async def close(self) -> None:
        self.closed = True


class Way:
    """An `Ownership` of `p0` and the peers it made."""

    def __init__(self) -> None:
        self.made: list[FakePeer] = []
        self.ownership = Ownership("p0", self._make)  # type: ignore[arg-type]

    def _make(self, owner: Owner) -> FakePeer:
        Address.parse(owner.address)
        self.made.append(FakePeer(owner))
        return self.made[-1]

    def set(self, revision: int, *owners: Owner | None) -> bool:
        """The partitions go round these owners."""
        return self.ownership.set(PartitionMap(
            revision, tuple(owners[partition % len(owners)] for partition in range(PARTITIONS))))


async def test_each_other_proxy_has_one_way_and_our_own_partitions_none() -> None:
    way = Way()
    assert way.set(1, SELF, FIRST, SECOND, FIRST)
    assert sorted(peer.owner.proxy_id for peer in way.made) == ["p1", "p2"]
    assert all(peer.started for peer in way.made)
    routes = way.ownership.routes
    assert [route is None for route in routes[:4]] == [True, False, False, False]
    assert routes[1] is routes[3]
    assert len(routes) == PARTITIONS
    RouteTable(1, [], "default", routes)


async def test_an_older_map_and_the_same_one_change_nothing() -> None:
    way = Way()
    assert way.set(5, FIRST)
    assert not way.set(5, SECOND)
    assert not way.set(4, SECOND)
    assert [peer.owner for peer in way.made] == [FIRST]


async def test_namespaces_that_are_on_their_way_are_not_told_missing() -> None:
    way = Way()
    owners = tuple((SELF, FIRST)[partition % 2] for partition in range(PARTITIONS))
    assert way.ownership.set(PartitionMap(1, owners, arriving=True))
    arriving = way.ownership.routes[0]
    assert arriving is not None
    assert way.ownership.routes[1] is not arriving
    assert way.ownership.set(PartitionMap(1, owners)), "the same map, and nothing more to come"
    assert way.ownership.routes[0] is None
    assert [peer.owner for peer in way.made] == [FIRST], "the ways to others stay"
    assert not way.ownership.set(PartitionMap(1, owners))


async def test_namespaces_of_unsettled_partitions_are_not_told_missing() -> None:
    way = Way()
    owners = tuple((SELF, FIRST)[partition % 2] for partition in range(PARTITIONS))
    assert way.ownership.set(PartitionMap(1, owners, unsettled=frozenset({2, 3})))
    refused = way.ownership.routes[2]
    assert refused is not None
    assert way.ownership.routes[0] is None
    assert way.ownership.routes[3] is way.ownership.routes[1], "who has the partition now is asked, and says"
    assert way.ownership.set(PartitionMap(1, owners)), "the same map, and all is settled"
    assert way.ownership.routes[2] is None


async def test_a_newer_map_keeps_the_ways_it_still_names() -> None:
    way = Way()
    way.set(1, SELF, FIRST)
    way.set(2, FIRST, SECOND)
    assert [peer.owner for peer in way.made] == [FIRST, SECOND]
    assert not way.made[0].closed


async def test_a_proxy_at_another_address_is_reached_anew() -> None:
    way = Way()
    way.set(1, FIRST)
    way.set(2, Owner(FIRST.proxy_id, "10.0.0.9:1"))
    assert len(way.made) == 2
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert way.made[0].closed
    assert list(way.ownership.peers) == [way.made[1]]


async def test_a_way_closes_after_the_last_call_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "_POLL_SECONDS", 0.001)
    way = Way()
    way.set(1, FIRST)
    way.made[0].calls = 1
    way.set(2, SELF)
    for _ in range(5):
        await asyncio.sleep(0.002)
    assert not way.made[0].closed
    assert list(way.ownership.peers) == [way.made[0]]
    way.made[0].calls = 0
    async with asyncio.timeout(5):
        while not way.made[0].closed:
            await asyncio.sleep(0.001)
    assert list(way.ownership.peers) == []


async def test_the_end_closes_every_way_at_once() -> None:
    way = Way()
    way.set(1, FIRST)
    way.made[0].calls = 1
    way.set(2, SECOND)
    await way.ownership.close()
    assert all(peer.closed for peer in way.made)


@pytest.mark.parametrize("address", ["", "nonsense", "host:port", "host:99999999"])
async def test_who_has_no_address_is_not_dialled_and_others_are(address: str) -> None:
    way = Way()
    assert way.set(1, None, Owner("p1", address), SECOND)
    assert [peer.owner for peer in way.made] == [SECOND]
    assert all(isinstance(route, NativeRoute) for route in way.ownership.routes)


def test_a_proof_is_of_the_token_and_does_not_tell_it() -> None:
    assert peer_token_of("") == ""
    assert peer_token_of("a") == peer_token_of("a") != peer_token_of("b")
    assert len(peer_token_of("a")) == 64
    assert "secret" not in peer_token_of("secret")
