"""Roles and rates: what a caller may do, and how often; what was refused is in the audit log."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.admin.v1 import admin_pb2 as pb
from prism.admin.v1 import admin_pb2_grpc
from prism_admin.access_file import AccessError, read_access
from prism_admin.rbac import RateLimiter, Rates
from prism_admin.security import Security
from tests.integration.admin.cluster import REDIS, Cluster
from tests.services.admin import AdminProcess, run
from tests.services.certificates import Authority

TOKENS = {"ada": ("admin", "ada-token"), "olga": ("operator", "olga-token"), "vera": ("viewer", "vera-token"),
          "proxies": ("proxy", "proxy-token")}


@pytest.fixture
async def guarded(cluster: Cluster, tmp_path: Path) -> Cluster:
    file = tmp_path / "access.yaml"
    file.write_text("tokens:\n" + "".join(
        f"  {name}: {{role: {role}, sha256: {hashlib.sha256(token.encode()).hexdigest()}}}\n"
        for name, (role, token) in TOKENS.items()))
    await cluster.app.stop()
    cluster.config = replace(cluster.config, security=Security(token="shared", access=read_access(file)),
                             rates=Rates(read=1000, write=5), stale_s=60.0)
    await cluster.start()
    await cluster.join("proxy-01", token="proxy-token")
    return cluster


def bearing(token: str) -> dict[str, Any]:
    return {"metadata": (("authorization", f"Bearer {token}"),), "timeout": 10}


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_each_role_may_do_its_part(guarded: Cluster) -> None:
    denied, done = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.OK
    async with guarded.admin() as stub:
        for token, reads, writes, moves in (
                ("shared", done, done, done), ("ada-token", done, done, done), ("olga-token", done, denied, done),
                ("vera-token", done, denied, denied), ("proxy-token", denied, denied, denied)):
            assert await code_of(stub.ListProxies(pb.ListProxiesRequest(), **bearing(token))) is reads
            create = pb.CreateNamespaceRequest(name="orders", config=REDIS)
            assert await code_of(stub.CreateNamespace(create, **bearing(token))) is writes
            assert await code_of(stub.Rebalance(pb.RebalanceRequest(contiguous=True), **bearing(token))) is moves
        assert await code_of(stub.ListProxies(pb.ListProxiesRequest(), **bearing("other"))
                             ) is grpc.StatusCode.UNAUTHENTICATED
        entries = [entry async for entry in stub.GetAuditLog(
            pb.GetAuditLogRequest(actor="vera"), **bearing("ada-token"))]
    assert [(entry.operation, entry.success) for entry in entries] == [("Rebalance", False), ("CreateNamespace", False)]
    assert "it needs admin:write, and the role viewer does not have it" in entries[1].error


async def test_writes_are_limited_while_reads_pass(guarded: Cluster) -> None:
    async with guarded.admin() as stub:
        for number in range(6):
            call = stub.CreateNamespace(
                pb.CreateNamespaceRequest(name=f"ns-{number}", config=REDIS), **bearing("ada-token"))
            if number < 5:
                assert await code_of(call) is grpc.StatusCode.OK
        with pytest.raises(grpc.aio.AioRpcError, match="ada has made 5 write calls within a minute: CreateNamespace"):
            await call
        assert await code_of(stub.ListProxies(pb.ListProxiesRequest(), **bearing("ada-token"))) is grpc.StatusCode.OK
        assert await code_of(stub.CreateNamespace(  # another user has an allowance of its own
            pb.CreateNamespaceRequest(name="ns-9", config=REDIS), **bearing("shared"))) is grpc.StatusCode.OK


def test_the_default_rates_hold_over_any_minute() -> None:
    now = 0.0
    limiter = RateLimiter(Rates(), clock=lambda: now)
    method = "/prism.admin.v1.AdminService/CreateNamespace"
    assert [limiter.refuse("ada", method) for _ in range(100)] == [None] * 100
    assert "can be tried again in 60 s" in str(limiter.refuse("ada", method))
    assert limiter.refuse("ada", "/prism.admin.v1.AdminService/ListProxies") is None
    assert limiter.refuse("ada", "/prism.ControlPlane/Heartbeat") is None
    now = 59.9
    assert limiter.refuse("ada", method)
    now = 60.1
    assert limiter.refuse("ada", method) is None


DIGEST = hashlib.sha256(b"token").hexdigest()


@pytest.mark.parametrize(("text", "said"), [
    ("[]", "access.yaml:1:1: the document must be a mapping"),
    ("", "nobody has a role: write certificates or tokens"),
    ("tokenz: {}", "access.yaml:1:1: tokenz is no setting: did you mean 'tokens'?"),
    ("certificates: {ada: king}", "certificates.ada is 'king': it must be one of admin, operator, viewer, proxy"),
    ("certificates:\n  ada: [viewer]", "access.yaml:2:8: certificates.ada must be text, not a mapping or a sequence"),
    ("certificates:\n  ada: viewer\n  ada: admin", "access.yaml:3:3: certificates.ada stands twice: first on line 2"),
    ("certificates: {ada: !!str admin}", "tags such as"),
    ("tokens: {ada: {role: admin}}", "tokens.ada.sha256 is missing: the SHA-256 of the token"),
    ("tokens: {ada: {role: admin, sha256: abc}}", "tokens.ada.sha256 is not a SHA-256: write 64 hexadecimal digits"),
    (f"tokens: {{ada: {{role: [viewer], sha256: {DIGEST}}}}}", "tokens.ada.role must be text"),
    (f"tokens: {{ada: {{role: viewer, sha256: {DIGEST}}}, eve: {{role: admin, sha256: {DIGEST.upper()}}}}}",
     "tokens.eve has the token of tokens.ada"),
    ("tokens:", "tokens is empty"),
    ("certificates: [ada]", "certificates must be a mapping"),
    ("a: [", "--access-file"),
    ("tokens: {ada: \x00}", "--access-file"),
])
def test_an_access_file_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "access.yaml"
    file.write_text(text)
    with pytest.raises(AccessError) as caught:
        read_access(file)
    assert said in str(caught.value)


def test_names_that_yaml_takes_for_booleans_are_names(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    file.write_text("certificates: {no: viewer, on: proxy, 1: admin}")
    access = read_access(file)
    assert [access.of_certificate(name) for name in ("no", "on", "1", "False", "True")] == [
        "viewer", "proxy", "admin", "", ""]


def test_certificates_have_roles(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    file.write_text("certificates: {ada: admin, proxy-01: proxy}")
    access = read_access(file)
    assert [access.of_certificate(name) for name in ("ada", "proxy-01", "eve")] == ["admin", "proxy", ""]
    file.write_text("certificates: {ada: admin, '*': viewer}")
    assert read_access(file).of_certificate("eve") == "viewer"


async def exit_of(*arguments: str) -> tuple[int, str]:
    code, _, errors = await run("serve", "--listen", "127.0.0.1:0", "--metrics-listen", "off", *arguments)
    return code, errors


async def test_a_file_that_names_nobody_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    file.write_text("tokens: {}")
    admin = await AdminProcess(f"sqlite:///{tmp_path / 'admin.db'}", "--access-file", str(file)).start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{admin.port}") as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
        for metadata in ((), (("x-admin-user", "root"),), (("authorization", "Bearer any"),)):
            assert await code_of(stub.ListProxies(pb.ListProxiesRequest(), metadata=metadata, timeout=10)
                                 ) is grpc.StatusCode.UNAUTHENTICATED
    assert await admin.stop() == 0


async def test_roles_of_certificates_need_an_authority(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    file.write_text("certificates: {ada: admin}")
    code, errors = await exit_of("--db", f"sqlite:///{tmp_path / 'admin.db'}", "--access-file", str(file))
    assert code == 1
    assert errors.splitlines() == ["prism-admin: --access-file gives roles to certificates, but no caller is asked for "
                                   "one: give --tls-client-ca, with --tls-cert and --tls-key"]


async def test_a_certificate_that_the_file_does_not_name_has_no_role(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("admin", "localhost")
    file = tmp_path / "access.yaml"
    file.write_text("certificates: {ada: viewer}")
    admin = await AdminProcess(
        f"sqlite:///{tmp_path / 'admin.db'}", "--access-file", str(file), "--tls-cert", str(certificate),
        "--tls-key", str(key), "--tls-client-ca", str(authority.ca_file)).start()
    for name, expected in (("ada", grpc.StatusCode.OK), ("eve", grpc.StatusCode.PERMISSION_DENIED)):
        certificate, key = authority.issue(name, name)
        async with grpc.aio.secure_channel(f"localhost:{admin.port}", grpc.ssl_channel_credentials(
                authority.ca_file.read_bytes(), key.read_bytes(), certificate.read_bytes()),
                options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
            assert await code_of(stub.ListProxies(pb.ListProxiesRequest(), metadata=(("x-admin-user", "ada"),),
                                                  timeout=10)) is expected
    assert await admin.stop() == 0
