"""An admin goes on while its certificate, its key and the authority of its callers are replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from prism.admin.v1 import admin_pb2, admin_pb2_grpc
from tests.services.admin import AdminProcess
from tests.services.certificates import Authority


@pytest.fixture
def authorities(tmp_path: Path) -> tuple[Authority, Authority]:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    return Authority(tmp_path / "old", "old-ca"), Authority(tmp_path / "new", "new-ca")


class Files:
    """Those of the admin."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key, self.ca = (folder / name for name in ("node.pem", "node.key", "ca.pem"))

    def show(self, authority: Authority) -> None:
        certificate, key = authority.issue("admin", "localhost")
        self.key.write_bytes(key.read_bytes())
        self.certificate.write_bytes(certificate.read_bytes())
        self.ca.write_bytes(authority.ca_file.read_bytes())


@pytest.fixture
async def files(tmp_path: Path, authorities: tuple[Authority, Authority]) -> Files:
    found = Files(tmp_path)
    found.show(authorities[0])
    return found


@pytest.fixture
async def admin(tmp_path: Path, files: Files) -> AsyncIterator[AdminProcess]:
    found = await AdminProcess(
        f"sqlite:///{tmp_path / 'admin.db'}", "--tls-cert", str(files.certificate), "--tls-key", str(files.key),
        "--tls-client-ca", str(files.ca)).start()
    yield found
    if found.process.returncode is None:
        await found.kill()


def channel(admin: AdminProcess, authority: Authority) -> grpc.aio.Channel:
    """A new connection of a caller who trusts that authority, and is of it."""
    certificate, key = authority.issue("ada", "ada")
    return grpc.aio.secure_channel(f"localhost:{admin.port}", grpc.ssl_channel_credentials(
        authority.ca_file.read_bytes(), key.read_bytes(), certificate.read_bytes()),
        options=(("grpc.use_local_subchannel_pool", 1),))


async def ask(connected: grpc.aio.Channel) -> admin_pb2.ListProxiesResponse:
    stub = admin_pb2_grpc.AdminServiceStub(connected)  # type: ignore[no-untyped-call]
    return await stub.ListProxies(admin_pb2.ListProxiesRequest(), timeout=5)


async def test_new_connections_have_the_files_of_now_and_old_ones_go_on(
    admin: AdminProcess, files: Files, authorities: tuple[Authority, Authority]
) -> None:
    old, new = authorities
    async with channel(admin, old) as before:
        await ask(before)
        files.show(new)
        async with channel(admin, new) as after:
            await ask(after)
        await ask(before)
        async with channel(admin, old) as late:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await ask(late)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("spoiled", ["certificate", "key", "ca"])
async def test_files_that_cannot_be_used_change_nothing(
    admin: AdminProcess, files: Files, authorities: tuple[Authority, Authority], spoiled: str
) -> None:
    old, new = authorities
    getattr(files, spoiled).write_bytes(b"half a file")
    async with channel(admin, old) as still:
        await ask(still)
    files.show(new)
    async with channel(admin, new) as again:
        await ask(again)
    assert await admin.stop() == 0
    assert "TLS files were not reloaded" in admin.said
    assert str(getattr(files, spoiled)) in admin.said
