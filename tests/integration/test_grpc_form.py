"""The form of calls and errors that gRPC prescribes, held by raw frames: number of messages, content types, sizes,
and whose details an error carries."""

from __future__ import annotations

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from tests.services.proxy import proxy
from tests.support.echo import SINK, SOURCE, UNARY, echo_server
from tests.support.h2peer import DATA, END_STREAM, H2Peer, Reply, frame, grpc_headers, message

UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
STORE = "/prism.interfaces.keyvalue.KeyValueBasicInterface"


async def sent(peer: H2Peer, path: str, payload: bytes, **head: str) -> Reply:
    """The reply to a request with any body, as one frame."""
    stream = await peer.start(path, **head)
    await peer.send(frame(DATA, END_STREAM, stream, payload))
    return await peer.reply(stream)


@pytest.mark.parametrize("count", [0, 2, 3])
@pytest.mark.parametrize("path", [UNARY, SOURCE])
async def test_a_method_of_one_request_refuses_any_other_number(path: str, count: int) -> None:
    async with echo_server() as served, H2Peer(served.port) as peer:
        reply = await sent(peer, path, message(b"1 1") * count)
        assert (reply.status, reply.messages()) == (UNIMPLEMENTED, [])
        assert "exactly one" in reply.text
        assert (await sent(peer, path, message(b"1 1"))).status == 0


async def test_a_wrong_number_of_requests_is_no_failure_of_the_proxy() -> None:
    """Native method and servicer alike; the log, which has failures, says nothing of it."""
    async with proxy("--log-calls", "errors") as process, H2Peer(process.port) as peer:
        for method in ("Get", "Set"):
            for body in (b"", message(b"") * 2):
                reply = await sent(peer, f"{STORE}/{method}", body)
                assert reply.status == UNIMPLEMENTED
                assert "grpc-status-details-bin" in dict(reply.headers + reply.trailers)
        await process.stop()
        assert "a call failed" not in [line["event"] for line in process.lines]


@pytest.mark.parametrize(("content_type", "served"), [
    ("application/grpc", True), ("application/grpc+proto", True), ("application/grpc;charset=utf-8", True),
    ("application/grpc+proto;charset=utf-8", True), ("application/grpc+foo", False), ("application/grpc+json", False),
    ("application/grpc+protobuf", False), ("application/grpc+", False), ("application/grpc-web", False),
    ("application/grpcfoo", False), ("application/json", False), ("application/grp", False), ("", False)])
async def test_only_messages_of_protobuf_are_taken(content_type: str, served: bool) -> None:
    async with echo_server() as server, H2Peer(server.port) as peer:
        reply = await sent(peer, UNARY, message(b"x"), content_type=content_type)
        assert reply.http_status == ("200" if served else "415")
        assert (message(b"x") == reply.body) is served


async def test_replies_have_a_limit_of_their_own() -> None:
    async with echo_server(max_message_bytes=4096, max_reply_bytes=2048) as served, H2Peer(served.port) as peer:
        assert (await peer.unary(UNARY, bytes(2048))).messages() == [bytes(2048)]
        for reply in (await peer.unary(UNARY, bytes(2049)), await peer.unary(SOURCE, b"1 2049")):
            assert reply.status == RESOURCE_EXHAUSTED
            assert "2049 vs. 2048" in reply.text
            assert "max_reply_bytes" in reply.text
        assert (await sent(peer, SINK, message(bytes(4096)))).messages() == [b"4096"], "requests may be larger"
        assert (served.hits("max_reply_bytes"), served.hits("max_message_bytes")) == (2, 0)
    async with echo_server(max_message_bytes=4096) as served, H2Peer(served.port) as peer:
        assert (await peer.unary(UNARY, bytes(4096))).messages() == [bytes(4096)], "unset, it follows the other one"


async def test_a_native_reply_keeps_the_limit() -> None:
    async with proxy("--limit", "max_reply_bytes=2000") as process, H2Peer(process.port) as peer:
        stored = kv.SetRequest(key="large", value=bytes(3000)).SerializeToString()
        assert (await peer.unary(f"{STORE}/Set", stored)).status == 0
        reply = await peer.unary(f"{STORE}/Get", kv.GetRequest(key="large").SerializeToString())
        assert reply.status == RESOURCE_EXHAUSTED
        assert "max_reply_bytes" in reply.text


async def test_a_server_without_namespaces_adds_nothing_of_the_product_to_its_errors() -> None:
    bodies = [b"", message(b"1 1") * 2, message(b"x", flag=1), message(bytes(5000)), message(b"x")[:4]]
    async with echo_server(max_message_bytes=4096) as served, H2Peer(served.port) as peer:
        for body in bodies:
            stream = peer.next_stream()
            await peer.send(peer.head(stream, grpc_headers(UNARY, ("x-request-id", "r-1"))),
                            frame(DATA, END_STREAM, stream, body))
            reply = await peer.reply(stream)
            assert reply.status
            assert {name for name, _ in reply.headers + reply.trailers} == {
                ":status", "content-type", "grpc-status", "grpc-message"}
