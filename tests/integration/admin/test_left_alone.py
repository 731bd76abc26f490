"""Connections between an admin and its proxies that nobody uses for minutes: pings that find out whether the other side
is there must not be taken for a flood.

Time is shortened: what is pinged every 10 s, and may be every 5 s, is pinged a hundred times as often, and may be. In
the long form it is not shortened.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import grpc
import pytest

from admin_client import Timing
from admin_client import client as admin_client
from prism_admin import app, proxy_client
from prism_proxy.server.limits import Limits
from tests.integration.admin.cluster import Cluster
from tests.support.echo import FRESH, SINK, echo_server

LONG = os.environ.get("PRISM_SOAK") == "1"
FASTER = 1 if LONG else 100
ALONE_SECONDS = 360.0


def test_each_side_pings_less_often_than_the_other_allows() -> None:
    assert admin_client.PING_SECONDS >= 2 * app.PING_SECONDS
    assert 1.5 * Limits().ping_min_interval_s <= proxy_client.PING_SECONDS


@pytest.mark.timeout(2 * ALONE_SECONDS)
async def test_a_joined_proxy_keeps_its_connection_to_the_admin(cluster: Cluster) -> None:
    await cluster.app.stop()
    cluster.config = replace(cluster.config, ping_s=app.PING_SECONDS / FASTER, stale_s=10 * ALONE_SECONDS)
    await cluster.start()
    (proxy,) = await cluster.join("proxy-01", timing=Timing(heartbeat_s=10 * ALONE_SECONDS, reconnect_s=0.1),
                                  ping_s=admin_client.PING_SECONDS / FASTER)
    await asyncio.sleep(ALONE_SECONDS / FASTER)
    assert (proxy.registrations, proxy.away_errors) == (1, [])
    assert (await cluster.create("orders")).success


@pytest.mark.timeout(2 * ALONE_SECONDS)
async def test_an_admin_keeps_its_connection_to_a_proxy() -> None:
    async with echo_server(ping_min_interval_s=Limits().ping_min_interval_s / FASTER) as served:
        assert await sent_after_a_pause(served.port) == b"3"
        assert served.hits("ping_min_interval_s") == 0


async def sent_after_a_pause(port: int) -> bytes:
    options = (*FRESH, ("grpc.keepalive_time_ms", int(proxy_client.PING_SECONDS * 1000 / FASTER)),
               ("grpc.http2.max_pings_without_data", 0))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call = channel.stream_unary(SINK)()
        await call.write(b"abc")
        await asyncio.sleep(ALONE_SECONDS / FASTER)
        await call.done_writing()
        return await call  # type: ignore[no-any-return]
