"""The two steps of a drain on the wire, after SIGTERM: nothing that a client sent in good faith is lost."""

from __future__ import annotations

import signal

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from tests.services.proxy import proxy
from tests.support import h2peer as h2
from tests.support.h2peer import H2Peer, frame, grpc_headers, message

GET = "/prism.interfaces.keyvalue.KeyValueBasicInterface/Get"
REQUEST = kv.GetRequest(key="k").SerializeToString()


async def test_what_comes_before_the_second_goaway_is_served_and_what_comes_after_is_not_seen() -> None:
    """The peer acknowledges no PING, so that the time between the steps is the second that the server grants."""
    async with proxy() as process, H2Peer(process.port, acknowledge=False) as peer:
        begun = await peer.start(GET)
        process.signal(signal.SIGTERM)
        await peer.until(lambda: bool(peer.goaways))
        assert peer.goaways == [(2**31 - 1, h2.NO_ERROR, b"")]
        between = await peer.unary(GET, REQUEST)
        assert (between.status, len(peer.goaways)) == (0, 1)
        await peer.until(lambda: len(peer.goaways) == 2)
        last = begun + 2  # the call between
        assert peer.goaways[1][:2] == (last, h2.NO_ERROR)
        late = peer.next_stream()
        await peer.send(
            peer.head(late, grpc_headers(GET)), frame(h2.DATA, h2.END_STREAM, late, message(REQUEST)),
            frame(h2.DATA, h2.END_STREAM, begun, message(REQUEST)))
        assert (await peer.reply(begun)).status == 0
        assert await peer.lost() == h2.NO_ERROR
        peer.writer.close()
        assert late not in peer.replies, "its client sends it elsewhere: an answer would run it twice"
        assert await process.wait() == 0
        assert process.lines[-1]["aborted"] == 0
