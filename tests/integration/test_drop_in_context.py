"""What a servicer sees of its context, and what becomes of metadata, interceptors and TLS: under grpc.aio's server and
under ours, values and their types alike."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism_proxy.server.credentials import ssl_server_credentials
from prism_proxy.server.server import Server
from prism_runtime.tls import TlsError
from tests.services.certificates import Authority
from tests.support.echo import FRESH
from tests.support.h2peer import DATA, END_STREAM, H2Peer, frame, message

SERVICE = "test.Context"
BOTH: list[Any] = [grpc.aio.server, Server]


def form(value: Any) -> Any:
    """A value with the types of all that is in it."""
    if isinstance(value, list | tuple):
        return type(value).__name__, [form(item) for item in value]
    if isinstance(value, dict):
        return type(value).__name__, {key: form(item) for key, item in value.items()}
    return type(value).__name__, value


def tried(function: Callable[[], Any]) -> Any:
    try:
        return form(function())
    except (TypeError, ValueError) as error:
        return type(error).__name__


async def look(request: bytes, context: Any) -> AsyncIterator[tuple[str, Any]]:
    """Steps of a servicer, and what each one answered."""
    user = [pair for pair in context.invocation_metadata() if pair.key.startswith("x-")]
    yield "metadata", form(user)
    yield "of a pair", [(pair.key, pair.value, pair[0], pair[1]) for pair in user]
    for name in ("code", "details", "trailing_metadata", "peer_identities", "peer_identity_key", "auth_context",
                 "cancelled", "done"):
        yield name, tried(getattr(context, name))
    for code in (grpc.StatusCode.NOT_FOUND, 5, 99):
        context.set_code(code)
        yield "code set", tried(context.code)
    context.set_code(grpc.StatusCode.OK)
    yield "details of bytes", tried(lambda: context.set_details(b"bytes"))
    context.set_details("text")
    yield "details set", tried(context.details)
    for metadata in ((("a", "b"),), [("a", "b")], (("a-bin", b"\x00"),), "junk", (("k", 5),), (("k",),), [["k", "v"]]):
        yield f"trailing {metadata!r}", tried(lambda metadata=metadata: context.set_trailing_metadata(metadata))
        yield "trailing set", tried(context.trailing_metadata)
    context.set_trailing_metadata(())


@contextlib.asynccontextmanager
async def channel_to(server: Any, behaviour: Any) -> AsyncIterator[grpc.aio.Channel]:
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(
        SERVICE, {"Call": grpc.unary_unary_rpc_method_handler(behaviour)})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=FRESH) as channel:
            yield channel
    finally:
        await server.stop(0)


CALL = f"/{SERVICE}/Call"
SENT = (("x-text", "v"), ("x-data-bin", b"\x00\xff"), ("x-text", "again"))


async def test_every_look_at_the_context_is_alike() -> None:
    seen: list[list[tuple[str, Any]]] = []

    async def behaviour(request: bytes, context: Any) -> bytes:
        seen.append([step async for step in look(request, context)])
        return b""

    for make in BOTH:
        async with channel_to(make(), behaviour) as channel:
            await channel.unary_unary(CALL)(b"", metadata=SENT)
    reference, ours = seen
    assert len(reference) > 20
    assert ours == reference


async def trailing(context: Any, metadata: Any) -> None:
    context.set_trailing_metadata(metadata)


async def initial(context: Any, metadata: Any) -> None:
    await context.send_initial_metadata(metadata)


async def aborted(context: Any, metadata: Any) -> None:
    await context.abort(grpc.StatusCode.NOT_FOUND, "gone", metadata)


@pytest.mark.parametrize("metadata", [
    (("Upper", "x"),), (("k", "line\nbreak"),), (("k", "größe"),), (("key with space", "x"),), (("fine", "x"),)],
    ids=lambda metadata: metadata[0][0] + repr(metadata[0][1]))
@pytest.mark.parametrize("send", [trailing, initial, aborted])
async def test_metadata_that_cannot_be_sent_are_internal(
    send: Callable[[Any, Any], Awaitable[None]], metadata: Sequence[tuple[str, str]]
) -> None:
    async def behaviour(request: bytes, context: Any) -> bytes:
        await send(context, metadata)
        return b"reply"

    outcomes = []
    for make in BOTH:
        async with channel_to(make(), behaviour) as channel:
            call = channel.unary_unary(CALL)(b"", timeout=5)
            outcomes.append((await call.code(), await call.details()))
    assert outcomes[1] == outcomes[0]
    if metadata[0][0] != "fine":
        assert outcomes[1] == (grpc.StatusCode.INTERNAL, "Invalid metadata")


class Tracing(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Says that it was asked, and passes on, refuses, replaces or changes what the next one sees."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self.told = name, told

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        wish = dict(details.invocation_metadata).get(f"x-{self.name}", "")
        self.told.append(f"{self.name} {details.method} {wish}")
        if wish == "unknown":
            return None
        if wish == "raise":
            raise KeyError(self.name)
        if wish == "replace":
            async def instead(request: bytes, context: Any) -> bytes:
                return b"instead of " + request
            return grpc.unary_unary_rpc_method_handler(instead)
        found = await continuation(details)
        self.told.append(f"{self.name} found {found is not None}")
        return found


async def kinds(channel: grpc.aio.Channel, wish: str) -> list[Any]:
    """The outcomes of calls of all four kinds, and of one that nobody knows."""
    metadata = (("x-second", wish),)
    outcomes: list[Any] = []
    for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream", "nothing"):
        method = getattr(channel, kind if kind != "nothing" else "unary_unary")(f"/{SERVICE}/{kind}")
        # The client may report INTERNAL when a call ends under a message that it is sending: no messages then.
        call = method(iter([b"a", b"b"] if not wish else []) if kind.startswith("stream") else b"a",
                      metadata=metadata, timeout=5)
        replies: Any = None
        with contextlib.suppress(grpc.aio.AioRpcError):
            replies = [item async for item in call] if kind.endswith("stream") else await call
        outcomes.append((kind, await call.code(), await call.details(), replies))
    return outcomes


async def test_interceptors_find_the_handler_of_each_call() -> None:
    async def unary_unary(request: bytes, context: Any) -> bytes:
        return request

    async def unary_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield request
        yield request

    async def stream_unary(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([item async for item in requests])

    async def stream_stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for item in requests:
            yield item

    behaviours = (unary_unary, unary_stream, stream_unary, stream_stream)
    handlers = {item.__name__: getattr(grpc, f"{item.__name__}_rpc_method_handler")(item) for item in behaviours}
    seen = []
    for make in BOTH:
        told: list[str] = []
        server = make(interceptors=[Tracing("first", told), Tracing("second", told)])
        if make is Server:
            server.add_registered_method_handlers(SERVICE, handlers)
        else:
            server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        async with channel_to(server, unary_unary) as channel:
            outcomes = [await kinds(channel, wish) for wish in ("", "unknown", "raise")]
            replaced = channel.unary_unary(f"/{SERVICE}/unary_unary")(b"it", metadata=(("x-second", "replace"),))
            seen.append((told, outcomes, await replaced))
    assert seen[0][2] == b"instead of it"
    for reference, ours in zip(seen[0][1], seen[1][1], strict=True):
        assert ours == reference
    assert seen[1][0] == seen[0][0]
    with pytest.raises(ValueError, match="Interceptor must be ServerInterceptor"):
        Server(interceptors=[object()])  # type: ignore[list-item]


@pytest.mark.parametrize("make", BOTH)
async def test_messages_that_wait_for_their_reader_come_in_their_order(make: Any) -> None:
    """Small and large ones wait in different places."""
    sent = [bytes([number]) * size for number, size in enumerate((3, 16_384, 0, 16_383, 300_000, 1, 1, 70_000, 16_384))]
    may_read = asyncio.Event()

    async def stream_unary(requests: AsyncIterator[bytes], context: Any) -> bytes:
        await may_read.wait()
        assert [item async for item in requests] == sent * 2
        return b"all"

    async def messages() -> AsyncIterator[bytes]:
        for item in sent:
            yield item
        may_read.set()
        for item in sent:
            yield item

    server = make()
    handler = grpc.stream_unary_rpc_method_handler(stream_unary)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"stream_unary": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await channel.stream_unary(f"/{SERVICE}/stream_unary")(messages(), timeout=20) == b"all"
    finally:
        await server.stop(None)


@pytest.mark.parametrize("count", [0, 2])
async def test_a_unary_method_behind_interceptors_takes_one_message(count: int) -> None:
    async def behaviour(request: bytes, context: Any) -> bytes:
        return request

    server = Server(interceptors=[Tracing("first", [])])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(
        SERVICE, {"Call": grpc.unary_unary_rpc_method_handler(behaviour)})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with H2Peer(port) as peer:
            stream = await peer.start(CALL)
            await peer.send(frame(DATA, END_STREAM, stream, message(b"x") * count))
            assert (await peer.reply(stream)).status == grpc.StatusCode.UNIMPLEMENTED.value[0]
            assert (await peer.unary(CALL, b"x")).messages() == [b"x"]
    finally:
        await server.stop(0)


UNKNOWN_TO_PYTHON = ("ssl_requested_server_name", "ssl_negotiated_key_exchange_group")


@pytest.mark.parametrize("mutual", [False, True])
async def test_tls_and_what_it_says_of_the_caller(tmp_path: Path, mutual: bool) -> None:
    authority, seen = Authority(tmp_path), []
    (chain, key), (own_chain, own_key) = (
        [path.read_bytes() for path in authority.issue(*names)] for names in (
            ("server", "localhost"), ("client", "billing.example")))
    root = authority.ca_file.read_bytes()

    async def behaviour(request: bytes, context: Any) -> bytes:
        found = {name: value for name, value in context.auth_context().items() if name not in UNKNOWN_TO_PYTHON}
        seen.append((form(dict(sorted(found.items()))), form(context.peer_identities()), context.peer_identity_key()))
        return request

    handlers = grpc.method_handlers_generic_handler(SERVICE, {"Call": grpc.unary_unary_rpc_method_handler(behaviour)})
    ways = [(grpc.aio.server, grpc.ssl_server_credentials), (Server, ssl_server_credentials)]
    if not mutual:
        ways.append((Server, grpc.ssl_server_credentials))
    for make, credentials in ways:
        server: Any = make()
        server.add_generic_rpc_handlers([handlers])
        port = server.add_secure_port(
            "127.0.0.1:0", credentials([(key, chain)], root if mutual else None, mutual))  # type: ignore[operator]
        await server.start()
        client = grpc.ssl_channel_credentials(root, *((own_key, own_chain) if mutual else ()))
        async with grpc.aio.secure_channel(f"localhost:{port}", client, options=FRESH) as channel:
            assert await channel.unary_unary(CALL)(b"hello", timeout=10) == b"hello"
        await server.stop(0)
    assert all(found == seen[0] for found in seen[1:])
    assert len(seen) == len(ways)


def test_credentials_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    chain, key = (path.read_bytes() for path in Authority(tmp_path).issue("server", "localhost"))
    fetched = grpc.ssl_server_certificate_configuration([(key, chain)])
    for opaque in (grpc.ssl_server_credentials([(key, chain)], chain, True), grpc.local_server_credentials(),
                   grpc.ssl_server_credentials([(key, chain)], chain),
                   grpc.dynamic_ssl_server_credentials(fetched, lambda: fetched),
                   grpc.insecure_server_credentials()):
        with pytest.raises(TypeError, match=r"prism_proxy\.server\.credentials\.ssl_server_credentials"):
            Server().add_secure_port("127.0.0.1:0", opaque)
    with pytest.raises(ValueError, match="choosing by server name"):
        Server().add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)] * 2))
    with pytest.raises(TlsError):
        Server().add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(chain, chain)]))
    for pairs, more in (([], ()), ([(key, chain)] * 2, ()), ([(key, chain)], (None, True))):
        with pytest.raises(ValueError, match=r"pair|client auth"):
            ssl_server_credentials(pairs, *more)
    for pairs, more in (([(chain, chain)], ()), ([(b"", b"")], ()), ([(key, chain)], (b"no roots", True))):
        with pytest.raises(TlsError):
            ssl_server_credentials(pairs, *more)
