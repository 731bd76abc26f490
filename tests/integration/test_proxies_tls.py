"""Real proxies and an admin that know each other by certificates alone: no word of theirs is in the clear."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism import control_plane_pb2 as pb
from prism import control_plane_pb2_grpc
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc
from tests.services.admin import AdminProcess
from tests.services.certificates import Authority
from tests.services.proxy import ProxyProcess, proxy

MEMSTORE = pb.NamespaceConfig(backends={"store": pb.BackendConfig(backend_type="memstore")})
ORDERS = (("x-namespace", "orders"),)


@pytest.mark.parametrize("token", [False, True])
async def test_any_proxy_serves_any_namespace_over_tls(tmp_path: Path, token: bool) -> None:
    authority = Authority(tmp_path)
    ca, (cert, key) = str(authority.ca_file), authority.issue("node", "localhost")
    secret: Sequence[str] = ()
    if token:
        (tmp_path / "token").write_text("open sesame")
        secret = ("token-file", str(tmp_path / "token"))
    admin = await AdminProcess(
        f"sqlite:///{tmp_path / 'admin.db'}", "--tls-cert", str(cert), "--tls-key", str(key), "--push-ca", ca,
        *(() if token else ("--tls-client-ca", ca)), *(("--" + secret[0], secret[1]) if secret else ())).start()
    server = ("--tls-cert", str(cert), "--tls-key", str(key), *(() if token else ("--tls-client-ca", ca)))
    member = ("--admin-endpoint", f"localhost:{admin.port}", "--admin-ca", ca, "--admin-cert", str(cert),
              "--admin-key", str(key), "--admin-heartbeat-s", "0.2", "--admin-reconnect-s", "0.3",
              *((f"--admin-{secret[0]}", secret[1]) if secret else ()))
    credentials = grpc.ssl_channel_credentials(authority.ca_file.read_bytes(), key.read_bytes(), cert.read_bytes())
    bearer = (("authorization", "Bearer open sesame"),) if token else ()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(admin.kill)
        processes = [await stack.enter_async_context(proxy(*server, *member, "--proxy-id", f"proxy-{number:02}"))
                     for number in (1, 2)]
        await same_map(processes)
        channels = [await stack.enter_async_context(grpc.aio.secure_channel(f"localhost:{process.port}", credentials))
                    for process in processes]
        control: Any = control_plane_pb2_grpc.ControlPlaneStub(channels[0])  # type: ignore[no-untyped-call]
        made = await control.CreateNamespace(
            pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE), metadata=bearer)
        assert made.assigned_proxy == "proxy-02"
        for number, channel in enumerate(channels):
            store: Any = keyvalue_basic_pb2_grpc.KeyValueBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
            await store.Set(kv.SetRequest(key=f"k{number}", value=b"v"), metadata=ORDERS, timeout=10)
            call = store.Get(kv.GetRequest(key=f"k{number}"), metadata=ORDERS, timeout=10)
            assert (await call).value == b"v"
            assert dict(await call.initial_metadata())["x-prism-owner"] == "proxy-02"
        assert 'prism_forward_connections{to="proxy"} 1\n' in (await processes[0].get("/metrics"))[1]


class Files:
    """The files that every process has, and their replacement as deployment tools do it: by renaming."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.cert, self.key = (folder / name for name in ("ca.pem", "node.pem", "node.key"))

    def trust(self, *authorities: Authority) -> None:
        self._write(self.ca, b"".join(found.ca_file.read_bytes() for found in authorities))

    def show(self, authority: Authority) -> None:
        for path, issued in zip((self.cert, self.key), authority.issue("issued", "localhost"), strict=True):
            self._write(path, issued.read_bytes())

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_bytes(content)
        fresh.replace(path)

    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), self.key.read_bytes(), self.cert.read_bytes())


async def test_certificates_and_their_authority_are_replaced_while_proxies_serve(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = Authority(tmp_path / "old", "old-ca"), Authority(tmp_path / "new", "new-ca")
    files = Files(tmp_path)
    files.trust(old)
    files.show(old)
    ca, cert, key = str(files.ca), str(files.cert), str(files.key)
    server = ("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", ca)
    urn = f"sqlite:///{tmp_path / 'admin.db'}"
    admin = await AdminProcess(urn, *server, "--push-ca", ca).start()
    member = ("--admin-endpoint", f"localhost:{admin.port}", "--admin-ca", ca, "--admin-cert", cert,
              "--admin-key", key, "--admin-heartbeat-s", "0.2", "--admin-reconnect-s", "0.3")

    async def stays(process: ProxyProcess) -> None:
        """The call that goes from the first proxy to the second, over a new connection of ours."""
        async with grpc.aio.secure_channel(f"localhost:{process.port}", files.credentials()) as channel:
            store: Any = keyvalue_basic_pb2_grpc.KeyValueBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
            await store.Set(kv.SetRequest(key="k", value=b"v"), metadata=ORDERS, timeout=10, wait_for_ready=True)

    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(proxy(*server, *member, "--proxy-id", "proxy-01"))
        async with proxy(*server, *member, "--proxy-id", "proxy-02") as second:
            await same_map([first, second])
            async with grpc.aio.secure_channel(f"localhost:{first.port}", files.credentials()) as channel:
                control: Any = control_plane_pb2_grpc.ControlPlaneStub(channel)  # type: ignore[no-untyped-call]
                made = await control.CreateNamespace(pb.CreateNamespaceRequest(namespace="orders", config=MEMSTORE))
                assert made.assigned_proxy == "proxy-02"
            files.ca.write_bytes(b"no certificate")
            for _ in range(2):
                refused = await first.line("TLS files were not reloaded")
                assert "ca.pem" in refused["error"], "the listener says so, and the way to other proxies"
            files.trust(old, new)
            await stays(first)
            files.show(new)
        files.trust(new)
        second = await stack.enter_async_context(proxy(*server, *member, "--proxy-id", "proxy-02"))
        await same_map([first, second])
        async with grpc.aio.secure_channel(f"localhost:{second.port}", files.credentials()) as channel:
            control = control_plane_pb2_grpc.ControlPlaneStub(channel)  # type: ignore[no-untyped-call]
            made = await control.CreateNamespace(pb.CreateNamespaceRequest(namespace="carts", config=MEMSTORE))
            assert made.success, "the admin pushes to proxies of the new authority"
        await admin.kill()
        admin = await AdminProcess(urn, *server, "--push-ca", ca, port=admin.port).start()
        stack.push_async_callback(admin.kill)
        await joined_again(first)
        await same_map([first, second])
        async with asyncio.timeout(20):
            await stays(first)
        assert 'prism_forward_connections{to="proxy"} 1\n' in (await first.get("/metrics"))[1]


async def joined_again(process: ProxyProcess) -> None:
    async with asyncio.timeout(30):
        while json.loads((await process.get("/ready"))[1])["admin"]["state"] != "joined":
            await asyncio.sleep(0.05)


async def same_map(processes: Sequence[ProxyProcess]) -> None:
    """Wait until all of them have."""
    async with asyncio.timeout(20):
        while len({json.loads((await process.get("/ready"))[1])["admin"]["map_revision"] for process in processes}) > 1:
            await asyncio.sleep(0.05)
