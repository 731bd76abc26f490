"""Calls forwarded to the server that owns their namespace: all kinds, from a stock client."""

from __future__ import annotations

from tests.support.echo import CHAT, SINK, SOURCE, UNARY, Echo
from tests.support.forwarding import forwarding


async def test_all_four_kinds() -> None:
    async with forwarding(Echo()) as pair, pair.channel() as channel:
        assert await channel.unary_unary(UNARY)(b"hello", timeout=5) == b"hello"
        assert await channel.unary_unary(UNARY)(b"") == b""
        big = bytes(1_000_000)
        assert await channel.unary_unary(UNARY)(big) == big
        assert await channel.stream_unary(SINK)(iter([b"x" * 100] * 50)) == b"5000"
        assert [len(item) async for item in channel.unary_stream(SOURCE)(b"30 70000")] == [70000] * 30
        assert [item async for item in channel.stream_stream(CHAT)(iter([b"a", b"b", b"c" * 100_000]))] == [
            b"a", b"b", b"c" * 100_000]
