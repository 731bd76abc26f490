"""How a client may reach the server: IPv4, IPv6, a unix socket, TLS 1.3 with and without client certificates."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop

from prism_proxy.server.limits import Limits
from prism_proxy.server.server import Server
from prism_runtime.tls import TlsConfig, TlsError
from tests.services.certificates import Authority
from tests.support.echo import FRESH, UNARY
from tests.support.h2peer import H2Peer

NAME = (("grpc.ssl_target_name_override", "localhost"), *FRESH)


@pytest.fixture(scope="module")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """The loop that the proxy runs on."""
    return uvloop.EventLoopPolicy()


class WhoAmI(grpc.GenericRpcHandler):
    """Echoes, and remembers what the context says about the caller."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        return grpc.unary_unary_rpc_method_handler(self.unary) if details.method == UNARY else None

    async def unary(self, request: bytes, context: Any) -> bytes:
        self.seen = {"peer": context.peer(), "identities": context.peer_identities(),
                     "key": context.peer_identity_key(), "auth": context.auth_context()}
        return request


@pytest.fixture
def who() -> WhoAmI:
    return WhoAmI()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextlib.asynccontextmanager
async def serving(
    who: grpc.GenericRpcHandler, address: str, tls: TlsConfig | None = None, **options: Any
) -> AsyncIterator[tuple[Server, int]]:
    server = Server(**options)
    server.add_generic_rpc_handlers([who])
    port = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
    await server.start()
    try:
        yield server, port
    finally:
        await server.stop(0)


async def echo(channel: grpc.aio.Channel) -> bytes:
    async with channel:
        return await channel.unary_unary(UNARY)(b"hello", timeout=10)


def credentials(authority: Authority, own: tuple[Path, Path] | None = None) -> grpc.ChannelCredentials:
    certificate, key = own or (None, None)
    return grpc.ssl_channel_credentials(
        authority.ca_file.read_bytes(), key.read_bytes() if key else None,
        certificate.read_bytes() if certificate else None)


def client_context(authority: Authority, *alpn: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.ca_file)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


@pytest.mark.parametrize(("address", "peer"), [("127.0.0.1", "ipv4:127.0.0.1:"), ("[::1]", "ipv6:%5B::1%5D:")])
async def test_over_ip(who: WhoAmI, address: str, peer: str) -> None:
    async with serving(who, f"{address}:0") as (_, port):
        assert await echo(grpc.aio.insecure_channel(f"{address}:{port}")) == b"hello"
    assert who.seen["peer"].startswith(peer)
    assert (who.seen["identities"], who.seen["key"]) == (None, None)
    assert who.seen["auth"]["transport_security_type"] == [b"insecure"]


async def test_over_a_unix_socket_that_is_removed_at_the_end(who: WhoAmI, tmp_path: Path) -> None:
    path = tmp_path / "prism.sock"
    async with serving(who, f"unix:{path}"):
        assert await echo(grpc.aio.insecure_channel(f"unix:{path}")) == b"hello"
        with pytest.raises(OSError, match="in use"):
            Server().add_insecure_port(f"unix:{path}")
    assert who.seen["peer"].startswith("unix:")
    assert not path.exists()


async def test_a_socket_file_nobody_listens_on_is_replaced(who: WhoAmI, tmp_path: Path) -> None:
    path = tmp_path / "prism.sock"
    server = Server()
    server.add_insecure_port(f"unix:{path}")
    server._sockets[0][0].close()  # the process died
    assert path.exists()
    async with serving(who, f"unix:{path}"):
        assert await echo(grpc.aio.insecure_channel(f"unix:{path}")) == b"hello"


async def test_a_taken_port_is_refused(who: WhoAmI) -> None:
    async with serving(who, "127.0.0.1:0") as (_, port):
        with pytest.raises(OSError, match="in use"):
            Server().add_insecure_port(f"127.0.0.1:{port}")


async def test_tls(who: WhoAmI, authority: Authority) -> None:
    async with serving(who, "127.0.0.1:0", TlsConfig(*authority.issue("server", "localhost"))) as (_, port):
        channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials(authority), options=NAME)
        assert await echo(channel) == b"hello"
        assert who.seen["identities"] is None
        assert who.seen["auth"]["transport_security_type"] == [b"ssl"]
        async with H2Peer(port, tls=client_context(authority, "http/1.1", "h2")) as peer:
            assert peer.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
            assert (await peer.unary(UNARY, b"raw")).messages() == [b"raw"]


@pytest.mark.parametrize("alpn", [[], ["http/1.1"]], ids=["none", "http/1.1"])
async def test_tls_without_alpn_h2_is_closed(who: WhoAmI, authority: Authority, alpn: list[str]) -> None:
    async with serving(who, "127.0.0.1:0", TlsConfig(*authority.issue("server", "localhost"))) as (server, port):
        async with H2Peer(port, tls=client_context(authority, *alpn), silent=True) as peer:
            await peer.lost()
            assert not peer.settings, "the server spoke HTTP/2 to a client that did not ask for it"
        async with asyncio.timeout(5):
            while server.stats()["connections"]:
                await asyncio.sleep(0.01)


async def test_tls_1_2_is_refused(who: WhoAmI, authority: Authority) -> None:
    context = client_context(authority, "h2")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(who, "127.0.0.1:0", TlsConfig(*authority.issue("server", "localhost"))) as (_, port):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with H2Peer(port, tls=context):
                pass


async def test_mutual_tls_shows_the_callers_names(who: WhoAmI, authority: Authority) -> None:
    tls = TlsConfig(*authority.issue("server", "localhost"), client_ca=authority.ca_file)
    async with serving(who, "127.0.0.1:0", tls) as (_, port):
        own = credentials(authority, authority.issue("client", "billing.example"))
        assert await echo(grpc.aio.secure_channel(f"127.0.0.1:{port}", own, options=NAME)) == b"hello"
    assert who.seen["identities"] == [b"billing.example", b"localhost", b"127.0.0.1"]
    assert who.seen["key"] == "x509_subject_alternative_name"
    assert who.seen["auth"]["x509_subject_alternative_name"] == who.seen["identities"]


@pytest.mark.parametrize("presents", ["nothing", "another authority's"])
async def test_mutual_tls_refuses_other_callers(
    who: WhoAmI, authority: Authority, tmp_path: Path, presents: str
) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "other-ca").issue("client", "billing.example")
    tls = TlsConfig(*authority.issue("server", "localhost"), client_ca=authority.ca_file)
    async with serving(who, "127.0.0.1:0", tls) as (_, port):
        channel = grpc.aio.secure_channel(
            f"127.0.0.1:{port}", credentials(authority, None if presents == "nothing" else stranger), options=NAME)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo(channel)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert who.seen == {}


async def certificate_shown(port: int, authority: Authority) -> Any:
    async with H2Peer(port, tls=client_context(authority, "h2")) as peer:
        return peer.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]


async def test_certificates_are_reloaded_and_a_bad_set_keeps_the_old_one(
    who: WhoAmI, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prism_proxy.server.server.TLS_RELOAD_SECONDS", 0.05)
    told: asyncio.Queue[TlsError] = asyncio.Queue()
    certificate, key = authority.issue("server", "localhost")
    limits = Limits(keepalive_timeout_s=0.2)  # the shortest time sets the pace of the server's ticker
    async with (serving(who, "127.0.0.1:0", TlsConfig(certificate, key), limits=limits, on_tls_error=told.put_nowait)
                as (_, port), H2Peer(port, tls=client_context(authority, "h2")) as old):
        first = await certificate_shown(port, authority)
        replace(certificate, b"no certificate")
        assert "server.pem" in str(await asyncio.wait_for(told.get(), 5))
        assert await certificate_shown(port, authority) == first
        fresh = authority.issue("renewed", "localhost")
        replace(key, fresh[1].read_bytes())
        replace(certificate, fresh[0].read_bytes())
        async with asyncio.timeout(5):
            while await certificate_shown(port, authority) == first:
                await asyncio.sleep(0.02)
        assert (await old.unary(UNARY, b"an open connection goes on")).status == 0


def replace(path: Path, content: bytes) -> None:
    """As deployment tools do, by renaming."""
    path.with_suffix(".new").write_bytes(content)
    os.replace(path.with_suffix(".new"), path)


async def test_handshakes_in_progress_are_bounded_and_the_rest_waits(who: WhoAmI, authority: Authority) -> None:
    """Two clients that connect and say nothing hold both places, until their time is up."""
    limits = Limits(handshakes_in_progress=2, handshake_timeout_s=0.5)
    tls = TlsConfig(*authority.issue("server", "localhost"))
    async with serving(who, "127.0.0.1:0", tls, limits=limits) as (server, port):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials(authority), options=NAME)
        assert await echo(channel) == b"hello"
        assert server.limit_hits()["handshakes_in_progress"] >= 1
        assert server.limit_hits()["handshake_timeout_s"] == 2
        for reader, writer in silent:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()


async def test_plain_text_at_a_tls_port_is_closed(who: WhoAmI, authority: Authority) -> None:
    async with serving(who, "127.0.0.1:0", TlsConfig(*authority.issue("server", "localhost"))) as (server, port):
        async with H2Peer(port, silent=True) as peer:
            await peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            await peer.lost()
        assert server.stats()["connections"] == 0
