"""A call at a proxy that does not own its namespace: one hop to the owner, through any change of owners and maps."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism_proxy.forwarding.ownership import peer_token_of
from prism_proxy.forwarding.partitions import Owner
from prism_proxy.forwarding.peer import PeerOptions
from prism_runtime.tls import TlsConfig
from tests.services.certificates import Authority
from tests.support.echo import CHAT, HANG, SINK, SOURCE, UNARY, Echo
from tests.support.forwarding import until
from tests.support.hopping import Node, everything_of, nodes

pytestmark = pytest.mark.serial

ORDERS = (("x-namespace", "orders"),)


async def ends(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """The status of a call that fails, and all it says."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), f"{error.value.details()} {error.value.trailing_metadata()}"


def settle(found: list[Node], owner: Node, revision: int = 1) -> None:
    """One proxy serves `orders`, and all know that."""
    for node in found:
        node.serves = {"orders"} if node is owner else set()
        node.follow(everything_of(owner.owner, revision))


async def test_all_four_kinds_and_who_owns_the_namespace() -> None:
    async with nodes(3, Echo()) as found:
        settle(found, found[2])
        for node in found:
            async with node.channel() as channel:
                call = channel.unary_unary(UNARY)(b"hello", metadata=ORDERS)
                assert dict(await call.initial_metadata() or ())["x-prism-owner"] == "p2"
                assert await call == b"hello"
                assert await channel.stream_unary(SINK)(iter([b"x" * 100] * 50), metadata=ORDERS) == b"5000"
                assert [len(item) async for item in channel.unary_stream(SOURCE)(b"30 7000", metadata=ORDERS)] == (
                    [7000] * 30)
                assert [item async for item in channel.stream_stream(CHAT)(
                    iter([b"a", b"b", b"c" * 100_000]), metadata=ORDERS)] == [b"a", b"b", b"c" * 100_000]


async def test_metadata_deadline_and_cancellation_reach_the_owner_but_not_the_proof() -> None:
    seen: list[tuple[str, Any]] = []
    cancelled = asyncio.Event()

    class Curious(Echo):
        async def unary(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            seen.extend(context.invocation_metadata() or ())
            seen.append(("left", context.time_remaining()))
            if request:
                try:
                    await asyncio.sleep(30)
                finally:
                    cancelled.set()
            return request

    async with nodes(2, Curious(), token="open sesame") as found:
        settle(found, found[1])
        async with found[0].channel() as channel:
            await channel.unary_unary(UNARY)(b"", metadata=(*ORDERS, ("x-mine", "1"), ("x-prism-forwarded", "1")),
                                             timeout=5)
            told = dict(seen)
            assert told["x-mine"] == "1"
            assert 4 < told["left"] <= 5.1
            assert "x-prism-forwarded" not in told
            call = channel.unary_unary(UNARY)(b"wait", metadata=ORDERS)
            await until(lambda: len(seen) > len(told) + 2)
            call.cancel()
            await asyncio.wait_for(cancelled.wait(), 5)


async def test_maps_that_disagree_make_no_loop_and_end_within_a_second() -> None:
    """Each of two takes the other for the owner; the third one for the first."""
    async with nodes(3, Echo(), token="open sesame") as found:
        first, second, third = found
        first.follow(everything_of(second.owner, 1))
        second.follow(everything_of(first.owner, 1))
        third.follow(everything_of(first.owner, 1))
        for node in found:
            async with node.channel() as channel:
                began = time.monotonic()
                status, said = await ends(channel.unary_unary(UNARY)(b"", metadata=ORDERS, timeout=5))
                assert status is grpc.StatusCode.UNAVAILABLE
                assert "NOT_OWNER" in said
                assert 0.9 < time.monotonic() - began < 2


@pytest.mark.parametrize("size", [10, 60_000, 900_000])
async def test_a_call_that_meets_maps_in_disagreement_is_served_when_they_agree(size: int) -> None:
    """The one that passes it on learns late of the new owner, which is the third, or itself."""
    async with nodes(3, Echo()) as found:
        for target in (found[2], found[0]):
            revision = 10 if target is found[2] else 20
            settle(found, found[1], revision)
            async with found[0].channel() as channel:
                assert await channel.unary_unary(UNARY)(b"1", metadata=ORDERS) == b"1"
                for node in found[1:]:
                    node.serves = {"orders"} if node is target else set()
                    node.follow(everything_of(target.owner, revision + 1))
                calls = [asyncio.ensure_future(channel.unary_unary(UNARY)(bytes(size), metadata=ORDERS, timeout=5))
                         for _ in range(5)]
                await asyncio.sleep(0.2)
                settle(found, target, revision + 2)
                assert [len(reply) for reply in await asyncio.gather(*calls)] == [size] * 5


async def test_a_spoofed_proof_is_a_client_s_word_and_the_right_one_a_proxy_s() -> None:
    async with nodes(2, Echo(), token="open sesame") as found:
        settle(found, found[1])
        async with found[0].channel() as channel:
            for spoof in ("1", "0" * 64, peer_token_of("open"), peer_token_of("open sesame")[:-1], ""):
                metadata = (*ORDERS, ("x-prism-forwarded", spoof))
                assert await channel.unary_unary(UNARY)(b"a", metadata=metadata) == b"a", "forwarded, as any client's"
            metadata = (*ORDERS, ("x-prism-forwarded", peer_token_of("open sesame")))
            _, said = await ends(channel.unary_unary(UNARY)(b"a", metadata=metadata))
            assert "NOT_OWNER" in said


async def test_before_any_map_and_without_an_owner_calls_are_unavailable_and_not_executed() -> None:
    async with nodes(1, Echo()) as (node,), node.channel() as channel:
        for reason in ("OWNER_UNKNOWN", "NO_OWNER", "OWNER_DOWN"):
            status, said = await ends(channel.unary_unary(UNARY)(b"", metadata=ORDERS))
            assert status is grpc.StatusCode.UNAVAILABLE
            assert reason in said
            assert "not_executed" in said
            assert "grpc-retry-pushback-ms" in said
            node.follow(everything_of(None, 1) if reason == "OWNER_UNKNOWN" else everything_of(Owner("p9", ""), 2))


async def test_an_owner_that_is_gone_is_down_within_the_deadline_and_found_again_at_another_address() -> None:
    async with nodes(2, Echo(), options=PeerOptions(wait_s=0.3)) as found:
        settle(found, found[1])
        async with found[0].channel() as channel:
            assert await channel.unary_unary(UNARY)(b"1", metadata=ORDERS) == b"1"
            await found[1].stop()
            began = time.monotonic()
            status, _ = await ends(channel.unary_unary(UNARY)(b"", metadata=ORDERS, timeout=0.1))
            assert status is grpc.StatusCode.DEADLINE_EXCEEDED
            status, said = await ends(channel.unary_unary(UNARY)(b"", metadata=ORDERS, timeout=5))
            assert status is grpc.StatusCode.UNAVAILABLE
            assert "OWNER_DOWN" in said
            assert "not_executed" in said
            assert time.monotonic() - began < 1
            await found[1].start()
            settle(found, found[1], 2)
            assert await channel.unary_unary(UNARY)(b"2", metadata=ORDERS) == b"2"
            await until(lambda: len(list(found[0].ownership.peers)) == 1)


async def test_a_call_in_progress_keeps_its_way_to_a_proxy_that_lost_its_partitions() -> None:
    echo = Echo()
    async with nodes(3, echo) as found:
        settle(found, found[1])
        async with found[0].channel() as channel:
            call = asyncio.ensure_future(channel.unary_unary(HANG)(b"kept", metadata=ORDERS))
            await until(lambda: sum(peer.stats()["calls"] for peer in found[0].ownership.peers) == 1)
            settle(found, found[2], 2)
            assert await channel.unary_unary(UNARY)(b"new", metadata=ORDERS) == b"new"
            assert len(list(found[0].ownership.peers)) == 2
            echo.release.set()
            assert await call == b"kept"
            await until(lambda: len(list(found[0].ownership.peers)) == 1)


async def test_a_namespace_moves_to_and_fro_under_load_without_a_failed_call() -> None:
    """State is shared, so source and target serve it both for a moment, and the maps change one after the other."""
    async with nodes(3, Echo(), token="open sesame") as found:
        settle(found, found[1])
        done = False
        served = 0

        async def call(node: Node) -> None:
            nonlocal served
            async with node.channel() as channel:
                while not done:
                    assert await channel.unary_unary(UNARY)(b"x" * 50, metadata=ORDERS, timeout=5) == b"x" * 50
                    served += 1

        callers = [asyncio.ensure_future(call(node)) for node in found for _ in range(4)]
        async with failing(callers):
            for revision in range(2, 22):
                source, target = found[revision % 2 + 1], found[(revision + 1) % 2 + 1]
                target.serves = {"orders"}
                target.route()
                for node in (source, found[0], target)[::-1 if revision % 3 else 1]:
                    if node is source:
                        source.serves = set()
                    node.follow(everything_of(target.owner, revision))
                    before = served
                    await until(lambda: served > before + 10)  # noqa: B023 - waited for here
            done = True
        assert served > 300


@contextlib.asynccontextmanager
async def failing(tasks: list[asyncio.Task[None]]) -> AsyncIterator[None]:
    """In the end what the tasks raise is raised."""
    try:
        yield
    finally:
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if result is not None:
            raise result


async def test_proxies_with_tls_reach_each_other_by_tls_and_believe_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("proxy", "proxy.test")
    async with nodes(2, Echo(), tls=TlsConfig(cert, key, authority.ca_file)) as found:
        settle(found, found[1])
        credentials = grpc.ssl_channel_credentials(authority.ca_file.read_bytes(), key.read_bytes(), cert.read_bytes())
        async with grpc.aio.secure_channel(f"localhost:{found[0].port}", credentials) as channel:
            assert await channel.unary_unary(UNARY)(b"sealed", metadata=ORDERS, timeout=5) == b"sealed"
